"""Both protocols, the choice of rates and the intervals, on numbers worked out by hand."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import simulated
from scipy.stats import ttest_1samp

from lpwd.analysis import intervals
from lpwd.analysis.main_grid import MainGrid
from lpwd.analysis.paper import Column
from lpwd.analysis.protocols import HELD_OUT, PAPERS, PROTOCOLS, Candidates
from lpwd.config.compose import scale_config
from lpwd.config.rates import rate_grid
from lpwd.store.frames import Results
from lpwd.store.summary import best_k, held_out, paper_statistic, summarize

SMOKE = scale_config("smoke")
SMOKE.grid.models = SMOKE.grid.series = ["convnext_micro"]
COLUMN = Column("digits", "convnext_micro", "adam")


@pytest.mark.parametrize(("epochs", "k"), [(100, 10), (13, 1), (20, 2), (5, 1), (1, 1)])
def test_best_k_is_a_tenth_of_the_epochs(epochs: int, k: int) -> None:
    assert best_k(epochs) == k


def test_the_papers_statistic_takes_the_best_epochs_wherever_they_are() -> None:
    top1 = [10.0, 90, 20, 80, 30, *[0] * 15]
    assert paper_statistic(top1, epochs=20) == (85.0, 5.0)  # ddof 0


def epochs_of(**values: list[float]) -> pd.DataFrame:
    """Two runs "a" and "b"; each keyword gives their values, one epoch after the other."""
    count = len(next(iter(values.values()))) // 2
    frame = pd.DataFrame({"hash": ["a"] * count + ["b"] * count, "epoch": [*range(count)] * 2})
    nan = [math.nan] * 2 * count
    columns = ("heldout_top1", "test_top1", "test_a_top1", "test_b_top1")
    return frame.assign(**{name: values.get(name, nan) for name in columns})


def test_held_out_reports_the_test_value_of_the_first_best_held_out_epoch() -> None:
    epochs = epochs_of(heldout_top1=[1, 5, 5, 2, 3, 1], test_top1=[90, 50, 60, 20, 30, 99])
    found = held_out(epochs).set_index("hash")
    assert found["report"].to_dict() == {"a": 50, "b": 30}
    assert found["choose"].to_dict() == {"a": 5, "b": 3}


def test_cross_fit_chooses_on_one_half_and_reports_on_the_other() -> None:
    epochs = epochs_of(test_a_top1=[1, 9, 7, 2], test_b_top1=[8, 4, 3, 6])
    found = held_out(epochs).set_index(["fold", "hash"])["report"]
    assert found.to_dict() == {(0, "a"): 4, (0, "b"): 3, (1, "a"): 1, (1, "b"): 2}


def test_each_run_has_its_own_protocol() -> None:
    """A run with held-out images beside others: theirs is the cross-fit all the same."""
    with_images = epochs_of(heldout_top1=[1, 5, 1, 2], test_top1=[90, 50, 20, 30])
    without = epochs_of(test_a_top1=[1, 9, 7, 2], test_b_top1=[8, 4, 3, 6])
    without["hash"] = without["hash"].str.upper()
    found = held_out(pd.concat([with_images, without])).set_index(["hash", "fold"])["report"]
    assert found.to_dict() == {
        **{("a", 0): 50, ("b", 0): 30},
        **{("A", 0): 4, ("A", 1): 1, ("B", 0): 3, ("B", 1): 2},
    }
    assert held_out(with_images.iloc[:0]).empty


def test_order_of_rows_does_not_matter() -> None:
    epochs = epochs_of(heldout_top1=[1, 5, 5, 2, 3, 1], test_top1=[90, 50, 60, 20, 30, 99])
    shuffled = epochs.sample(frac=1, random_state=1)
    assert held_out(shuffled).equals(held_out(epochs))


def test_a_diverged_run_has_no_accuracy() -> None:
    rows = [
        {**epoch, "r_op_share": 0.5, "r_op_size": 0.25, "weight_norm": 1.0}
        for epoch in epochs_of(heldout_top1=[1, 2], test_top1=[3, 4]).to_dict("records")
    ]
    rows[0]["train_loss"], rows[1]["train_loss"] = 1.0, math.nan
    summary = summarize(rows, 5)
    assert math.isnan(summary["best_mean"])
    assert math.isnan(summary["heldout_mean"])
    assert summary["r_op_share"] == 0.5


def wd(results: Results) -> Candidates:
    return MainGrid(results, SMOKE).cell(COLUMN, "wd")


def rates(candidates: Candidates, protocol: str) -> list[list[float]]:
    return candidates.choice(protocol)[["lr", "rate"]].to_numpy().tolist()


def test_rates_are_chosen_by_the_papers_statistic_among_seed_0() -> None:
    results = simulated.make(
        SMOKE, seeds=1, top1=lambda run: simulated.top1_of(run) + 50 * run["seed"]
    )
    grid = rate_grid(SMOKE, "adam")
    # top1_of peaks at base η and, of the grid's factors 50, 5 and 0.5, at 0.5.
    assert rates(wd(results), PAPERS) == [[grid.lrs[1], grid.rates[2]]]


def test_ties_go_to_the_smaller_rates_and_diverged_runs_are_never_chosen() -> None:
    grid = rate_grid(SMOKE, "adam")
    level = simulated.make(SMOKE, top1=lambda run: 50.0)
    last_bit = level.runs["best_mean"] + 1e-14 * (level.runs["rate"] == grid.rates[0])
    noisy = level._replace(runs=level.runs.assign(best_mean=last_bit))
    diverged = simulated.make(
        SMOKE, top1=lambda run: 50.0, diverges=lambda run: run["lr_factor"] == 1
    )
    for protocol in PROTOCOLS:
        assert rates(wd(level), protocol) == [[grid.lrs[1], grid.rates[2]]]
        assert rates(wd(noisy), protocol) == [[grid.lrs[1], grid.rates[2]]]
        assert rates(wd(diverged), protocol) == [[grid.lrs[0], grid.rates[2]]]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nothing_is_chosen_from_nothing_or_from_a_part(protocol: str) -> None:
    empty = wd(simulated.make(SMOKE, keep=lambda run: False))
    part = wd(simulated.make(SMOKE, seeds=2, keep=lambda run: run["rate_factor"] != 50))
    assert (empty.missing, part.missing) == (6, 2)
    for candidates in (empty, part):
        assert candidates.choice(protocol).empty
        assert candidates.by_seed(protocol).empty
        assert candidates.fresh(protocol).empty


def test_held_out_chooses_rates_without_the_test_set() -> None:
    """One run's test accuracy is lucky: the paper's protocol takes it, the held-out does not."""
    results = simulated.make(SMOKE)
    lucky = wd(results).first.iloc[-1]
    epochs, table = results.epochs.copy(), results.runs.copy()
    epochs.loc[epochs["hash"] == lucky["hash"], "test_top1"] = 99.0
    table.loc[table["hash"] == lucky["hash"], "best_mean"] = 99.0
    found = wd(results._replace(runs=table, epochs=epochs))
    assert rates(found, PAPERS) == [[lucky["lr"], lucky["rate"]]]
    grid = rate_grid(SMOKE, "adam")
    assert rates(found, HELD_OUT) == [[grid.lrs[1], grid.rates[2]]]
    assert found.by_seed(HELD_OUT).to_dict() == pytest.approx({0: 61 - 2 * np.log10(2)})


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_fresh_seeds_leave_the_choosing_seed_out(protocol: str) -> None:
    main = simulated.main(SMOKE, seeds=3, top1=lambda run: simulated.top1_of(run) - run["seed"])
    best = 61 - 2 * np.log10(2)
    expected = {0: best, 1: best - 1, 2: best - 2, 3: best - 3}
    assert main.by_seed(COLUMN, "wd", protocol).to_dict() == pytest.approx(expected)
    del expected[0]
    assert main.cell(COLUMN, "wd").fresh(protocol).to_dict() == pytest.approx(expected)
    baseline = main.cell(COLUMN, "baseline").fresh(protocol)
    assert baseline.to_dict() == pytest.approx({1: 59, 2: 58, 3: 57})


def test_fresh_seeds_under_cross_fit_need_both_folds_runs() -> None:
    """Half A prefers one run and half B another; a seed trained at one of them has no value."""
    scale = scale_config("paper")
    scale.epochs = 3
    column = Column("cifar100", "convnext_tiny", "adam")
    wanted = {**column._asdict(), "method": "wd"}
    results = simulated.make(
        scale, seeds=2, keep=lambda run: all(run[key] == wanted[key] for key in wanted)
    )
    epochs = results.epochs.copy()
    first, last = MainGrid(results, scale).cell(column, "wd").first["hash"].iloc[[0, -1]]
    epochs.loc[epochs["hash"] == first, "test_a_top1"] = 99.0
    epochs.loc[epochs["hash"] == last, "test_b_top1"] = 98.0
    results = results._replace(epochs=epochs)
    found = MainGrid(results, scale).cell(column, "wd")
    assert found.choice(HELD_OUT)["hash"].tolist() == [first, last]
    both = found.fresh(HELD_OUT)
    assert both.index.tolist() == [1, 2]
    assert both.notna().all()
    at_last = results.runs.set_index("hash").loc[last]
    gone = found.at(at_last["lr"], at_last["rate"]).loc[1, "hash"]
    results = results._replace(runs=results.runs[results.runs["hash"] != gone])
    fresh = MainGrid(results, scale).cell(column, "wd").fresh(HELD_OUT)
    assert fresh.notna().to_dict() == {2: True}
    lost = results.runs["hash"] == found.at(at_last["lr"], at_last["rate"]).loc[2, "hash"]
    runs = results.runs.assign(status=results.runs["status"].mask(lost, "diverged"))
    half = MainGrid(results._replace(runs=runs), scale).cell(column, "wd").fresh(HELD_OUT)
    other_half = 2 * both[2] - float(at_last_report(found, at_last, 2))
    assert half[2] == pytest.approx(other_half / 2)  # 0 % on the half that it diverged for


def at_last_report(found: Candidates, rates: Any, seed: int) -> float:
    """The test accuracy of a seed at these rates on the half that did not choose them."""
    run = found.at(rates["lr"], rates["rate"]).loc[seed, "hash"]
    folds = found.folds[found.folds["hash"] == run].set_index("fold")
    choice = found.choice(HELD_OUT).set_index("lr")["fold"]
    return float(folds.loc[choice[rates["lr"]], "report"])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_diverged_seed_is_known_to_both_protocols(protocol: str) -> None:
    main = simulated.main(
        SMOKE, seeds=3, diverges=lambda run: (run["method"], run["seed"]) == ("wd", 2)
    )
    fresh = main.cell(COLUMN, "wd").fresh(protocol)
    assert fresh.isna().to_dict() == {1: False, 2: True, 3: False}


def test_intervals_are_students_t() -> None:
    values = [1.0, 2.0, 3.0, 4.0, 10.0]
    expected = ttest_1samp(values, 0).confidence_interval()
    assert intervals.interval(values)[:3] == pytest.approx((4.0, expected.low, expected.high))
    assert intervals.interval(values).n == 5


def test_too_few_values_give_no_interval() -> None:
    assert not intervals.interval([1.0, 2.0]).known
    assert intervals.interval([1.0, 2.0]).mean == 1.5
    assert intervals.interval([1.0, math.nan, 2.0]).n == 2
    assert math.isnan(intervals.interval([]).mean)
    assert intervals.interval([2.0, 2.0, 2.0])[:3] == (2.0, 2.0, 2.0)


def test_slopes_are_least_squares() -> None:
    table = pd.DataFrame({"a": [1.0, 0.0, 1.0], "b": [2.0, 5.0, math.nan], "c": [3.0, 1.0, 2.0]})
    found = intervals.slopes(table)
    assert found[0] == pytest.approx(1.0)
    assert found[1] == pytest.approx(np.polyfit(range(3), [0.0, 5.0, 1.0], 1)[0])
    assert math.isnan(found[2])
