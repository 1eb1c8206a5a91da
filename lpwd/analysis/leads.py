"""LPWD's lead over WD in each column of Table 1: the paper's, and ours by both protocols."""

from __future__ import annotations

from functools import cache

import pandas as pd

from lpwd.analysis import paper, protocols
from lpwd.analysis.intervals import columns_of
from lpwd.analysis.main_grid import MainGrid
from lpwd.analysis.paper import Column

#: {protocol: the columns of its first seed's lead, and of its fresh seeds'}
COLUMNS = {
    protocols.PAPERS: ("first", "seeds"),
    protocols.HELD_OUT: ("heldout", "heldout_seeds"),
}


@cache
def leads(main: MainGrid) -> pd.DataFrame:
    """LPWD − WD in points of test top-1: a row a column of Table 1, the last their mean.

    Columns: column, reported (the paper's), and by the paper's protocol and the held-out one the
    first seed's (first, heldout) and fresh seeds', paired (seeds_*, heldout_seeds_*:
    `intervals.columns_of`). NaN while runs of a column's grids are missing.
    """
    columns = paper.columns(main.scale)
    named = {", ".join(paper.column_names(column)): column for column in columns}
    mean = f"the mean of these {len(columns)}"
    printed = pd.Series({name: reported(column) for name, column in named.items()})
    frame = pd.DataFrame({"reported": printed})
    frame.loc[mean] = printed.mean()
    for protocol, (first, fresh) in COLUMNS.items():
        by_seed = pd.DataFrame({name: lead(main, c, protocol) for name, c in named.items()})
        by_seed[mean] = by_seed.mean(axis=1, skipna=False)
        frame[first] = by_seed.reindex([0]).iloc[0]
        rows = {name: columns_of(fresh, by_seed[name].drop(0, errors="ignore")) for name in by_seed}
        frame = frame.join(pd.DataFrame.from_dict(rows, orient="index"))
    return frame.rename_axis("column").reset_index()


def lead(
    main: MainGrid, column: Column, protocol: str, method: str = "lpwd", other: str = "wd"
) -> pd.Series:
    """method − other by seed, points; 0 is the grid's. Empty while a grid lacks runs."""
    return protocols.difference(*(main.by_seed(column, m, protocol) for m in (method, other)))


def reported(column: Column, method: str = "lpwd", other: str = "wd") -> float:
    """The same in the paper's Table 1."""
    one, two = (paper.reported_cell("table1", m, column)[0] for m in (method, other))
    return one - two
