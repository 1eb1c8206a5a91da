"""The report in a real browser: `make test-report`."""

import base64
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import simulated

from lpwd import report
from lpwd.analysis import cells, claims, figures
from lpwd.analysis.main_grid import MainGrid
from lpwd.config.compose import scale_config
from lpwd.draw import words
from lpwd.report import charts

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is lacking: make setup")
from selenium.common.exceptions import StaleElementReferenceException  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

MINI = scale_config("mini")
MINI.grid.datasets = ["cifar100"]
MINI.epochs = 10
DESKTOP, PHONE = (1280, 900), (390, 844)


def diverges(run: dict[str, Any]) -> bool:
    return (run["method"], run["lr_factor"], run["rate_factor"]) == ("wd", 10, 50)


@pytest.fixture(scope="module")
def results() -> MainGrid:
    """A whole grid; the chosen rates, and only they, have fresh seeds."""

    def keep(run: dict[str, Any]) -> bool:
        return run["seed"] == 0 or (run["lr_factor"] == 1 and run["rate_factor"] != 50)

    return simulated.main(
        MINI,
        seeds=3,
        top1=lambda run: simulated.top1_of(run) - run["seed"] % 2,
        diverges=diverges,
        keep=keep,
    )


@pytest.fixture(scope="module")
def page(results: MainGrid, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(report.page(results))
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium that can reach no network, with its logs kept."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not program or not driver:
        pytest.skip("no browser here: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in (
        *("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"),
        *("--host-resolver-rules=MAP * ~NOTFOUND", "--hide-scrollbars"),
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield found
    found.quit()


def load(browser: Any, page: Path, size: tuple[int, int] = DESKTOP) -> None:
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(page.as_uri())
    wait(browser, lambda b: b.execute_script("return document.body.dataset.drawn"))
    wait(browser, lambda b: b.find_elements(By.CSS_SELECTOR, "#runs table.dataTable"))


def wait(browser: Any, condition: Any) -> Any:
    """Until it holds; an element that is drawn anew meanwhile is looked for again."""
    passing = [StaleElementReferenceException]
    return WebDriverWait(browser, 30, 0.1, ignored_exceptions=passing).until(condition)


@pytest.fixture
def desktop(browser: Any, page: Path) -> Any:
    load(browser, page)
    return browser


def one(browser: Any, selector: str) -> Any:
    (found,) = browser.find_elements(By.CSS_SELECTOR, selector)
    return found


def show(browser: Any, element: Any) -> Any:
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    return element


# -- the page as a whole ---------------------------------------------------------------------------


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "nothing stored"])
def test_it_opens_without_an_error_and_without_a_network(
    browser: Any, page: Path, tmp_path: Path, whole: bool, size: tuple[int, int]
) -> None:
    if not whole:
        page = tmp_path / "bare.html"
        page.write_text(report.page(simulated.main(MINI, keep=lambda run: False)))
    browser.get_log("browser"), browser.get_log("performance")  # what came before
    load(browser, page, size)
    assert browser.get_log("browser") == []
    messages = [json.loads(e["message"])["message"] for e in browser.get_log("performance")]
    sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    addresses = [request["request"]["url"] for request in sent]
    assert addresses[0] == page.as_uri()
    assert all(address.startswith(("blob:", "data:")) for address in addresses[1:])
    for target in charts.CHARTS:
        assert one(browser, f"#{target}-chart svg").size["width"] > 100


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_nothing_scrolls_sideways(browser: Any, page: Path, size: tuple[int, int]) -> None:
    load(browser, page, size)
    assert browser.execute_script("return document.documentElement.scrollWidth") == size[0]


def test_on_a_phone_panels_stand_below_each_other(browser: Any, page: Path) -> None:
    heights = {}
    for size in (DESKTOP, PHONE):
        load(browser, page, size)
        chart = one(browser, "#figure4-chart svg").size
        heights[size] = chart["height"] / chart["width"]
    assert heights[PHONE] > 2 * heights[DESKTOP]


