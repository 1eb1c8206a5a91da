"""What the figures share: looks of methods and models, curves with bands, heatmaps of raw cells."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Circle, Rectangle
from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullLocator
from omegaconf import DictConfig
from PIL import Image

from lpwd.analysis import paper
from lpwd.analysis.protocols import fresh_or_first
from lpwd.config.rates import RateGrid, number
from lpwd.draw.words import Look

SERIES_LOOKS: list[Look] = [
    {"color": "#0072B2", "linestyle": "-", "marker": "o"},
    {"color": "#E69F00", "linestyle": "--", "marker": "s"},
    {"color": "#009E73", "linestyle": ":", "marker": "^"},
]


STYLE = Path(__file__).resolve().parent / "paper.mplstyle"

#: Without dates, so that a figure that is drawn again is the same file.
METADATA = {"png": {"Software": None}, "pdf": {"CreationDate": None}}


def pictures(name: str, figure: Figure) -> dict[str, bytes]:
    """A figure as {name.png, name.pdf: content}; its layout is settled once for both."""
    contents = {}
    with matplotlib.style.context(STYLE):
        if engine := figure.get_layout_engine():  # None: settled before
            engine.execute(figure)
            figure.set_layout_engine("none")
        for suffix, metadata in METADATA.items():
            buffer = BytesIO()
            figure.savefig(buffer, format=suffix, metadata=metadata)
            contents[f"{name}.{suffix}"] = buffer.getvalue()
    return contents | {f"{name}.png": _smaller(contents[f"{name}.png"])}


def _smaller(png: bytes) -> bytes:
    """With 256 colours, a third of the size: it is committed."""
    buffer = BytesIO()
    image = Image.open(BytesIO(png)).convert("RGB")
    image.quantize(256, dither=Image.Dither.NONE).save(buffer, "png")
    return buffer.getvalue()


#: All figures are as wide as a page's text (inches), so that 7 points are 7 points in each.
WIDTH = 7.2


def new_figure(height: float, title: str, scale: DictConfig, *datasets: str) -> Figure:
    """An empty figure (inches) whose title says what it shows and at which scale.

    The datasets are those that it shows: the scale's last, if none is named.
    """
    figure = Figure(figsize=(WIDTH, height))
    note = paper.scale_note(scale, *(datasets or scale.grid.datasets[-1:]))
    characters = int(14 * WIDTH)
    figure.suptitle(f"{textwrap.fill(title, characters)}\n{textwrap.fill(note, characters)}")
    return figure


def curve(ax: Axes, frame: pd.DataFrame, x: str, y: str, label: str, look: Look) -> None:
    """The mean over seeds of y by x, and a band from the least to the largest seed.

    Where a seed diverges it ends with a cross: a mean of the others would be one of survivors.
    """
    shown = fresh_or_first(frame)
    by_x, seeds = shown.groupby(x)[y], shown["seed"].nunique()
    of_all = by_x.count() == seeds
    mean = by_x.mean()[of_all]
    if mean.empty:
        return
    label = f"{label}: mean and range of {seeds} seeds" if seeds > 1 else label
    every = max(1, len(mean) // 10)
    ax.plot(mean.index, mean, label=label, markevery=every, **look)
    if seeds > 1:
        low, high = by_x.min().loc[mean.index], by_x.max().loc[mean.index]
        ax.fill_between(mean.index, low, high, color=look["color"], alpha=0.2, linewidth=0)
    if not of_all.all():
        ax.plot(mean.index[-1], mean.iloc[-1], "x", color="black", markersize=7, zorder=5)


def whole_ticks(axis: Axis) -> None:
    """Whole numbers only, for epochs."""
    axis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def legend_below(ax: Axes, columns: int, handles: Sequence[Artist] | None = None) -> None:
    """A legend under the axes and their labels, where it hides nothing."""
    handles = ax.get_legend_handles_labels()[0] if handles is None else handles
    style = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "borderaxespad": 4.5}
    ax.legend(handles=handles, ncols=columns, **style)


def log_ticks(axis: Axis) -> None:
    """1, 3, 10 … in plain digits on a logarithmic axis."""
    axis.set_major_locator(LogLocator(subs=(1, 3), numticks=20))
    axis.set_major_formatter(FormatStrFormatter("%g"))
    axis.set_minor_locator(NullLocator())


# -- heatmaps --------------------------------------------------------------------------------------


def matrix(frame: pd.DataFrame, value: str, rates: RateGrid) -> pd.DataFrame:
    """The grid's cells: η down (largest on top), λ to the right (smallest left); NaN where none."""
    table = frame.pivot_table(value, "lr", "rate", aggfunc="first", dropna=False)
    return table.reindex(index=sorted(rates.lrs, reverse=True), columns=sorted(rates.rates))


def heatmap(
    ax: Axes,
    values: pd.DataFrame,
    norm: Normalize,
    diverged: pd.DataFrame,
    text: Callable[[float], str],
    cmap: str = "cividis",
    circled: bool = True,
) -> None:
    """Raw cells with their numbers; diverged ones hatched, missing ones bare.

    The largest is circled where none is missing: as in tables, on ties that of the smaller rates.

    `diverged` is a matrix of the same shape, true where a run diverged.
    """
    cells, lost = values.to_numpy(float), diverged.to_numpy(bool)
    image = ax.imshow(cells, norm=norm, cmap=cmap, aspect="auto")
    for (row, column), value in np.ndenumerate(cells):
        if lost[row, column]:
            box = Rectangle((column - 0.5, row - 0.5), 1, 1, hatch="/////")
            ax.add_patch(box)
            box.set(facecolor="white", edgecolor="0.7", linewidth=0)
        elif np.isfinite(value):
            shade = "white" if _is_dark(image, value) else "black"
            place = {"ha": "center", "va": "center", "in_layout": False}  # inside its cell
            ax.text(column, row, text(value), color=shade, fontsize=6.5, **place)
    if circled and np.isfinite(cells).any() and (np.isfinite(cells) | lost).all():
        from_smallest = np.nan_to_num(cells[::-1].round(9), nan=-np.inf)  # of equals the smaller η
        row, column = np.unravel_index(from_smallest.argmax(), cells.shape)
        row = len(cells) - 1 - row
        ax.add_patch(
            Circle((float(column), float(row)), 0.46, fill=False, edgecolor="black", linewidth=1.4)
        )
    ax.set_xticks(range(values.shape[1]), _rate_labels(values.columns), rotation=90)
    ax.set_yticks(range(values.shape[0]), _rate_labels(values.index))
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)


def colour_bar(
    figure: Figure,
    colours: ScalarMappable,
    axes: Sequence[Axes],
    label: str,
    aspect: int,
    extend: str = "neither",
) -> Colorbar:
    """What colours mean, under the axes that they are in; `extend`: the ends that are cut off."""
    look = {"location": "bottom", "aspect": aspect, "shrink": 0.9, "extend": extend}
    return figure.colorbar(colours, ax=axes, label=label, **look)


def _rate_labels(rates: pd.Index) -> list[str]:
    return [number(float(rate)) for rate in rates]


def _is_dark(image: AxesImage, value: float) -> bool:
    red, green, blue, alpha = np.ravel(image.to_rgba(np.array([value])))  # 0 has no logarithm
    return bool(alpha) and 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
