"""The tables for the page: the layouts of lpwd.draw, and what is behind each cell."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any, NamedTuple

import pandas as pd

from lpwd.analysis import cells as frames
from lpwd.analysis import paper
from lpwd.analysis.main_grid import MainGrid
from lpwd.analysis.protocols import HELD_OUT as BY_HELD_OUT
from lpwd.analysis.protocols import PAPERS as BY_PAPERS
from lpwd.config.rates import number, rate_grid
from lpwd.draw import controls, formats, words
from lpwd.draw import tables as drawn
from lpwd.draw.formats import Layout
from lpwd.draw.words import GAP, NONE
from lpwd.report.verdicts import HELD_OUT, PAPERS

#: The lines under a method, and columns, as the page names them: no number without its protocol.
LINES = {
    "the paper": "in the paper, same protocol",
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
    bold: bool = False
    behind: Behind | None = None


class Row(NamedTuple):
    """kind: main (a method's own), line (under it), more (under it, once asked for), or print (on
    paper, where nothing opens)."""

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


def tables_of(main: MainGrid) -> list[Table]:
    """Tables 1 to 3, the rivals, and the controls."""
    behind = _behind("table3", frames.table3(main), main)
    return [
        _table1(main),
        _plain("table2", drawn.layout("table2", main)),
        _by_method("table3", drawn.layout("table3", main), behind),
        _by_method("rivals", drawn.layout("rivals", main), repeat(None)),
        _plain("controls", controls.layout(main)),
        _plain("controls-figure5", controls.series_layout(main)),
    ]


def _table(target: str, layout: Layout, header: list[list[str]], rows: list[Row]) -> Table:
    merged = [words.spans(row) for row in header]
    return Table(target, layout.name, layout.title, merged, rows, layout.notes[1:])


def _plain(target: str, layout: Layout) -> Table:
    """A table in which nothing opens."""
    header = [[CONTROLS.get(head, head) for head in row] for row in layout.header]
    rows = [Row("main", row.name, "", _cells(row.cells)) for row in layout.rows]
    return _table(target, layout, header, rows)


def _cells(cells: Sequence[formats.Cell]) -> list[Cell]:
    return [Cell(*cell) for cell in cells]


def _table1(main: MainGrid) -> Table:
    """A row a method, whose cells open, and its further lines; those of gaps alone left out."""
    layout, rows = drawn.layout("table1", main), []
    behind = iter(_behind("table1", frames.table1(main), main))
    for row in layout.rows:
        if not row.line:
            cells = [Cell(*cell, next(behind)) for cell in row.cells]
            rows.append(Row("main", row.name, PAPERS, cells))
        elif _has_numbers(row.cells):
            kind = "line" if row.line == "the paper" else "more" if row.line in LINES else "print"
            rows.append(Row(kind, LINES.get(row.line, row.line), "", _cells(row.cells)))
    return _table("table1", layout, layout.header, rows)


def _by_method(target: str, layout: Layout, behind: Iterable[Behind | None]) -> Table:
    """A row a method, whose own accuracy opens; columns of gaps alone are left out."""
    (heads,) = layout.header
    names = [heads[0], f"{heads[1]}, {PAPERS}", *(LINES.get(head, head) for head in heads[2:])]
    columns = zip(*(row.cells for row in layout.rows), strict=True)
    shown = [
        i for i, column in enumerate(columns) if heads[i + 1] not in LINES or _has_numbers(column)
    ]
    rows = [
        Row("main", row.name, "", [Cell(*row.cells[i], None if i else opens) for i in shown])
        for row, opens in zip(layout.rows, behind, strict=False)
    ]
    return _table(target, layout, [[names[0], *(names[i + 1] for i in shown)]], rows)


def _has_numbers(cells: Sequence[formats.Cell]) -> bool:
    return bool({cell.text for cell in cells} - {GAP, NONE})


# -- behind a cell ---------------------------------------------------------------------------------


def _behind(target: str, frame: pd.DataFrame, main: MainGrid) -> list[Behind]:
    return [
        _cell(f"{target}-cell{index}", target, cell, main)
        for index, cell in enumerate(frame.itertuples(index=False))
    ]


def _cell(name: str, target: str, c: Any, main: MainGrid) -> Behind:
    column = paper.Column(c.data, c.model, c.optimizer)
    title = ", ".join([paper.METHOD_NAMES[c.method], *paper.column_names(column)])
    stored = main.cell(column, c.method)
    facts = [
        (PAPERS, _chosen(words.plus_minus(c.mean, c.std), c.lr, c.rate, c.hash)),
        (HELD_OUT, _held_out(c)),
        (f"fresh seeds, {PAPERS}", _seeds(c, "seeds", stored.fresh(BY_PAPERS))),
        (f"fresh seeds, {HELD_OUT}", _seeds(c, "heldout_seeds", stored.fresh(BY_HELD_OUT))),
        (f"in the paper ({PAPERS})", words.plus_minus(c.paper_mean, c.paper_std, "no such cell")),
        ("runs stored", _stored(c, target, main)),
    ]
    rates = rate_grid(main.scale, c.optimizer, c.method)
    lambdas = sorted(rates.rates) or [math.nan]
    runs: list[Any] = list(stored.first.itertuples())
    first = {(run.lr, _rate(run.rate)): run for run in runs}
    grid = [
        (number(lr), [_run(first.get((lr, _rate(rate))), c.hash) for rate in lambdas])
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


def _stored(c: Any, target: str, main: MainGrid) -> str:
    text = words.runs_text(c)
    if c.runs < c.expected:
        fill = paper.fill_command(target, main.scale)
        text += f"; the others are not trained yet: `{fill}`"
    return text


def _run(run: Any, chosen: str) -> Run:
    """A row of runs.csv as a cell of the grid; None: not stored."""
    if run is None:
        return Run(GAP, "missing")
    if run.status == "diverged":
        return Run("diverged", "diverged", run.hash)
    return Run(f"{run.best_mean:.2f}", "chosen" if run.hash == chosen else "", run.hash)


def _rate(rate: float) -> str:
    return "no decay" if math.isnan(rate) else number(rate)
