"""The paper's claims, each held against stored results by one rule (`claims.data`)."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import pandas as pd

from lpwd.analysis import paper
from lpwd.analysis.claims import curves, grids, tables
from lpwd.analysis.claims.rule import Measured, decide
from lpwd.analysis.main_grid import MainGrid
from lpwd.analysis.protocols import PROTOCOLS


class Claim(NamedTuple):
    """A claim, where the paper makes it, and how it is measured.

    always: it speaks of every single case, whose name is `cases` · reported: the paper's own
    effect, NaN where it prints no numbers.
    """

    place: str
    text: str
    measure: Callable[[MainGrid], Measured]
    unit: str
    cases: str
    always: bool = False
    reported: float = math.nan


def _table1(method: str, protocol: str) -> Claim:
    name = paper.METHOD_NAMES[method]
    return Claim(
        f"Table 1, Section 4.3; {protocol} protocol",
        f"LPWD is better than {name} in all columns",
        partial(tables.lpwd_over, method, protocol),
        "points",
        "columns",
        always=True,
        reported=paper.reported_gain("table1", "lpwd", method),
    )


def _ablation(protocol: str) -> list[Claim]:
    place = f"Table 3, Section 4.6; {protocol} protocol"
    pairs = ("rwd", "wd"), ("pwd", "rwd"), ("lpwd", "pwd")
    rwd, pwd, lpwd = (paper.reported_gain("table3", *pair) for pair in pairs)
    return [
        Claim(
            place,
            "RWD is better than WD",
            partial(tables.rwd_over_wd, protocol),
            "points",
            "comparisons",
            reported=rwd,
        ),
        Claim(
            place,
            "WD < RWD < PWD < LPWD",
            partial(tables.order, protocol),
            "points a step",
            "steps",
            always=True,
            reported=(rwd + pwd + lpwd) / 3,
        ),
        Claim(
            place,
            "Of the three steps from WD to LPWD, RWD contributes most",
            partial(tables.rwd_most, protocol),
            "points more than another or none",
            "comparisons",
            always=True,
            reported=rwd - (pwd + lpwd) / 3,
        ),
    ]


CLAIMS = [
    *(_table1(method, p) for method in ("baseline", "l2", "wd") for p in PROTOCOLS),
    *(claim for both in zip(*map(_ablation, PROTOCOLS), strict=True) for claim in both),
    Claim(
        "Figure 3b, Section 3.2",
        f"PWD is better than RWD at large λ (the {curves.LARGE} largest of the grid)",
        curves.pwd_over_rwd,
        "points",
        "λ",
    ),
    Claim(
        "Figure 3b, Section 3.2",
        "PWD gains more on RWD at large λ than at smaller ones",
        curves.pwd_only_at_large,
        "points",
        "comparisons",
    ),
    Claim(
        "Figure 2b, Section 4.1",
        f"R_op of WD is low (its mean is below {grids.LOW_R_OP:g} %)",
        grids.r_op_low,
        f"points below {grids.LOW_R_OP:g} %",
        "columns",
    ),
    Claim(
        "Figure 2b, Section 4.1",
        "R_op of WD constantly grows with η",
        partial(grids.r_op_grows, "lr"),
        "(Spearman's ρ)",
        "steps of η",
        always=True,
    ),
    Claim(
        "Figure 2b, Section 4.1",
        "R_op of WD constantly grows with λ",
        partial(grids.r_op_grows, "rate"),
        "(Spearman's ρ)",
        "steps of λ",
        always=True,
    ),
    Claim(
        "Eq. 8, Section 3.1",
        "RWD never opposes its purpose: R_op is exactly 0 (true by construction)",
        grids.rwd_never_opposes,
        "(1: R_op is 0, −1: it is not)",
        "runs",
        always=True,
    ),
    Claim(
        "Figure 3a, Section 4.2",
        "Accuracy constantly falls along the zero-shot decay of trained Baselines",
        curves.zero_shot_falls,
        "(−Spearman's ρ)",
        "steps of 10 %",
        always=True,
    ),
    Claim(
        "Figure 4, Section 4.3",
        "LPWD is better than WD at most η and λ where they differ",
        grids.most_cells,
        "% of these cells, beyond 50 %",
        "columns",
    ),
    Claim(
        "Abstract, Figure 4",
        "LPWD is more robust to λ than WD: over all λ it loses less accuracy",
        grids.robust,
        "points",
        "columns",
    ),
    Claim(
        "Section 4, Section 4.4",
        "LPWD's lead over WD is larger under the strongest penalty than at the best rates",
        grids.lead_widens,
        "points",
        "columns",
    ),
    Claim(
        "Figure 1, Section 4.4",
        "Under the strongest penalty LPWD's training loss is always below WD's",
        partial(curves.strongest_gap, "train_loss", -1),
        "nats",
        "epochs",
        always=True,
    ),
    Claim(
        "Figure 1, Section 4.4",
        "Under the strongest penalty LPWD's test top-1 is always above WD's",
        partial(curves.strongest_gap, "test_top1", 1),
        "points",
        "epochs",
        always=True,
    ),
    Claim(
        "Figure 5, Section 4.5",
        "LPWD's lead over WD grows with the model",
        curves.lead_grows,
        "points a model",
        "series",
    ),
]


@cache
def data(main: MainGrid) -> pd.DataFrame:
    """A row a claim: its verdict and all that it rests on."""
    return pd.DataFrame([_judged(claim, claim.measure(main)) for claim in CLAIMS])


def _judged(claim: Claim, measured: Measured) -> dict[str, Any]:
    return {
        "claim": claim.text,
        "place": claim.place,
        "always": claim.always,
        **decide(measured, claim.always, claim.reported)._asdict(),
        "case": claim.cases,
        "unit": claim.unit,
        "reported": claim.reported,
        "note": measured.note,
    }
