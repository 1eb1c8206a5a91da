"""Means with their 95 % intervals, from independent seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

#: Fewer fresh seeds than this give no interval.
LEAST_SEEDS = 3


class Interval(NamedTuple):
    """A mean with its 95 % interval from n values; both ends are NaN where there are too few."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def known(self) -> bool:
        return math.isfinite(self.low)


def interval(values: Iterable[float]) -> Interval:
    """The mean of what independent seeds gave, with its 95 % interval (Student's t).

    Values that are not finite are left out. Both ends are NaN unless LEAST_SEEDS values are left.
    Why not the bootstrap: its percentile interval of three or five values covers far less than
    95 %; t's covers it.
    """
    from scipy.special import stdtrit  # scipy.stats takes half a second to import

    data = np.asarray([value for value in values if math.isfinite(value)], float)
    n = len(data)
    if n < LEAST_SEEDS:
        return Interval(float(data.mean()) if n else math.nan, math.nan, math.nan, n)
    mean, error = float(data.mean()), float(data.std(ddof=1)) / math.sqrt(n)
    reach = float(stdtrit(n - 1, 0.975)) * error
    return Interval(mean, mean - reach, mean + reach, n)


def columns_of(prefix: str, values: Iterable[float]) -> dict[str, float]:
    """An interval as columns of a frame: <prefix>_n, _mean, _low and _high."""
    found = interval(values)
    return {f"{prefix}_{end}": getattr(found, end) for end in ("n", "mean", "low", "high")}


def interval_in(row: Any, prefix: str) -> Interval:
    """The interval that `columns_of` put into a row (a namedtuple of `itertuples`)."""
    return Interval(*(getattr(row, f"{prefix}_{end}") for end in Interval._fields))


def slopes(table: pd.DataFrame) -> pd.Series:
    """For each row (a seed) the least-squares slope from one column to the next; NaN with gaps."""
    places = np.arange(table.shape[1]) - (table.shape[1] - 1) / 2
    return table.dot(places) / (places**2).sum()
