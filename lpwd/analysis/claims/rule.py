"""The one rule by which every claim is decided."""

from __future__ import annotations

import math
from typing import NamedTuple

import pandas as pd
from scipy.special import bdtrc

from lpwd.analysis import intervals
from lpwd.analysis.intervals import LEAST_SEEDS, Interval

SUPPORTED, NOT_SUPPORTED = "supported", "not supported"
INCONCLUSIVE, NOT_MEASURED = "inconclusive", "not measured"

#: Of one side: a 95 % interval leaves as much outside.
LEVEL = 0.025
#: Without fresh seeds, fewer cells than this can decide nothing: ½ⁿ is above LEVEL.
LEAST_CELLS = math.ceil(-math.log2(LEVEL))

RULE = f"""\
Each claim is turned into *effects*: numbers that are positive where the paper is right, one for
each cell that the claim speaks of (a column of Table 1, a λ of Figure 3b …).

1. **Basis.** Where all cells share at least {LEAST_SEEDS} fresh seeds (the seed that chose
   the rates left out), the effects are theirs, paired by seed. They are averaged over the cells
   within each seed, and the mean over seeds gets a 95 % interval (Student's t): what is judged is
   the mean of the cells, not each. Else the effects
   are those of the grid, one run a cell, and sign tests over the cells take the interval's place.
2. **{NOT_MEASURED}**: no run of the claim is stored.
3. **{INCONCLUSIVE}**: a cell is missing; or there are no fresh seeds and fewer than
   {LEAST_CELLS} cells.
4. **{SUPPORTED}**: the interval lies above zero; or, without fresh seeds, a one-sided sign test
   gives p ≤ {LEVEL}, a tie counting against the paper ({LEAST_CELLS} of {LEAST_CELLS}, 8 of 8 …).
   If the claim says *all* or *always*, every case must hold, too.
5. **{NOT_SUPPORTED}**: the interval lies below zero; or it includes zero, but not the effect that
   the paper itself prints; or, without fresh seeds, the sign test goes the other way.
6. **{INCONCLUSIVE}**: anything else. Chance could have done it, or it does not hold throughout.

One number decides nothing. The sign test takes cells as independent; those of one grid share a seed
and neighbouring rates, so a claim about the whole grid counts one cell a column of Table 1. A
diverged run counts as 0 % accuracy; of a training loss, only the epochs before are compared.
"""


class Measured(NamedTuple):
    """What was measured of a claim.

    effects: columns cell, seed (0: the grid's) and effect · expected: how many cells there should
    be · cases: effects of the single cases that an *always* speaks of (default: the cells' means) ·
    note: what else a reader should know.
    """

    effects: pd.DataFrame
    expected: int
    cases: pd.Series | None = None
    note: str = ""


class Decision(NamedTuple):
    """A verdict, why, and what it rests on; low and high are NaN without fresh seeds."""

    verdict: str
    reason: str
    effect: float
    low: float
    high: float
    basis: str
    n: int
    held: int
    cases: int


def decide(measured: Measured, always: bool, reported: float = math.nan) -> Decision:
    """Apply RULE; `always`: the claim is about every case; `reported`: the paper's own effect."""
    effects = measured.effects.dropna().round({"effect": 9})  # 1e-16 is no effect
    table = effects.pivot_table("effect", "seed", "cell")
    shared = table[table.index.astype(int) > 0].dropna()  # seeds that all cells have
    found = intervals.interval(
        shared.mean(axis=1).tolist() if table.shape[1] == measured.expected else []
    )
    by_cell = (shared if found.known else table.reindex([0])).mean().dropna()
    cases = by_cell if measured.cases is None else measured.cases.dropna()
    held, of = int((cases > 0).sum()), len(cases)
    if by_cell.empty:
        verdict, reason = NOT_MEASURED, "runs are missing"
    elif len(by_cell) < measured.expected:
        verdict, reason = INCONCLUSIVE, "runs are missing"
    elif not found.known and len(by_cell) < LEAST_CELLS:
        verdict, reason = INCONCLUSIVE, "one run of each is too few: fresh seeds will tell"
    else:
        verdict, reason = _judge(by_cell, found, reported, held == of or not always)
    mean = float(by_cell.mean()) if len(by_cell) else math.nan
    basis = "fresh seeds" if found.known else "grid" if len(by_cell) else "–"
    n = found.n if found.known else len(by_cell)
    return Decision(verdict, reason, mean, found.low, found.high, basis, n, held, of)


def _judge(
    by_cell: pd.Series, found: Interval, reported: float, throughout: bool
) -> tuple[str, str]:
    """Verdict and reason once all runs are there; `throughout`: no case is against the claim."""
    right = found.low > 0 if found.known else sign_test(by_cell) <= LEVEL
    wrong = found.high < 0 if found.known else sign_test(-by_cell) <= LEVEL
    if right and throughout:
        return SUPPORTED, ""
    if wrong:
        return NOT_SUPPORTED, "the effect is against the paper"
    if found.high < reported and not right:
        return NOT_SUPPORTED, "no effect of the paper's size"
    return INCONCLUSIVE, "on average, not in every case" if right else "it could be chance"


def sign_test(effects: pd.Series) -> float:
    """One-sided p-value that effects are positive more often than a coin would have it."""
    if effects.empty:
        return 1.0
    wins = int((effects > 0).sum())
    return float(bdtrc(wins - 1, len(effects), 0.5)) if wins else 1.0  # the binomial's upper tail
