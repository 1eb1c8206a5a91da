"""The controls: which runs each row holds against which, and what it says of them."""

from typing import Any

import frames
import pandas as pd
import pytest

from lpwd import controls, paper, plan, runs, tables
from lpwd.config import scale_config

SCALE = scale_config("mini")


@pytest.fixture(scope="module")
def jobs() -> list[dict[str, Any]]:
    nothing = runs._frames([])
    return [job.settings for job in plan.needs("controls", "mini", 0, nothing).jobs]


def stored(jobs: list[dict[str, Any]], level: Any, seeds: int = 0) -> runs.Results:
    """Every job as a stored run (of some seeds), its test top-1 by `level` of its row."""
    made = []
    for settings in jobs:
        for seed in range(seeds + 1):
            row = {**runs.row_of_settings(settings), "seed": seed}
            row |= {"lr_factor": 1.0, "rate_factor": 1.0}
            row["hash"] = runs.run_id({**settings, "seed": seed})
            simulated, epochs, _ = frames.simulate(row, SCALE, level(row), diverges=False)
            made.append((simulated, [{**epoch, "hash": row["hash"]} for epoch in epochs]))
    table = pd.DataFrame([m[0] for m in made], columns=list(runs.RUN_COLUMNS))
    epochs = frames.frame([row for m in made for row in m[1]], runs.EPOCH_COLUMNS)
    empty = frames.frame([], runs.ZERO_SHOT_COLUMNS)
    return runs.Results(table.astype(runs.RUN_COLUMNS), epochs, empty)


def level(row: dict[str, Any]) -> float:
    """Known differences: 3 points for layers, 0.5 a seed, less far from the base rates."""
    deep = {"linear": 3, "uniform": 0, "reversed": -1}[row["profile"]]
    amount = -1 if row["normalize"] == "params" else 0
    return 50 + deep + amount + 0.5 * row["seed"] - row["rate"] - row["lr"]


def test_the_experiment_trains_every_kind(jobs: list[dict[str, Any]]) -> None:
    results = stored(jobs, level)
    kinds = {kind for part in controls.PARTS for kind in (part.run, part.reference)}
    assert len(jobs) == 14 * len(kinds)
    for kind in kinds:
        of_kind = controls.select(results, SCALE, kind).runs
        assert len(of_kind) == 2 * len(SCALE.grid.rate_factors), kind.name
    names = [set(controls.select(results, SCALE, kind).runs["hash"]) for kind in kinds]
    assert len(set.union(*names)) == len(jobs)


def test_rows_tell_known_differences(jobs: list[dict[str, Any]]) -> None:
    rows = controls.data(stored(jobs, level, seeds=3), SCALE).set_index("part")
    layers = rows.loc["The layers, decayed before the update"]
    assert (layers["cells"], layers["won"]) == (14, 14)
    assert layers["median"] == pytest.approx(3)
    assert layers["best_run"] - layers["best_reference"] == pytest.approx(3)
    assert layers["heldout_run"] - layers["heldout_reference"] == pytest.approx(3)
    assert (layers["seeds_n"], layers["seeds_mean"]) == (3, pytest.approx(3))
    assert (layers["heldout_seeds_n"], layers["heldout_seeds_mean"]) == (3, pytest.approx(3))
    assert rows.loc["The moment: after the update", "median"] == 0
    assert rows.loc["The layers, as much decay in all", "median"] == pytest.approx(2)
    assert rows.loc["Deep layers more rather than shallow ones", "median"] == pytest.approx(4)


def test_nothing_stored_is_a_gap(tmp_path: Any) -> None:
    paths = controls.draw("controls", runs._frames([]), SCALE, tmp_path)
    text = next(path for path in paths if path.suffix == ".md").read_text()
    assert text.count(f"| {tables.GAP} ") == 6 * len(controls.PARTS)
    assert "make controls SCALE=mini" in text
    assert "mini scale" in text.lower()


def test_kinds_have_names_of_their_own() -> None:
    kinds = {kind for part in controls.PARTS for kind in (part.run, part.reference)}
    assert len({kind.name for kind in kinds}) == len(kinds)
    assert controls.LPWD.name == paper.METHODS["lpwd"]
