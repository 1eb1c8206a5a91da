"""What each decay gains over none, fine-tuned and from scratch: a panel a scale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.style
import pandas as pd
from matplotlib.figure import Figure

from lpwd.analysis import paper
from lpwd.config.compose import scale_config
from lpwd.draw.figures.common import STYLE
from lpwd.draw.figures.leads import OURS, PAPER

NOTE: dict[str, Any] = {
    "textcoords": "offset points",
    "va": "center",
    "color": "0.4",
    "fontsize": 7,
}


def plot(frames: Mapping[str, pd.DataFrame]) -> Figure:
    """`frames`: {scale: `analysis.gains`}. A line a decay that has fresh seeds at any scale."""
    known = pd.concat(frames.values()).dropna(subset=["seeds_mean"])["name"].unique()
    first = next(iter(frames.values()))
    names = [name for name in first["name"] if name in known] or first["name"].tolist()
    with matplotlib.style.context(STYLE):
        figure = Figure(figsize=(7.2, 1.4 + 0.33 * len(names)))
        panels = figure.subplots(1, len(frames), sharex=True, sharey=True)
        for ax, (scale, frame) in zip(panels, frames.items(), strict=True):
            _panel(ax, scale, frame.set_index("name").loc[names])
        column = paper.ablation_column(scale_config(next(iter(frames))))
        setting = ", ".join(paper.column_names(column))
        figure.suptitle(f"What each decay gains over none, at its best rates: {setting}")
        handles = panels[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower center", ncols=2)
    return figure


def _panel(ax: Any, scale: str, frame: pd.DataFrame) -> None:
    trained = frame.loc[frame["seeds_n"] > 0, "seeds_n"].astype(int)
    seeds = " to ".join(map(str, sorted({trained.min(), trained.max()}))) if len(trained) else "0"
    ax.set_title(f"{paper.regime(scale)} ({scale} scale, {seeds} fresh seeds)")
    ax.axvline(0, color="black", linewidth=0.8)
    places = range(len(frame))
    if not paper.from_scratch(scale):  # the paper fine-tunes
        ax.scatter(frame["reported"], places, label="the paper, on ConvNeXt-T", **PAPER)
    mean = frame["seeds_mean"]
    error = [mean - frame["seeds_low"], frame["seeds_high"] - mean]
    look = {**OURS["seeds"], "label": "ours, mean and 95 % interval"}
    ax.errorbar(mean, places, xerr=error, capsize=2.5, **look)
    for place, total in enumerate(frame["total"]):
        if pd.isna(mean.iloc[place]):
            ax.annotate("not trained yet", (0, place), (4, 0), **NOTE)
        elif pd.notna(total):
            ax.annotate(f"Σηλ {total:.2g}", (mean.iloc[place], place), (5, -8), **NOTE)
    ax.set_xlabel("points of test top-1 over Baseline")
    ax.set_yticks(places, frame.index.tolist())
    ax.set_ylim(len(frame) - 0.5, -0.5)
    ax.grid(visible=False, axis="y")