def test_the_answer_its_figure_and_the_counts_are_the_first_screen(
    browser: Any, page: Path
) -> None:
    load(browser, page, (1280, 800))
    assert one(browser, "#leads-chart svg").size["width"] > 400
    for selector in ("header ol", "#leads-chart svg", ".tally"):
        box = one(browser, selector).rect
        assert box["y"] + box["height"] < 800


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_navigation_is_one_line_that_stays(browser: Any, page: Path, size: tuple[int, int]) -> None:
    load(browser, page, size)
    links = browser.find_elements(By.CSS_SELECTOR, "nav a")
    assert len({link.rect["y"] for link in links}) == 1
    browser.execute_script("document.getElementById('made').scrollIntoView()")
    assert browser.execute_script("return arguments[0].getBoundingClientRect().top", links[0]) >= 0


@pytest.mark.parametrize(("media", "is_dark"), [("screen", True), ("print", False)])
def test_in_the_dark_all_is_dark_but_what_is_printed(
    desktop: Any, media: str, is_dark: bool
) -> None:
    scheme = {"name": "prefers-color-scheme", "value": "dark"}
    emulated = {"media": media, "features": [scheme]}
    desktop.execute_cdp_cmd("Emulation.setEmulatedMedia", emulated)
    try:
        label = desktop.find_elements(By.CSS_SELECTOR, "#leads-chart .role-axis-label text")[0]
        colours = [
            one(desktop, "body").value_of_css_property("background-color"),
            label.value_of_css_property("fill"),
        ]
        behind, ink = (sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in colours)
        assert (behind < 100 and ink > 600) == is_dark
        assert (behind > 600 and ink < 100) != is_dark
    finally:
        desktop.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


# -- words -----------------------------------------------------------------------------------------


def test_a_word_is_explained_where_a_section_first_has_it(desktop: Any) -> None:
    abbrs = desktop.find_elements(By.CSS_SELECTOR, "#claims abbr")
    texts = [abbr.text for abbr in abbrs]
    assert {"WD", "RWD", "PWD", "LPWD", "held-out"} <= set(texts)
    assert len(texts) == len(set(texts))
    tip = one(desktop, "#tip")
    first, other = abbrs[:2]
    show(desktop, first)
    webdriver.ActionChains(desktop).move_to_element(first).perform()
    assert tip.text == first.get_attribute("data-meaning")
    other.send_keys("")  # the focus alone
    assert tip.text == other.get_attribute("data-meaning")
    assert tip.rect["y"] > other.rect["y"]
    desktop.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not tip.is_displayed()


# -- tables ----------------------------------------------------------------------------------------


def test_table1_is_a_screen_high_and_shows_every_line_when_asked(desktop: Any) -> None:
    section, more = one(desktop, "#table1"), "#table1 tr.more"
    assert section.size["height"] < 800
    lines = desktop.find_elements(By.CSS_SELECTOR, more)
    assert lines
    assert not any(line.is_displayed() for line in lines)
    show(desktop, one(desktop, "#table1 .hint input")).click()
    assert all(line.is_displayed() for line in lines)


def test_on_a_phone_headers_and_labels_stay_in_view(browser: Any, page: Path) -> None:
    load(browser, page, PHONE)
    browser.execute_script("document.querySelector('#table1 .hint input').click()")
    box = show(browser, one(browser, "#table1 > .scroll"))
    browser.execute_script("arguments[0].scrollTo(250, 400)", box)
    frame, table = box.rect, "#table1 > .scroll > table"
    for selector in ("thead tr:nth-child(1) span", "thead tr:nth-child(2) span"):
        rects = [e.rect for e in browser.find_elements(By.CSS_SELECTOR, f"{table} {selector}")]
        assert all(frame["y"] <= rect["y"] < frame["y"] + 80 for rect in rects)
        assert any(frame["x"] + 80 < rect["x"] < frame["x"] + 300 for rect in rects)
    labels = browser.find_elements(By.CSS_SELECTOR, f"{table} tr.main th")
    assert {label.rect["x"] for label in labels} == {frame["x"]}


# -- what opens ------------------------------------------------------------------------------------


