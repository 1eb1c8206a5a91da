"""Figure 1: training loss and test top-1 by epoch of WD and LPWD under a strong penalty."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from omegaconf import DictConfig

from lpwd.analysis import paper
from lpwd.config.rates import number, strong_penalty
from lpwd.draw.figures.common import curve, new_figure, whole_ticks
from lpwd.draw.words import LOOKS

ROWS = {"train_loss": "training loss", "test_top1": "test top-1 (%)"}


def plot(frames: dict[str, pd.DataFrame], scale: DictConfig) -> Figure:
    """A column a model; above the loss, below the accuracy."""
    frame = frames["figure1"]
    lr, rate = strong_penalty(scale, "adam")
    where = f"η = {number(lr)}, λ = {number(rate)}, Adam"
    figure = new_figure(4.6, f"WD and LPWD under the strongest penalty ({where})", scale)
    columns = paper.adam_columns(scale)
    axes = figure.subplots(len(ROWS), len(columns), sharex=True, sharey="row", squeeze=False)
    for index, column in enumerate(columns):
        of_model = frame[frame["model"] == column.model]
        axes[0, index].set_title(", ".join(paper.column_names(column)[:2]))
        axes[-1, index].set_xlabel("epoch")
        whole_ticks(axes[-1, index].xaxis)
        for ax, (name, label) in zip(axes[:, index], ROWS.items(), strict=True):
            if index == 0:
                ax.set_ylabel(label)
            for method, look in LOOKS.items():
                runs = of_model[of_model["method"] == method]
                curve(ax, runs, "epoch", name, paper.METHOD_NAMES[method], look)
        if not of_model.empty:
            axes[0, index].legend()
    return figure
