"""The one rule by which every claim is decided."""

from __future__ import annotations

import math
from typing import NamedTuple

import pandas as pd
from scipy.stats import binomtest

from lpwd import stats

SUPPORTED, NOT_SUPPORTED = "supported", "not supported"
INCONCLUSIVE, NOT_MEASURED = "inconclusive", "not measured"

#: Without fresh seeds, fewer cells than this decide nothing.
LEAST_CELLS = 5
LEVEL = 0.05

RULE = f"""\
Each claim is turned into *effects*: numbers that are positive where the paper is right, one for
each cell that the claim speaks of (a column of Table 1, a λ of Figure 3b …).

1. **Basis.** Where every cell has at least {stats.LEAST_SEEDS} fresh seeds (the seed that chose the
   rates left out), the effects are theirs, paired by seed, and their mean gets a 95 % interval
   (Student's t, the cells' variances pooled). Else they are those of the grid, one run a cell,
   without an interval.
2. **{NOT_MEASURED}**: no run of the claim is stored.
3. **{INCONCLUSIVE}**: a cell is missing; or there are no fresh seeds and fewer than
   {LEAST_CELLS} cells.
4. **{NOT_SUPPORTED}**: the mean effect is zero or against the paper; or the claim says *all* or
   *always*, and at most half of its cases hold.
5. **{SUPPORTED}**: the interval lies above zero; or, without fresh seeds, a one-sided sign test
   over the cells gives p ≤ {LEVEL}, a tie counting against the paper (5 of 5, 7 of 8 …). If the
   claim says *all* or *always*, every case must hold, too.
6. **{INCONCLUSIVE}**: anything else. The effect is on the paper's side, but chance could have done
   it, or it does not hold throughout.

One number never supports a claim. The sign test takes cells as independent; those of one grid share
a seed and neighbouring rates, so a claim about the whole grid counts one cell a column of Table 1.
A diverged run counts as 0 % accuracy.
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


def decide(measured: Measured, always: bool) -> Decision:
    """Apply RULE; `always`: the claim is about every single case."""
    effects = measured.effects.dropna().round({"effect": 9})  # 1e-16 is no effect
    fresh = effects[effects["seed"] > 0]
    groups = [group["effect"].tolist() for _, group in fresh.groupby("cell")]
    found = stats.interval(*groups) if len(groups) == measured.expected else stats.interval()
    used = fresh if found.known else effects[effects["seed"] == 0]
    by_cell = used.groupby("cell")["effect"].mean()
    cases = by_cell if measured.cases is None else measured.cases.dropna()
    held = int((cases > 0).sum())
    if found.known:
        evident, enough, basis = found.low > 0, True, "fresh seeds"
    else:
        evident, enough, basis = sign_test(by_cell) <= LEVEL, len(by_cell) >= LEAST_CELLS, "grid"
    mean = float(by_cell.mean()) if len(by_cell) else math.nan
    throughout = held == len(cases) or not always
    if by_cell.empty:
        verdict, reason, basis = NOT_MEASURED, "runs are missing", "–"
    elif len(by_cell) < measured.expected:
        verdict, reason = INCONCLUSIVE, "runs are missing"
    elif not enough:
        verdict, reason = INCONCLUSIVE, "one run of each is too few: fresh seeds will tell"
    elif mean <= 0:
        verdict, reason = NOT_SUPPORTED, "the effect is against the paper" if mean else "no effect"
    elif always and held <= len(cases) / 2:
        verdict, reason = NOT_SUPPORTED, "half of the cases or more are against the paper"
    elif not evident:
        verdict, reason = INCONCLUSIVE, "it could be chance"
    elif not throughout:
        verdict, reason = INCONCLUSIVE, "on average, not in every case"
    else:
        verdict, reason = SUPPORTED, ""
    return Decision(
        verdict, reason, mean, found.low, found.high, basis, len(used), held, len(cases)
    )


def sign_test(effects: pd.Series) -> float:
    """One-sided p-value that effects are positive more often than a coin would have it."""
    if effects.empty:
        return 1.0
    wins = int((effects > 0).sum())
    return float(binomtest(wins, len(effects), alternative="greater").pvalue)
