"""What came out, as pages say it: written from what is stored, never by hand.

    pages.files(main)   the blocks of PAGES filled, outcome.md, leads.csv, .png and .pdf, and what
                         shows both regimes: the README's table and results/gains

They describe the scales whose results are committed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pandas as pd

from lpwd.analysis import cells, claims, paper
from lpwd.analysis.gains import gains
from lpwd.analysis.intervals import LEAST_SEEDS, interval_in
from lpwd.analysis.leads import leads
from lpwd.analysis.main_grid import MainGrid
from lpwd.config.paths import ROOT
from lpwd.draw import answer, regimes, words
from lpwd.draw import claims as verdicts
from lpwd.draw.figures import gains as gains_figure
from lpwd.draw.figures import pictures
from lpwd.draw.figures.leads import plot
from lpwd.draw.formats import csv, pipe_table

#: {scale whose results are committed: {page: its blocks, in their order}}.
PAGES = {
    "mini": {"docs/reproduction.md": ["answer"], "docs/mini.md": ["resolution"]},
    "scratch": {"docs/reproduction.md": ["answer"]},
}
NOTE = (
    "Brackets: 95 % intervals over seeds (Student's t), differences paired by seed, each method at"
    " the rates that a grid of one seed chose, itself left out. They cover what another seed would"
    " change: not that choice, not the test images, not the one pretrained checkpoint (if any), and"
    " not how many intervals there are. One run: that seed's own. Held-out: rates and"
    " epoch chosen on other images than those reported on."
)
GLOSS = (
    "*Equivalent within ±m*: two one-sided tests say that the mean effect is smaller than m in"
    " either direction; m is half of the paper's effect, else all of it, which says only that it is"
    " smaller than the paper's. *No effect of the paper's size*: the interval includes zero, and"
    " not the paper's number; a smaller effect may be there. *On average*: the mean of the cases"
    " holds, but not every case."
)


def outcome(main: MainGrid) -> dict[str, bytes]:
    """outcome.md and the leads, of any scale."""
    return {
        "leads.csv": csv(leads(main)),
        **pictures("leads", plot(leads(main), main.scale)),
        "outcome.md": f"# What came out: {main.scale.name} scale\n\n{text(main)}\n".encode(),
    }


def files(main: MainGrid) -> dict[str, bytes]:
    """The repository's pages by their whole paths, of a scale that they tell of."""
    scale, texts = main.scale.name, blocks(main)
    return {
        **_regimes(main),
        **{
            str(ROOT / page): filled(
                ROOT / page, {f"{scale}: {name}": texts[name] for name in names}
            )
            for page, names in PAGES[scale].items()
        },
    }


def blocks(main: MainGrid) -> dict[str, str]:
    """What PAGES are filled with, in Markdown."""
    return {"answer": answer.text(main), "resolution": resolution(leads(main))}


def _regimes(main: MainGrid) -> dict[str, bytes]:
    """The README's table and results/gains: of this scale, and of what is stored of the others."""
    mains = {scale: main if scale == main.scale.name else MainGrid.load(scale) for scale in PAGES}
    frames = {scale: gains(main) for scale, main in mains.items()}
    every = pd.concat(frames, names=["scale"]).reset_index("scale")
    of_name = {"gains.csv": csv(every), **pictures("gains", gains_figure.plot(frames))}
    readme = ROOT / "README.md"
    return {
        str(readme): filled(readme, {"both regimes": both_regimes(mains)}),
        **{str(ROOT / "results" / name): content for name, content in of_name.items()},
    }


def both_regimes(mains: Mapping[str, MainGrid]) -> str:
    """The README's table; `mains`: {scale: its runs}."""
    return regimes.table({paper.regime(scale): main for scale, main in mains.items()})


def filled(page: Path, blocks: Mapping[str, str]) -> bytes:
    """A page with each of its blocks, ``<!-- name -->`` … ``<!-- /name -->``, filled anew.

    Raises:
        ValueError: the page lacks one of these marks.
    """
    content = page.read_text("utf-8")
    for name, text in blocks.items():
        start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, found, rest = content.partition(start)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise ValueError(f"{page} has no block {start.strip()} … {end}")
        content = f"{before}{start}{text.strip()}\n{end}{after}"
    return content.encode()


def text(main: MainGrid) -> str:
    """outcome.md: how much is in, the answer, LPWD − WD by column, the claims with verdicts."""
    parts = [_extent(main), answer.text(main), _leads(leads(main)), _verdicts(claims.data(main))]
    return "\n\n".join(parts)


def _extent(main: MainGrid) -> str:
    frame, scale = cells.table1(main), main.scale
    runs, expected = int(frame["runs"].sum()), int(frame["expected"].sum())
    seeds = frame["seeds_n"] + frame["seeds_diverged"]
    with_seeds = int((seeds >= LEAST_SEEDS).sum())
    lines = [
        f"{words.sentence(paper.scale_note(scale))}. {runs:,} of the {expected:,} runs of Table 1's"
        f" grid are stored, and fresh seeds of {with_seeds} of its {len(frame)} cells."
    ]
    if runs < expected or with_seeds < len(frame):
        lines.append(f"`{paper.fill_command('all', scale)} SEEDS=5` goes on with the rest.")
    return " ".join(lines)


def _leads(frame: pd.DataFrame) -> str:
    """`leads` as a table, with what its numbers mean."""
    rows = [
        [
            *("LPWD − WD, points of test top-1", "the paper"),
            *("fresh seeds, paper's protocol [95 %]", "fresh seeds, held-out [95 %]"),
            *("one run, paper's protocol", "one run, held-out"),
        ],
        ["---", *["---:"] * 5],
    ]
    for row in cast(Any, frame.itertuples(index=False)):
        spans = [interval_in(row, prefix) for prefix in ("seeds", "heldout_seeds")]
        texts = [words.signed(row.reported), *map(words.signed_span, spans)]
        texts += map(words.signed, (row.first, row.heldout))
        rows.append([row.column, *texts])
    return f"{pipe_table(rows)}\n\n{NOTE}"


def _places(of_claim: pd.DataFrame) -> str:
    """Where the paper makes a claim; a claim that is held against both protocols is told once."""
    places = of_claim["place"].tolist()
    return f"{places[0].partition(';')[0]}; both protocols" if len(places) > 1 else places[0]


def resolution(frame: pd.DataFrame) -> str:
    """What the fresh seeds of each column of Table 1 can tell from nothing; `frame`: `leads`."""
    rows = [
        [
            *("LPWD − WD", "fresh seeds", "half the width of their 95 % interval, points"),
            *("held-out protocol", "the paper's difference"),
        ],
        ["---", *["---:"] * 4],
    ]
    for row in cast(Any, frame.itertuples(index=False)):
        found = [interval_in(row, prefix) for prefix in ("seeds", "heldout_seeds")]
        widths = [f"±{f.high - f.mean:.2f}" if f.known else words.GAP for f in found]
        numbers = [str(found[0].n or words.GAP), *widths, words.signed(row.reported)]
        rows.append([row.column, *numbers])
    return pipe_table(rows)


def _verdicts(judged: pd.DataFrame) -> str:
    """All claims; one that fares alike by both protocols is told once."""
    rule = "[each by one stated rule](claims.md)"
    rows = [["The paper's claim", "Where", "Verdict"], ["---"] * 3]
    for key, alike in judged.groupby(["claim", "verdict", "reason"], sort=False):
        claim, *decided = map(str, key)
        rows.append([claim, _places(alike), verdicts.verdict_text(*decided)])
    return f"{verdicts.summary(judged)}, {rule}. {GLOSS}\n\n{pipe_table(rows)}"
