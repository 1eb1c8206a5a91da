"""What came out, as pages tell it: written from what is stored, never by hand.

    outcome.draw("pages", results, scale, folder)   fills the blocks of PAGES, and draws leads.png

They tell of the miniature, whose results are committed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pandas as pd
from omegaconf import DictConfig

from lpwd.analysis import cells, claims, paper
from lpwd.analysis.intervals import LEAST_SEEDS
from lpwd.analysis.leads import leads
from lpwd.config.paths import ROOT
from lpwd.draw import claims as verdicts
from lpwd.draw import figures, words
from lpwd.draw.figures import leads as leads_figure
from lpwd.store.files import write_whole
from lpwd.store.frames import Results

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
    fill(report, "claims", verdicts.table(claims.data(results, scale)))
    fill(miniature, "resolution", resolution(found))
    return [*(folder / name for name in contents), readme, report, miniature]


def text(results: Results, scale: DictConfig) -> str:
    """The block: how much is in, LPWD against WD by column, the claims with their verdicts."""
    extent = _extent(cells.table1(results, scale), scale)
    judged = claims.data(results, scale)
    return "\n\n".join([extent, _leads(leads(results, scale)), _verdicts(judged)])


def _extent(frame: pd.DataFrame, scale: DictConfig) -> str:
    note = paper.scale_note(scale)
    runs, expected = int(frame["runs"].sum()), int(frame["expected"].sum())
    with_seeds = int((frame["seeds_n"] >= LEAST_SEEDS).sum())
    lines = [
        f"{note[:1].upper()}{note[1:]}. {runs:,} of the {expected:,} runs of Table 1's grid are"
        f" stored, and fresh seeds of {with_seeds} of its {len(frame)} cells."
    ]
    if runs < expected or with_seeds < len(frame):
        lines.append(f"`{paper.fill_command('all', scale)} SEEDS=5` goes on with the rest.")
    return " ".join(lines)


def _leads(frame: pd.DataFrame) -> str:
    """`leads` as a table, with what its numbers mean."""
    lines = [
        "| LPWD − WD, points of test top-1 | the paper | fresh seeds, paper's protocol [95 %]"
        " | fresh seeds, held-out [95 %] | one run, paper's protocol | one run, held-out |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in cast(Any, frame.itertuples(index=False)):
        spans = [cells.interval_in(row, prefix) for prefix in ("seeds", "heldout_seeds")]
        texts = [words.signed(row.reported), *map(words.signed_span, spans)]
        texts += map(words.signed, (row.first, row.heldout))
        lines.append(f"| {' | '.join([row.column, *texts])} |")
    return "\n".join([*lines, "", NOTE])


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
        found = [cells.interval_in(row, prefix) for prefix in ("seeds", "heldout_seeds")]
        widths = [f"±{f.high - f.mean:.2f}" if f.known else words.GAP for f in found]
        numbers = [str(found[0].n or words.GAP), *widths, words.signed(row.reported)]
        lines.append(f"| {' | '.join([row.column, *numbers])} |")
    return "\n".join(lines)


def _verdicts(judged: pd.DataFrame) -> str:
    """All claims; one that fares alike by both protocols is told once."""
    lines = [
        f"{verdicts.summary(judged)}, [each by one stated rule](results/mini/claims.md). {GLOSS}",
        "",
        "| The paper's claim | Where | Verdict |",
        "|---|---|---|",
    ]
    for key, alike in judged.groupby(["claim", "verdict", "reason"], sort=False):
        claim, *decided = map(str, key)
        row = [claim, _places(alike), verdicts.verdict_text(*decided)]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def fill(page: Path, name: str, text: str) -> None:
    """Replace what stands between ``<!-- name -->`` and ``<!-- /name -->`` in a page.

    Raises:
        ValueError: the page lacks one of the two marks.
    """
    start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, found, rest = page.read_text().partition(start)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"{page} has no block {start.strip()} … {end}")
    write_whole(page, f"{before}{start}{text.strip()}\n{end}{after}".encode())
