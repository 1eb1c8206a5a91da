"""The one rule by which every claim is decided."""

from __future__ import annotations

import math
from typing import NamedTuple

import pandas as pd
from scipy.special import bdtrc

from lpwd.analysis import intervals
from lpwd.analysis.intervals import LEAST_SEEDS, LEVEL, Interval, equivalence

SUPPORTED, NOT_SUPPORTED, EQUIVALENT = "supported", "not supported", "equivalent"
INCONCLUSIVE, NOT_MEASURED = "inconclusive", "not measured"
#: Without fresh seeds, fewer cells than this can decide nothing: ½ⁿ is above LEVEL.
LEAST_CELLS = math.ceil(-math.log2(LEVEL))

RULE = f"""\
Each claim is turned into *effects*: numbers that are positive where the paper is right, one for
each cell that the claim speaks of (a column of Table 1, a λ of Figure 3b …).

1. **Basis.** Where all cells share at least {LEAST_SEEDS} fresh seeds (the seed that chose
   the rates left out), the effects are theirs, paired by seed. They are averaged over the cells
   within each seed, and the mean over seeds gets a 95 % interval (Student's t): what is judged is
   the mean of the cells. Each cell gets an interval, too, corrected for their number (Holm).
   Else the effects are those of the grid, one run a cell, and sign tests over the cells take the
   intervals' place.
2. **{NOT_MEASURED}**: no run of the claim is stored.
3. **{INCONCLUSIVE}**: a cell is missing; or there are no fresh seeds and fewer than
   {LEAST_CELLS} cells.
4. **{SUPPORTED}**: the interval lies above zero; or, without fresh seeds, a one-sided sign test
   gives p ≤ {LEVEL}, a tie counting against the paper ({LEAST_CELLS} of {LEAST_CELLS}, 8 of 8 …).
   If the claim says *all* or *always*, every case must hold, too; a cell with fresh seeds holds
   if its own interval lies above zero (not corrected: all of them must).
5. **{NOT_SUPPORTED}**: the interval lies below zero; or, without fresh seeds, the sign test goes
   the other way; or, if the claim says *all* or *always*, one cell's corrected interval lies
   below zero.
6. **{EQUIVALENT}** within ±m: the interval includes zero, and two one-sided tests (TOST), each at
   {100 * LEVEL} %, say that the effect is smaller than m in either direction; that is, the
   interval lies between −m and m. m is half of the effect that the paper prints or, where that is
   not reached, all of it. Both follow from the paper's tables alone; they were fixed after the
   seeds of scale `mini` were trained, and before any of scale `scratch`. Of steps that add up to
   one difference each must lie between them, for their mean tells of the whole alone.
7. **{NOT_SUPPORTED}**: the interval includes zero, but not the effect that the paper prints.
8. **{INCONCLUSIVE}**: anything else. Chance could have done it, or it does not hold throughout.

One number decides nothing. The sign test takes cells as independent; those of one grid share a seed
and neighbouring rates, so a claim about the whole grid counts one cell a column of Table 1. A
diverged run counts as 0 % accuracy; of a training loss, only the epochs before are compared.
"""


class Measured(NamedTuple):
    """What was measured of a claim.

    effects: columns cell, seed (0: the grid's) and effect · expected: how many cells there should
    be · cases: effects of the single cases that an *always* speaks of (default: the cells' means) ·
    note: what else a reader should know · chained: the cells are steps from one end to another, so
    that a small mean says nothing of the steps.
    """

    effects: pd.DataFrame
    expected: int
    cases: pd.Series | None = None
    note: str = ""
    chained: bool = False


