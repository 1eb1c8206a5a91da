"""The verdicts on the paper's claims as a table."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pandas as pd

from lpwd.analysis import claims, paper
from lpwd.analysis.cells import by_seed
from lpwd.analysis.claims import grids
from lpwd.analysis.claims.rule import RULE
from lpwd.analysis.main_grid import MainGrid
from lpwd.draw.formats import csv, pipe_table
from lpwd.draw.words import GAP, NONE, signed

HEADER = ["Claim", "Where", "The paper", "Measured effect", "95 % interval", "From", "Holds in"]

#: {the unit of an effect: the effect in words}, where a number before its unit would puzzle.
IN_WORDS: dict[str, Callable[[float], str]] = {
    "% of these cells, beyond 50 %": lambda effect: f"better in {50 + effect:.0f} % of these cells",
    f"points below {grids.LOW_R_OP:g} %": lambda effect: (
        f"mean R_op {grids.LOW_R_OP - effect:.2f} %"
    ),
    "(1: R_op is 0, −1: it is not)": lambda effect: (
        f"R_op is {'' if effect == 1 else 'not always '}0"
    ),
}


def files(main: MainGrid) -> dict[str, bytes]:
    """claims.csv and claims.md, and seeds.csv: what each seed gave, which they rest on."""
    return {
        "claims.csv": csv(claims.data(main)),
        "claims.md": markdown(main).encode(),
        "seeds.csv": csv(by_seed(main)),
    }


def markdown(main: MainGrid) -> str:
    """The rule, then a table of all claims."""
    frame = claims.data(main)
    return (
        f"# The paper's claims\n\nAt {paper.scale_note(main.scale)}. {summary(frame)}."
        f"\n\n## The rule\n\n{RULE}\n## The claims\n\n{table(frame)}\n"
    )


def summary(frame: pd.DataFrame) -> str:
    """How many verdicts of which kind; a claim has one for each protocol that it is held to."""
    counts = frame["verdict"].value_counts()
    each = ", ".join(f"{counts[verdict]} {verdict}" for verdict in sorted(counts.index))
    return f"{len(frame)} verdicts on {frame['claim'].nunique()} claims: {each}"


def verdict_text(verdict: str, reason: str) -> str:
    """A verdict in Markdown; `reason` may be empty."""
    return f"**{verdict}**" + (f": {reason}" if reason else "")


def table(frame: pd.DataFrame) -> str:
    """The claims as a Markdown table, a row each."""
    rows = [[*HEADER, "Verdict"], ["---"] * (len(HEADER) + 1)]
    rows += [texts(row) for row in frame.itertuples(index=False)]
    return pipe_table(rows)


def texts(row: Any) -> list[str]:
    """A claim in words, under HEADER and then its verdict; `row` is a row of `claims.data`."""
    note = f"; {row.note}" if row.note else ""
    measured = GAP if math.isnan(row.effect) else f"{effect_text(row)}{note}"
    interval = NONE if math.isnan(row.low) else f"[{signed(row.low)}, {signed(row.high)}]"
    return [
        row.claim,
        row.place,
        NONE if math.isnan(row.reported) else signed(row.reported),
        measured,
        interval,
        f"{row.basis}, n={row.n}" if row.n else GAP,
        f"{row.held} of {row.cases} {row.case}" if row.n else GAP,
        verdict_text(row.verdict, row.reason),
    ]


def effect_text(row: Any) -> str:
    """A measured effect with its unit, as in +0.04 points."""
    said = IN_WORDS.get(row.unit, lambda effect: f"{signed(effect)} {row.unit}")
    return said(row.effect)
