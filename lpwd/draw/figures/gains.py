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

UNKNOWN: dict[str, Any] = {"textcoords": "offset points", "va": "center", "color": "0.4"}


def plot(frames: Mapping[str, pd.DataFrame]) -> Figure:
    """`frames`: {scale: `analysis.gains`}. A line a decay; a decay without fresh seeds has none."""
    with matplotlib.style.context(STYLE):
        figure = Figure(figsize=(7.2, 3.4))
        panels = figure.subplots(1, len(frames), sharex=True, sharey=True)
        for ax, (name, frame) in zip(panels, frames.items(), strict=True):
            start = "from scratch" if paper.from_scratch(name) else "fine-tuned"
            count = f"{frame['seeds_n'].max():.0f} fresh seeds"
            ax.set_title(f"{start} ({name} scale, {count})")
            ax.axvline(0, color="black", linewidth=0.8)
            places = range(len(frame))
            ax.scatter(frame["reported"], places, label="the paper", **PAPER)
            mean = frame["seeds_mean"]
            error = [mean - frame["seeds_low"], frame["seeds_high"] - mean]
            look = {**OURS["seeds"], "label": "ours, mean and 95 % interval"}
            ax.errorbar(mean, places, xerr=error, capsize=2.5, **look)
            for place in places:
                if mean.isna()[place]:
                    ax.annotate("not trained", (0, place), (3, 0), **UNKNOWN)
            ax.set_xlabel("points of test top-1 over Baseline")
            ax.set_yticks(places, frame["name"].tolist())
            ax.set_ylim(len(frame) - 0.5, -0.5)
            ax.grid(visible=False, axis="y")
        column = paper.ablation_column(scale_config(next(iter(frames))))
        names = ", ".join(paper.column_names(column))
        figure.suptitle(f"What each decay gains over none, at its best rates: {names}")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
