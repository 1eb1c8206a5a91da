"""Tables from made-up results: values, the paper's beside them, gaps, and the three formats."""

import math
from io import BytesIO

import pandas as pd
import pytest
import simulated

from lpwd.analysis import cells, paper
from lpwd.analysis.main_grid import MainGrid
from lpwd.config.compose import scale_config
from lpwd.config.rates import number
from lpwd.draw import formats, tables, words

SMOKE, MINI = scale_config("smoke"), scale_config("mini")
MINI.grid.datasets = ["cifar100"]
MINI.grid.lr_factors = [10, 1]
MINI.epochs = 20  # the best 2
TARGETS = ("table1", "table2", "table3")


@pytest.fixture(scope="module")
def smoke() -> MainGrid:
    return simulated.main(SMOKE)


@pytest.fixture(scope="module")
def mini() -> MainGrid:
    return simulated.main(MINI, seeds=3, top1=lambda run: simulated.top1_of(run) - run["seed"] % 2)


def cell(frame: pd.DataFrame, **where: str) -> pd.Series:
    for key, value in where.items():
        frame = frame[frame[key] == value]
    assert len(frame) == 1
    return frame.iloc[0]


def test_table2_at_paper_scale_is_the_papers_exactly() -> None:
    scale = scale_config("paper")
    ours = cells.table2(scale)
    assert (ours["value"] == ours["paper"]).all()
    reported = paper.reported("table2")
    pd.testing.assert_frame_equal(ours[["parameter", "optimizer", "value"]], reported)


def test_table2_at_another_scale_pairs_values_by_their_factor() -> None:
    ours = cells.table2(SMOKE)
    strongest = cell(ours[ours["factor"] == 50], parameter="rate", optimizer="adam")
    assert (strongest["value"], strongest["paper"]) == (1.0, 0.5)


def test_table1_has_every_cell_with_what_it_rests_on(mini: MainGrid) -> None:
    frame = cells.table1(mini)
    assert len(frame) == 4 * 4
    wd = cell(frame, method="wd", model="convnext_micro", optimizer="adam")
    # At base rates the last two epochs reach 59 and 61.
    assert (wd["mean"], wd["std"], wd["heldout"]) == pytest.approx((60, 1, 61))
    assert (wd["lr"], wd["rate"]) == (5e-4, 0.0184)
    assert (wd["runs"], wd["expected"], wd["seeds_n"]) == (14, 14, 3)
    assert wd["seeds_mean"] == pytest.approx(60 - 2 / 3)
    assert wd["seeds_low"] < wd["seeds_mean"] < wd["seeds_high"]
    assert wd["hash"] in set(mini.runs["hash"])
    assert cell(frame, method="baseline", model="swin_micro", optimizer="sgdm")["expected"] == 2


def test_methods_are_compared_with_wd_seed_by_seed(mini: MainGrid) -> None:
    """The seeds' own ups and downs cancel; WD is compared with nothing."""
    frame = cells.table1(mini)
    where = {"model": "convnext_micro", "optimizer": "adam"}
    lpwd, wd = (cell(frame, method=method, **where) for method in ("lpwd", "wd"))
    ends = ["mean", "low", "high"]
    assert lpwd[[f"over_wd_{end}" for end in ends]].tolist() == pytest.approx([3, 3, 3])
    assert lpwd[[f"heldout_over_wd_{end}" for end in ends]].tolist() == pytest.approx([3, 3, 3])
    assert wd["over_wd_n"] == 0
    assert words.over_wd_text(lpwd, "over_wd") == "+3.00 [+3.00, +3.00]"
    assert words.over_wd_text(wd, "over_wd") == words.NONE


def test_the_papers_number_stands_beside_the_cell_it_belongs_to(mini: MainGrid) -> None:
    frame = cells.table1(mini)
    swin = cell(frame, method="lpwd", model="swin_micro", optimizer="sgdm")
    assert (swin["paper_mean"], swin["paper_std"]) == (71.95, 0.10)
    ablation = cells.table3(mini)
    assert ablation["paper_mean"].tolist() == [73.88, 74.19, 74.29, 74.48]


def test_at_smoke_scale_the_paper_has_no_number(smoke: MainGrid) -> None:
    assert cells.table1(smoke)["paper_mean"].isna().all()


