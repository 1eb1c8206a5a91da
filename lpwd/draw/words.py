"""How numbers, cells and methods appear in tables, figures, pages and the report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from lpwd.analysis.intervals import GAP, Interval, interval_in, signed
from lpwd.config.rates import number

NONE = "–"  # the paper has no such cell


def value(mean: float) -> str:
    return GAP if math.isnan(mean) else f"{mean:.2f}"


def plus_minus(mean: float, std: float, missing: str = GAP) -> str:
    """mean ± std; the std of a single epoch is none."""
    if math.isnan(mean):
        return missing
    return f"{mean:.2f} ± {std:.2f}" if std else f"{mean:.2f}"


def rates_text(lr: float, rate: float) -> str:
    """η and λ; Baseline has no λ."""
    if math.isnan(lr):
        return GAP
    return number(lr) if math.isnan(rate) else f"{number(lr)}, {number(rate)}"


def at_rates(method: str, runs: pd.DataFrame) -> str:
    """A method's name, with the η and λ of its runs, which are all alike, if there are any."""
    if runs.empty:
        return method
    lr, rate = runs[["lr", "rate"]].iloc[0]
    return f"{method} (η = {number(lr)}, λ = {number(rate)})"


def signed_span(found: Interval) -> str:
    """A difference and its interval; without one, how many seeds there are."""
    if found.known:
        return f"{signed(found.mean)} [{signed(found.low)}, {signed(found.high)}]"
    return signed(found.mean) + f", n={found.n}" * (found.n > 0)


def sentence(text: str) -> str:
    """With a capital letter; what follows it stays."""
    return text[:1].upper() + text[1:]


def spans(texts: list[str]) -> list[tuple[str, int]]:
    """Equal neighbours merged: text and how many columns it spans."""
    return [(text, len(list(run))) for text, run in groupby(texts)]


# -- of a row of `analysis.cells` ----------------------------------------------------------------


def runs_text(c: Any) -> str:
    """How many runs a cell rests on, as in 34 of 35 (1 diverged) + 5 seeds."""
    text = f"{c.runs} of {c.expected}{_diverged(c.diverged)}"
    seeds = c.seeds_n + c.seeds_diverged
    plural = "seed" if seeds == 1 else "seeds"
    return f"{text} + {seeds} {plural}{_diverged(c.seeds_diverged)}" if seeds else text


def _diverged(count: int) -> str:
    return f" ({count} diverged)" if count else ""


def interval_text(c: Any, prefix: str) -> str:
    """Mean and 95 % interval of fresh seeds; `prefix`: seeds or heldout_seeds."""
    found = interval_in(c, prefix)
    if not found.n:
        return GAP
    span = f" [{found.low:.2f}, {found.high:.2f}]" if found.known else ""
    return f"{found.mean:.2f}{span}" + f", n={found.n}" * (found.n != c.seeds_n)


def over_wd_text(c: Any, prefix: str) -> str:
    """Mean and 95 % interval of the difference from WD, and what it is within, if it is small.

    `prefix`: over_wd or heldout_over_wd.
    """
    if c.method == "wd":
        return NONE
    margin = getattr(c, f"{prefix}_margin")
    within = "" if math.isnan(margin) else f" within ±{margin:.2f}"
    return signed_span(interval_in(c, prefix)) + within


# -- of a row of `analysis.robustness.widths` ------------------------------------------------------


def width_text(width: Any) -> str:
    """A method, its η, and over how many factors of λ it stays near its best."""
    at_least = "≥ " if width.open_low or width.open_high else ""
    factor = f"{at_least}{_factor(width.factor_mean)}"
    if width.factor_n:
        factor += f" [{_factor(width.factor_low)}, {_factor(width.factor_high)}]"
    return f"{width.name}, η = {number(width.lr)}: {factor}"


def _factor(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


# -- looks -----------------------------------------------------------------------------------------

#: Colour (Okabe and Ito), line and marker: each alone tells them apart. WD's hollow squares and
#: dashes lie on top, so that both are seen where curves coincide.
Look = dict[str, Any]
LOOKS: dict[str, Look] = {
    "wd": {
        "color": "#D55E00",
        "linestyle": "--",
        "zorder": 3,
        "marker": "s",
        "markerfacecolor": "none",
        "markersize": 6,
    },
    "lpwd": {"color": "#0072B2", "linestyle": "-", "marker": "o"},
}


def short(value: float) -> str:
    """A positive number of at most five characters, for a cell: 8.4, 0.15, 0.046, 3e-4."""
    if value >= 0.1:
        return f"{value:#.2g}".rstrip(".")
    if value >= 0.001:
        return f"{value:.3f}"
    return f"{value:.0e}".replace("e-0", "e-")


def limits(frames: Sequence[pd.DataFrame]) -> tuple[float, float]:
    """Where colours begin and end: the 10th percentile and the largest of some matrices' values.

    So a few collapsed runs do not take all the contrast; the colour bar's arrow says that lower
    values have its first colour. 0 and 1 if there is nothing.
    """
    values = np.concatenate([frame.to_numpy(float).ravel() for frame in frames])
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0
    low, high = float(np.quantile(values, 0.1)), float(values.max())
    return (low, high) if low < high else (low - 0.5, high + 0.5)
