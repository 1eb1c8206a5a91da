"""What came out, as pages tell it: written from what is stored, never by hand.

    outcome.draw("pages", results, scale, folder)   fills the blocks of PAGES, and draws leads.png

They tell of the miniature, whose results are committed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pandas as pd
from omegaconf import DictConfig

from lpwd import claims, figures, paper, stats, tables
from lpwd.claims.measures import top1
from lpwd.config import ROOT
from lpwd.figures import leads as leads_figure
from lpwd.pages import fill
from lpwd.paper import Column
from lpwd.runs import Results, write_whole

#: The scale whose results are committed and told of.
SCALE = "mini"
PAGES = ("README.md", "docs/reproduction.md", "docs/mini.md")
DRAWINGS = ("pages",)
NOTE = (
    "Brackets: 95 % intervals over seeds (Student's t), differences paired by seed, each method at"
    " the rates that a grid of one seed chose, itself left out. They cover neither that choice, nor"
    " the one pretrained checkpoint, nor how many intervals there are. One run: that seed's own."
    " Held-out: rates and epoch chosen on other images than those reported on."
)
GLOSS = (
    "*No effect of the paper's size*: the interval includes zero, and not the paper's number; a"
    " smaller effect may be there. *On average*: the mean of the cases holds, but not every case."
)


def draw(target: str, results: Results, scale: DictConfig, folder: Path) -> list[Path]:
    """Fill the pages' blocks, and draw their figure; `results` are those of the main grid."""
    readme, report, miniature = (ROOT / page for page in PAGES)
    found = leads(results, scale)
    contents = {"leads.csv": found.to_csv(index=False, float_format="%.10g").encode()}
    contents |= figures.pictures("leads", leads_figure.plot(found, scale))
    for name, content in contents.items():
        write_whole(folder / name, content)
    fill(readme, "outcome", text(results, scale))
    fill(report, "claims", claims.table(claims.data(results, scale)))
    fill(miniature, "resolution", resolution(found))
    return [*(folder / name for name in contents), readme, report, miniature]


def text(results: Results, scale: DictConfig) -> str:
    """The block: how much is in, LPWD against WD by column, the claims with their verdicts."""
    extent = _extent(tables.data("table1", results, scale), scale)
    judged = claims.data(results, scale)
    return "\n\n".join([extent, _leads(leads(results, scale)), _verdicts(judged)])


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


def leads(results: Results, scale: DictConfig) -> pd.DataFrame:
    """LPWD − WD in points of test top-1: a row a column of Table 1, the last their mean.

    Columns: column, reported (the paper's), and by the paper's protocol and the held-out one the
    first seed's (first, heldout) and fresh seeds', paired (seeds_*, heldout_seeds_*:
    `tables.interval_of`). NaN while runs of a column's grids are missing.
    """
    columns = paper.columns(scale)
    named = {", ".join(paper.column_names(column)): column for column in columns}
    mean = f"the mean of these {len(columns)}"
    reported = pd.Series({name: _reported_lead(column) for name, column in named.items()})
    frame = pd.DataFrame({"reported": reported})
    frame.loc[mean] = reported.mean()
    prefixes = ("first", "seeds"), ("heldout", "heldout_seeds")
    for protocol, (first, fresh) in zip(claims.PROTOCOLS, prefixes, strict=True):
        by_seed = pd.DataFrame(
            {name: _lead(results, scale, column, protocol) for name, column in named.items()}
        )
        by_seed[mean] = by_seed.mean(axis=1, skipna=False)
        frame[first] = by_seed.loc[0]
        intervals = {name: tables.interval_of(fresh, by_seed[name].drop(0)) for name in by_seed}
        frame = frame.join(pd.DataFrame.from_dict(intervals, orient="index"))
    return frame.rename_axis("column").reset_index()


def _leads(frame: pd.DataFrame) -> str:
    """`leads` as a table, with what its numbers mean."""
    lines = [
        "| LPWD − WD, points of test top-1 | the paper | fresh seeds, paper's protocol [95 %]"
        " | fresh seeds, held-out [95 %] | one run, paper's protocol | one run, held-out |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in cast(Any, frame.itertuples(index=False)):
        spans = [tables.interval_in(row, prefix) for prefix in ("seeds", "heldout_seeds")]
        texts = [tables.signed(row.reported), *map(tables.signed_span, spans)]
        texts += map(tables.signed, (row.first, row.heldout))
        lines.append(f"| {' | '.join([row.column, *texts])} |")
    return "\n".join([*lines, "", NOTE])


def _lead(results: Results, scale: DictConfig, column: Column, protocol: str) -> pd.Series:
    """LPWD − WD by seed; 0 is the grid's. NaN while runs of the column's grids are missing."""
    lpwd, wd = (top1(results, scale, column, m, protocol) for m in ("lpwd", "wd"))
    return lpwd - wd


def _reported_lead(column: Column) -> float:
    lpwd, wd = (paper.reported_cell("table1", m, column)[0] for m in ("lpwd", "wd"))
    return lpwd - wd


def _places(of_claim: pd.DataFrame) -> str:
    """Where the paper makes a claim; a claim that is held against both protocols is told once."""
    places = of_claim["place"].tolist()
    return f"{places[0].partition(';')[0]}; both protocols" if len(places) > 1 else places[0]


def resolution(frame: pd.DataFrame) -> str:
    """What the fresh seeds of each column of Table 1 can tell from nothing; `frame`: `leads`."""
    lines = [
        "| LPWD − WD | fresh seeds | half the width of their 95 % interval, points"
        " | held-out protocol | the paper's difference |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in cast(Any, frame.itertuples(index=False)):
        found = [tables.interval_in(row, prefix) for prefix in ("seeds", "heldout_seeds")]
        widths = [f"±{f.high - f.mean:.2f}" if f.known else tables.GAP for f in found]
        numbers = [str(found[0].n or tables.GAP), *widths, tables.signed(row.reported)]
        lines.append(f"| {' | '.join([row.column, *numbers])} |")
    return "\n".join(lines)


def _verdicts(judged: pd.DataFrame) -> str:
    """All claims; one that fares alike by both protocols is told once."""
    lines = [
        f"{claims.summary(judged)}, [each by one stated rule](results/mini/claims.md). {GLOSS}",
        "",
        "| The paper's claim | Where | Verdict |",
        "|---|---|---|",
    ]
    for key, alike in judged.groupby(["claim", "verdict", "reason"], sort=False):
        claim, *decided = map(str, key)
        row = [claim, _places(alike), claims.verdict_text(*decided)]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)
