"""The report's content, without a browser (tests/browser has one)."""

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import simulated
import vl_convert

from lpwd import report
from lpwd.analysis import cells, claims, controls, figures, paper
from lpwd.analysis.main_grid import MainGrid
from lpwd.config.compose import scale_config
from lpwd.draw import claims as drawn_claims
from lpwd.draw import words
from lpwd.draw.figures.common import STYLE
from lpwd.draw.words import LOOKS
from lpwd.report import charts, curves, specs, stored, verdicts
from lpwd.store.frames import Results

SMOKE, MINI = scale_config("smoke"), scale_config("mini")
MINI.grid.datasets = ["cifar100"]
MINI.grid.lr_factors = [10, 1]
MINI.grid.rate_factors = [50, 5, 1]
MINI.epochs = 20  # the best 2

#: What itables shows where its script does not run, with links to its own help.
WITHOUT_SCRIPTS = {"every-run", "every-run_fallback"}
VOID = {"meta", "link", "input", "br", "img", "hr"}


class Page(HTMLParser):
    """What a page says: elements with their attributes and text, scripts by their id or class."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.elements: list[dict[str, Any]] = []
        self.open: list[dict[str, Any]] = []
        self.feed(html)
        self.close()
        assert not self.open, self.open[-1]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = {"tag": tag, **dict(attrs), "text": "", "in": [e.get("id") for e in self.open]}
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()["tag"] == tag

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element["text"] += data

    def find(self, tag: str, inside: str = "", **attributes: str) -> list[dict[str, Any]]:
        found = [e for e in self.elements if e["tag"] == tag and (not inside or inside in e["in"])]
        wanted = {key.removesuffix("_"): value for key, value in attributes.items()}
        return [e for e in found if all(e.get(key) == wanted[key] for key in wanted)]

    def spec(self, target: str) -> dict[str, Any]:
        """A chart's specification with the page's curves in it."""
        (script,) = [e for e in self.elements if e.get("data-chart") == f"{target}-chart"]
        (curves,) = self.find("script", id="curves")
        spec = json.loads(script["text"])
        spec["datasets"] = {**spec.get("datasets", {}), "curves": json.loads(curves["text"])}
        return spec


@pytest.fixture(scope="module")
def mini() -> MainGrid:
    return simulated.main(MINI, seeds=3, top1=lambda run: simulated.top1_of(run) - run["seed"] % 2)


@pytest.fixture(scope="module")
def page(mini: MainGrid) -> Page:
    return Page(report.page(mini))


@pytest.fixture(scope="module")
def bare() -> Page:
    return Page(report.page(simulated.main(SMOKE, keep=lambda run: False)))


@pytest.fixture(scope="module")
def partial() -> Page:
    """A grid of which some runs are missing and some diverged."""

    def diverges(run: dict[str, Any]) -> bool:
        return run["method"] == "wd" and run["rate_factor"] == 50

    adam = simulated.main(SMOKE, diverges=diverges, keep=lambda run: run["optimizer"] == "adam")
    return Page(report.page(adam))


@pytest.fixture(params=["page", "bare", "partial"])
def any_page(request: pytest.FixtureRequest) -> Page:
    return request.getfixturevalue(request.param)


# -- the page as HTML ------------------------------------------------------------------------------


def test_everything_stands_in_the_page(any_page: Page) -> None:
    for element in any_page.elements:
        assert "src" not in element
        if WITHOUT_SCRIPTS & set(element["in"]):
            continue
        if element["tag"] != "a":
            assert element.get("href", "data:,") == "data:,"
        else:
            assert element["href"].startswith("#")
    assert "@import" not in any_page.html
    assert not re.search(r"url\(\s*['\"]?https?:", any_page.html)


def test_links_and_buttons_lead_somewhere_and_ids_are_unique(any_page: Page) -> None:
    ids = [element["id"] for element in any_page.elements if element.get("id")]
    assert len(ids) == len(set(ids))
    links = [e for e in any_page.find("a") if not WITHOUT_SCRIPTS & set(e["in"])]
    targets = {e["href"].removeprefix("#") for e in links}
    targets |= {e["popovertarget"] for e in any_page.find("button") if "popovertarget" in e}
    assert targets <= set(ids)


def test_it_can_be_read_by_all(any_page: Page) -> None:
    (html,) = any_page.find("html")
    assert html["lang"] == "en"
    assert any_page.find("meta", name="viewport")
    levels = [int(e["tag"][1]) for e in any_page.elements if re.fullmatch(r"h\d", e["tag"])]
    assert levels[0] == levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    captions = any_page.find("caption")
    assert captions
    assert all(caption["text"].strip() for caption in captions)
    for badge in (e for e in any_page.find("span") if "badge" in e.get("class", "")):
        assert badge["text"].split(maxsplit=1)[1].strip() in verdicts.SIGNS


def test_it_is_identical_when_rebuilt(mini: MainGrid, page: Page) -> None:
    assert report.page(MainGrid(mini.every, MINI)) == page.html
    for target in charts.CHARTS:
        assert not re.search(r'"(view|param)_\d+', json.dumps(page.spec(target)))


def test_the_library_is_kept_where_there_is_a_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = charts.library.__wrapped__
    monkeypatch.setenv("LPWD_CACHE", str(tmp_path))
    first = made()
    monkeypatch.setattr(vl_convert, "javascript_bundle", lambda snippet: f"not kept: {snippet}")
    assert "vegaEmbed" in first
    assert made() == first
    (tmp_path / "file").touch()
    monkeypatch.setenv("LPWD_CACHE", str(tmp_path / "file"))
    assert made().startswith("not kept")


def test_json_cannot_end_its_script() -> None:
    text = specs.script_json({"a": "</script><b>"})
    assert "<" not in text
    assert json.loads(text) == {"a": "</script><b>"}


# -- verdicts --------------------------------------------------------------------------------------


def test_every_claim_has_its_plain_words_and_a_drawing_to_look_at() -> None:
    assert set(verdicts.PLAIN) == {claim.text for claim in claims.CLAIMS}
    drawings = {"table1", "table3", *charts.CHARTS}
    assert {plain.target for plain in verdicts.PLAIN.values()} <= drawings


def test_effects_in_words_are_of_units_that_claims_have() -> None:
    assert set(drawn_claims.IN_WORDS) < {claim.unit for claim in claims.CLAIMS}


def test_verdicts_are_those_of_the_claims(mini: MainGrid, page: Page) -> None:
    frame = claims.data(mini)
    badges = [e for e in page.find("span", "claims") if "badge" in e.get("class", "")]
    shown = [badge["text"].split(maxsplit=1)[1].strip() for badge in badges]
    assert sorted(shown) == sorted(frame["verdict"])
    assert len(set(shown)) > 1
    for verdict, count in frame["verdict"].value_counts().items():
        assert f"{count} {verdict}" in [" ".join(e["text"].split()) for e in page.find("li")]


def test_the_first_screen_tells_the_scale_and_both_protocols(page: Page) -> None:
    (header,) = page.find("header")
    text = " ".join(header["text"].split())
    assert "Miniature" in text
    assert paper.scale_note(MINI)[1:] in text
    (section,) = page.find("section", id="claims")
    assert verdicts.PAPERS in section["text"]
    assert verdicts.HELD_OUT in section["text"]


def test_only_the_paper_scale_is_no_miniature() -> None:
    scale = scale_config("paper")
    empty = simulated.make(SMOKE, keep=lambda run: False)
    text = report.page(MainGrid(empty, scale))
    assert "Miniature" not in text


# -- tables ----------------------------------------------------------------------------------------


def buttons(page: Page, target: str) -> list[dict[str, Any]]:
    return [e for e in page.find("button", target) if "title" in e]


@pytest.mark.parametrize("target", ["table1", "table3"])
def test_cells_are_those_of_the_table_with_what_stands_behind(
    target: str, mini: MainGrid, page: Page
) -> None:
    frame = {"table1": cells.table1, "table3": cells.table3}[target](mini)
    found = buttons(page, target)
    assert len(found) == len(frame)
    for button, c in zip(found, frame.itertuples(index=False), strict=True):
        assert button["text"] == words.plus_minus(c.mean, c.std)
        (behind,) = page.find("div", id=button["popovertarget"])
        assert f"run {c.hash}" in behind["text"]
        assert f"{c.heldout:.2f} at" in behind["text"]
        assert "seed 1: " in behind["text"]
        column = paper.Column(c.data, c.model, c.optimizer)
        runs = mini.cell(column, c.method).first
        values = [e["text"] for e in page.find("td", button["popovertarget"])]
        assert sorted(values) == sorted(f"{value:.2f}" for value in runs["best_mean"])
        (chosen,) = page.find("td", button["popovertarget"], class_="chosen")
        assert chosen["text"] == f"{c.mean:.2f}"
        assert chosen["title"] == f"run {c.hash}"


def test_the_papers_value_stands_beside_ours_with_its_protocol(page: Page) -> None:
    (table,) = page.find("section", id="table1")
    assert "71.95 ± 0.10" in table["text"]
    for row in page.find("th", "table1", scope="row"):
        if not any(str(name).startswith("table1-cell") for name in row["in"]):
            assert "protocol" in row["text"] or row["text"] in ("η, λ chosen", "runs")


def rows(page: Page, target: str) -> list[str]:
    """The names of a table's rows, without what opens behind its cells."""
    heads = page.find("th", target, scope="row")
    return [e["text"] for e in heads if not any("-cell" in str(name) for name in e["in"])]


