"""What each decay gains over none: fresh seeds less Baseline's, in Table 3's column."""

from __future__ import annotations

from functools import cache
from math import nan

import pandas as pd

from lpwd.analysis import paper
from lpwd.analysis.controls import LPWD, PWD, RWD, WD
from lpwd.analysis.intervals import columns_of
from lpwd.analysis.kinds import Kind, candidates
from lpwd.analysis.main_grid import MainGrid
from lpwd.analysis.protocols import PAPERS, difference

KINDS = (Kind("l2"), WD, RWD, PWD, LPWD, Kind("lpwd", normalize="params"), Kind("cwd"))


@cache
def gains(main: MainGrid) -> pd.DataFrame:
    """A row a kind of decay: its gain over Baseline in points of test top-1.

    name · reported: the paper's own gain, NaN where its Table 1 has none · seeds_*: of fresh seeds
    at the rates that the paper's protocol chose, paired (`intervals.columns_of`). NaN while runs of
    either grid, or the seeds, are missing.
    """
    column = paper.ablation_column(main.scale)
    baseline = main.cell(column, "baseline").fresh(PAPERS)
    none = paper.reported_cell("table1", "baseline", column)[0]
    rows = []
    for kind in KINDS:
        printed = paper.reported_cell("table1", kind.method, column)[0] if kind.is_printed else nan
        fresh = candidates(main, column, kind).fresh(PAPERS)
        over = columns_of("seeds", difference(fresh, baseline))
        rows.append({"name": kind.name, "reported": printed - none, **over})
    return pd.DataFrame(rows)
