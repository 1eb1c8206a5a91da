"""The controls: which runs each row holds against which, and what it says of them."""

from copy import deepcopy
from typing import Any

import pandas as pd
import pytest
import simulated

from lpwd.analysis import controls, paper
from lpwd.analysis.main_grid import MainGrid
from lpwd.config import compose
from lpwd.config.compose import scale_config
from lpwd.config.rates import rate_grid
from lpwd.draw import controls as drawn
from lpwd.draw import words
from lpwd.store import frames
from lpwd.store.frames import Results
from lpwd.sweep import plan
from lpwd.sweep.grids import grids_of

SCALE = scale_config("mini")


@pytest.fixture(scope="module")
def jobs() -> list[dict[str, Any]]:
    nothing = frames.of_records([])
    return [job.settings for job in plan.needs("controls", "mini", 0, nothing).jobs]


def stored(jobs: list[dict[str, Any]], level: Any, seeds: int = 0) -> Results:
    return simulated.stored(jobs, SCALE, level, seeds)


def level(row: dict[str, Any]) -> float:
    """Known differences: 3 points for layers, 0.5 a seed, less far from the base rates."""
    deep = {"linear": 3, "uniform": 0, "reversed": -1}[row["profile"]]
    amount = -1 if row["normalize"] == "params" else 0
    return 50 + deep + amount + 0.5 * row["seed"] - row["rate"] - row["lr"]


def test_the_experiment_trains_every_kind(jobs: list[dict[str, Any]]) -> None:
    main = MainGrid(stored(jobs, level), SCALE)
    kinds = {kind for part in controls.PARTS for kind in (part.run, part.reference)}
    # and, to choose Figure 5's rates among, WD and LPWD at the other η
    others = 2 * (5 - 2) * len(SCALE.grid.rate_factors)
    assert len(jobs) == 14 * len(kinds) + others
    for kind in kinds:
        of_kind = controls.candidates(main, kind).runs
        assert len(of_kind) == 2 * len(SCALE.grid.rate_factors), kind.name
    names = [set(controls.candidates(main, kind).runs["hash"]) for kind in kinds]
    assert len(set.union(*names)) == len(jobs) - others


def test_rows_tell_known_differences(jobs: list[dict[str, Any]]) -> None:
    rows = controls.parts(MainGrid(stored(jobs, level, seeds=3), SCALE)).set_index("part")
    layers = rows.loc["The layers, decayed before the update"]
    assert (layers["cells"], layers["won"], layers["lost"]) == (14, 14, 0)
    assert layers["median"] == pytest.approx(3)
    assert layers["best_run"] - layers["best_reference"] == pytest.approx(3)
    assert layers["heldout_run"] - layers["heldout_reference"] == pytest.approx(3)
    assert (layers["seeds_n"], layers["seeds_mean"]) == (3, pytest.approx(3))
    assert (layers["heldout_seeds_n"], layers["heldout_seeds_mean"]) == (3, pytest.approx(3))
    assert layers["strong"] == layers["strong_seeds_mean"] == pytest.approx(3)
    assert layers["rates_run"] == layers["heldout_rates_reference"] == "5e-4, 9.2e-4"
    moment = rows.loc["The moment: after the update"]
    assert moment["median"] == moment["won"] == moment["lost"] == 0
    assert rows.loc["The layers, as much decay in all", "median"] == pytest.approx(2)
    assert rows.loc["Deep layers more rather than shallow ones", "median"] == pytest.approx(4)


def test_a_difference_tells_what_it_rests_on(jobs: list[dict[str, Any]]) -> None:
    def texts(seeds: int) -> pd.DataFrame:
        layout = drawn.layout(MainGrid(stored(jobs, level, seeds), SCALE))
        rows = [[row.name, *(cell.text for cell in row.cells)] for row in layout.rows]
        return pd.DataFrame(rows, columns=layout.header[0]).set_index("Part")

    moment = "The moment: after the update"
    assert texts(0).loc[moment, "Difference"] == "0.00 (seed 0)"
    assert texts(3).loc[moment, "Difference"] == "0 in every seed"
    assert texts(3).loc["All of it", "Under the strongest penalty"] == "+3.00 [+3.00, +3.00]"
    assert texts(0).loc[moment, "Cells won : lost"] == "0 : 0 of 14"
    assert texts(1).loc["All of it", "Difference"] == "+3.00, n=1"


def test_a_part_of_a_kinds_runs_chooses_nothing(jobs: list[dict[str, Any]]) -> None:
    some = [s for s in jobs if s["decay"]["rate"] < 0.9]
    row = controls.parts(MainGrid(stored(some, level), SCALE)).set_index("part").loc["All of it"]
    assert row["rates_run"] == row["heldout_rates_run"] == ""
    assert row["cells"] == 12


