"""The statistics behind tables and claims: two protocols, and intervals from fresh seeds.

The paper's protocol chooses rates, and takes the best epochs, on the test set. The held-out
protocol chooses both without the images it reports on: on held-out training images where the scale
has them, else on one half of the test set for the other, in turns (cross-fit). Accuracies are in
percent.
"""

from __future__ import annotations

import pandas as pd

from lpwd.store.frames import Results
from lpwd.store.summary import held_out

#: What a diverged run's accuracy (%) counts as where methods are compared.
DIVERGED = 0.0


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


# -- curves ----------------------------------------------------------------------------------------


def fresh_or_first(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of fresh seeds if there are any, else those of seed 0."""
    fresh = frame[frame["seed"] > 0]
    return frame if fresh.empty else fresh
