"""The tables for the page: the layouts of lpwd.tables, and what stands behind each cell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd
from omegaconf import DictConfig

from lpwd.analysis import controls, paper, protocols
from lpwd.analysis.cells import TABLE3_METHODS
from lpwd.config.rates import number, rate_grid
from lpwd.draw import controls as drawn_controls
from lpwd.draw import tables, words
from lpwd.draw.formats import Layout
from lpwd.draw.words import GAP, NONE
from lpwd.report.verdicts import HELD_OUT, PAPERS
from lpwd.store.frames import Results, only

#: The lines under a method, and columns, as the page names them: no number without its protocol.
LINES = {
    "the paper": f"in the paper ({PAPERS})",
    "held-out": HELD_OUT,
    "fresh seeds": f"fresh seeds, {PAPERS}",
    "fresh seeds, held-out": f"fresh seeds, {HELD_OUT}",
    "fresh seeds, less WD's": f"fresh seeds less WD's, {PAPERS}",
    "fresh seeds, held-out, less WD's": f"fresh seeds less WD's, {HELD_OUT}",
}
CONTROLS = {
    "Difference": f"difference, {PAPERS}",
    "Difference, held-out": f"difference, {HELD_OUT}",
}


class Run(NamedTuple):
    """A run of a grid: its value, what kind of cell that is, and its hash."""

    text: str
    kind: str
    hash: str = ""


class Behind(NamedTuple):
    """What opens behind a cell: facts (name, text), and every run of its grid."""

    id: str
    title: str
    facts: list[tuple[str, str]]
    lambdas: list[str]
    grid: list[tuple[str, list[Run]]]  # η, its runs


class Cell(NamedTuple):
    text: str
    behind: Behind | None = None


class Row(NamedTuple):
    """kind: main (a method's own), line (under it), or print (on paper, where nothing opens)."""

    kind: str
    name: str
    protocol: str
    cells: list[Cell]


class Table(NamedTuple):
    """A table of the page; the header's texts are merged to (text, columns that it spans).

    Its first note, on the scale, is the caption's.
    """

    target: str
    name: str
    title: str
    header: list[list[tuple[str, int]]]
    rows: list[Row]
    notes: list[str]


def tables_of(results: Results, every: Results, scale: DictConfig) -> list[Table]:
    """Tables 1, 3 and 2, and the controls, whose runs stand beside those of the main grid."""
    makers = {"table1": _rows1, "table3": _rows3, "table2": _rows2}
    made = []
    for target, make in makers.items():
        frame = tables.data(target, results, scale)
        layout = tables.layout(target, frame, scale)
        behind = [] if target == "table2" else _behind(target, frame, results, scale)
        header, rows = make(layout, behind)
        merged = [words.spans(row) for row in header]
        made.append(Table(target, layout.name, layout.title, merged, rows, layout.notes[1:]))
    parts = drawn_controls.layout(controls.data(every, scale), scale)
    at_equal_rates = drawn_controls.series_layout(controls.series(every, scale), scale)
    return [*made, _plain("controls", parts), _plain("controls-figure5", at_equal_rates)]


def _plain(target: str, layout: Layout) -> Table:
    (heads,) = layout.header
    header = [(CONTROLS.get(head, head), 1) for head in heads]
    rows = _plain_rows(layout.body)
    return Table(target, layout.name, layout.title, [header], rows, layout.notes[1:])


Made = tuple[list[list[str]], list[Row]]  # the header's rows, the body's


def _rows1(layout: Layout, behind: list[Behind]) -> Made:
    """A row a method, whose cells open, and its further lines; those that tell nothing left out."""
    rows, left = [], iter(behind)
    for name, *texts in layout.body:
        line = name.strip()
        if name.startswith("**"):
            cells = [Cell(text, next(left)) for text in texts]
            rows.append(Row("main", line.strip("*"), PAPERS, cells))
        elif _telling(texts):
            kind = "line" if line in LINES else "print"
            rows.append(Row(kind, LINES.get(line, line), "", [Cell(text) for text in texts]))
    return layout.header, rows


def _rows3(layout: Layout, behind: list[Behind]) -> Made:
    """A row a method, by its name where the paper ticks a column; its own accuracy opens.

    Columns that tell nothing are left out.
    """
    (heads,) = layout.header
    own = 1 + len(TABLE3_METHODS)
    columns = list(zip(*layout.body, strict=True))
    shown = [i for i in range(own, len(heads)) if heads[i] not in LINES or _telling(columns[i])]
    names = {**LINES, heads[own]: f"{heads[own]}, {PAPERS}"}
    rows = []
    for texts, opens in zip(layout.body, behind, strict=True):
        cells = [Cell(texts[i], opens if i == own else None) for i in shown]
        rows.append(Row("main", heads[texts.index(words.TICK)], "", cells))
    return [[heads[0], *(names.get(heads[i], heads[i]) for i in shown)]], rows


def _rows2(layout: Layout, _: list[Behind]) -> Made:
    return layout.header, _plain_rows(layout.body)


def _plain_rows(body: Sequence[Sequence[str]]) -> list[Row]:
    """Rows in which nothing opens."""
    return [Row("main", name, "", [Cell(text) for text in texts]) for name, *texts in body]


def _telling(texts: Sequence[str]) -> bool:
    return bool(set(texts) - {GAP, NONE})


# -- behind a cell ---------------------------------------------------------------------------------


def _behind(target: str, frame: pd.DataFrame, results: Results, scale: DictConfig) -> list[Behind]:
    return [
        _cell(f"{target}-cell{index}", target, cell, results, scale)
        for index, cell in enumerate(frame.itertuples(index=False))
    ]


def _cell(name: str, target: str, c: Any, results: Results, scale: DictConfig) -> Behind:
    column = paper.Column(c.data, c.model, c.optimizer)
    title = ", ".join([paper.METHOD_NAMES[c.method], *paper.column_names(column)])
    which = {**column._asdict(), "method": c.method}
    whole = results if c.runs >= c.expected else only(results, set())
    facts = [
        (PAPERS, _chosen(words.plus_minus(c.mean, c.std), c.lr, c.rate, c.hash)),
        (HELD_OUT, _held_out(c)),
        (f"fresh seeds, {PAPERS}", _seeds(c, "seeds", protocols.fresh_values(whole, **which))),
        (
            f"fresh seeds, {HELD_OUT}",
            _seeds(c, "heldout_seeds", protocols.fresh_held_out(whole, **which)),
        ),
        (f"in the paper ({PAPERS})", words.plus_minus(c.paper_mean, c.paper_std, "no such cell")),
        ("runs stored", _stored(c, target, scale)),
    ]
    runs = protocols.grid(results, **which)
    rates = rate_grid(scale, c.optimizer)
    lambdas = [math.nan] if c.method == "baseline" else sorted(rates.rates)
    grid = [
        (number(lr), [_run(runs, lr, rate, c.hash) for rate in lambdas])
        for lr in sorted(rates.lrs, reverse=True)
    ]
    return Behind(name, title, facts, [_rate(rate) for rate in lambdas], grid)


def _chosen(value: str, lr: float, rate: float, name: str) -> str:
    if math.isnan(lr):
        return GAP
    decay = "" if math.isnan(rate) else f", λ = {number(rate)}"
    return f"{value} at η = {number(lr)}{decay}; run `{name}`"


def _held_out(c: Any) -> str:
    if math.isnan(c.heldout):
        return GAP
    decay = f", λ = {c.heldout_rate.replace(' ', ' and ')}" if c.heldout_rate else ""
    names = " and ".join(f"`{name}`" for name in c.heldout_hash.split())
    return f"{c.heldout:.2f} at η = {c.heldout_lr.replace(' ', ' and ')}{decay}; run {names}"


def _seeds(c: Any, prefix: str, values: pd.Series) -> str:
    """Mean and interval as in the table, then each seed's value."""
    if values.empty:
        return "none"
    single = ", ".join(
        f"seed {seed}: {'diverged' if math.isnan(value) else f'{value:.2f}'}"
        for seed, value in values.items()
    )
    return f"{words.interval_text(c, prefix)} ({single})"


def _stored(c: Any, target: str, scale: DictConfig) -> str:
    text = words.runs_text(c)
    if c.runs < c.expected:
        text += f"; the others are not trained yet: `{paper.fill_command(target, scale)}`"
    return text


def _run(runs: pd.DataFrame, lr: float, rate: float, chosen: str) -> Run:
    same = runs["rate"].isna() if math.isnan(rate) else runs["rate"] == rate
    found = runs[(runs["lr"] == lr) & same]
    if found.empty:
        return Run(GAP, "missing")
    run = found.iloc[0]
    if run["status"] == "diverged":
        return Run("diverged", "diverged", run["hash"])
    kind = "chosen" if run["hash"] == chosen else ""
    return Run(f"{run['best_mean']:.2f}", kind, run["hash"])


def _rate(rate: float) -> str:
    return "no decay" if math.isnan(rate) else number(rate)
