"""Rivals of the paper's methods, which it does not compare with: all rates in Table 3's column."""

from __future__ import annotations

from functools import cache

import pandas as pd

from lpwd.analysis import cells, paper
from lpwd.analysis.kinds import BASELINE, CWD, CWD_MIRRORED, LPWD, SCALED_LPWD, WD, Kind
from lpwd.analysis.main_grid import MainGrid

KINDS = [
    BASELINE,
    WD,
    LPWD,
    SCALED_LPWD,
    Kind("wd", "geometric"),
    CWD,
    Kind("cwd", "linear"),
    CWD_MIRRORED,
]
#: These need a model that starts from pretrained weights.
TOWARDS = [Kind(method, towards="pretrained") for method in ("wd", "lpwd")]


@cache
def rivals(main: MainGrid) -> pd.DataFrame:
    """A row a kind of runs, Baseline and WD first: its name and `cells.found`."""
    column = paper.ablation_column(main.scale)
    wd = main.cell(column, "wd")
    kinds = KINDS if paper.from_scratch(main.scale.name) else KINDS + TOWARDS
    of_kind = {kind.name: main.of_kind(column, kind.columns) for kind in kinds}
    return pd.DataFrame(
        [
            {
                "name": name,
                "method": "wd" if among is wd else name,
                **column._asdict(),
                **cells.found(among, wd, _effect(kind, column)),
            }
            for kind, (name, among) in zip(kinds, of_kind.items(), strict=True)
        ]
    )


def _effect(kind: Kind, column: paper.Column) -> float:
    """What a difference from WD is held against: the paper's own; of a rival, LPWD's."""
    method = kind.method if kind.is_printed else "lpwd"
    return paper.reported_top1(method, column) - paper.reported_top1("wd", column)