def test_table3_names_its_methods(page: Page) -> None:
    assert rows(page, "table3") == ["WD", "RWD", "PWD", "LPWD"]


def test_the_controls_are_told_by_the_runs_beside_the_grid(mini: MainGrid) -> None:
    beside = mini.runs[mini.runs["method"] == "wd"].assign(profile="linear")
    epochs = mini.epochs[mini.epochs["hash"].isin(beside["hash"])]
    beside, epochs = (frame.assign(hash="linear-" + frame["hash"]) for frame in (beside, epochs))
    beside["best_mean"] += 4
    every = Results(
        pd.concat([mini.runs, beside]), pd.concat([mini.epochs, epochs]), mini.zero_shot
    )
    page = Page(report.page(MainGrid(every, MINI)))
    names = rows(page, "controls")
    assert names == [part.question for part in controls.PARTS]
    texts = [e["text"] for e in page.find("td", "controls")]
    of_row = texts[9 * names.index("The layers, decayed before the update") :][:9]
    assert of_row[:2] == ["WD × linear", "WD"]
    assert of_row[3].startswith("+4.00")
    assert of_row[7:] == ["6 : 0 of 6", "+4.00"]
    (section,) = page.find("section", id="controls")
    assert f"difference, {verdicts.HELD_OUT}" in section["text"]


