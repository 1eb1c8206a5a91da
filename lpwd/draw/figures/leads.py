"""LPWD − WD in each column of Table 1: the paper's difference, and ours with its interval."""

from __future__ import annotations

from typing import Any

import matplotlib.style
import pandas as pd
from matplotlib.figure import Figure
from omegaconf import DictConfig

from lpwd.draw.figures.common import STYLE, legend_below, new_figure

OURS: dict[str, dict[str, Any]] = {
    "seeds": {"label": "ours, the paper's protocol", "color": "#0072B2", "fmt": "o"},
    "heldout_seeds": {"label": "ours, held-out protocol", "color": "#E69F00", "fmt": "s"},
}
PAPER: dict[str, Any] = {"marker": "D", "color": "black", "facecolor": "white", "zorder": 4}


def plot(frame: pd.DataFrame, scale: DictConfig) -> Figure:
    """A line a column, the first on top; `frame`: `analysis.leads`. No interval without seeds."""
    with matplotlib.style.context(STYLE):
        title = "LPWD − WD, each at its best rates; mean and 95 % interval of fresh seeds"
        figure = new_figure(0.9 + 0.28 * len(frame), title, scale, *scale.grid.datasets)
        ax = figure.subplots()
        ax.axvline(0, color="black", linewidth=0.8)
        ax.axhline(len(frame) - 1.5, color="0.6", linewidth=0.6)
        places = range(len(frame))
        ax.scatter(frame["reported"], places, label="the paper", **PAPER)
        for offset, (prefix, look) in zip((-0.13, 0.13), OURS.items(), strict=True):
            mean = frame[f"{prefix}_mean"]
            error = [mean - frame[f"{prefix}_low"], frame[f"{prefix}_high"] - mean]
            ax.errorbar(mean, [place + offset for place in places], xerr=error, capsize=2.5, **look)
        ax.set_yticks(places, frame["column"].tolist())
        ax.set_ylim(len(frame) - 0.5, -0.5)
        ax.grid(visible=False, axis="y")
        ax.set_xlabel("points of test top-1")
        legend_below(ax, 3)
    return figure
