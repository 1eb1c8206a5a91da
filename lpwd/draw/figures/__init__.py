"""The figures as pictures: each module's `plot` draws the frames of `analysis.figures`.

    figures.plot("figure1", main)    the matplotlib figure
    figures.files("figure1", main)   {file name: content} of its CSVs, .png and .pdf

The style is paper.mplstyle's. Files are identical when nothing changed.
"""

from __future__ import annotations

import matplotlib.style
from matplotlib.figure import Figure

from lpwd.analysis import figures, paper
from lpwd.analysis.main_grid import MainGrid
from lpwd.draw.figures import figure1, figure2, figure3, figure4, figure5, figure6
from lpwd.draw.figures.common import STYLE, pictures
from lpwd.draw.formats import csv

PLOTS = {
    "figure1": figure1.plot,
    "figure2": figure2.plot,
    "figure3": figure3.plot,
    "figure4": figure4.plot,
    "figure5": figure5.plot,
    "figure6": figure6.plot,
}


def plot(target: str, main: MainGrid) -> Figure:
    """The picture; its title says what fills gaps, if there are any."""
    with matplotlib.style.context(STYLE):
        figure = PLOTS[target](figures.data(target, main), main.scale)
        if gaps := figures.missing(target, main):
            command = paper.fill_command(target, main.scale)
            figure.suptitle(f"{figure.get_suptitle()}\n{gaps} runs are missing: {command}")
    return figure


def files(target: str, main: MainGrid) -> dict[str, bytes]:
    """The figure's CSVs, <target>.png and <target>.pdf."""
    frames = figures.data(target, main)
    numbers = {f"{name}.csv": csv(frame) for name, frame in frames.items()}
    return numbers | pictures(target, plot(target, main))
