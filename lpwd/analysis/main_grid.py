"""The runs that the paper's tables, figures and claims are made of, each choice made once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import pandas as pd
from omegaconf import DictConfig

from lpwd.analysis.paper import METHOD_NAMES, Column
from lpwd.analysis.protocols import Candidates
from lpwd.config.compose import scale_config
from lpwd.config.errors import ConfigError
from lpwd.config.paths import names_in
from lpwd.config.rates import rate_grid
from lpwd.decay.methods import METHODS
from lpwd.store.frames import DECAY_COLUMNS, Results, only
from lpwd.store.identity import default_setting
from lpwd.store.store import Store
from lpwd.store.summary import held_out

#: The columns of runs.csv that distinguish kinds of runs: rates are chosen within one kind.
KIND = (*Column._fields, *DECAY_COLUMNS, "setting")


def printed(method: str) -> dict[str, Any]:
    """The DECAY_COLUMNS of a method as the paper prints it."""
    as_is = {"normalize": "none", "layers": "block", "coupled": True, "exclude": "", "towards": ""}
    return {"method": method, "profile": METHODS[method].profile, **as_is}


class MainGrid:
    """What is stored of a scale's grid: `runs`, `epochs` and `zero_shot`, all seeds.

    The decays as printed, at the rates of the grid, with the settings of configs/. `every` holds
    all stored runs of the scale, the controls among them.

        main = MainGrid.load("mini")
        main.by_seed(column, "lpwd", protocols.HELD_OUT)
    """

    def __init__(self, every: Results, scale: DictConfig) -> None:
        self.scale = scale
        self.every = every
        self._kinds: dict[tuple[Any, ...], Candidates] = {}
        names = every.runs[list(Column._fields)].drop_duplicates().itertuples(index=False)
        known = (column for column in map(Column._make, names) if _is_known(scale, column))
        cells = (self.cell(column, method) for column in known for method in METHOD_NAMES)
        self.runs, self.epochs, self.zero_shot = only(
            every, {name for cell in cells for name in cell.runs["hash"]}
        )

    @classmethod
    def load(cls, scale: str) -> MainGrid:
        """Of results/<scale>; collects new runs first. Raises ConfigError for an unknown scale."""
        return cls(Store(scale).collect(), scale_config(scale))

    @cached_property
    def folds(self) -> pd.DataFrame:
        """What the held-out protocol chooses by and reports of every stored run."""
        return held_out(self.every.epochs)

    def cell(self, column: Column, method: str) -> Candidates:
        """All runs of a method in a column of Table 1."""
        return self.of_kind(column, printed(method))

    def of_kind(
        self,
        column: Column,
        decay: Mapping[str, Any],
        scratch: bool = False,
        lrs: Sequence[float] = (),
    ) -> Candidates:
        """All runs of any decay in a column, at the rates of its grid; `lrs`: of these η alone.

        `decay`: DECAY_COLUMNS · `scratch`: not pretrained, whatever the scale's are.
        """
        key = column, tuple(decay.items()), scratch, tuple(lrs)
        if key not in self._kinds:
            grid = rate_grid(self.scale, column.optimizer, decay["method"])
            lrs, rates = lrs or grid.lrs, grid.rates or [math.nan]
            runs = self.at_any_rates(column, decay, scratch)
            runs = runs[runs["lr"].isin(lrs) & runs["rate"].isin(rates)]
            self._kinds[key] = Candidates(runs, self.folds, len(lrs) * len(rates))
        return self._kinds[key]

    def at_any_rates(
        self, column: Column, decay: Mapping[str, Any], scratch: bool = False
    ) -> pd.DataFrame:
        """The rows of `of_kind`, and those beside the grid."""
        setting = default_setting(self.scale.name, *column, scratch=scratch)
        return _where(self.every.runs, {**column._asdict(), "setting": setting, **decay})

    def by_seed(self, column: Column, method: str, protocol: str) -> pd.Series:
        """Top-1 (%) of a method at its chosen rates by seed; see `Candidates.by_seed`."""
        return self.cell(column, method).by_seed(protocol)

    def at(self, column: Column, method: str, lr: float, rate: float) -> pd.Series:
        """The paper's statistic at this η and λ by seed; NaN: diverged. Nothing is chosen."""
        return self.cell(column, method).at(lr, rate)["best_mean"]


def _where(runs: pd.DataFrame, values: Mapping[str, Any]) -> pd.DataFrame:
    """The rows with these values."""
    kept = pd.Series(True, index=runs.index)
    for name, value in values.items():
        kept &= runs[name] == value
    return runs[kept]


def _is_known(scale: DictConfig, column: Column) -> bool:
    """Do configs/ still have what a stored run was made with, and is its model's file there?"""
    data, model, optimizer = column
    if not (data in names_in("data") and model in names_in("model") and optimizer in scale.base):
        return False
    try:
        default_setting(scale.name, *column)
    except ConfigError:
        if data in scale.grid.datasets and model in {*scale.grid.models, *scale.grid.series}:
            raise
        return False  # a column of somebody's own, which no table or figure needs
    return True
