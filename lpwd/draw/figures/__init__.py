"""Figures 1 to 5, each from stored results as CSV, PNG and PDF.

    figures.draw("figure1", results, scale, folder)   writes figure1.csv, .png and .pdf

A figure is two functions: `data` makes the frames that it shows (the CSVs), `plot` draws them and
computes nothing. The style is paper.mplstyle's. Files are identical when nothing changed.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import matplotlib.style
import pandas as pd
from matplotlib.figure import Figure
from omegaconf import DictConfig

from lpwd.analysis import paper
from lpwd.draw.figures import figure1, figure2, figure3, figure4, figure5
from lpwd.store.files import write_whole
from lpwd.store.frames import Results

STYLE = Path(__file__).resolve().parent / "paper.mplstyle"

FIGURES = {
    "figure1": figure1,
    "figure2": figure2,
    "figure3": figure3,
    "figure4": figure4,
    "figure5": figure5,
}
DRAWINGS = tuple(FIGURES)

#: Without dates, so that a figure that is drawn again is the same file.
METADATA = {"png": {"Software": None}, "pdf": {"CreationDate": None}}


def data(target: str, results: Results, scale: DictConfig) -> dict[str, pd.DataFrame]:
    """The numbers of a figure: {file name: frame}.

    `results` are the runs of the main grid, `scale` is the scale's node of the config.
    """
    return FIGURES[target].data(results, scale)


def plot(target: str, frames: dict[str, pd.DataFrame], scale: DictConfig) -> Figure:
    """The picture of what `data` made; its title says what fills gaps, if there are any."""
    with matplotlib.style.context(STYLE):
        figure = FIGURES[target].plot(frames, scale)
        if gaps := lacking(target, frames, scale):
            command = paper.fill_command(target, scale)
            figure.suptitle(f"{figure.get_suptitle()}\n{gaps} runs are missing: {command}")
    return figure


def lacking(target: str, frames: dict[str, pd.DataFrame], scale: DictConfig) -> int:
    """How many seed-0 runs the figure needs beyond those that `frames` rest on."""
    return max(0, FIGURES[target].expected(scale) - _stored(frames))


def _stored(frames: dict[str, pd.DataFrame]) -> int:
    """How many runs of seed 0 the frames rest on."""
    of_grid = [f.loc[f["seed"] == 0, "hash"] if "seed" in f else f["hash"] for f in frames.values()]
    return len({name for hashes in of_grid for cell in hashes for name in str(cell).split()})


def draw(target: str, results: Results, scale: DictConfig, folder: Path) -> list[Path]:
    """Write the figure's CSVs, <target>.png and <target>.pdf into `folder`; returns their paths."""
    frames = data(target, results, scale)
    contents = {
        f"{name}.csv": frame.to_csv(index=False, float_format="%.10g").encode()
        for name, frame in frames.items()
    }
    contents |= pictures(target, plot(target, frames, scale))
    for name, content in contents.items():
        write_whole(folder / name, content)
    return [folder / name for name in contents]


def pictures(name: str, figure: Figure) -> dict[str, bytes]:
    """A figure as {name.png, name.pdf: content}."""
    contents = {}
    for suffix, metadata in METADATA.items():
        buffer = BytesIO()
        with matplotlib.style.context(STYLE):
            figure.savefig(buffer, format=suffix, metadata=metadata)
        contents[f"{name}.{suffix}"] = buffer.getvalue()
    return contents
