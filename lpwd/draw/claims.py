"""TODO lpwd.draw.claims."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig

from lpwd.analysis import paper
from lpwd.analysis.claims import data
from lpwd.analysis.claims.measures import three_digits
from lpwd.analysis.claims.rule import RULE
from lpwd.store.files import write_whole
from lpwd.store.frames import Results

DRAWINGS = ("claims",)


def draw(target: str, results: Results, scale: DictConfig, folder: Path) -> list[Path]:
    """Write claims.csv and claims.md into `folder`; returns their paths.

    `results` are the runs of the main grid, `scale` is the scale's node of the config.
    """
    frame = data(results, scale)
    contents = {
        folder / f"{target}.csv": frame.to_csv(index=False, float_format="%.10g"),
        folder / f"{target}.md": markdown(frame, scale),
    }
    for path, text in contents.items():
        write_whole(path, text.encode())
    return list(contents)


GAP = "–"
HEADER = ["Claim", "Where", "The paper", "Measured effect", "95 % interval", "From", "Holds in"]


def markdown(frame: pd.DataFrame, scale: DictConfig) -> str:
    """The rule, then a table of all claims."""
    return (
        f"# The paper's claims\n\nAt {paper.scale_note(scale)}. {summary(frame)}."
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
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def texts(row: Any) -> list[str]:
    """A claim in words, under HEADER and then its verdict; `row` is a row of `data`."""
    note = f"; {row.note}" if row.note else ""
    low, high, effect = map(three_digits, (row.low, row.high, row.effect))
    measured = GAP if math.isnan(row.effect) else f"{effect} {row.unit}{note}"
    interval = GAP if math.isnan(row.low) else f"[{low}, {high}]"
    return [
        row.claim,
        row.place,
        GAP if math.isnan(row.reported) else three_digits(row.reported),
        measured,
        interval,
        f"{row.basis}, n={row.n}" if row.n else GAP,
        f"{row.held} of {row.cases} {row.case}" if row.n else GAP,
        verdict_text(row.verdict, row.reason),
    ]
