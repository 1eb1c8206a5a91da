"""From grids to runs: the counts of the paper, Table 2's rates, and what is shared."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import simulated

from lpwd.analysis import main_grid
from lpwd.config import compose
from lpwd.config.check import plain
from lpwd.config.compose import scale_config
from lpwd.config.errors import ConfigError
from lpwd.config.paths import ROOT
from lpwd.store import frames, identity
from lpwd.store.frames import Results
from lpwd.store.identity import Settings
from lpwd.store.lock import RunLock
from lpwd.store.rows import row_of_settings
from lpwd.store.store import Store
from lpwd.sweep import grids, plan
from lpwd.sweep.choices import ChoiceMissing


@pytest.fixture(scope="module")
def nothing() -> Results:
    return frames.of_records([])


@pytest.fixture(scope="module")
def paper_jobs(nothing: Results) -> dict[str, plan.Needs]:
    return {target: plan.needs(target, "paper", 0, nothing) for target in plan.TARGETS}


def test_the_papers_grid_has_956_runs(paper_jobs: dict[str, plan.Needs]) -> None:
    names = {target: {job.run for job in need.jobs} for target, need in paper_jobs.items()}
    assert len(names["table1"]) == 880
    assert len(names["table3"] - names["table1"]) == 70
    assert len(paper_jobs["figure5"].waiting) == 6
    rest = names["figure1"] | names["figure2"] | names["figure3"] | names["figure4"]
    assert rest | names["figure5"] <= names["table1"] | names["table3"]
    assert names["table2"] == set()


def test_fresh_seeds_and_controls_are_counted_once(nothing: Results) -> None:
    """Before any rates are chosen, too: seeds that two experiments wait for are the same runs."""
    expander = plan.expander_of("paper")
    keys: set[Any] = set()
    for target in (*plan.PAPER, "controls"):
        need = plan.needs(target, "paper", 5, nothing, expander)
        keys |= {job.run for job in need.jobs} | need.waiting.keys()
    assert len(keys) == 1556
    for page in ("README.md", "docs/gpu-box.md"):
        assert "1,556" in (ROOT / page).read_text()


def test_a_scale_may_cap_the_fresh_seeds_of_its_curves(nothing: Results) -> None:
    """Of `scratch`, three: Figure 1 has WD and LPWD, one model, seeds 0 to 3 at most."""

    def seeds(target: str, asked: int) -> list[int]:
        jobs = plan.needs(target, "scratch", asked, nothing).jobs
        return sorted(job.settings["seed"] for job in jobs)

    assert seeds("figure1", 2) == [0, 0, 1, 1, 2, 2]
    assert seeds("figure1", 10) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert len(plan.needs("figure1", "paper", 10, nothing).jobs) == 2 * 2 * 11


def test_the_grids_are_table_2(paper_jobs: dict[str, plan.Needs]) -> None:
    reported = pd.read_csv(ROOT / "results" / "reported" / "table2.csv")
    settings = [job.settings for job in paper_jobs["table1"].jobs]
    for optimizer in ("adam", "sgdm"):
        mine = [s for s in settings if s["optimizer"]["name"] == optimizer]
        rows = reported[reported["optimizer"] == optimizer].set_index("parameter")["value"]
        assert {s["optimizer"]["lr"] for s in mine} == set(rows["lr"])
        assert {s["decay"]["rate"] for s in mine if "rate" in s["decay"]} == set(rows["rate"])
        base = scale_config("paper").base[optimizer]
        assert (base.lr, base.rate) == (rows["lr_base"], rows["rate_base"])


def test_every_run_of_the_paper_scale_is_the_papers(paper_jobs: dict[str, plan.Needs]) -> None:
    for job in paper_jobs["table1"].jobs:
        s = job.settings
        assert (s["scale"]["epochs"], s["scale"]["batch_size"]) == (100, 512)
        assert s["data"]["augment"] == [{"_target_": "albumentations.HorizontalFlip", "p": 0.5}]
        momentum = {"adam": ("betas", [0.9, 0.999]), "sgdm": ("momentum", 0.9)}
        key, value = momentum[s["optimizer"]["name"]]
        assert s["optimizer"][key] == value


def test_a_jobs_identity_is_that_of_its_own_config(nothing: Results) -> None:
    for target in ("table3", "figure3"):
        for job in plan.needs(target, "smoke", 0, nothing).jobs[::7]:
            settings = identity.settings(plain(compose.composed(list(job.overrides))))
            assert identity.run_id(settings) == job.run


def expander(*arguments: str) -> grids.Expander:
    return grids.Expander(compose.composer(), ["scale=smoke", *arguments])


def test_what_is_typed_is_a_grid() -> None:
    grid = expander("decay=wd,lpwd", "decay.rate=0.1,0.01", "seed=0,1,2")
    assert len(grids.unique(grid.plain(grids.Grid()))) == 12


def test_baseline_is_trained_once_for_all_rates() -> None:
    grid = expander("decay=baseline,wd", "decay.rate=0.1,0.01")
    assert len(grids.unique(grid.plain(grids.Grid()))) == 3


def test_the_command_line_replaces_an_axis() -> None:
    axes = {"decay": ["wd", "lpwd"], "optimizer.lr_factor": [10, 1]}
    jobs = grids.unique(expander("decay=rwd").plain(grids.Grid(axes)))
    assert [job.settings["decay"]["method"] for job in jobs] == ["rwd", "rwd"]


def test_fresh_seeds_of_every_run() -> None:
    grid = grids.Grid({"decay": ["wd", "lpwd"]}, seeds="all")
    jobs = grids.unique(expander().plain(grid, seeds=2))
    assert sorted(job.settings["seed"] for job in jobs) == [0, 0, 1, 1, 2, 2]


def test_chosen_rates_need_something_to_choose_among(nothing: Results) -> None:
    grid = grids.Grid({"decay": ["wd"]}, rates="chosen", model="convnext_micro", seeds="all")
    with pytest.raises(ChoiceMissing, match="digits convnext_micro adam wd"):
        list(expander().chosen(grid, nothing, seeds=2))

    def waiting_of(grid: grids.Grid) -> dict[Hashable, Settings]:
        found: dict[Hashable, Settings] = {}
        assert list(expander().chosen(grid, nothing, 2, found)) == []
        return found

    waiting = waiting_of(grid)
    assert len(waiting) == 2  # seed 0 is in the grid
    others = [
        grids.Grid({"decay": ["wd"]}, seeds="chosen"),  # the same runs
        grids.Grid({"decay": ["wd"]}, rates="chosen", model="convnext_micro", method="lpwd"),
        grids.Grid({"decay": ["wd"]}, rates="chosen_lr", seeds="all"),
    ]
    same = [waiting.keys() & waiting_of(other).keys() for other in others]
    assert list(map(len, same)) == [2, 0, 0]


def test_runs_with_other_settings_than_the_scales_have_no_choice_in_its_grid() -> None:
    """What did best in 4 epochs would be taken for 2 without a word."""
    whole = simulated.make(scale_config("smoke"))
    for rates, seeds in (("chosen", "none"), ("chosen_lr", "all")):
        grid = grids.Grid({"decay": ["wd"]}, rates=rates, model="convnext_micro", seeds=seeds)
        assert list(expander().chosen(grid, whole, seeds=1))
        with pytest.raises(ConfigError, match="the command line has changed them"):
            list(expander("scale.epochs=2").chosen(grid, whole, seeds=1))


def test_rates_are_chosen_among_seed_0_whatever_seeds_are_swept(nothing: Results) -> None:
    grid = grids.Grid({"decay": ["wd"], "seed": [0, 1]}, seeds="chosen")
    with pytest.raises(ChoiceMissing, match=r"^1 of 1 runs"):
        list(expander().chosen(grid, nothing, seeds=2))
    grid = grids.Grid({"decay": ["wd"], "seed": [1]}, seeds="chosen")
    with pytest.raises(ConfigError, match="seed 0, of which the grid has none"):
        list(expander().chosen(grid, nothing, seeds=2))


def test_a_misspelt_axis_is_named() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'decay\.rate'"):
        list(expander("decay.rat=0.1,0.2").plain(grids.Grid()))
    with pytest.raises(ValueError, match="rates='choosen'"):
        grids.Grid(rates="choosen")


def test_fresh_seeds_at_the_rates_of_both_protocols() -> None:
    scale = scale_config("smoke")
    axes = {"decay": ["wd"], "optimizer.lr_factor": [10, 1], "decay.rate_factor": [50, 5]}
    jobs = grids.unique(expander().plain(grids.Grid(axes)))
    results = simulated.make(scale, keep=lambda run: run["method"] == "wd" and run["seed"] == 0)
    rows = results.runs.head(len(jobs)).copy()
    best, held_out = 1, 2  # the first by the test set, the second by the held-out images
    of_job = {key: [row_of_settings(job.settings)[key] for job in jobs] for key in main_grid.KIND}
    names = [job.run for job in jobs]
    lrs = [job.settings["optimizer"]["lr"] for job in jobs]
    rates = [job.settings["decay"]["rate"] for job in jobs]
    rows = rows.assign(**of_job, hash=names, seed=0, lr=lrs, rate=rates, best_mean=50.0)
    rows.loc[rows["hash"] == names[best], "best_mean"] = 60.0
    epochs = results.epochs[results.epochs["hash"] == results.runs["hash"].iloc[0]]
    epochs = pd.concat([epochs.assign(hash=name) for name in names])
    epochs.loc[epochs["hash"] == names[held_out], "heldout_top1"] += 10
    stored = Results(rows, epochs, results.zero_shot.head(0))

    fresh = list(expander().chosen(grids.Grid(axes, seeds="chosen"), stored, seeds=2))
    found = {(s["optimizer"]["lr"], s["decay"]["rate"]) for s in (job.settings for job in fresh)}
    assert found == {(lrs[best], rates[best]), (lrs[held_out], rates[held_out])}
    assert sorted(job.settings["seed"] for job in fresh) == [1, 1, 2, 2]
    # Runs outside of this grid's axes are not chosen among.
    narrow = grids.Grid({**axes, "optimizer.lr_factor": [lrs[3] / 5e-4]}, seeds="chosen")
    narrowed = list(expander().chosen(narrow, stored, seeds=1))
    assert {job.settings["optimizer"]["lr"] for job in narrowed} == {lrs[3]}


def test_a_run_in_training_counts_once_for_all_targets_that_share_it(
    nothing: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LPWD_RESULTS", str(tmp_path))
    run = plan.needs("figure4", "smoke", 0, nothing).jobs[0].run  # Table 1's, too
    with RunLock(Store("smoke").work(run)) as lock:
        assert lock.mine
        running = plan.table("smoke").set_index("target")["running"]
    assert running[["table1", "figure4", "all"]].tolist() == [1, 1, 1]
