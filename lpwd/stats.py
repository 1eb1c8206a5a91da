"""The statistics behind tables and claims: two protocols, and intervals from fresh seeds.

The paper's protocol chooses rates, and takes the best epochs, on the test set. The held-out
protocol chooses both without the images it reports on: on held-out training images where the scale
has them, else on one half of the test set for the other, in turns (cross-fit). Accuracies are in
percent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import bootstrap

from lpwd.runs import Results

#: (choose on, report on): columns of the epochs.
HELD_OUT = [("heldout_top1", "test_top1")]
CROSS_FIT = [("test_a_top1", "test_b_top1"), ("test_b_top1", "test_a_top1")]

#: Fewer fresh seeds than this give no interval.
LEAST_SEEDS = 3


def best_k(epochs: int) -> int:
    """How many epochs the paper's statistic takes: ten of a hundred, and one at least."""
    return max(1, round(epochs / 10))


def paper_statistic(top1: Sequence[float], epochs: int) -> tuple[float, float]:
    """Mean and standard deviation (ddof 0) of the best k test top-1 of one run (Sec. 4)."""
    best = np.sort(np.asarray(top1, float))[::-1][: best_k(epochs)]
    return float(best.mean()), float(best.std())


def held_out(epochs: pd.DataFrame) -> pd.DataFrame:
    """For each run and fold, the best value to choose by and what is reported at that epoch.

    Columns: hash, fold, choose, report. The epoch is the first with the largest value.
    """
    has_heldout = epochs["heldout_top1"].notna().any()
    frames = []
    for fold, (choose, report) in enumerate(HELD_OUT if has_heldout else CROSS_FIT):
        seen = epochs.dropna(subset=[choose]).sort_values("epoch", kind="stable")
        best = seen.loc[seen.groupby("hash")[choose].idxmax()]
        columns = {"hash": best["hash"], "choose": best[choose], "report": best[report]}
        frames.append(pd.DataFrame(columns).assign(fold=fold))
    return pd.concat(frames, ignore_index=True)


def summarize(rows: Sequence[Mapping[str, Any]], epochs: int) -> dict[str, float]:
    """What runs.csv tells of a run's epochs; the accuracies of a diverged run are NaN."""
    frame = pd.DataFrame(rows).assign(hash="")
    diverged = not math.isfinite(rows[-1]["train_loss"])
    nan = float("nan")
    mean, std = (nan, nan) if diverged else paper_statistic(frame["test_top1"].tolist(), epochs)
    return {
        "best_k": best_k(epochs),
        "best_mean": mean,
        "best_std": std,
        "heldout_mean": nan if diverged else float(held_out(frame)["report"].mean()),
        "r_op_share": float(frame["r_op_share"].mean()),
        "r_op_size": float(frame["r_op_size"].mean()),
    }


# -- choosing rates -------------------------------------------------------------------------------


def grid(results: Results, **column: str) -> pd.DataFrame:
    """The seed-0 runs of one column and method, as printed: the runs to choose among."""
    runs = results.runs
    keep = runs["seed"] == 0
    for name, value in column.items():
        keep &= runs[name] == value
    if "method" in column and "profile" not in column:
        keep &= runs["profile"] == ("linear" if column["method"] == "lpwd" else "uniform")
    return runs[keep]


def chosen(results: Results, **column: str) -> pd.Series | None:
    """The run whose rates are best by the paper's protocol; None where none is stored.

    On ties the smaller η and λ: the order of runs.csv. A diverged run cannot be chosen.
    """
    runs = grid(results, **column).dropna(subset=["best_mean"])
    return None if runs.empty else runs.iloc[int(runs["best_mean"].argmax())]


def chosen_rates(results: Results, **column: str) -> tuple[float, float] | None:
    """η and λ of `chosen`."""
    run = chosen(results, **column)
    return None if run is None else (float(run["lr"]), float(run["rate"]))


def held_out_value(results: Results, **column: str) -> float:
    """Rates and epoch chosen without the reported images, averaged over folds; NaN without runs."""
    runs = grid(results, **column)
    folds = held_out(results.epochs[results.epochs["hash"].isin(runs["hash"])])
    folds = folds[folds["hash"].isin(runs.loc[runs["status"] == "done", "hash"])]
    if folds.empty:
        return float("nan")
    return float(folds.loc[folds.groupby("fold")["choose"].idxmax(), "report"].mean())


def fresh(results: Results, run: pd.Series) -> pd.DataFrame:
    """The runs with the settings of `run` and other seeds: those that had no part in a choice."""
    runs = results.runs
    keep = runs["seed"] > 0
    for name in ("data", "model", "optimizer", "method", "profile", "lr"):
        keep &= runs[name] == run[name]
    keep &= (runs["rate"] == run["rate"]) | (runs["rate"].isna() & pd.isna(run["rate"]))
    return runs[keep].sort_values("seed")


# -- intervals ------------------------------------------------------------------------------------


class Interval(NamedTuple):
    """A mean with its 95 % interval; both ends are NaN where there are too few values."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def known(self) -> bool:
        return math.isfinite(self.low)


def interval(values: Sequence[float]) -> Interval:
    """Mean of independent values with its percentile bootstrap interval (10,000 resamples)."""
    data = np.asarray([value for value in values if math.isfinite(value)], float)
    nan = float("nan")
    if len(data) < LEAST_SEEDS:
        return Interval(float(data.mean()) if len(data) else nan, nan, nan, len(data))
    if np.ptp(data) == 0:  # resampling equal values has nothing to tell
        return Interval(float(data[0]), float(data[0]), float(data[0]), len(data))
    found = bootstrap(
        (data,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    return Interval(float(data.mean()), float(found.low), float(found.high), len(data))


def paired(left: pd.DataFrame, right: pd.DataFrame, value: str) -> list[float]:
    """left − right, seed by seed: runs of one seed share initial head, order and augmentation."""
    both = left.set_index("seed")[value] - right.set_index("seed")[value]
    return both.dropna().tolist()