def test_gaps_are_told_with_the_command_that_fills_them(bare: Page, partial: Page) -> None:
    for target in (*charts.CHARTS, "table1", "table3", "controls"):
        (section,) = bare.find("section", id=target)
        assert f"make {target} SCALE=smoke" in section["text"]
    (claimed,) = bare.find("section", id="claims")
    assert claimed["text"].count("not trained yet") == len(claims.CLAIMS)
    (made,) = bare.find("section", id="made")
    assert "No run is stored yet" in made["text"]
    sgdm = next(e for e in buttons(partial, "table1") if e["title"].endswith("SGDM"))
    assert sgdm["text"] == words.GAP
    (behind,) = partial.find("div", id=sgdm["popovertarget"])
    assert "not trained yet: make table1 SCALE=smoke" in behind["text"]


def test_every_run_says_what_it_started_from(mini: MainGrid, mains: dict[str, MainGrid]) -> None:
    assert set(stored._shown(mini.every.runs, set())["pretrained"]) == {"yes"}
    of_scratch = stored._shown(mains["scratch"].every.runs, set())
    assert set(of_scratch["pretrained"]) == {"no"}


def test_diverged_runs_are_told(partial: Page) -> None:
    assert partial.find("td", class_="diverged")
    svg = vl_convert.vegalite_to_svg(partial.spec("figure4"))
    assert f">{specs.DIVERGED}<" in svg
    cells = re.findall(r'<path aria-label="[^"]*[:] div\.[^>]*>', svg)
    fills = {fill for cell in cells for fill in re.findall(r'fill="([^"]+)"', cell)}
    assert fills == {"#eeeeee"}
    (made,) = partial.find("section", id="made")
    assert re.search(r"[1-9]\d* of them diverged", made["text"])


# -- figures ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [name for name in charts.CHARTS if name != "figure6"])
def test_charts_are_drawn_from_the_figures_numbers(target: str, page: Page) -> None:
    svg = vl_convert.vegalite_to_svg(page.spec(target))
    assert svg.count('class="mark-symbol') + svg.count('class="mark-rect') > 0
    assert 'aria-roledescription="point"' in svg


def test_figure_6_has_a_line_a_method(mains: dict[str, MainGrid]) -> None:
    """Of stored runs: made-up ones have no total decay."""
    main = mains["scratch"]
    frames = figures.data("figure6", main)
    chart = curves.figure6(frames, main.scale).to_dict()
    svg = vl_convert.vegalite_to_svg(chart)
    shown = frames["figure6_points"].dropna(subset=["rate"])
    assert svg.count('aria-roledescription="point"') == len(shown) > 0
    assert all(f">{name}, η = " in svg for name in shown["name"].unique())


def test_charts_without_runs_are_drawn_too(bare: Page) -> None:
    for target in charts.CHARTS:
        assert "<svg" in vl_convert.vegalite_to_svg(bare.spec(target))


def test_a_heatmap_holds_every_cell_of_figure4(mini: MainGrid, page: Page) -> None:
    rows = [row for rows in page.spec("figure4")["datasets"].values() for row in rows]
    runs = figures.data("figure4", mini)["figure4"]
    shown = {row["hash"]: row["value"] for row in rows if row.get("text") is not None}
    assert {name: shown[name] for name in runs["hash"]} == dict(
        zip(runs["hash"], runs["best_mean"], strict=True)
    )