def test_the_whole_of_a_cell_opens_by_mouse_and_by_keyboard(
    desktop: Any, results: MainGrid
) -> None:
    c = next(cells.table1(results).itertuples(index=False))
    button = desktop.find_elements(By.CSS_SELECTOR, "#table1 td button")[0]
    assert button.text == words.plus_minus(c.mean, c.std)
    behind = one(desktop, f"#{button.get_attribute('popovertarget')}")
    for press in (lambda: button.click(), lambda: button.send_keys(Keys.ENTER)):
        assert not behind.is_displayed()
        show(desktop, button)
        press()
        assert behind.is_displayed()
        assert c.hash in behind.text
        assert "seed 3: " in behind.text
        assert f"{c.paper_mean:.2f} ± {c.paper_std:.2f}" in behind.text
        desktop.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not behind.is_displayed()


def test_a_claim_opens_by_keyboard(desktop: Any) -> None:
    summary = desktop.find_elements(By.CSS_SELECTOR, ".claim summary")[0]
    words = desktop.find_elements(By.CSS_SELECTOR, ".claim details p")[0]
    assert not words.is_displayed()
    show(desktop, summary).send_keys(Keys.ENTER)
    assert words.is_displayed()
    assert claims.CLAIMS[0].text in words.text


def test_links_lead_from_a_claim_to_its_figure(desktop: Any) -> None:
    link = desktop.find_elements(By.CSS_SELECTOR, '.claim a[href="#figure4"]')[0]
    show(desktop, link).click()
    top = "return document.getElementById('figure4').getBoundingClientRect().top"
    assert 0 <= desktop.execute_script(top) < DESKTOP[1] / 2


# -- figures ---------------------------------------------------------------------------------------


def picker(browser: Any, target: str, label: str) -> Any:
    for label_ in browser.find_elements(By.CSS_SELECTOR, f"#{target}-chart .vega-bind"):
        if label_.text.split("\n")[0].strip() == label:
            return label_.find_element(By.CSS_SELECTOR, "select, input")
    raise LookupError(label)


def marks(browser: Any, target: str, kind: str = "point") -> list[str]:
    """What the marks of a chart say to those who cannot see it, in order."""
    selector = f'#{target}-chart [aria-roledescription="{kind}"]'
    found = browser.find_elements(By.CSS_SELECTOR, selector)
    return [mark.get_attribute("aria-label") for mark in found]


def methods(labels: list[str]) -> set[str]:
    return {found[1] for label in labels if (found := re.search(r"of: (\w+)", label))}


def test_figure1_shows_what_is_picked(desktop: Any) -> None:
    assert methods(marks(desktop, "figure1")) == {"WD", "LPWD"}
    show(desktop, picker(desktop, "figure1", "L2")).click()
    assert methods(marks(desktop, "figure1")) == {"WD", "LPWD", "L2"}
    before = marks(desktop, "figure1")
    Select(picker(desktop, "figure1", "η")).select_by_visible_text("1 × base")
    Select(picker(desktop, "figure1", "λ")).select_by_visible_text("5 × base")
    after = wait(desktop, lambda b: (now := marks(b, "figure1")) != before and now)
    assert all("seeds: 3" in label for label in after)
    Select(picker(desktop, "figure1", "Setting")).select_by_visible_text(
        "CIFAR-100, Swin-micro, SGDM"
    )
    other = wait(desktop, lambda b: (now := marks(b, "figure1")) != after and now)
    assert all("η: 0.01;" in label for label in other)


@pytest.mark.parametrize("target", ["figure2", "figure4"])
def test_a_click_on_a_cell_shows_its_curves(desktop: Any, target: str) -> None:
    cells = desktop.find_elements(
        By.CSS_SELECTOR, f'#{target}-chart .mark-rect [aria-label*="λ: 0.0184; η: 0.0005"]'
    )
    before = marks(desktop, target)
    webdriver.ActionChains(desktop).click(show(desktop, cells[0])).perform()
    after = wait(desktop, lambda b: (now := marks(b, target)) != before and now)
    assert {"WD", "LPWD"} <= methods(after)
    assert all("η: 0.0005; λ: 0.0184" in label for label in after)
    chosen = [Select(picker(desktop, target, name)) for name in ("η", "λ")]
    assert [select.first_selected_option.text for select in chosen] == ["1 × base", "1 × base"]
    chosen[1].select_by_visible_text("0.5 × base")
    wait(desktop, lambda b: all("λ: 0.0092" in label for label in marks(b, target)))


