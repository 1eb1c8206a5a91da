"""TODO lpwd.analysis.leads."""

from __future__ import annotations

import pandas as pd
from omegaconf import DictConfig

from lpwd.analysis import cells, claims, paper
from lpwd.analysis.claims.measures import top1
from lpwd.analysis.paper import Column
from lpwd.store.frames import Results


def leads(results: Results, scale: DictConfig) -> pd.DataFrame:
    """LPWD − WD in points of test top-1: a row a column of Table 1, the last their mean.

    Columns: column, reported (the paper's), and by the paper's protocol and the held-out one the
    first seed's (first, heldout) and fresh seeds', paired (seeds_*, heldout_seeds_*:
    `tables.interval_of`). NaN while runs of a column's grids are missing.
    """
    columns = paper.columns(scale)
    named = {", ".join(paper.column_names(column)): column for column in columns}
    mean = f"the mean of these {len(columns)}"
    reported = pd.Series({name: _reported_lead(column) for name, column in named.items()})
    frame = pd.DataFrame({"reported": reported})
    frame.loc[mean] = reported.mean()
    prefixes = ("first", "seeds"), ("heldout", "heldout_seeds")
    for protocol, (first, fresh) in zip(claims.PROTOCOLS, prefixes, strict=True):
        by_seed = pd.DataFrame(
            {name: _lead(results, scale, column, protocol) for name, column in named.items()}
        )
        by_seed[mean] = by_seed.mean(axis=1, skipna=False)
        frame[first] = by_seed.loc[0]
        intervals = {name: cells.interval_of(fresh, by_seed[name].drop(0)) for name in by_seed}
        frame = frame.join(pd.DataFrame.from_dict(intervals, orient="index"))
    return frame.rename_axis("column").reset_index()


def _lead(results: Results, scale: DictConfig, column: Column, protocol: str) -> pd.Series:
    """LPWD − WD by seed; 0 is the grid's. NaN while runs of the column's grids are missing."""
    lpwd, wd = (top1(results, scale, column, m, protocol) for m in ("lpwd", "wd"))
    return lpwd - wd


def _reported_lead(column: Column) -> float:
    lpwd, wd = (paper.reported_cell("table1", m, column)[0] for m in ("lpwd", "wd"))
    return lpwd - wd
