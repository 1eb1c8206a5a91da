"""What each decay gains over none: fresh seeds less Baseline's, in Table 3's column."""

from __future__ import annotations

from functools import cache
from math import nan

import pandas as pd

from lpwd.analysis import paper
from lpwd.analysis.findings import in_ablation
from lpwd.analysis.intervals import as_columns
from lpwd.analysis.kinds import BASELINE, CWD, L2, LPWD, PWD, RWD, SCALED_LPWD, WD
from lpwd.analysis.main_grid import MainGrid
from lpwd.analysis.protocols import PAPERS
from lpwd.analysis.robustness import effective_steps

KINDS = (L2, WD, RWD, PWD, LPWD, SCALED_LPWD, CWD)


@cache
def gains(main: MainGrid) -> pd.DataFrame:
    """A row a kind of decay: its gain over Baseline in points of test top-1.

    name · reported: the paper's own gain by its Table 1, else Table 3 · total: Σηλ at the rates
    that the paper's protocol chose, NaN for L2, whose λ passes through the optimizer · seeds_*: of
    fresh seeds there, paired (`intervals.as_columns`). NaN while runs of either grid, or the seeds,
    are missing.
    """
    column = paper.ablation_column(main.scale)
    rows = []
    for kind in KINDS:
        found = in_ablation(main, kind, BASELINE)
        among = main.of_kind(column, kind.columns)
        chosen = among.choice(PAPERS)
        total = nan
        if len(chosen) and kind.method != "l2":
            best = chosen.iloc[0]
            total = best["lr"] * best["rate"] * effective_steps(main, column, among.runs)
        about = {"name": kind.name, "reported": found.reported, "total": total}
        rows.append({**about, **as_columns("seeds", found.ours)})
    return pd.DataFrame(rows)
