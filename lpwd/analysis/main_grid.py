"""The runs that the paper's tables, figures and claims are made of, each choice made once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig

from lpwd.analysis.paper import METHOD_NAMES, Column
from lpwd.analysis.protocols import Candidates
from lpwd.config.compose import scale_config
from lpwd.config.rates import grid_size, rate_grid
from lpwd.decay.rates import METHODS
from lpwd.store.frames import DECAY_COLUMNS, Results, only
from lpwd.store.identity import default_setting
from lpwd.store.store import Store
from lpwd.store.summary import held_out

#: The columns of runs.csv that distinguish kinds of runs: rates are chosen within one kind.
KIND = (*Column._fields, *DECAY_COLUMNS, "setting")


class MainGrid:
    """What is stored of a scale's grid: `runs`, `epochs` and `zero_shot`, all seeds.

    The decays as printed, at the rates of the grid, with the settings of configs/. `every` holds
    all stored runs of the scale, the controls among them.

        main = MainGrid.load("mini")
        main.by_seed(column, "lpwd", protocols.HELD_OUT)
    """

    def __init__(self, main: Results, scale: DictConfig, every: Results | None = None) -> None:
        self.scale = scale
        self.every = main if every is None else every
        self.runs, self.epochs, self.zero_shot = main
        self._runs_of = dict(list(self.runs.groupby([*Column._fields, "method"])))
        self._cells: dict[tuple[Any, ...], Candidates] = {}

    @classmethod
    def load(cls, scale: str) -> MainGrid:
        """Of results/<scale>; collects new runs first. Raises ConfigError for an unknown scale."""
        every = Store(scale).collect()
        return cls(as_printed(every, scale), scale_config(scale), every)

    @cached_property
    def folds(self) -> pd.DataFrame:
        """What the held-out protocol chooses by and reports of every stored run."""
        return held_out(self.every.epochs)

    def cell(self, column: Column, method: str) -> Candidates:
        """All runs of a method in a column of Table 1."""
        key = column, method
        if key not in self._cells:
            runs = self._runs_of.get((*column, method), self.runs.iloc[:0])
            expected = grid_size(self.scale, column.optimizer, method)
            self._cells[key] = Candidates(runs, self.folds, expected)
        return self._cells[key]

    def of_kind(
        self,
        column: Column,
        decay: Mapping[str, Any],
        scratch: bool = False,
        lrs: Sequence[float] = (),
    ) -> Candidates:
        """All runs of any decay in a column, at the rates of the grid; `lrs`: of these η alone.

        `decay`: DECAY_COLUMNS · `scratch`: not pretrained, whatever the scale's are.
        """
        key = column, tuple(decay.items()), scratch, tuple(lrs)
        if key not in self._cells:
            grid = rate_grid(self.scale, column.optimizer)
            runs = self.at_any_rates(column, decay, scratch)
            kept = runs["lr"].isin(lrs or grid.lrs) & runs["rate"].isin(grid.rates)
            expected = len(lrs or grid.lrs) * len(grid.rates)
            self._cells[key] = Candidates(runs[kept], self.folds, expected)
        return self._cells[key]

    def at_any_rates(
        self, column: Column, decay: Mapping[str, Any], scratch: bool = False
    ) -> pd.DataFrame:
        """The rows of `of_kind`, and those beside the grid."""
        setting = default_setting(self.scale.name, *column, scratch=scratch)
        runs = self.every.runs
        kept = pd.Series(True, index=runs.index)
        for name, value in {**column._asdict(), **decay, "setting": setting}.items():
            kept &= runs[name] == value
        return runs[kept]

    def by_seed(self, column: Column, method: str, protocol: str) -> pd.Series:
        """Top-1 (%) of a method at its chosen rates by seed; see `Candidates.by_seed`."""
        return self.cell(column, method).by_seed(protocol)

    def at(self, column: Column, method: str, lr: float, rate: float) -> pd.Series:
        """The paper's statistic at this η and λ by seed; NaN: diverged. Nothing is chosen."""
        return self.cell(column, method).at(lr, rate)["best_mean"]


def as_printed(results: Results, scale: str) -> Results:
    """The runs of a scale's main grid.

    Left out: controls and rivals (profile, normalize, layers, exclude, towards, coupled, from
    scratch), rates beside the grid, other epochs, images or weights than configs/ now says.
    """
    runs, cells = results.runs, _grid_cells(scale)
    columns = zip(runs["data"], runs["model"], runs["optimizer"], strict=True)
    settings: Any = [default_setting(scale, *column) for column in columns]
    at = zip(runs["optimizer"], runs["method"], runs["lr"], runs["rate"].fillna(0), strict=True)
    printed = (
        (runs["profile"] == [METHODS[method].profile for method in runs["method"]])
        & (runs["normalize"] == "none")
        & (runs["layers"] == "block")
        & runs["coupled"]
        & (runs["exclude"] == "")
        & (runs["towards"] == "")
        & (runs["setting"].to_numpy() == np.asarray(settings, dtype=object))
        & np.asarray([cell in cells for cell in at], dtype=bool)
    )
    return only(results, set(runs.loc[printed, "hash"]))


@cache
def _grid_cells(scale: str) -> set[tuple[str, str, float, float]]:
    """(optimizer, method, η, λ) of every cell of a scale's grid; λ = 0: Baseline."""
    cfg = scale_config(scale)
    return {
        (optimizer, method, lr, rate)
        for optimizer in map(str, cfg.base)
        for method in METHOD_NAMES
        for lr in rate_grid(cfg, optimizer).lrs
        for rate in rate_grid(cfg, optimizer, method).rates or [0.0]
    }
