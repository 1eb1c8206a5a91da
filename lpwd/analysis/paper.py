"""The paper's layout in the terms of a scale: its columns, its rates, its names and its numbers."""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import pandas as pd
from omegaconf import DictConfig

from lpwd.config.compose import composer
from lpwd.config.paths import ROOT

REPORTED = ROOT / "results" / "reported"

METHOD_NAMES = {
    "baseline": "Baseline",
    "l2": "L2",
    "wd": "WD",
    "rwd": "RWD",
    "pwd": "PWD",
    "lpwd": "LPWD",
}
DATASETS = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "digits": "digits"}
FAMILIES = {"convnext": "ConvNeXt", "swin": "Swin"}
OPTIMIZERS = {"adam": "Adam", "sgdm": "SGDM"}


class Column(NamedTuple):
    """A column of Table 1; `column._asdict()` selects its runs."""

    data: str
    model: str
    optimizer: str


def columns(scale: DictConfig) -> list[Column]:
    """The columns of Table 1, left to right."""
    grid = scale.grid
    return [Column(d, m, o) for d in grid.datasets for m in grid.models for o in grid.optimizers]


def figure_columns(scale: DictConfig) -> list[Column]:
    """The columns that figures are drawn for: those of the last dataset, the paper's CIFAR-100."""
    return [column for column in columns(scale) if column.data == scale.grid.datasets[-1]]


def adam_columns(scale: DictConfig) -> list[Column]:
    """The columns of Figures 1 and 3a: last dataset, every model, Adam."""
    return [column for column in figure_columns(scale) if column.optimizer == "adam"]


def ablation_column(scale: DictConfig) -> Column:
    """The column of Table 3 and Figure 3b: last dataset, first model, Adam."""
    return adam_columns(scale)[0]


def series_column(scale: DictConfig, model: str | None = None) -> Column:
    """A column of Figure 5: last dataset, a model of the series (default: its first), Adam."""
    return ablation_column(scale)._replace(model=model or scale.grid.series[0])


@cache
def reported(table: str) -> pd.DataFrame:
    """The paper's own numbers: results/reported/<table>.csv."""
    return pd.read_csv(REPORTED / f"{table}.csv")


def reported_cell(table: str, method: str, column: Column) -> tuple[float, float]:
    """The paper's mean ± std of a cell; NaN where the paper has none for this data and family."""
    frame = reported(table)
    cell = frame[
        (frame["method"] == method)
        & (frame["data"] == column.data)
        & (frame["model"].map(family) == family(column.model))
        & (frame["optimizer"] == column.optimizer)
    ]
    if cell.empty:
        return float("nan"), float("nan")
    return float(cell["mean"].iloc[0]), float(cell["std"].iloc[0])


def reported_gain(table: str, method: str, other: str) -> float:
    """The mean difference of two methods in the whole of a table of the paper."""
    means = reported(table).groupby("method")["mean"].mean()
    return float(means[method] - means[other])


def reported_top1(method: str, column: Column) -> float:
    """The paper's mean of a method, from Table 1, or Table 3, which alone has RWD and PWD; NaN."""
    one, other = (reported_cell(table, method, column)[0] for table in ("table1", "table3"))
    return other if math.isnan(one) else one


# -- names ----------------------------------------------------------------------------------------


def family(model: str) -> str:
    """convnext_tiny and convnext_micro are both of family convnext."""
    return model.partition("_")[0]


def model_name(model: str) -> str:
    """convnext_tiny → ConvNeXt-tiny."""
    head, _, size = model.partition("_")
    return f"{FAMILIES.get(head, head)}-{size}" if size else FAMILIES.get(head, head)


def column_names(column: Column) -> list[str]:
    """Dataset, model and optimizer as the paper writes them."""
    return [
        DATASETS.get(column.data) or column.data,
        model_name(column.model),
        OPTIMIZERS.get(column.optimizer) or column.optimizer,
    ]


def scale_note(scale: DictConfig, *datasets: str) -> str:
    """What a picture or table must say about its scale (and its datasets, if not all are shown)."""
    shown = datasets or scale.grid.datasets
    data = ", ".join(DATASETS.get(name) or str(name) for name in shown)
    if scale.name == "paper":
        return f"paper scale: {data}, the paper's setting"
    sizes = {model.partition("_")[2] for model in scale.grid.models}
    size = f"{sizes.pop()} models" if len(sizes) == 1 else "small models"
    images = f"{scale.images.train:,} training images"
    start = " from scratch" if from_scratch(scale.name) else ""
    return f"{scale.name} scale: {data}, {images}, {size}{start} — not the paper's setting"


@cache
def from_scratch(scale: str) -> bool:
    """Does a scale train its models from scratch? The paper's are pretrained."""
    return not composer().config([f"scale={scale}"])["model"]["pretrained"]


def regime(scale: str) -> str:
    """How a scale's models are trained, as tables and figures name it."""
    return "from scratch" if from_scratch(scale) else "fine-tuned"


#: Targets that say nothing without fresh seeds.
OF_SEEDS = ("figure6",)


def fill_command(target: str, scale: DictConfig) -> str:
    """What to type for the runs that a drawing lacks."""
    return f"make {target} SCALE={scale.name}" + " SEEDS=5" * (target in OF_SEEDS)
