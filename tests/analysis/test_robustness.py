"""Figure 6: which runs it asks for and shows, and how wide it finds curves of known width."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import pandas as pd
import pytest
import simulated
import torch

from lpwd.analysis import figures, paper, robustness
from lpwd.analysis.main_grid import MainGrid
from lpwd.config.compose import composed, scale_config
from lpwd.draw import answer
from lpwd.draw import figures as drawn
from lpwd.store import frames
from lpwd.store.frames import Results
from lpwd.store.identity import Settings
from lpwd.sweep import plan
from lpwd.sweep.choices import ChoiceMissing
from lpwd.sweep.grids import Job, grids_of
from lpwd.training.build import make_schedule

SCALE = scale_config("smoke")
NAMES = ["WD", "RWD", "PWD", "LPWD", "LPWD, mean over weights λ", "CWD"]
BEST = {"wd": 0.005, "cwd": 0.005}  # η; the others' is 5e-4


@cache
def jobs() -> list[Settings]:
    """Those to choose η among, and LPWD beyond the grid."""
    nothing = frames.of_records([])
    plain = [job.settings for job in plan.needs("figure6", "smoke", 0, nothing).jobs]
    lpwd = next(s for s in plain if s["decay"]["method"] == "lpwd")
    beyond = {**lpwd, "decay": {**lpwd["decay"], "rate": 4.0}}
    return [*plain, {**beyond, "optimizer": {**lpwd["optimizer"], "lr": 5e-4}}]


def level(row: dict[str, Any]) -> float:
    """A point lost for each decade from λ = 0.1 (LPWD: half of one), five beside the best η."""
    if row["method"] == "baseline":
        return 50 + row["seed"] - row["lr"]
    slope = 0.5 if row["method"] == "lpwd" else 1
    wrong = 5 * (row["lr"] != BEST.get(row["method"], 5e-4))
    return 50 + row["seed"] - wrong - slope * abs(math.log10(row["rate"] / 0.1))


def main(seeds: int = 3, keep: Callable[[Settings], bool] = lambda settings: True) -> MainGrid:
    results = simulated.stored(filter(keep, jobs()), SCALE, level, seeds)
    return MainGrid(results, SCALE)


def chosen(experiment: str, results: Results, seeds: int) -> list[Job]:
    grids = composed([f"+experiment={experiment}", "scale=smoke"]).hydra.sweeper.grids
    expander = plan.expander_of("smoke")
    at_best = [grid for grid in grids_of(grids) if grid.rates == "chosen_lr"]
    return [job for grid in at_best for job in expander.chosen(grid, results, seeds)]


def test_fresh_seeds_are_trained_at_the_best_lr_of_each_kind_and_every_rate() -> None:
    found = [job.settings for job in chosen("figure6", main(seeds=0).every, seeds=2)]
    assert len(found) == 6 * 3 * 3  # kinds, λ, seeds
    for settings in found:
        method = settings["decay"]["method"]
        assert settings["optimizer"]["lr"] == BEST.get(method, 5e-4)
    assert {s["decay"]["rate"] for s in found} == {1, 0.1, 0.01}
    assert {s["decay"]["normalize"] for s in found} == {"none", "params"}


def test_more_decay_reaches_beyond_the_grid_by_the_same_choice() -> None:
    found = [job.settings for job in chosen("moredecay", main(seeds=0).every, seeds=1)]
    assert {s["decay"]["rate"] for s in found} == {4 * 1, 20 * 1, 60 * 1}
    at = {(s["decay"]["method"], s["optimizer"]["lr"]) for s in found}
    assert at == {("wd", 0.005), ("lpwd", 5e-4)}
    assert len(found) == 2 * 3 * 2


def test_no_lr_is_chosen_from_a_part_of_a_grid() -> None:
    """One run of CWD is missing: it waits, and is a gap in the figure; the others are drawn."""

    def keep(settings: Settings) -> bool:
        decay = settings["decay"]
        return (decay["method"], decay.get("rate")) != ("cwd", 0.1)

    part = main(keep=keep)
    with pytest.raises(ChoiceMissing, match="2 of 6 runs of digits convnext_micro adam cwd"):
        chosen("figure6", part.every, seeds=2)
    need = plan.needs("figure6", "smoke", 2, part.every)
    assert len(need.waiting) == 3 * 2  # CWD's alone, without those in the grid
    assert list(robustness.widths(part)["name"]) == NAMES[:-1]
    assert figures.missing("figure6", part) == 2
    text = drawn.plot("figure6", part).get_suptitle()
    assert "2 runs are missing: make figure6 SCALE=smoke SEEDS=5" in text


def test_nothing_is_missing_once_every_rate_has_its_seeds() -> None:
    assert figures.missing("figure6", main(seeds=3)) == 0
    assert figures.missing("figure6", main(seeds=1)) == 2 * 6 * 3


def test_a_stretch_ends_where_a_straight_line_over_log_rate_is_a_point_below() -> None:
    curve = pd.Series({0.01: 48.0, 0.1: 50.0, 1.0: 49.5, 10.0: 48.5, 100.0: 49.9})
    found = robustness.stretch(curve, 0.1)
    assert found["low"] == pytest.approx(10**-1.5)
    assert found["high"] == pytest.approx(10**0.5)  # what comes after the dip is another stretch
    assert not found["open_low"]
    assert not found["open_high"]
    flat = robustness.stretch(curve.loc[0.1:1.0], 0.1)
    assert (flat["low"], flat["high"], flat["open_low"], flat["open_high"]) == (0.1, 1, True, True)


def test_widths_are_those_that_the_results_were_made_with() -> None:
    frame = robustness.widths(main()).set_index("name")
    assert list(frame.index) == NAMES
    wd, lpwd = frame.loc["WD"], frame.loc["LPWD"]
    assert (wd["best_rate"], wd["lr"], wd["factor_n"]) == (0.1, 0.005, 3)
    # WD loses a point at the very ends of what was trained, and not more
    assert [wd[f"factor_{end}"] for end in ("mean", "low", "high")] == pytest.approx([100] * 3)
    assert lpwd["open_low"]  # half a point at 0.01; at 4, beyond the grid, 0.8
    assert lpwd["open_high"]
    assert lpwd["factor_mean"] == pytest.approx(400)
    one = robustness.widths(main(seeds=0)).set_index("name").loc["WD"]
    assert one["factor_n"] == 0
    assert one["factor_mean"] == pytest.approx(100)
    assert math.isnan(one["factor_low"])


def test_widths_are_compared_seed_by_seed() -> None:
    """RWD's top is a decade of λ, WD's half of one, and a quarter in seed 2; LPWD's is open."""

    def steeper(row: dict[str, Any]) -> float:
        by = {"wd": 7 if row["seed"] == 2 else 3, "rwd": 1}.get(row["method"], 0)
        return level(row) - by * abs(math.log10((row["rate"] or 0.1) / 0.1))

    def of(seeds: int) -> MainGrid:
        return MainGrid(simulated.stored(jobs(), SCALE, steeper, seeds), SCALE)

    ratio = robustness.ratio_of_widths(of(3), robustness.RWD, robustness.WD)
    assert ratio.mean == pytest.approx(10 ** ((0.5 + 0.75 + 0.5) / 3))
    assert ratio.n == 3
    assert not robustness.ratio_of_widths(of(3), robustness.LPWD, robustness.WD).known
    assert not robustness.ratio_of_widths(of(0), robustness.RWD, robustness.WD).known
    assert "robustness" not in answer.text(of(3))


