"""What the figures show, as frames: {file name: frame} for each.

    figures.data("figure3", main)        the frames
    figures.missing("figure3", main)     how many runs it lacks

Accuracies are in percent, of the last dataset, the paper's CIFAR-100.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

import pandas as pd

from lpwd.analysis import paper, robustness
from lpwd.analysis.main_grid import MainGrid
from lpwd.analysis.protocols import DIVERGED, PAPERS, Candidates
from lpwd.config.rates import rate_grid, strong_penalty

Frames = dict[str, pd.DataFrame]

#: The methods of Figures 1, 4 and 5.
PAIR = ("wd", "lpwd")
ABOUT = ["data", "model", "optimizer", "method", "lr", "rate"]
R_OP = ["r_op_share", "r_op_size"]
TOP1 = ["best_mean", "best_std", "heldout_mean"]


@cache
def data(target: str, main: MainGrid) -> Frames:
    """The frames of a figure."""
    return FIGURES[target][0](main)


def missing(target: str, main: MainGrid) -> int:
    """How many seed-0 runs the figure needs that are not stored."""
    return FIGURES[target][1](main)


def figure1(main: MainGrid) -> Frames:
    """An epoch a row: data, model, optimizer, method, lr, rate, seed, hash, epoch, the two curves.

    All models, Adam, the grid's largest η and λ, all seeds.
    """
    runs = _concat(main, map(pd.DataFrame.reset_index, _strongest(main)))
    epochs = main.epochs[["hash", "epoch", "train_loss", "test_top1"]]
    return {"figure1": _in_order(main, runs)[[*ABOUT, "seed", "hash"]].merge(epochs, on="hash")}


def _missing1(main: MainGrid) -> int:
    return sum(0 not in runs.index for runs in _strongest(main))


def _strongest(main: MainGrid) -> list[pd.DataFrame]:
    """For each model and method the runs under the strongest penalty, by seed."""
    rates = strong_penalty(main.scale, "adam")
    return [main.cell(c, m).at(*rates) for c in paper.adam_columns(main.scale) for m in PAIR]


def figure2(main: MainGrid) -> Frames:
    """figure2a: an epoch a row; figure2b: a run a row, its means. R_op from 0 to 1, WD, seed 0.

    r_op_share counts weights (what is drawn), r_op_size adds up the penalties' magnitudes.
    """
    runs = _in_order(main, _concat(main, (cell.first for cell in _cells(main, ["wd"]))))
    about = [*ABOUT, "hash", "status"]
    return {
        "figure2a": runs[about].merge(main.epochs[["hash", "epoch", *R_OP]], on="hash"),
        "figure2b": runs[[*about, *R_OP]].reset_index(drop=True),
    }


def figure3(main: MainGrid) -> Frames:
    """figure3a: a step of a run a row; figure3b: a λ and seed a row.

    3a: every model, Adam, the Baseline of the best η and its fresh seeds. 3b: first model, η at the
    grid's largest; gain = pwd − rwd, by the paper's statistic.
    """
    return {"figure3a": _zero_shot(main), "figure3b": gains(main)}


def _zero_shot(main: MainGrid) -> pd.DataFrame:
    baselines = [main.cell(c, "baseline") for c in paper.adam_columns(main.scale)]
    runs = _concat(main, map(best_and_fresh, baselines))
    runs = runs[["data", "model", "optimizer", "lr", "seed", "hash"]]
    return runs.astype({"lr": float, "seed": int}).merge(main.zero_shot, on="hash")


def best_and_fresh(candidates: Candidates) -> pd.DataFrame:
    """The run that the paper's protocol chose, then its fresh seeds; none while one is missing."""
    choice = candidates.choice(PAPERS)
    if choice.empty:
        return candidates.runs.iloc[:0]
    lr, rate = choice[["lr", "rate"]].iloc[0].astype(float)
    return candidates.at(lr, rate).reset_index()


