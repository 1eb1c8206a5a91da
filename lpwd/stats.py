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

from lpwd.runs import Results

#: (choose on, report on): columns of the epochs.
HELD_OUT = [("heldout_top1", "test_top1")]
CROSS_FIT = [("test_a_top1", "test_b_top1"), ("test_b_top1", "test_a_top1")]

#: Fewer fresh seeds than this give no interval.
LEAST_SEEDS = 3

#: What a diverged run's accuracy (%) counts as where methods are compared.
DIVERGED = 0.0


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
    values = runs["best_mean"].round(9)  # a mean of the same counts may differ in its last bit
    return None if runs.empty else runs.iloc[int(values.argmax())]


def chosen_rates(results: Results, **column: str) -> tuple[float, float] | None:
    """η and λ of `chosen`."""
    run = chosen(results, **column)
    return None if run is None else (float(run["lr"]), float(run["rate"]))


def held_out_choice(results: Results, **column: str) -> pd.DataFrame:
    """The runs chosen without the reported images, a row a fold; empty where none is stored.

    The columns of `held_out`, and the run's lr and rate. Diverged runs cannot be chosen.
    """
    runs = grid(results, **column)
    runs = runs.loc[runs["status"] == "done", ["hash", "lr", "rate"]]
    folds = held_out(results.epochs[results.epochs["hash"].isin(runs["hash"])])
    folds = runs.merge(folds, on="hash")  # in the order of runs.csv: ties go to the smaller rates
    return folds.loc[folds.groupby("fold")["choose"].idxmax()].reset_index(drop=True)


def held_out_value(results: Results, **column: str) -> float:
    """Rates and epoch chosen without the reported images, averaged over folds; NaN without runs."""
    return float(held_out_choice(results, **column)["report"].mean())


def fresh(results: Results, run: pd.Series) -> pd.DataFrame:
    """The runs with the settings of `run` and other seeds: those that had no part in a choice."""
    runs = results.runs
    keep = runs["seed"] > 0
    for name in ("data", "model", "optimizer", "method", "profile", "lr"):
        keep &= runs[name] == run[name]
    keep &= (runs["rate"] == run["rate"]) | (runs["rate"].isna() & pd.isna(run["rate"]))
    return runs[keep].sort_values("seed")


def at_rates(results: Results, rates: tuple[float, float], **column: str) -> pd.Series:
    """The paper's statistic of the runs with this η and λ, by seed; NaN if diverged.

    `column` holds further columns of runs.csv and their values.
    """
    runs = results.runs
    keep = (runs["lr"] == rates[0]) & (runs["rate"] == rates[1])
    for name, value in column.items():
        keep &= runs[name] == value
    return runs[keep].set_index("seed")["best_mean"].sort_index()


def fresh_values(results: Results, **column: str) -> pd.Series:
    """The paper's statistic of fresh seeds at the rates it chose, by seed; NaN if diverged."""
    run = chosen(results, **column)
    runs = results.runs.iloc[:0] if run is None else fresh(results, run)
    return runs.set_index("seed")["best_mean"]


def fresh_held_out(results: Results, **column: str) -> pd.Series:
    """What the held-out protocol reports of fresh seeds at the rates it chose; NaN if diverged.

    Where two folds chose different rates, only seeds that were trained at both have a value.
    """
    by_hash = results.runs.set_index("hash", drop=False)
    folds = []
    for _, choice in held_out_choice(results, **column).groupby("fold"):
        runs = fresh(results, by_hash.loc[choice["hash"].iloc[0]]).set_index("seed")
        seen = held_out(results.epochs[results.epochs["hash"].isin(runs["hash"])])
        seen = seen[seen["fold"] == choice["fold"].iloc[0]].set_index("hash")["report"]
        folds.append(runs["hash"].map(seen).astype(float).where(runs["status"] == "done"))
    if not folds:
        return pd.Series(dtype=float)
    return pd.concat(folds, axis=1, join="inner").mean(axis=1, skipna=False)


def slopes(table: pd.DataFrame) -> pd.Series:
    """For each row (a seed) the least-squares slope from one column to the next; NaN with gaps."""
    places = np.arange(table.shape[1]) - (table.shape[1] - 1) / 2
    return table.dot(places) / (places**2).sum()


# -- intervals ------------------------------------------------------------------------------------


class Interval(NamedTuple):
    """A mean with its 95 % interval from n values; both ends are NaN where there are too few."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def known(self) -> bool:
        return math.isfinite(self.low)


def interval(values: Sequence[float]) -> Interval:
    """The mean of what independent seeds gave, with its 95 % interval (Student's t).

    Values that are not finite are left out. Both ends are NaN unless LEAST_SEEDS values are left.
    Why not the bootstrap: its percentile interval of three or five values covers far less than
    95 %; t's covers it.
    """
    from scipy.stats import t  # half a second to import

    data = np.asarray([value for value in values if math.isfinite(value)], float)
    n = len(data)
    if n < LEAST_SEEDS:
        return Interval(float(data.mean()) if n else math.nan, math.nan, math.nan, n)
    mean, error = float(data.mean()), float(data.std(ddof=1)) / math.sqrt(n)
    reach = float(t.ppf(0.975, n - 1)) * error
    return Interval(mean, mean - reach, mean + reach, n)
