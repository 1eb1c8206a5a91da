"""Means with their 95 % intervals from independent seeds: a difference, none, or undecided."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

#: Fewer fresh seeds than this give no interval.
LEAST_SEEDS = 3
#: Of one side: what a 95 % interval leaves outside.
LEVEL = 0.025
#: What equivalence is held to, in multiples of the paper's own effect, strictest first.
MARGINS = {0.5: "half of the paper's effect", 1.0: "the paper's effect"}


class Interval(NamedTuple):
    """A mean with its 95 % interval from n values; both ends are NaN where there are too few."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def known(self) -> bool:
        return math.isfinite(self.low)

    def within(self, margin: float) -> bool:
        """Equivalence: two one-sided t tests (TOST), each at LEVEL, reject −margin and +margin.

        That is so exactly where the 95 % interval lies between them.
        """
        return -margin < self.low and self.high < margin


def interval(values: Iterable[float], level: float = LEVEL) -> Interval:
    """The mean of what independent seeds gave, with its 95 % interval (Student's t).

    Values that are not finite are left out. Both ends are NaN unless LEAST_SEEDS values are left.
    `level`: how much it leaves outside on each side. Why not the bootstrap: its percentile interval
    of three or five values covers far less than 95 %; t's covers it.
    """
    from scipy.special import stdtrit  # scipy.stats takes half a second to import

    mean, error, n = _moments(values)
    if n < LEAST_SEEDS:
        return Interval(mean, math.nan, math.nan, n)
    reach = float(stdtrit(n - 1, 1 - level)) * error
    return Interval(mean, mean - reach, mean + reach, n)


def holm(table: pd.DataFrame) -> dict[str, Interval]:
    """An interval for each column (a cell; rows are seeds), corrected for their number (Holm 1979).

    Of k columns the one that is surest off zero is held to LEVEL/k, the next to LEVEL/(k − 1), and
    so on; from the first that includes zero, all are held to that one's level. So the chance that
    any interval is off zero where there is nothing is 5 %, however many there are.
    """
    surest_first = sorted(table, key=lambda name: _p_value(table[name]))
    found, left = {}, len(surest_first)
    for name in surest_first:
        found[name] = interval(table[name], LEVEL / left)
        if found[name].low > 0 or found[name].high < 0:
            left -= 1
    return {str(name): found[name] for name in table}


def _p_value(values: Iterable[float]) -> float:
    """Two-sided, of a mean of zero (Student's t)."""
    from scipy.special import stdtr

    mean, error, n = _moments(values)
    if n < LEAST_SEEDS or not error:
        return float(mean == 0 or n < LEAST_SEEDS)
    return 2 * float(stdtr(n - 1, -abs(mean) / error))


def _moments(values: Iterable[float]) -> tuple[float, float, int]:
    """Mean, its standard error (NaN of one value), and n, of the finite values."""
    data = np.asarray([value for value in values if math.isfinite(value)], float)
    n = len(data)
    mean = float(data.mean()) if n else math.nan
    return mean, float(data.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan, n


def equivalence(found: Interval, reported: float) -> tuple[float, str]:
    """The smallest margin that an effect is within, and what it is; NaN and "" if there is none."""
    for share, name in MARGINS.items():
        if found.within(share * abs(reported)):
            return share * abs(reported), name
    return math.nan, ""


#: What stands for a number of runs that are missing.
GAP = "—"


def signed(difference: float, digits: int = 2) -> str:
    """With a sign, which 0 has not: +0.00 is a little more. Less than 1e-9 is nothing."""
    if math.isnan(difference):
        return GAP
    value = round(difference, 9) + 0.0  # never −0.0
    return f"{value:{'+' if value else ''}.{digits}f}".replace("-", "−")


def columns_of(prefix: str, values: Iterable[float]) -> dict[str, float]:
    """The interval of values as columns of a frame: <prefix>_n, _mean, _low and _high."""
    return as_columns(prefix, interval(values))


def as_columns(prefix: str, found: Interval) -> dict[str, float]:
    """The same of an interval that is known."""
    return {f"{prefix}_{end}": getattr(found, end) for end in ("n", "mean", "low", "high")}


def interval_in(row: Any, prefix: str) -> Interval:
    """The interval that `columns_of` put into a row (a namedtuple of `itertuples`)."""
    return Interval(*(getattr(row, f"{prefix}_{end}") for end in Interval._fields))


def slopes(table: pd.DataFrame) -> pd.Series:
    """For each row (a seed) the least-squares slope from one column to the next; NaN with gaps."""
    places = np.arange(table.shape[1]) - (table.shape[1] - 1) / 2
    return table.dot(places) / (places**2).sum()