def test_points_are_paired_with_the_chosen_baseline_by_seed() -> None:
    frame = robustness.points(main())
    wd = frame[frame["name"] == "WD"].set_index("rate")
    assert wd["over_baseline_mean"].to_dict() == pytest.approx(
        {0.01: -1 + 5e-4, 0.1: 5e-4, 1: -1 + 5e-4}
    )
    assert (wd["seeds_n"] == 3).all()
    assert wd["first"].to_dict() == pytest.approx({0.01: 49, 0.1: 50, 1: 49})
    assert 4 in set(frame.loc[frame["name"] == "LPWD", "rate"])


def test_a_curve_is_of_the_same_seeds_at_every_rate() -> None:
    runs = pd.DataFrame(
        [(seed, rate, 50.0 + seed) for seed in range(5) for rate in (0.1, 1.0)],
        columns=["seed", "rate", "top1"],
    ).assign(on_grid=True)
    assert list(robustness.shown_seeds(runs).index) == [1, 2, 3, 4]
    lacking = runs.drop(runs.index[(runs["seed"] > 2) & (runs["rate"] == 1)])
    assert list(robustness.shown_seeds(lacking).index) == [0]


def test_rates_beside_the_grid_do_not_hide_its_fresh_seeds() -> None:
    """A λ of the search, with seed 0 alone, is no point of their curve."""

    def fresh_on_the_grid(settings: Settings) -> bool:
        return settings["decay"].get("rate") != 4.0

    results = simulated.stored(filter(fresh_on_the_grid, jobs()), SCALE, level, 3)
    beyond = [job for job in jobs() if not fresh_on_the_grid(job)]
    one = simulated.stored(beyond, SCALE, level)
    both = Results(*(pd.concat(pair, ignore_index=True) for pair in zip(results, one, strict=True)))
    found = MainGrid(both, SCALE)
    width = robustness.widths(found).set_index("name").loc["LPWD"]
    assert width["factor_n"] == 3
    assert figures.missing("figure6", found) == 0
    points = robustness.points(found)
    lpwd = points[points["name"] == "LPWD"].set_index("rate")
    assert lpwd["curve"].drop(4).to_dict() == pytest.approx({0.01: 51.5, 0.1: 52, 1: 51.5})
    assert math.isnan(lpwd.loc[4, "curve"])
    assert lpwd.loc[4, "first"] == pytest.approx(50 - 0.5 * math.log10(40))
    drawn.plot("figure6", found).canvas.draw()


