"""Figure 3: (a) zero-shot decay of trained Baselines, (b) PWD against RWD over λ."""

from __future__ import annotations

import math
from itertools import cycle

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from omegaconf import DictConfig

from lpwd.analysis import intervals, paper
from lpwd.config.rates import number, rate_grid, strong_penalty
from lpwd.draw.figures.common import SERIES_LOOKS, curve, legend_below, new_figure


def plot(frames: dict[str, pd.DataFrame], scale: DictConfig) -> Figure:
    """(a) to the left, (b) to the right."""
    figure = new_figure(3.6, "Side effect of decay, and what PWD mends of it", scale)
    left, right = figure.subplots(1, 2)
    _plot_zero_shot(left, frames["figure3a"], scale)
    _plot_gains(right, frames["figure3b"], scale)
    return figure


def _plot_zero_shot(ax: Axes, frame: pd.DataFrame, scale: DictConfig) -> None:
    ax.set_title("(a) Zero-shot decay of trained Baselines")
    ax.set_xlabel("λ$_s$: percent of the weights taken away")
    ax.set_ylabel("test top-1 (%)")
    for column, look in zip(paper.adam_columns(scale), cycle(SERIES_LOOKS), strict=False):
        of_model = frame[frame["model"] == column.model]
        curve(ax, of_model, "step", "test_top1", paper.model_name(column.model), look)
    if len(frame):
        ax.set_ylim(bottom=0)
        legend_below(ax, 1)


def _plot_gains(ax: Axes, frame: pd.DataFrame, scale: DictConfig) -> None:
    """Seed 0 as a line, fresh seeds as dots, and their interval where there are enough."""
    column = paper.ablation_column(scale)
    lr, _ = strong_penalty(scale, column.optimizer)
    rates = sorted(rate_grid(scale, column.optimizer).rates)
    place = {rate: index for index, rate in enumerate(rates)}
    name = ", ".join(paper.column_names(column)[1:])
    ax.set_title(f"(b) PWD − RWD, {name}, η = {number(lr)}")
    ax.set_xlabel("λ")
    ax.set_ylabel("gain in test top-1 (points)")
    ax.set_xticks(range(len(rates)), list(map(number, rates)))
    ax.set_xlim(-0.5, len(rates) - 0.5)
    ax.axhline(0, color="black", linewidth=0.8)
    first = frame[frame["seed"] == 0].set_index("rate")["gain"].reindex(rates)
    ax.plot(range(len(rates)), first, label="seed 0", **SERIES_LOOKS[0])
    fresh = frame[frame["seed"] > 0]
    if len(fresh):
        x = fresh["rate"].map(place)
        ax.plot(x, fresh["gain"], ".", color="0.5", label="fresh seeds")
        found = {
            rate: intervals.interval(part["gain"].tolist()) for rate, part in fresh.groupby("rate")
        }
        for rate, (mean, low, high, _) in found.items():
            if math.isfinite(low):
                error = [[mean - low], [high - mean]]
                x = place[rate] + 0.15  # pyright: ignore
                ax.errorbar(x, mean, error, fmt="D", color="#D55E00", capsize=2, zorder=4)
        ax.plot([], [], "D", color="#D55E00", label="mean, 95 % interval")
    if len(frame):
        legend_below(ax, 3)
