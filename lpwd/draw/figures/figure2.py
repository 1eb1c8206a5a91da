"""Figure 2: the opposing penalty rate R_op of WD, (a) while training, (b) over all rates."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from omegaconf import DictConfig

from lpwd.analysis import paper
from lpwd.config.rates import RateGrid, number, rate_grid
from lpwd.draw.figures.common import (
    SERIES_LOOKS,
    colour_bar,
    heatmap,
    log_ticks,
    matrix,
    new_figure,
    whole_ticks,
)
from lpwd.draw.words import short


def plot(frames: dict[str, pd.DataFrame], scale: DictConfig) -> Figure:
    """A row for each model and optimizer; to the left (a), to the right (b)."""
    columns = paper.figure_columns(scale)
    means = frames["figure2b"]
    title = "Opposing penalty rate R$_{op}$ of WD: share of decayed weights, %; largest circled"
    height = 1 + (0.75 + 0.22 * len(scale.grid.lr_factors)) * len(columns)
    figure = new_figure(height, title, scale)
    curves, cells = figure.subplots(len(columns), 2, squeeze=False).T
    positive = (
        100 * means.loc[(means["r_op_share"] > 0) & (means["status"] == "done"), "r_op_share"]
    )
    norm = LogNorm(positive.min(), positive.max()) if len(positive) > 1 else LogNorm(0.01, 1)
    for index, column in enumerate(columns):
        name = ", ".join(paper.column_names(column)[1:])
        if index:
            curves[index].sharey(curves[0])
        _curves(curves[index], _of(frames["figure2a"], column), scale, column)
        curves[index].set_title(f"(a) {name}")
        _cells(cells[index], _of(means, column), norm, rate_grid(scale, column.optimizer))
        cells[index].set_title(f"(b) {name}")
        curves[index].set_ylabel("R$_{op}$ (%)")
        cells[index].set(xlabel="λ", ylabel="η")
    bar = colour_bar(figure, ScalarMappable(norm), list(cells), "mean R$_{op}$ (%)", 30)
    log_ticks(bar.ax.xaxis)
    return figure


def _of(frame: pd.DataFrame, column: paper.Column) -> pd.DataFrame:
    keep = (frame["model"] == column.model) & (frame["optimizer"] == column.optimizer)
    return frame[keep]


def _curves(ax: Axes, epochs: pd.DataFrame, scale: DictConfig, column: paper.Column) -> None:
    """R_op by epoch for the largest and middle η, and the largest, middle and smallest λ."""
    rates = rate_grid(scale, column.optimizer)
    lrs, lambdas = sorted(rates.lrs), sorted(rates.rates)
    shown_lrs: dict[float, Any] = dict(
        zip([lrs[-1], lrs[(len(lrs) - 1) // 2]], ["-", "--"], strict=True)
    )
    shown = dict.fromkeys([lambdas[-1], lambdas[(len(lambdas) - 1) // 2], lambdas[0]])
    looks = dict(zip(shown, SERIES_LOOKS, strict=False))
    for rate, look in looks.items():
        for lr, line in shown_lrs.items():
            run = epochs[(epochs["lr"] == lr) & (epochs["rate"] == rate)]
            every = max(1, len(run) // 8)
            style = {**look, "linestyle": line}
            ax.plot(run["epoch"], 100 * run["r_op_share"], markevery=every, **style)
    ax.set_yscale("log")
    log_ticks(ax.yaxis)
    ax.set_xlabel("epoch")
    whole_ticks(ax.xaxis)
    handles = [
        Line2D([], [], **{**look, "linestyle": "", "label": f"λ={number(rate)}"})
        for rate, look in looks.items()
    ]
    handles += [
        Line2D([], [], color="black", linestyle=line, label=f"η={number(lr)}")
        for lr, line in shown_lrs.items()
    ]
    ax.legend(handles=handles, loc="center left", bbox_to_anchor=(1, 0.5), handlelength=1.6)


def _cells(ax: Axes, runs: pd.DataFrame, norm: LogNorm, rates: RateGrid) -> None:
    diverged = matrix(runs.assign(it=runs["status"] == "diverged"), "it", rates).eq(True)
    values = 100 * matrix(runs, "r_op_share", rates).mask(diverged)
    heatmap(ax, values, norm, diverged, short)
