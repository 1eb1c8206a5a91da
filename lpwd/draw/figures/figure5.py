"""Figure 5: WD against LPWD over the model series, at the rates of its smallest model."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from omegaconf import DictConfig

from lpwd.analysis import intervals, paper
from lpwd.draw.figures.common import legend_below, new_figure
from lpwd.draw.words import LOOKS, Look, at_rates
from lpwd.store import summary

FRESH: dict[str, Any] = {"marker": "D", "linestyle": "", "zorder": 4}


def plot(frames: dict[str, pd.DataFrame], scale: DictConfig) -> Figure:
    """The paper's statistic of seed 0 with its std as a band; fresh seeds with their interval."""
    frame = frames["figure5"]
    figure = new_figure(3.6, "WD and LPWD over the ConvNeXt series", scale)
    ax = figure.subplots()
    series = list(scale.grid.series)
    for offset, (method, look) in zip((-0.06, 0.06), LOOKS.items(), strict=True):
        runs = frame[frame["method"] == method]
        label = at_rates(paper.METHOD_NAMES[method], runs)
        _plot_first(ax, runs[runs["seed"] == 0], series, label, look)
        _plot_fresh(ax, runs[runs["seed"] > 0], series, offset, look)
    ax.set_xlim(-0.4, len(series) - 0.6)
    ax.set_xticks(range(len(series)), [model.partition("_")[2] for model in series])
    ax.set_xlabel(f"model: {paper.model_name(paper.family(series[0]))}")
    ax.set_ylabel("test top-1 (%)")
    if len(frame):
        handles, _ = ax.get_legend_handles_labels()
        if summary.best_k(scale.epochs) > 1:
            handles.append(Patch(color="0.8", label=_band(scale)))
        if (frame["seed"] > 0).any():
            lost = int(frame.loc[frame["seed"] > 0, "best_mean"].isna().sum())
            label = f"fresh seeds, 95 % interval{f' (without {lost} diverged)' if lost else ''}"
            handles.append(Line2D([], [], **FRESH, color="0.4", label=label))
        legend_below(ax, 2, handles)
    return figure


def _plot_first(ax: Axes, runs: pd.DataFrame, series: list[str], label: str, look: Look) -> None:
    """Seed 0, as the paper draws it: the mean of the best epochs, their std as a band."""
    runs = runs.set_index("model").reindex(series)
    x, mean, std = range(len(series)), runs["best_mean"], runs["best_std"]
    ax.plot(x, mean, label=label, **look)
    ax.fill_between(x, mean - std, mean + std, color=look["color"], alpha=0.25, linewidth=0)


def _plot_fresh(ax: Axes, runs: pd.DataFrame, series: list[str], offset: float, look: Look) -> None:
    """Fresh seeds beside it: their mean, and its interval where there are enough."""
    for place, model in enumerate(series):
        values = runs.loc[runs["model"] == model, "best_mean"].tolist()
        mean, low, high, n = intervals.interval(values)
        if n:
            error = [[mean - low], [high - mean]]
            fill = "white" if "markerfacecolor" in look else look["color"]  # hollow, or full
            of_method = {"color": look["color"], "markerfacecolor": fill, "capsize": 3}
            ax.errorbar(place + offset, mean, error, **of_method, **FRESH)


def _band(scale: DictConfig) -> str:
    return f"std of the best {summary.best_k(scale.epochs)} of {scale.epochs} epochs (seed 0)"