def test_the_best_of_a_column_is_bold(smoke: MainGrid) -> None:
    rows = {row.name: row.cells for row in tables.layout1(smoke).rows if not row.line}
    assert all(cell.bold for cell in rows["LPWD"])
    assert not any(cell.bold for cell in rows["WD"])
    markdown = formats.markdown(tables.layout1(smoke)).splitlines()
    assert next(line for line in markdown if "**LPWD**" in line).count("**") == 2 * 5


def test_missing_runs_leave_a_gap_and_the_command_that_fills_it() -> None:
    main = simulated.main(
        SMOKE, keep=lambda run: run["method"] != "l2" or run["optimizer"] == "adam"
    )
    text = formats.markdown(tables.layout1(main))
    (l2,) = [line for line in text.splitlines() if line.startswith("| **L2**")]
    assert l2.count(words.GAP) == 2
    assert "12 of 80 runs are missing: `make table1 SCALE=smoke` trains them." in text


def test_without_any_run_all_tables_are_drawn() -> None:
    empty = simulated.main(SMOKE, keep=lambda run: False)
    files = {name: text for t in TARGETS for name, text in tables.files(t, empty).items()}
    assert all(files.values())
    assert "80 of 80 runs are missing" in files["table1.md"].decode()


def test_a_cell_whose_runs_all_diverged_says_so() -> None:
    main = simulated.main(
        SMOKE,
        seeds=3,
        diverges=lambda run: run["method"] == "wd" or (run["method"], run["seed"]) == ("lpwd", 2),
    )
    frame = cells.table1(main)
    wd = cell(frame, method="wd", model="convnext_micro", optimizer="adam")
    assert math.isnan(wd["mean"])
    assert wd["diverged"] == wd["runs"] == 6
    text = tables.show("table1", main)
    assert "diverged" in next(line for line in text.splitlines() if line.startswith("WD"))
    assert "6 of 6 (6 diverged)" in text
    assert "6 of 6 + 3 seeds (1 diverged)" in text  # lpwd's second seed


def test_seeds_of_other_rates_are_in_no_interval(mini: MainGrid) -> None:
    elsewhere = mini.runs["seed"].eq(0) | mini.runs["rate"].gt(0.5)
    results = mini.every._replace(runs=mini.runs[elsewhere])
    assert cells.table3(MainGrid(results, MINI))["seeds_n"].eq(0).all()


@pytest.mark.parametrize("target", ["table1", "table3"])
def test_three_formats_say_the_same(target: str, mini: MainGrid) -> None:
    csv, markdown, latex = tables.files(target, mini).values()
    shown = tables.show(target, mini)
    for mean, std in pd.read_csv(BytesIO(csv))[["mean", "std"]].itertuples(index=False):
        assert f"{mean:.2f} ± {std:.2f}" in markdown.decode()
        assert rf"{mean:.2f} $\pm$ {std:.2f}" in latex.decode()
        assert f"{mean:.2f} ± {std:.2f}" in shown


@pytest.mark.parametrize("target", TARGETS)
def test_every_row_of_a_format_has_all_columns(target: str, mini: MainGrid) -> None:
    layout = tables.layout(target, mini)
    width = len(layout.header[0])
    assert {len(row) for row in layout.header} == {width}
    assert {len(row.cells) for row in layout.rows} == {width - 1}
    pipes = [line for line in formats.markdown(layout).splitlines() if line.startswith("|")]
    assert {line.count("|") for line in pipes} == {width + 1}
    rows = [line for line in formats.latex(layout).splitlines() if line.endswith(r"\\")]
    spanned = [
        line.replace(r"\multicolumn{2}", "& ").replace(r"\multicolumn{4}", "&&& ") for line in rows
    ]
    assert {line.count("&") for line in spanned} == {width - 1}


@pytest.mark.parametrize("target", TARGETS)
def test_tables_are_identical_when_rebuilt(target: str, mini: MainGrid) -> None:
    again = MainGrid(mini.every, MINI)
    assert tables.files(target, mini) == tables.files(target, again)


def test_the_terminal_leaves_out_lines_of_gaps(smoke: MainGrid, mini: MainGrid) -> None:
    assert "  the paper" not in tables.show("table1", smoke)
    assert "  the paper" in tables.show("table1", mini)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0005, "5e-4"), (0.00096, "9.6e-4"), (0.0192, "0.0192"), (0.001, "0.001"), (1.0, "1")],
)
def test_rates_are_short(value: float, text: str) -> None:
    assert number(value) == text
