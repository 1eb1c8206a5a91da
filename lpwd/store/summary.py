"""The statistics of one run, by the paper's protocol and by the held-out one.

Accuracies are in percent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

#: (choose on, report on): columns of the epochs.
HELD_OUT = [("heldout_top1", "test_top1")]
CROSS_FIT = [("test_a_top1", "test_b_top1"), ("test_b_top1", "test_a_top1")]


def best_k(epochs: int) -> int:
    """How many epochs the paper's statistic takes: ten of a hundred, and one at least."""
    return max(1, round(epochs / 10))


def paper_statistic(top1: Sequence[float], epochs: int) -> tuple[float, float]:
    """Mean and standard deviation (ddof 0) of the best k test top-1 of one run (Sec. 4)."""
    best = np.sort(np.asarray(top1, float))[::-1][: best_k(epochs)]
    return float(best.mean()), float(best.std())


def held_out(epochs: pd.DataFrame) -> pd.DataFrame:
    """For each run and fold, the best value to choose by and what is reported at that epoch.

    Columns: hash, fold, choose, report. The epoch is the first with the largest value. A run with
    held-out images has one fold; of the others, each half of the test set is chosen by in turn.
    """
    has_heldout = epochs["heldout_top1"].notna().groupby(epochs["hash"]).transform("any")
    folds = [(has_heldout, fold, *pair) for fold, pair in enumerate(HELD_OUT)]
    folds += [(~has_heldout, fold, *pair) for fold, pair in enumerate(CROSS_FIT)]
    frames = []
    for of_these, fold, choose, report in folds:
        seen = epochs[of_these].dropna(subset=[choose])
        seen = seen.sort_values("epoch", kind="stable", ignore_index=True)
        best = seen.loc[seen.groupby("hash")[choose].idxmax()]
        columns = {"hash": best["hash"], "choose": best[choose], "report": best[report]}
        frames.append(pd.DataFrame(columns).assign(fold=fold))
    return pd.concat(frames, ignore_index=True)


def summarize(rows: Sequence[Mapping[str, Any]], epochs: int) -> dict[str, float]:
    """The columns of runs.csv made of a run's epochs; accuracies of a diverged run are NaN."""
    frame = pd.DataFrame(rows).assign(hash="")
    last = rows[-1]
    diverged = not math.isfinite(last["train_loss"])
    nan = float("nan")
    mean, std = (nan, nan) if diverged else paper_statistic(frame["test_top1"].tolist(), epochs)
    return {
        "best_k": best_k(epochs),
        "best_mean": mean,
        "best_std": std,
        "heldout_mean": nan if diverged else float(held_out(frame)["report"].mean()),
        "r_op_share": float(frame["r_op_share"].mean()),
        "r_op_size": float(frame["r_op_size"].mean()),
        "final_top1": last["test_top1"],
        "final_loss": last["train_loss"],
        "weight_norm": last["weight_norm"],
    }