def test_a_grid_of_one_lr_is_whole_with_its_runs(jobs: list[dict[str, Any]]) -> None:
    one = deepcopy(SCALE)
    one.grid.control_lr_factors = [1]
    lr = one.base.adam.lr
    main = MainGrid(stored([s for s in jobs if s["optimizer"]["lr"] == lr], level), one)
    assert controls.candidates(main, controls.WD).missing == 0
    assert controls.strongest(one) == (lr, max(rate_grid(one, "adam").rates))
    layers = controls.parts(main).set_index("part").loc["The layers, decayed before the update"]
    assert layers["strong"] == pytest.approx(3)


def test_a_diverged_run_loses_its_cell(jobs: list[dict[str, Any]]) -> None:
    results = stored(jobs, level)
    of_wd = results.runs["method"].eq("wd") & results.runs["profile"].eq("uniform")
    lost = of_wd & results.runs["rate"].eq(results.runs["rate"].max())
    diverged = results.runs.assign(best_mean=results.runs["best_mean"].mask(lost))
    row = (
        controls.parts(MainGrid(results._replace(runs=diverged), SCALE))
        .set_index("part")
        .loc["All of it"]
    )
    assert (row["cells"], row["won"]) == (14, 14)
    assert row["strong"] > 40


def test_figure_5_is_held_at_the_rates_of_either_method() -> None:
    """WD does best at ten times the base λ, LPWD at the base; both are compared at both."""

    def top1(run: simulated.Run) -> float:
        best = {"wd": 10, "lpwd": 1}.get(run["method"], 1)
        lead = {"convnext_micro32": 1, "convnext_micro48": 2}.get(run["model"], 0)
        return 50 - abs(run["rate_factor"] - best) - run["lr_factor"] + (best == 1) * lead

    results = simulated.make(SCALE, seeds=3, top1=top1)
    main = MainGrid(results, SCALE)
    frame = controls.series(main)
    by = frame.set_index(["chosen_by", "model"])
    assert by["rate"].groupby("chosen_by").first().to_dict() == {"wd": 0.184, "lpwd": 0.0184}
    assert list(by["seeds_mean"]) == pytest.approx([-9, -8, -7, 1, 9, 10, 11, 1])
    assert by.loc[("wd", ""), "first"] == pytest.approx(1)
    some = results._replace(runs=results.runs[results.runs["rate"] != 0.92])
    assert controls.series(MainGrid(some, SCALE)).empty  # nothing is chosen from a part
    layout = drawn.series_layout(main)
    (heads,), body = layout.header, [row.cells for row in layout.rows]
    assert heads[1:4] == ["ConvNeXt-micro", "ConvNeXt-micro32", "ConvNeXt-micro48"]
    assert body[1][1].text == "+10.00 [+10.00, +10.00]"
    assert body[1][3].text == "+1.00 [+1.00, +1.00]"


def test_the_experiment_trains_figure_5_at_equal_rates() -> None:
    """After the grids, whose best rates it takes: those of the one method for the other."""
    grids = compose.composed(["+experiment=controls", "scale=mini"]).hydra.sweeper.grids
    at_equal = [grid for grid in grids_of(grids) if grid.rates == "chosen"]
    assert [grid.method for grid in at_equal] == ["wd", "lpwd"]
    results = simulated.make(
        SCALE, top1=lambda run: -run["rate_factor"] * (run["method"] == "lpwd")
    )
    (lpwd, wd) = (
        list(plan.expander_of("mini").chosen(grid, results, seeds=2)) for grid in at_equal
    )
    assert {job.settings["decay"]["rate"] for job in wd} == {9.2e-4}
    assert {job.settings["decay"]["method"] for job in lpwd} == {"lpwd"}
    assert len(lpwd) == len(wd) == 3 * 3


def test_nothing_stored_is_a_gap() -> None:
    text = drawn.files(MainGrid(frames.of_records([]), SCALE))["controls.md"].decode()
    assert text.count(f"| {words.GAP} ") == 7 * len(controls.PARTS)
    assert "make controls SCALE=mini" in text
    assert "mini scale" in text.lower()


def test_kinds_have_names_of_their_own() -> None:
    kinds = {kind for part in controls.PARTS for kind in (part.run, part.reference)}
    assert len({kind.name for kind in kinds}) == len(kinds)
    assert controls.LPWD.name == paper.METHOD_NAMES["lpwd"]


def test_from_scratch_is_no_control_where_the_whole_scale_is() -> None:
    nothing = frames.of_records([])
    parts = {
        scale: controls.parts(MainGrid(nothing, scale_config(scale)))
        for scale in ("mini", "scratch")
    }
    assert len(parts["mini"]) == len(controls.PARTS)
    assert not parts["scratch"]["run"].str.contains("from scratch").any()
    assert len(parts["scratch"]) == len(controls.PARTS) - 1
    assert "micro models from scratch" in paper.scale_note(scale_config("scratch"))
    assert "scratch" not in paper.scale_note(SCALE)
