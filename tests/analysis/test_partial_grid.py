"""A grid with one run missing: whatever would choose among its runs shows a gap instead."""

import pytest
import simulated

from lpwd.analysis import cells, claims, controls, figures, leads, paper
from lpwd.analysis.claims.rule import INCONCLUSIVE, NOT_MEASURED
from lpwd.analysis.main_grid import MainGrid
from lpwd.analysis.protocols import PROTOCOLS
from lpwd.config.compose import scale_config
from lpwd.draw import figures as pictures
from lpwd.draw import pages, tables
from lpwd.draw.words import GAP

SCALE = scale_config("mini")
SCALE.epochs = 3
SCALE.grid.lr_factors = [10, 1]
SCALE.grid.rate_factors = [50, 10, 1]

COLUMN = paper.ablation_column(SCALE)
METHODS = ("baseline", "l2", "wd", "rwd", "pwd", "lpwd")


@pytest.fixture(scope="module", params=METHODS)
def method(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def main(method: str) -> MainGrid:
    """All runs with three fresh seeds each, but for the method's first run in Table 3's column.

    It is one at the base η and, for what has one, the middle λ: no figure draws just that cell.
    """

    def keep(run: simulated.Run) -> bool:
        here = all(run[name] == value for name, value in COLUMN._asdict().items())
        middle = run["lr_factor"] == 1 and (method == "baseline" or run["rate_factor"] == 10)
        return not (here and middle and run["method"] == method and run["seed"] == 0)

    return simulated.main(SCALE, seeds=3, keep=keep)


def test_nothing_is_chosen(main: MainGrid, method: str) -> None:
    for protocol in PROTOCOLS:
        assert main.by_seed(COLUMN, method, protocol).empty
    assert main.cell(COLUMN, method).missing == 1


def test_tables(main: MainGrid, method: str) -> None:
    shown = 0
    for target, frame in (("table1", cells.table1(main)), ("table3", cells.table3(main))):
        here = (frame[list(COLUMN._fields)] == list(COLUMN)).all(axis=1)
        found = frame[here & (frame["method"] == method)]
        text = tables.show(target, main)
        if found.empty:
            assert "missing" not in text
            continue
        shown += 1
        (row,) = found.to_dict("records")
        assert row["hash"] == row["heldout_hash"] == ""
        assert row["seeds_n"] == row["heldout_seeds_n"] == row["over_wd_n"] == 0
        assert f"1 of {frame['expected'].sum()} runs are missing: `make {target}" in text
        layout = tables.layout(target, main)
        place = 0 if target == "table3" else paper.columns(SCALE).index(COLUMN)
        assert not any(row.cells[place].bold for row in layout.rows)  # best of what there is
        if method == "wd":  # nothing to subtract from the others
            assert (frame.loc[here, "over_wd_n"] == 0).all()
    assert shown


FIGURES = {"figure3": ("baseline",), "figure5": ("wd", "lpwd")}


@pytest.mark.parametrize("target", FIGURES)
def test_figures_that_choose(main: MainGrid, method: str, target: str) -> None:
    frames, figure = figures.data(target, main), pictures.plot(target, main)
    chosen = frames["figure3a"] if target == "figure3" else frames["figure5"]
    if method not in FIGURES[target]:
        assert "missing" not in figure.get_suptitle()
        return
    key, value = ("model", COLUMN.model) if target == "figure3" else ("method", method)
    assert value not in set(chosen[key])
    assert len(chosen)  # the others are drawn
    assert f"1 runs are missing: make {target} SCALE=mini" in figure.get_suptitle()


#: {claims that choose rates: among the runs of these methods}
CLAIMS: dict[str, tuple[str, ...]] = {
    "LPWD is better than Baseline in all columns": ("lpwd", "baseline"),
    "LPWD is better than L2 in all columns": ("lpwd", "l2"),
    "LPWD is better than WD in all columns": ("lpwd", "wd"),
    "RWD is better than WD": ("rwd", "wd"),
    "WD < RWD < PWD < LPWD": ("wd", "rwd", "pwd", "lpwd"),
    "Of the three steps from WD to LPWD, RWD contributes most": ("wd", "rwd", "pwd", "lpwd"),
    "Accuracy constantly falls along the zero-shot decay of trained Baselines": ("baseline",),
    "LPWD is better than WD at most η and λ where they differ": ("lpwd", "wd"),
    "LPWD is more robust to λ than WD: over all λ it loses less accuracy": ("lpwd", "wd"),
    "R_op of WD is low (its mean is below 5 %)": ("wd",),
    "R_op of WD constantly grows with η": ("wd",),
    "R_op of WD constantly grows with λ": ("wd",),
    "LPWD's lead over WD is larger under the strongest penalty than at the best rates": (
        "lpwd",
        "wd",
    ),
    "LPWD's lead over WD grows with the model": ("lpwd", "wd"),
}


def test_claims(main: MainGrid, method: str) -> None:
    frame = claims.data(main)
    assert set(CLAIMS) <= set(frame["claim"])
    for row in frame.itertuples():
        if method in CLAIMS.get(str(row.claim), ()):
            assert row.verdict in (INCONCLUSIVE, NOT_MEASURED), row.claim
            assert row.reason == "runs are missing"
            if row.claim in ("RWD is better than WD", "LPWD's lead over WD grows with the model"):
                assert row.note == ""  # no λ was chosen


def test_leads_and_the_outcome(main: MainGrid, method: str) -> None:
    name = ", ".join(paper.column_names(COLUMN))
    lead = leads.leads(main).set_index("column").loc[name]
    lines = pages.text(main).splitlines()
    line, mean = (
        next(row for row in lines if row.startswith(f"| {start}"))
        for start in (name, "the mean of")
    )
    if method in ("wd", "lpwd"):
        assert lead[["first", "heldout", "seeds_mean", "heldout_seeds_mean"]].isna().all()
        assert line.count(GAP) == mean.count(GAP) == 4
    else:
        assert lead[["first", "heldout", "seeds_mean", "heldout_seeds_mean"]].notna().all()


def test_figure_5_at_equal_rates(main: MainGrid, method: str) -> None:
    by = set(controls.series(main)["chosen_by"])
    assert by == {"wd", "lpwd"} - {method}
