"""Figure 6, which the paper lacks: its headline, robustness to λ, measured as a curve.

    robustness.figure6(main)   top-1 over the total decay Σηλ at each method's best η, and how wide
                               its top is

In Table 3's column. The total decay is also given as its mean over the weights, for LPWD as printed
decays some 1.5 times as much as its λ says. λ beside the grid (`make moredecay`) is drawn, too.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from lpwd.analysis import paper
from lpwd.analysis.intervals import LEAST_SEEDS, Interval, columns_of, interval
from lpwd.analysis.kinds import BASELINE, CWD, LPWD, PWD, RWD, SCALED_LPWD, WD, Kind
from lpwd.analysis.main_grid import MainGrid
from lpwd.analysis.paper import Column
from lpwd.analysis.protocols import DIVERGED, PAPERS, Candidates, difference
from lpwd.config.compose import composed, composer
from lpwd.config.rates import rate_grid

KINDS = (WD, RWD, PWD, LPWD, SCALED_LPWD, CWD)

#: How far below its best (points of top-1) a method still counts as near it.
NEAR = 1.0

#: {(model, data): mean of 2i/n over the weights}: counted once, for torch takes seconds to import.
COUNTED = {
    ("convnext_micro", "cifar100"): 1.513238578680203,
    ("convnext_tiny", "cifar100"): 1.4970375195522618,
}

RUNS = ["name", "method", "normalize", "lr", "rate", "total", "total_mean"]
RUNS += ["on_grid", "seed", "top1", "status", "hash"]
ENDS = ("n", "mean", "low", "high")
KEY = ["name", "lr", "rate", "total", "total_mean"]
POINTS = [*KEY, "first", "curve"]
POINTS += [f"{name}_{end}" for name in ("seeds", "over_baseline") for end in ENDS]
WIDTH = ["name", "lr", "best_rate", "top1", "low_rate", "high_rate", "open_low", "open_high"]
WIDTH += [f"factor_{end}" for end in ENDS]


def figure6(main: MainGrid) -> dict[str, pd.DataFrame]:
    """{file name: frame}; no rows of a kind whose grid, among which η is chosen, is not whole."""
    frames = {"figure6": runs_at_best_lr, "figure6_points": points, "figure6_width": widths}
    return {name: frame(main) for name, frame in frames.items()}


@cache
def runs_at_best_lr(main: MainGrid) -> pd.DataFrame:
    """A row a run at the η that did best (the paper's protocol), Baseline first, all seeds.

    total: Σηλ over the steps · total_mean: the same with the mean of λ_i over the weights for λ ·
    on_grid: is λ one of the scale's grid? · top1: the paper's statistic, NaN: diverged.
    """
    column = paper.ablation_column(main.scale)
    frames = [_runs(main, column, kind) for kind in (BASELINE, *KINDS)]
    return pd.concat(frames, ignore_index=True)


def missing(main: MainGrid) -> int:
    """Of the grids to choose η among; then of the fresh seeds that a band needs at every λ."""
    column = paper.ablation_column(main.scale)
    return sum(_lacking(main.of_kind(column, kind.columns)) for kind in (BASELINE, *KINDS))


def _lacking(among: Candidates) -> int:
    choice = among.choice(PAPERS)
    if choice.empty:
        return among.missing
    runs = among.runs[among.runs["lr"] == choice["lr"].iloc[0]]
    if runs["rate"].isna().all():
        runs = runs[:0]  # Baseline's band is no part of the question
    fresh = (runs["seed"] > 0).groupby(runs["rate"]).sum()
    return int((LEAST_SEEDS - fresh).clip(lower=0).sum())


def _runs(main: MainGrid, column: Column, kind: Kind) -> pd.DataFrame:
    choice = main.of_kind(column, kind.columns).choice(PAPERS)
    runs = main.at_any_rates(column, kind.columns)
    runs = runs[runs["lr"].isin(choice["lr"])].sort_values(["rate", "seed"])
    total = runs["lr"] * runs["rate"].fillna(0) * effective_steps(main, column, runs)
    rates = rate_grid(main.scale, column.optimizer, kind.method).rates
    found = runs.rename(columns={"best_mean": "top1"}).assign(
        name=kind.name,
        total=total,
        total_mean=total * mean_over_weights(kind, column, len(runs)),
        on_grid=runs["rate"].isin(rates or [math.nan]),
    )
    return found[RUNS]


def effective_steps(main: MainGrid, column: Column, runs: pd.DataFrame) -> float:
    """Ση_t/η over a whole run: the steps, or (steps + 1)/2 of them where η falls by a cosine."""
    steps = float(runs["steps"].max()) if len(runs) else math.nan
    overrides = [f"scale={main.scale.name}", f"optimizer={column.optimizer}"]
    schedule = composer().config(overrides)["optimizer"]["schedule"]
    return {"constant": steps, "cosine": (steps + 1) / 2}[schedule]


def mean_over_weights(kind: Kind, column: Column, needed: int = 1) -> float:
    """The mean of λ_i over the weights, in multiples of λ; 1 where the decay makes it so."""
    if not needed or kind.normalize == "params" or kind.columns["profile"] == "uniform":
        return 1.0
    known = COUNTED.get((column.model, column.data))
    return known or count_mean(column.model, column.data)


def count_mean(model: str, data: str) -> float:
    """The mean of 2i/n over the weights of a model with the head for a data set."""
    import torch

    from lpwd.decay.layers import layer_index
    from lpwd.inputs import models

    cfg = composed([f"model={model}", f"data={data}", "model.pretrained=false"])
    with torch.device("meta"):
        net = models.create(cfg.model, cfg.data.classes)
    layers = layer_index(net)
    sizes = {name: p.numel() for name, p in net.named_parameters()}
    total = sum(size * layers[name] for name, size in sizes.items())
    return 2 * total / max(layers.values()) / sum(sizes.values())


# -- points of the curves, and how wide their top is -----------------------------------------------


@cache
def points(main: MainGrid) -> pd.DataFrame:
    """A row a kind and λ: first (top-1 of seed 0), seeds_* (of fresh seeds), and over_baseline_*.

    That is fresh seeds less the chosen Baseline's, paired; a diverged run counts as 0 %. Each
    interval by itself, not corrected for their number. curve: the mean of `shown_seeds`, NaN where
    they lack a λ beside the grid; where these are fresh seeds, seeds_* are theirs alone.
    """
    frame = runs_at_best_lr(main)
    baseline = frame[frame["name"] == BASELINE.name].set_index("seed")["top1"]
    shown = {name: shown_seeds(runs) for name, runs in frame.groupby("name")}
    rows = []
    for key, runs in frame.groupby(KEY, sort=False, dropna=False):
        place: dict[str, Any] = dict(zip(KEY, key, strict=True))
        top1 = runs.set_index("seed")["top1"].fillna(DIVERGED)
        fresh = top1.drop(0, errors="ignore")
        table = shown[place["name"]]
        of_curve = table[place["rate"]] if place["rate"] in table else pd.Series(dtype=float)
        if of_curve.index.min() > 0:
            fresh = of_curve
        over = difference(fresh, baseline) if place["name"] != BASELINE.name else []
        levels = {"first": top1.get(0, math.nan), "curve": of_curve.mean()}
        columns = {**columns_of("seeds", fresh), **columns_of("over_baseline", over)}
        rows.append({**place, **levels, **columns})
    return pd.DataFrame(rows, columns=POINTS)


@cache
def widths(main: MainGrid) -> pd.DataFrame:
    """A row a kind: over how many factors of λ it stays within a point of its own best.

    best_rate, top1: where the mean of the seeds is largest · factor_*: largest over smallest λ of
    the stretch around it, along each seed's own curve (straight between neighbours over log λ):
    the geometric mean over fresh seeds and its interval; n = 0: too few seeds have every λ, so it
    is seed 0's · low_rate, high_rate: the stretch of the mean curve · open_low, open_high: a seed's
    stretch ends with the λ that were trained, so that the factor is at least this.
    """
    frame = runs_at_best_lr(main)
    rows = []
    for name, runs in frame[frame["name"] != BASELINE.name].groupby("name", sort=False):
        table = shown_seeds(runs)
        mean, is_fresh = table.mean(), table.index[0] > 0
        best: Any = mean.idxmax()
        found = _stretches(table)
        decades = interval(found["decades"])
        of_mean = stretch(mean, best)
        rows.append(
            {
                **{"name": name, "lr": runs["lr"].iloc[0], "best_rate": best, "top1": mean[best]},
                **{"low_rate": of_mean["low"], "high_rate": of_mean["high"]},
                **{end: bool(found[end].any()) for end in ("open_low", "open_high")},
                **{f"factor_{end}": 10 ** getattr(decades, end) for end in ENDS[1:]},
                "factor_n": decades.n * is_fresh,
            }
        )
    return pd.DataFrame(rows, columns=WIDTH)


def ratio_of_widths(main: MainGrid, kind: Kind, other: Kind) -> Interval:
    """How many times as many factors of λ as the other a kind stays near its best over.

    Of fresh seeds, paired; unknown without them, or where a stretch ends with what was trained.
    """
    frame = runs_at_best_lr(main)
    tables = [shown_seeds(frame[frame["name"] == of.name]) for of in (kind, other)]
    if any(table.empty or table.index[0] == 0 for table in tables):
        return interval([])
    found = [_stretches(table) for table in tables]
    if any(of[["open_low", "open_high"]].any(axis=None) for of in found):
        return interval([])
    decades = interval((found[0]["decades"] - found[1]["decades"]).dropna())
    return Interval(10**decades.mean, 10**decades.low, 10**decades.high, decades.n)


def _stretches(table: pd.DataFrame) -> pd.DataFrame:
    """`stretch` of each seed around the λ that is best in their mean; decades: its length."""
    best = table.mean().idxmax()
    found = pd.DataFrame([stretch(top1, best) for _, top1 in table.iterrows()], table.index)
    return found.assign(decades=np.log10(found["high"] / found["low"]))


def shown_seeds(runs: pd.DataFrame) -> pd.DataFrame:
    """Top-1 of one kind by seed and λ: of the fresh seeds that have all of the grid, else seed 0's.

    A curve of different seeds at different λ would show their difference as one of λ. Beside the
    grid there are the λ that all of these seeds have.
    """
    table = runs.assign(top1=runs["top1"].fillna(DIVERGED)).pivot_table("top1", "seed", "rate")
    grid = runs.loc[runs["on_grid"] & runs["rate"].notna(), "rate"].unique()
    fresh = table.drop(0, errors="ignore").dropna(subset=grid)
    return (fresh if len(fresh) >= LEAST_SEEDS else table.reindex([0])).dropna(axis=1)


def stretch(top1: pd.Series, best: Any) -> dict[str, Any]:
    """The λ around `best` at which a curve (top-1 by λ, ascending) is at most NEAR below it."""
    down, up = top1.loc[:best][::-1], top1.loc[best:]
    (low, open_low), (high, open_high) = (_end(side, top1[best] - NEAR) for side in (down, up))
    return {"low": low, "high": high, "open_low": open_low, "open_high": open_high}


def _end(side: pd.Series, floor: float) -> tuple[float, bool]:
    """Where a curve that starts at its first λ falls below `floor`; and if it never does."""
    below = np.flatnonzero(side.to_numpy() < floor)
    if not len(below):
        return float(side.index[-1]), True
    last, first = side.iloc[below[0] - 1], side.iloc[below[0]]
    x = np.log10(side.index[below[0] - 1 : below[0] + 1].to_numpy(float))
    return float(10 ** (x[0] + (x[1] - x[0]) * (last - floor) / (last - first))), False