def test_curves_are_of_fresh_seeds_where_there_are_some(mini: MainGrid, page: Page) -> None:
    curves = pd.DataFrame(page.spec("figure1")["datasets"]["curves"])
    assert set(curves["seed"]) == {1, 2, 3}
    one = curves[curves["hash"] == curves["hash"].iloc[0]].iloc[0]
    epochs = mini.epochs[mini.epochs["hash"] == one["hash"]].sort_values("epoch")
    assert one["test_top1"] == pytest.approx(epochs["test_top1"].tolist(), rel=1e-3)


def test_curves_end_where_the_first_of_their_seeds_diverges() -> None:
    main = simulated.main(MINI, seeds=3, diverges=lambda run: run["seed"] == 2)
    epochs = main.epochs[main.epochs["hash"].str.contains("-2-")]
    lost = epochs.groupby("hash")["test_top1"].agg(lambda values: values.notna().sum())
    curves = pd.DataFrame(json.loads(report.curves.curves(main)))
    assert set(lost) == {curves["test_top1"].map(lambda v: sum(x is not None for x in v)).max()}
    assert lost.max() < MINI.epochs


def test_rates_are_told_by_the_base_of_their_method() -> None:
    """L2 has a base of its own at `scratch`."""
    scale = scale_config("scratch")
    base = scale.base.adam
    rows = [{"method": "wd", "rate": 5 * base.rate}, {"method": "l2", "rate": 5 * base.l2}]
    column = {"data": "cifar100", "model": "convnext_micro", "optimizer": "adam", "lr": base.lr}
    found = specs.labelled(pd.DataFrame(rows).assign(**column), scale)
    assert found["rate_factor"].tolist() == ["5 × base"] * 2
    assert found["lr_factor"].tolist() == ["1 × base"] * 2


def test_methods_look_as_in_the_papers_style() -> None:
    cycle = re.search(r"prop_cycle: (.+)", STYLE.read_text())
    assert cycle
    colours = {f"#{name}" for name in re.findall(r'"(\w{6})"', cycle[1])}
    assert list(specs.METHOD_LOOKS) == list(paper.METHOD_NAMES.values())
    assert len({look[0] for look in specs.METHOD_LOOKS.values()}) == len(specs.METHOD_LOOKS)
    assert {look[0] for look in specs.METHOD_LOOKS.values()} | set(specs.SERIES) <= colours
    for method, look in LOOKS.items():
        assert specs.METHOD_LOOKS[paper.METHOD_NAMES[method]][0] == look["color"]


# -- all runs --------------------------------------------------------------------------------------


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def rules_of_badges() -> Iterator[tuple[str, str]]:
    """Background and text of each badge, where it is light and where it is dark."""
    style = Path(report.__file__).with_name("page.css").read_text()
    for verdict in verdicts.SIGNS:
        found = re.search(rf"\.{verdict.replace(' ', '-')} {{(.+?)}}", style)
        assert found, verdict
        both = re.findall(r"light-dark\((#\w{6}), (#\w{6})\)", found[1])
        assert len(both) == 2, verdict
        yield from zip(*both, strict=True)


def test_badges_have_the_contrast_that_eyes_need() -> None:
    for colours in rules_of_badges():
        low, high = sorted(map(luminance, colours))
        assert (high + 0.05) / (low + 0.05) >= 7


def test_all_runs_are_listed_also_those_beside_the_tables(mini: MainGrid) -> None:
    extra = mini.runs.iloc[[0]].assign(
        hash="besides", method="cwd", normalize="mean", profile="linear", coupled=False
    )
    mine = mini.runs.iloc[[1]].assign(hash="mine", method="mine")  # no longer in METHODS
    every = mini.every._replace(runs=pd.concat([mini.runs, extra, mine]))
    html = report.stored.table(MainGrid(every, MINI)).html
    (data,) = re.findall(r'"data_json": ("(?:[^"\\]|\\.)*")', html)
    rows = json.loads(json.loads(data))
    assert sorted(row[-1] for row in rows) == sorted(every.runs["hash"])
    assert {row[4] for row in rows if row[-1] == "mine"} == {"mine"}
    (besides,) = (row for row in rows if "no" in row and row[-1] != "mine")
    assert besides[4] == "CWD × linear, mean over layers λ, λ without η"
    assert besides[-1] == "besides"
    best = {row[-1]: row[9] for row in rows}
    for run in mini.runs.itertuples():
        assert best[run.hash] == f"{run.best_mean:.2f}"
