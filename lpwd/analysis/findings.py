"""The differences that the first page tells: tuned methods, fresh seeds, paired by seed."""

from __future__ import annotations

from functools import cache
from math import nan
from typing import NamedTuple

import pandas as pd

from lpwd.analysis import paper
from lpwd.analysis.intervals import Interval, interval
from lpwd.analysis.kinds import WD, Kind
from lpwd.analysis.leads import lead, reported
from lpwd.analysis.main_grid import MainGrid
from lpwd.analysis.paper import Column
from lpwd.analysis.protocols import PAPERS, difference


class Finding(NamedTuple):
    """A difference in points of test top-1: ours, and the paper's (NaN: it has none).

    columns: the settings (columns of Table 1) that it is the mean of · of: how many it should be.
    """

    ours: Interval
    reported: float
    columns: list[Column]
    of: int


@cache
def in_the_mean(main: MainGrid, method: str, other: str, protocol: str = PAPERS) -> Finding:
    """method − other in the mean of the columns of Table 1 that are whole and have fresh seeds."""
    columns = paper.columns(main.scale)
    every = {column: lead(main, column, protocol, method, other) for column in columns}
    fresh = {column: by_seed.drop(0, errors="ignore") for column, by_seed in every.items()}
    whole = {column: by_seed for column, by_seed in fresh.items() if interval(by_seed).known}
    mean = pd.DataFrame(whole).mean(axis=1, skipna=False)
    printed = pd.Series([reported(column, method, other) for column in whole], dtype=float)
    return Finding(interval(mean), float(printed.mean()), list(whole), len(columns))


@cache
def in_ablation(main: MainGrid, kind: Kind, other: Kind = WD, protocol: str = PAPERS) -> Finding:
    """A decay less another in Table 3's column, where the grids of both are whole."""
    column = paper.ablation_column(main.scale)
    fresh = (main.of_kind(column, of.columns).fresh(protocol) for of in (kind, other))
    printed = [
        paper.reported_top1(of.method, column) if of.is_printed else nan for of in (kind, other)
    ]
    return Finding(interval(difference(*fresh)), printed[0] - printed[1], [column], 1)