def gains(main: MainGrid) -> pd.DataFrame:
    """PWD − RWD at the largest η of the grid: data … seed, rwd, pwd, gain, hash (of both).

    A diverged run counts as 0 %.
    """
    column = paper.ablation_column(main.scale)
    lr, _ = strong_penalty(main.scale, column.optimizer)
    runs = pd.concat([main.cell(column, method).runs for method in ("rwd", "pwd")])
    runs = runs[runs["lr"] == lr]
    runs = runs.assign(best_mean=runs["best_mean"].mask(runs["status"] == "diverged", DIVERGED))
    index = ["data", "model", "optimizer", "lr", "rate", "seed"]
    table = runs.pivot_table("best_mean", index, "method", aggfunc="first", dropna=False)
    table = table.reindex(columns=["rwd", "pwd"]).rename_axis(columns=None)
    hashes = runs.sort_values("method").groupby(index)["hash"].agg(" ".join)
    pairs = table.assign(gain=table["pwd"] - table["rwd"], hash=hashes)
    return pairs.dropna(subset=["hash"]).reset_index()  # the pivot has every λ with every seed


def _missing3(main: MainGrid) -> int:
    baselines = (main.cell(c, "baseline").missing for c in paper.adam_columns(main.scale))
    column = paper.ablation_column(main.scale)
    lr, _ = strong_penalty(main.scale, column.optimizer)
    rates = rate_grid(main.scale, column.optimizer).rates
    cells = [main.cell(column, method) for method in ("rwd", "pwd")]
    return sum(baselines) + sum(0 not in cell.at(lr, r).index for cell in cells for r in rates)


def figure4(main: MainGrid) -> Frames:
    """A run a row: all models and optimizers, WD and LPWD, seed 0."""
    runs = _in_order(main, _concat(main, (cell.first for cell in _cells(main, PAIR))))
    return {"figure4": runs[[*ABOUT, "hash", "status", *TOP1]]}


def figure5(main: MainGrid) -> Frames:
    """A run a row: Adam, WD and LPWD at the η and λ chosen for the first model, all seeds."""
    runs = _concat(main, map(pd.DataFrame.reset_index, _series(main)))
    return {"figure5": runs[[*ABOUT, "seed", "hash", "status", *TOP1]]}


def _series(main: MainGrid) -> list[pd.DataFrame]:
    """For each method and model of the series, the runs at the method's chosen rates, by seed."""
    parts = []
    for method in PAIR:
        choice = main.cell(paper.series_column(main.scale), method).choice(PAPERS)
        for lr, rate in zip(choice["lr"], choice["rate"], strict=True):
            columns = [paper.series_column(main.scale, m) for m in main.scale.grid.series]
            parts += [main.cell(column, method).at(lr, rate) for column in columns]
    return parts


def _missing5(main: MainGrid) -> int:
    """Of the grids to choose among, then of the models at the chosen rates."""
    grids = sum(main.cell(paper.series_column(main.scale), method).missing for method in PAIR)
    return grids or sum(0 not in runs.index for runs in _series(main))


def _cells(main: MainGrid, methods: Iterable[str]) -> list[Candidates]:
    return [main.cell(c, m) for c in paper.figure_columns(main.scale) for m in methods]


def _missing_cells(methods: Iterable[str]) -> Callable[[MainGrid], int]:
    return lambda main: sum(cell.missing for cell in _cells(main, methods))


def _concat(main: MainGrid, parts: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """The parts that are not empty below each other, with the columns of runs.csv."""
    filled = [part for part in parts if len(part)]
    return pd.concat(filled) if filled else main.runs.iloc[:0]


def _in_order(main: MainGrid, runs: pd.DataFrame) -> pd.DataFrame:
    """These runs in the order of runs.csv."""
    return main.runs[main.runs["hash"].isin(runs["hash"])]


#: {figure: its frames, and how many runs it lacks}
FIGURES: dict[str, tuple[Callable[[MainGrid], Frames], Callable[[MainGrid], int]]] = {
    "figure1": (figure1, _missing1),
    "figure2": (figure2, _missing_cells(["wd"])),
    "figure3": (figure3, _missing3),
    "figure4": (figure4, _missing_cells(PAIR)),
    "figure5": (figure5, _missing5),
    "figure6": (robustness.figure6, robustness.missing),
}