class Decision(NamedTuple):
    """A verdict, why, and what it rests on; low and high are NaN without fresh seeds.

    margin: the smaller of MARGINS (times the paper's effect) that the effect is within; NaN: of
    none · above, below: how many cells' corrected intervals lie above zero, and below it.
    """

    verdict: str
    reason: str
    effect: float
    low: float
    high: float
    basis: str
    n: int
    held: int
    cases: int
    margin: float
    above: int
    below: int


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
    cells = Cells(shared if found.known else shared.iloc[:0])
    margin, name = _equivalence([found, *(cells.alone if measured.chained else [])], reported)
    if by_cell.empty:
        verdict, reason = NOT_MEASURED, "runs are missing"
    elif len(by_cell) < measured.expected:
        verdict, reason = INCONCLUSIVE, "runs are missing"
    elif not found.known and len(by_cell) < LEAST_CELLS:
        verdict, reason = INCONCLUSIVE, "one run of each is too few: fresh seeds will tell"
    else:
        by_seed = found.known and measured.cases is None
        clear = not by_seed or all(one.low > 0 for one in cells.alone)
        lacking = _lacking(held, of, clear) if always else None
        verdict, reason = _judge(by_cell, found, reported, lacking, cells, (margin, name))
    mean = float(by_cell.mean()) if len(by_cell) else math.nan
    basis = "fresh seeds" if found.known else "grid" if len(by_cell) else "–"
    n = found.n if found.known else len(by_cell)
    numbers = mean, found.low, found.high, basis, n, held, of, margin, cells.above, cells.below
    return Decision(verdict, reason, *numbers)


class Cells:
    """The cells of a claim (columns; rows are seeds), each with its interval."""

    def __init__(self, table: pd.DataFrame) -> None:
        corrected = intervals.holm(table).values()
        self.count = table.shape[1]
        self.above = sum(found.low > 0 for found in corrected)
        self.below = sum(found.high < 0 for found in corrected)
        #: Not corrected.
        self.alone = [intervals.interval(table[cell]) for cell in table]
        self.below_alone = sum(found.high < 0 for found in self.alone)


def _equivalence(all_of: list[Interval], reported: float) -> tuple[float, str]:
    """The margin that all of these are within; NaN and "" if there is none."""
    found = [equivalence(one, reported) for one in all_of]
    return max(found) if all(name for _, name in found) else (math.nan, "")


def _lacking(held: int, of: int, clear: bool) -> str:
    """What keeps an *always* from holding; "" if nothing does."""
    if 0 < held == of:
        return "" if clear else "not surely in every case"
    return "not in every case"


def _judge(
    by_cell: pd.Series,
    found: Interval,
    reported: float,
    lacking: str | None,
    cells: Cells,
    margin: tuple[float, str],
) -> tuple[str, str]:
    """Verdict and reason once all runs are there; `lacking`: `_lacking`; None: no matter.

    margin: within which the effect is, and its name.
    """
    right = found.low > 0 if found.known else sign_test(by_cell) <= LEVEL
    wrong = found.high < 0 if found.known else sign_test(-by_cell) <= LEVEL
    small = "within ±{:.2g}, {}".format(*margin) if margin[1] else ""
    if right and not lacking:
        return SUPPORTED, small
    if wrong:
        return NOT_SUPPORTED, _joined("the effect is against the paper", small)
    alone = ""
    if lacking is not None and cells.below_alone:
        alone = f"{cells.below} of {cells.count} cells against the paper"
        if cells.below != cells.below_alone:
            alone += f" ({cells.below_alone} if not corrected for their number)"
    if alone and cells.below:
        return NOT_SUPPORTED, _joined(alone, small)
    if right:
        return INCONCLUSIVE, _joined(f"on average, {lacking}", small, alone)
    if small:
        return EQUIVALENT, _joined(small, alone)
    if found.high < reported:
        return NOT_SUPPORTED, _joined("no effect of the paper's size", alone)
    return INCONCLUSIVE, _joined("it could be chance", alone)


def _joined(*texts: str) -> str:
    return "; ".join(filter(None, texts))


def sign_test(effects: pd.Series) -> float:
    """One-sided p-value that effects are positive more often than a coin would have it."""
    if effects.empty:
        return 1.0
    wins = int((effects > 0).sum())
    return float(bdtrc(wins - 1, len(effects), 0.5)) if wins else 1.0  # the binomial's upper tail
