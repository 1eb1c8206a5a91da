"""Figure 4: test top-1 of WD and LPWD at every η and λ, and their difference."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import CenteredNorm, Normalize
from matplotlib.figure import Figure
from omegaconf import DictConfig

from lpwd.analysis import paper
from lpwd.config.rates import RateGrid, rate_grid
from lpwd.draw.figures.common import colour_bar, heatmap, matrix, new_figure
from lpwd.draw.words import LOOKS, limits, signed

DIVERGING = "PuOr"


def plot(frames: dict[str, pd.DataFrame], scale: DictConfig) -> Figure:
    """A row for each model and optimizer; columns WD, LPWD, LPWD − WD."""
    frame = frames["figure4"]
    columns = paper.figure_columns(scale)
    title = "Test top-1 (%) of WD and LPWD at every η and λ, the best circled"
    height = 1 + (0.65 + 0.22 * len(scale.grid.lr_factors)) * len(columns)
    figure = new_figure(height, title, scale)
    axes = figure.subplots(len(columns), 3, squeeze=False)
    cells = []
    for column in columns:
        keep = (frame["model"] == column.model) & (frame["optimizer"] == column.optimizer)
        cells.append(_matrices(frame[keep], rate_grid(scale, column.optimizer)))
    norm = Normalize(*limits([value for values, _ in cells for value in values.values()]))
    for column, (values, diverged), row in zip(columns, cells, axes, strict=True):
        for ax, method in zip(row, values, strict=False):
            heatmap(ax, values[method], norm, diverged[method], lambda v: f"{v:.1f}")
            ax.set_title(
                f"{paper.METHOD_NAMES[method]}, {', '.join(paper.column_names(column)[1:])}"
            )
    accuracies = list(axes[:, :2].flat)
    colour_bar(figure, ScalarMappable(norm), accuracies, "test top-1 (%)", 40, "min")
    _plot_differences(figure, list(axes[:, 2]), cells)
    for row in axes:
        row[0].set_ylabel("η")
        for ax in row[1:]:
            ax.set_yticklabels([])
    for ax in axes[-1]:
        ax.set_xlabel("λ")
    return figure


def _matrices(
    runs: pd.DataFrame, rates: RateGrid
) -> tuple[dict[str, pd.DataFrame], dict[str, pd.DataFrame]]:
    """{method: accuracies} and {method: which diverged}."""
    values, diverged = {}, {}
    for method in LOOKS:
        of_method = runs[runs["method"] == method]
        lost = of_method.assign(it=of_method["status"] == "diverged")
        diverged[method] = matrix(lost, "it", rates).eq(True)
        values[method] = matrix(of_method, "best_mean", rates)
    return values, diverged


def _plot_differences(
    figure: Figure,
    axes: list[Axes],
    cells: Sequence[tuple[dict[str, pd.DataFrame], dict[str, pd.DataFrame]]],
) -> None:
    differences = [values["lpwd"] - values["wd"] for values, _ in cells]
    reach = -limits([-difference.abs() for difference in differences])[0]
    norm = CenteredNorm(0, reach)
    for ax, difference, (_, diverged) in zip(axes, differences, cells, strict=True):
        either = diverged["wd"] | diverged["lpwd"]
        heatmap(
            ax, difference, norm, either, partial(signed, digits=1), cmap=DIVERGING, circled=False
        )
        ax.set_title("LPWD − WD")
    colour_bar(figure, ScalarMappable(norm, DIVERGING), axes, "points", 20, "both")