def test_a_point_tells_all_its_runs(desktop: Any, results: MainGrid) -> None:
    curves = figures.data("figure3", results)["figure3a"]
    best = curves.loc[curves["seed"] == 3, "hash"].iloc[0]
    told = [label for label in marks(desktop, "figure3") if best in label]
    assert len(told) == 101
    assert all(best.replace("-3-", f"-{seed}-") in told[0] for seed in (1, 2))


def test_a_cell_tells_its_run_when_hovered(desktop: Any, results: MainGrid) -> None:
    label = '[aria-label*="λ: 0.0184; η: 0.0005"]'
    cell = desktop.find_elements(By.CSS_SELECTOR, f"#figure4-chart .mark-rect {label}")[0]
    webdriver.ActionChains(desktop).move_to_element(show(desktop, cell)).perform()
    told = wait(desktop, lambda b: b.find_elements(By.CSS_SELECTOR, "#vg-tooltip-element.visible"))
    assert "cifar100-convnext_micro-adam-wd-0-0.0005-0.0184" in told[0].text


# -- all runs --------------------------------------------------------------------------------------


def count(browser: Any) -> int:
    found = re.search(r"of ([\d,]+) entries", one(browser, "#runs .dt-info").text)
    assert found
    return int(found[1].replace(",", ""))


def test_all_runs_are_filtered_by_text_and_by_lists(desktop: Any, results: MainGrid) -> None:
    runs = results.runs
    assert count(desktop) == len(runs)
    field = show(desktop, one(desktop, "#runs .dt-search input"))
    field.send_keys("RWD")
    wait(desktop, lambda b: count(b) == (runs["method"] == "rwd").sum())
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys(Keys.DELETE)
    wait(desktop, lambda b: count(b) == len(runs))
    titles = desktop.find_elements(By.CSS_SELECTOR, "#runs .dt-scroll-head th")
    (method,) = [title for title in titles if title.text.strip() == "method"]
    show(desktop, method.find_element(By.CSS_SELECTOR, '[aria-label="Filter"]')).click()
    for button in desktop.find_elements(By.CSS_SELECTOR, ".dtcc-list-buttons button"):
        if button.text in ("L2", "PWD"):
            button.click()
    wait(desktop, lambda b: count(b) == runs["method"].isin(["l2", "pwd"]).sum())


def test_a_heading_sorts(desktop: Any, results: MainGrid) -> None:
    titles = desktop.find_elements(By.CSS_SELECTOR, "#runs .dt-scroll-head th")
    (at,) = [i for i, title in enumerate(titles, 1) if "paper's protocol" in title.text]
    sort = show(desktop, titles[at - 1].find_element(By.CSS_SELECTOR, '[aria-label="Sort"]'))
    first = f"#runs .dt-scroll-body tbody tr:first-child td:nth-child({at})"
    expected = results.runs["best_mean"]
    for text in ("", f"{expected.max():.2f}"):  # the diverged run is below all numbers
        sort.click()
        wait(desktop, lambda b, text=text: one(b, first).text == text)


# -- paper -----------------------------------------------------------------------------------------


def test_paper_shows_what_opens_on_the_screen(desktop: Any) -> None:
    desktop.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        words = desktop.find_elements(By.CSS_SELECTOR, ".claim details p")[0]
        assert desktop.execute_script("return arguments[0].checkVisibility()", words)
        for kind in ("print", "more"):
            row = desktop.find_elements(By.CSS_SELECTOR, f"#table1 tr.{kind}")[0]
            assert row.is_displayed()
        assert not one(desktop, "body > nav").is_displayed()
        assert not one(desktop, "#runs .dt-container").is_displayed()
        pdf = desktop.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
        assert base64.b64decode(pdf["data"]).startswith(b"%PDF")
    finally:
        desktop.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
