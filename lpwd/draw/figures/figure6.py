"""Figure 6, not in the paper: top-1 over the total decay, at the best η of each method."""

from __future__ import annotations

import math
from typing import Any, cast

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from omegaconf import DictConfig

from lpwd.analysis import paper
from lpwd.analysis.robustness import BASELINE, KINDS, NEAR
from lpwd.draw import words
from lpwd.draw.figures.common import log_ticks, new_figure
from lpwd.draw.words import LOOKS, Look

FURTHER: list[Look] = [
    {"color": "#E69F00", "linestyle": ":", "marker": "^"},
    {"color": "#009E73", "linestyle": "-.", "marker": "v"},
    {"color": "#56B4E9", "linestyle": "-", "marker": "D", "markerfacecolor": "white"},
    {"color": "#CC79A7", "linestyle": "--", "marker": "x"},
]
OF_KIND = {kind.name: LOOKS.get(kind.method) for kind in KINDS if kind.normalize == "none"}
_further = iter(FURTHER)
KIND_LOOKS: dict[str, Look] = {k.name: OF_KIND.get(k.name) or next(_further) for k in KINDS}

LEGEND = (
    "lines and bands: mean and 95 % of fresh seeds; bars: the same, where not every λ has them;"
    " marks alone: seed 0\n"
    f"after η: over how many factors of λ it stays within {NEAR:g} point of its best [95 %]"
)
AXES = {"total": "total decay Σηλ", "total_mean": "total decay, mean over the weights"}


def plot(frames: dict[str, pd.DataFrame], scale: DictConfig) -> Figure:
    """To the left over the nominal Σηλ, to the right over its mean over the weights."""
    frame, widths = frames["figure6_points"], frames["figure6_width"]
    where = ", ".join(paper.column_names(paper.ablation_column(scale))[1:])
    title = f"Not in the paper: robustness to λ, each at its best η ({where})"
    figure = new_figure(4.4, title, scale)
    axes = figure.subplots(1, 2, sharey=True)
    for ax, (x, label) in zip(axes, AXES.items(), strict=True):
        for width in cast(Any, widths.itertuples()):
            of_kind = frame[frame["name"] == width.name]
            _curve(ax, of_kind, x, width, KIND_LOOKS[width.name])
        _baseline(ax, frame[frame["name"] == BASELINE.name])
        ax.set_xscale("log")
        log_ticks(ax.xaxis)
        ax.set_xlabel(label)
    axes[0].set_ylabel("test top-1 (%)")
    if len(frame):
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, title=LEGEND)
    return figure


def _curve(ax: Axes, points: pd.DataFrame, x: str, width: Any, look: Look) -> None:
    """Fresh seeds with their 95 % band, if enough have every λ of the grid, and marks of seed 0
    beside it; else seed 0, and fresh seeds as bars."""
    points = points.sort_values(x)
    curve, beside = points.dropna(subset=["curve"]), points[points["curve"].isna()]
    of_seed_0 = ", seed 0" * (not width.factor_n)
    ax.plot(curve[x], curve["curve"], label=f"{words.width_text(width)}{of_seed_0}", **look)
    if width.factor_n:
        low, high = curve["seeds_low"], curve["seeds_high"]
        ax.fill_between(curve[x], low, high, color=look["color"], alpha=0.15, linewidth=0)
        ax.plot(beside[x], beside["first"], **{**look, "linestyle": "none"})
        return
    known = points.dropna(subset=["seeds_low"])
    mean = known["seeds_mean"]
    error = [mean - known["seeds_low"], known["seeds_high"] - mean]
    ax.errorbar(known[x], mean, error, fmt="_", color=look["color"], capsize=3)


def _baseline(ax: Axes, points: pd.DataFrame) -> None:
    """Its fresh seeds with their band, and seed 0."""
    for point in cast(Any, points.itertuples()):
        ax.axhline(point.first, color="0.3", linewidth=0.8, linestyle=":", label="Baseline, seed 0")
        if not math.isnan(point.seeds_low):
            ax.axhline(point.seeds_mean, color="0.3", linewidth=0.8, label="Baseline, fresh seeds")
            ax.axhspan(point.seeds_low, point.seeds_high, color="0.3", alpha=0.12, linewidth=0)