def test_a_band_is_of_the_seeds_that_its_line_is_of() -> None:
    """More seeds at the chosen λ, as tables have them, would lift the band off the line there."""
    few, many = (simulated.stored(jobs(), SCALE, level, seeds) for seeds in (3, 9))
    chosen_alone = many.runs[(many.runs["method"] == "wd") & (many.runs["rate"] == 0.1)]
    more = frames.only(many, set(chosen_alone["hash"]) - set(few.runs["hash"]))
    both = Results(*(pd.concat(pair, ignore_index=True) for pair in zip(few, more, strict=True)))
    points = robustness.points(MainGrid(both, SCALE))
    wd = points[points["name"] == "WD"]
    assert wd["seeds_n"].tolist() == [3, 3, 3]
    assert wd["seeds_mean"].tolist() == pytest.approx(wd["curve"].tolist())


@pytest.mark.parametrize(("model", "data"), robustness.COUNTED)
def test_the_mean_over_weights_is_what_the_model_has(model: str, data: str) -> None:
    assert robustness.COUNTED[model, data] == pytest.approx(robustness.count_mean(model, data))


def test_printed_lpwd_decays_more_over_the_weights_and_the_others_as_much() -> None:
    frame = robustness.runs_at_best_lr(main(seeds=0))
    ratio = (frame["total_mean"] / frame["total"]).groupby(frame["name"]).mean()
    assert ratio["LPWD"] == pytest.approx(1.5, abs=0.03)
    assert set(ratio.drop(["LPWD", "Baseline"])) == {1.0}


@pytest.mark.parametrize("scale", ["mini", "scratch"])
def test_the_total_decay_is_summed_over_the_steps_that_the_schedule_takes(scale: str) -> None:
    cfg = composed([f"scale={scale}", "scale.epochs=2"])
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    schedule, lrs = make_schedule(cfg, optimizer, 10), []
    for step in range(1, 21):
        lrs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if schedule:
            schedule.step_update(step)
    grid = simulated.main(scale_config(scale), keep=lambda run: False)
    column = paper.ablation_column(grid.scale)
    steps = robustness.effective_steps(grid, column, pd.DataFrame({"steps": [20]}))
    assert steps == pytest.approx(sum(lrs) / 0.5)
