"""What came out, as pages tell it: written from what is stored, never by hand.

    outcome.draw("pages", results, scale, folder)   fills README.md and docs/reproduction.md

They tell of the miniature, whose results are committed.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig

from lpwd import claims, paper, stats, tables
from lpwd.config import ROOT
from lpwd.pages import fill
from lpwd.paper import Column
from lpwd.runs import Results

#: The scale whose results are committed and told of.
SCALE = "mini"
DRAWINGS = ("pages",)


def draw(target: str, results: Results, scale: DictConfig, folder: Path) -> list[Path]:
    """Fill the pages' blocks; `results` are those of the main grid."""
    readme, report = ROOT / "README.md", ROOT / "docs" / "reproduction.md"
    fill(readme, "outcome", text(results, scale))
    fill(report, "claims", claims.table(claims.data(results, scale)))
    return [readme, report]


def text(results: Results, scale: DictConfig) -> str:
    """The block: how much is in, LPWD against WD by column, the ablation, claims by verdict."""
    frame = tables.data("table1", results, scale)
    ablation = tables.data("table3", results, scale)
    judged = claims.data(results, scale)
    parts = [_extent(frame, scale), _leads(frame, results, scale), _ablation(ablation, scale)]
    return "\n\n".join([*parts, _verdicts(judged)])


def _extent(frame: pd.DataFrame, scale: DictConfig) -> str:
    note = paper.scale_note(scale)
    runs, expected = int(frame["runs"].sum()), int(frame["expected"].sum())
    with_seeds = int((frame["seeds_n"] >= stats.LEAST_SEEDS).sum())
    lines = [
        f"{note[:1].upper()}{note[1:]}. {runs:,} of the {expected:,} runs of Table 1's grid are"
        f" stored, and fresh seeds of {with_seeds} of its {len(frame)} cells."
    ]
    if runs < expected or with_seeds < len(frame):
        lines.append(f"`{paper.fill_command('all', scale)} SEEDS=5` goes on with the rest.")
    return " ".join(lines)


def _leads(frame: pd.DataFrame, results: Results, scale: DictConfig) -> str:
    """LPWD − WD in each column of Table 1."""
    lines = [
        "| LPWD − WD, points of test top-1 | the paper | here, by the paper's protocol"
        " | held-out protocol | fresh seeds [95 %] |",
        "|---|---:|---:|---:|---:|",
    ]
    protocols = ["paper_mean", "mean", "heldout"]
    lpwd, wd = (frame.loc[frame["method"] == m, protocols].to_numpy() for m in ("lpwd", "wd"))
    for column, leads in zip(paper.columns(scale), lpwd - wd, strict=True):
        numbers = map(_signed, leads)
        row = [", ".join(paper.column_names(column)), *numbers, _seeds(results, column)]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def _seeds(results: Results, column: Column) -> str:
    """The lead of fresh seeds at the rates that the paper's protocol chose, paired by seed."""
    of = column._asdict()
    pairs = [stats.fresh_values(results, method=method, **of) for method in ("lpwd", "wd")]
    found = stats.interval((pairs[0] - pairs[1]).dropna().tolist())
    span = f" [{_signed(found.low)}, {_signed(found.high)}]" if found.known else ""
    return f"{_signed(found.mean)}{span}"


def _ablation(frame: pd.DataFrame, scale: DictConfig) -> str:
    """Table 3 with less beside it."""
    where = ", ".join(paper.column_names(paper.ablation_column(scale)))
    lines = [
        f"| Test top-1 (%), {where} | the paper | here, by the paper's protocol"
        " | held-out protocol | fresh seeds [95 %] |",
        "|---|---:|---:|---:|---:|",
    ]
    for _, c in frame.iterrows():
        texts = [tables.plus_minus(c["paper_mean"], c["paper_std"])]
        texts += [tables.plus_minus(c["mean"], c["std"]), tables.plus_minus(c["heldout"], 0)]
        row = [paper.METHODS[c["method"]], *texts, tables.interval_text(c, "seeds")]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def _signed(value: Any) -> str:
    return tables.GAP if math.isnan(value) else f"{value:+.2f}".replace("-", "−")


def _verdicts(judged: pd.DataFrame) -> str:
    """The claims by verdict; those that nothing is known of are counted only."""
    lines = ["The paper's claims, [each by one stated rule](results/mini/claims.md):", ""]
    for verdict in ("supported", "not supported"):
        held = judged[judged["verdict"] == verdict]
        said = "; ".join(f"{row.claim} ({row.place})" for row in held.itertuples())
        lines.append(f"- **{verdict}**: {said or 'none'}.")
    for verdict in ("inconclusive", "not measured"):
        held = judged[judged["verdict"] == verdict]
        reasons = held["reason"].map(lambda said: str(said).partition(":")[0]).value_counts()
        said = ", ".join(f"{count} ({reason})" for reason, count in reasons.items())
        lines.append(f"- **{verdict}**: {said or 'none'}.")
    return "\n".join(lines)
