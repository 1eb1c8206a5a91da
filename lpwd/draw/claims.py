"""The verdicts on the paper's claims as a table."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from lpwd.analysis import claims, paper
from lpwd.analysis.cells import by_seed
from lpwd.analysis.claims.rule import RULE
from lpwd.analysis.main_grid import MainGrid
from lpwd.draw.formats import csv, pipe_table
from lpwd.draw.words import GAP, NONE, signed

HEADER = ["Claim", "Where", "The paper", "Measured effect", "95 % interval", "From", "Holds in"]


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
    measured = GAP if math.isnan(row.effect) else f"{signed(row.effect)} {row.unit}{note}"
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
