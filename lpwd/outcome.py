"""What came out, as pages tell it: written from what is stored, never by hand.

    outcome.draw("pages", results, scale, folder)   fills the blocks of PAGES

They tell of the miniature, whose results are committed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from omegaconf import DictConfig

from lpwd import claims, paper, stats, tables
from lpwd.claims.measures import top1
from lpwd.config import ROOT
from lpwd.pages import fill
from lpwd.paper import Column
from lpwd.runs import Results

#: The scale whose results are committed and told of.
SCALE = "mini"
PAGES = ("README.md", "docs/reproduction.md", "docs/mini.md")
DRAWINGS = ("pages",)


def draw(target: str, results: Results, scale: DictConfig, folder: Path) -> list[Path]:
    """Fill the pages' blocks; `results` are those of the main grid."""
    readme, report, miniature = (ROOT / page for page in PAGES)
    fill(readme, "outcome", text(results, scale))
    fill(report, "claims", claims.table(claims.data(results, scale)))
    fill(miniature, "resolution", resolution(results, scale))
    return [readme, report, miniature]


def text(results: Results, scale: DictConfig) -> str:
    """The block: how much is in, LPWD against WD by column, the ablation, claims by verdict."""
    frame = tables.data("table1", results, scale)
    ablation = tables.data("table3", results, scale)
    judged = claims.data(results, scale)
    parts = [_extent(frame, scale), _leads(results, scale), _ablation(ablation, scale)]
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


def _leads(results: Results, scale: DictConfig) -> str:
    """LPWD − WD in each column of Table 1, and their mean."""
    lines = [
        "| LPWD − WD, points of test top-1 | the paper | here, by the paper's protocol"
        " | held-out protocol | fresh seeds [95 %] | fresh seeds, held-out [95 %] |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    columns = paper.columns(scale)
    reported = [_reported_lead(column) for column in columns]
    leads = [
        pd.concat([_lead(results, scale, column, protocol) for column in columns], axis=1)
        for protocol in claims.PROTOCOLS
    ]
    for i, column in enumerate(columns):
        name = ", ".join(paper.column_names(column))
        lines.append(_lead_row(name, reported[i], [lead.iloc[:, i] for lead in leads]))
    means = [lead.mean(axis=1, skipna=False) for lead in leads]
    lines.append(_lead_row(f"the mean of these {len(columns)}", np.mean(reported).item(), means))
    return "\n".join(lines)


def _lead_row(name: str, reported: float, leads: list[pd.Series]) -> str:
    """The paper's lead, then those of seed 0 and of fresh seeds; `leads`: by protocol and seed."""
    values = [reported, *(lead[0] for lead in leads)]
    row = [name, *map(tables.signed, values), *(tables.signed_span(_fresh(lead)) for lead in leads)]
    return f"| {' | '.join(row)} |"


def _lead(results: Results, scale: DictConfig, column: Column, protocol: str) -> pd.Series:
    """LPWD − WD by seed; 0 is the grid's. NaN while runs of the column's grids are missing."""
    lpwd, wd = (top1(results, scale, column, m, protocol) for m in ("lpwd", "wd"))
    return lpwd - wd


def _reported_lead(column: Column) -> float:
    lpwd, wd = (paper.reported_cell("table1", m, column)[0] for m in ("lpwd", "wd"))
    return lpwd - wd


def _fresh(lead: pd.Series) -> stats.Interval:
    return stats.interval(lead.drop(0).dropna().tolist())


def _ablation(frame: pd.DataFrame, scale: DictConfig) -> str:
    """Table 3 with less beside it."""
    where = ", ".join(paper.column_names(paper.ablation_column(scale)))
    lines = [
        f"| Test top-1 (%), {where} | the paper | here, by the paper's protocol"
        " | held-out protocol | fresh seeds, less WD's [95 %] | held-out, less WD's [95 %] |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for _, c in frame.iterrows():
        texts = [tables.plus_minus(c["paper_mean"], c["paper_std"])]
        texts += [tables.plus_minus(c["mean"], c["std"]), tables.plus_minus(c["heldout"], 0)]
        texts += [tables.over_wd_text(c, prefix) for prefix in ("over_wd", "heldout_over_wd")]
        row = [paper.METHODS[c["method"]], *texts]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def _places(of_claim: pd.DataFrame) -> str:
    """Where the paper makes a claim; a claim that is held against both protocols is told once."""
    places = of_claim["place"].tolist()
    return f"{places[0].partition(';')[0]}; both protocols" if len(places) > 1 else places[0]


def resolution(results: Results, scale: DictConfig) -> str:
    """What the fresh seeds of each column of Table 1 can tell from nothing."""
    lines = [
        "| LPWD − WD | fresh seeds | half the width of their 95 % interval, points"
        " | held-out protocol | the paper's difference |",
        "|---|---:|---:|---:|---:|",
    ]
    for column in paper.columns(scale):
        found = [_fresh(_lead(results, scale, column, protocol)) for protocol in claims.PROTOCOLS]
        widths = [f"±{f.high - f.mean:.2f}" if f.known else tables.GAP for f in found]
        numbers = [str(found[0].n or tables.GAP), *widths, tables.signed(_reported_lead(column))]
        lines.append(f"| {' | '.join([', '.join(paper.column_names(column)), *numbers])} |")
    return "\n".join(lines)


def _verdicts(judged: pd.DataFrame) -> str:
    """All claims; one that fares alike by both protocols is told once."""
    lines = [
        f"{claims.summary(judged)}, [each by one stated rule](results/mini/claims.md).",
        "",
        "| The paper's claim | Where | Verdict |",
        "|---|---|---|",
    ]
    for key, alike in judged.groupby(["claim", "verdict", "reason"], sort=False):
        claim, *decided = map(str, key)
        row = [claim, _places(alike), claims.verdict_text(*decided)]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)
