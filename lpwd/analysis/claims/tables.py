"""How the claims on Tables 1 and 3 are measured: effects that are positive if they hold."""

from __future__ import annotations

from itertools import pairwise

import pandas as pd

from lpwd.analysis import paper
from lpwd.analysis.cells import TABLE3_METHODS
from lpwd.analysis.claims.effects import chosen_lambdas, column_key, effects
from lpwd.analysis.claims.rule import Measured
from lpwd.analysis.leads import lead
from lpwd.analysis.main_grid import MainGrid


def lpwd_over(method: str, protocol: str, main: MainGrid) -> Measured:
    """LPWD − `method` in every column of Table 1, points."""
    columns = paper.columns(main.scale)
    parts = {column_key(c): lead(main, c, protocol, "lpwd", method) for c in columns}
    return Measured(effects(parts), len(columns))


def steps(protocol: str, main: MainGrid) -> dict[str, pd.Series]:
    """The three steps of Table 3, RWD − WD, PWD − RWD and LPWD − PWD, by seed."""
    column = paper.ablation_column(main.scale)
    names = paper.METHOD_NAMES
    return {
        f"{names[method]} − {names[before]}": lead(main, column, protocol, method, before)
        for before, method in pairwise(TABLE3_METHODS)
    }


def rwd_over_wd(protocol: str, main: MainGrid) -> Measured:
    """RWD − WD of Table 3, points."""
    step = steps(protocol, main)["RWD − WD"]
    note = chosen_lambdas(main, paper.ablation_column(main.scale), ("wd", "rwd"), protocol)
    return Measured(effects({"RWD − WD": step}), 1, note=note)


def order(protocol: str, main: MainGrid) -> Measured:
    """Each step of Table 3, points; their mean is a third of LPWD − WD."""
    found = steps(protocol, main)
    note = chosen_lambdas(main, paper.ablation_column(main.scale), TABLE3_METHODS, protocol)
    return Measured(effects(found), len(found), note=note, chained=True)


def rwd_most(protocol: str, main: MainGrid) -> Measured:
    """RWD's step less each of the other two, and by itself: it must be a step up; points."""
    found = steps(protocol, main)
    first = found["RWD − WD"]
    more = {name: first - step for name, step in found.items() if step is not first}
    return Measured(effects({**more, "RWD − WD": first}), len(found))
