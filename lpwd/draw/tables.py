"""Tables 1, 2 and 3 in the paper's layout, with the paper's numbers beside ours; and the rivals.

    tables.files("table1", main)         {file name: content} of table1.csv, .md and .tex
    print(tables.show("table1", main))   the same for a terminal

A table is first a frame (`analysis.cells`: a row a cell, all it rests on), then a layout of typed
cells, then Markdown, LaTeX or plain text. Runs that are missing leave gaps and a line with the
command that fills them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pandas as pd
from omegaconf import DictConfig

from lpwd.analysis import paper
from lpwd.analysis.cells import PARAMETERS, TABLE1_METHODS, table1, table2, table3
from lpwd.analysis.intervals import LEAST_SEEDS
from lpwd.analysis.main_grid import MainGrid
from lpwd.analysis.paper import Column
from lpwd.analysis.rivals import rivals
from lpwd.config.rates import number
from lpwd.draw import words
from lpwd.draw.formats import Cell, Layout, Row, cells, csv, latex, markdown, plain
from lpwd.draw.words import GAP, NONE, sentence
from lpwd.store.summary import best_k

#: The further lines under a method's own row, and how each is made from a row of the frame.
LINES: dict[str, Callable[[Any], str]] = {
    "the paper": lambda c: words.plus_minus(c.paper_mean, c.paper_std, NONE),
    "η, λ chosen": lambda c: words.rates_text(c.lr, c.rate),
    "runs": words.runs_text,
    "held-out": lambda c: words.value(c.heldout),
    "fresh seeds": lambda c: words.interval_text(c, "seeds"),
    "fresh seeds, held-out": lambda c: words.interval_text(c, "heldout_seeds"),
    "fresh seeds, less WD's": lambda c: words.over_wd_text(c, "over_wd"),
    "fresh seeds, held-out, less WD's": lambda c: words.over_wd_text(c, "heldout_over_wd"),
}

LEGEND = {
    "": "Each method's own row: {statistic} test top-1 of one run, in percent; rates chosen on the"
    " test set (the paper's protocol).",
    "the paper": f"the paper: its own number; {NONE} where it has no such column.{{elsewhere}}",
    "runs": "runs: how many stand behind the choice, of how many in the grid, and fresh seeds;"
    " nothing is chosen until the grid is whole.",
    "held-out": "held-out: rates and epoch chosen without the images that are reported on.",
    "fresh seeds": "fresh seeds: mean [95 % interval] of independent runs at the chosen rates; the"
    " seed that chose them is left out. No interval under {least} seeds. The interval says how far"
    " one method is known, not whether two differ.",
    "fresh seeds, less WD's": "less WD's: the same, differences from WD paired by seed. Where the"
    " interval includes 0, which is better is undecided; within ±m: it is equivalent to WD, since"
    " the interval lies between −m and m (two one-sided tests at 2.5 %); m is half of the paper's"
    " own difference, else all of it. Each interval by itself, not corrected for their number.",
}


def layout(target: str, main: MainGrid) -> Layout:
    """A table as typed cells; `main` holds the stored runs."""
    of = {"table1": layout1, "table2": layout2, "table3": layout3, "rivals": layout_rivals}
    return of[target](main)


def layout1(main: MainGrid) -> Layout:
    """Table 1 as the paper prints it, with further lines under each method."""
    frame = table1(main)
    names = [paper.column_names(column) for column in paper.columns(main.scale)]
    head = ["Method", "", ""]
    rows = []
    for method in TABLE1_METHODS:
        found = _rows(frame[frame["method"] == method])
        own = [_own(c, frame) for c in found]
        rows.append(Row(paper.METHOD_NAMES[method], own, method))
        for line in _lines(frame):
            rows.append(Row(line, cells(*(LINES[line](c) for c in found)), method, line))
    return Layout(
        "Table 1",
        f"Test top-1 (%) of {', '.join(paper.METHOD_NAMES[m] for m in TABLE1_METHODS)}",
        [[text, *parts] for text, parts in zip(head, zip(*names, strict=True), strict=True)],
        rows,
        _notes(frame, main.scale, "table1", _lines(frame)),
    )


def layout3(main: MainGrid) -> Layout:
    """Table 3 with further columns; a row has its method's name where the paper ticks a column."""
    frame = table3(main)
    named = frame.assign(name=frame["method"].map(paper.METHOD_NAMES))
    return _in_ablation("table3", "Table 3", "Ablation", named, main.scale)


def layout_rivals(main: MainGrid) -> Layout:
    """A row a rival, with the columns of Table 3 but the paper's, which has none of them."""
    title = "Methods that the paper does not compare with"
    layout = _in_ablation("rivals", "Rivals", title, rivals(main), main.scale)
    note = "Of a rival, m is half of LPWD's difference, else all of it: the paper has no other."
    return layout._replace(notes=[*layout.notes[:1], note, *layout.notes[1:]])


def _in_ablation(
    target: str, name: str, title: str, frame: pd.DataFrame, scale: DictConfig
) -> Layout:
    """A row a method, all in the column of the paper's ablation."""
    lines = [line for line in _lines(frame) if target == "table3" or line != "the paper"]
    rows = [
        Row(c.name, [_own(c, frame), *cells(*(LINES[line](c) for line in lines))])
        for c in _rows(frame)
    ]
    where = ", ".join(paper.column_names(paper.ablation_column(scale)))
    header = [["Method", "Top-1 (%)", *lines]]
    return Layout(name, f"{title}: {where}", header, rows, _notes(frame, scale, target, lines))


def _rows(frame: pd.DataFrame) -> list[Any]:
    return list(frame.itertuples(index=False))


def _lines(frame: pd.DataFrame) -> list[str]:
    """The further lines; those of fresh seeds only where there are some."""
    has_seeds = (frame[["seeds_n", "heldout_seeds_n"]] > 0).any(axis=None)
    return [name for name in LINES if has_seeds or not name.startswith("fresh")]


def _own(c: Any, frame: pd.DataFrame) -> Cell:
    """A method's own cell: mean ± std, bold where it is the best of its column, all trained."""
    if math.isnan(c.mean):
        return Cell("diverged" if c.runs and c.diverged == c.runs else GAP)
    same = (frame[list(Column._fields)] == [c.data, c.model, c.optimizer]).all(axis=1)
    column = frame[same]
    is_whole = (column["runs"] >= column["expected"]).all()
    is_best = c.mean == column["mean"].max()
    return Cell(words.plus_minus(c.mean, c.std), bold=bool(is_whole and is_best))


def _notes(frame: pd.DataFrame, scale: DictConfig, target: str, lines: list[str]) -> list[str]:
    k, of = best_k(scale.epochs), f"of {scale.epochs}"
    scratch = paper.from_scratch(scale.name)
    values = {
        "statistic": f"mean ± std (ddof 0) of the best {k} {of}" if k > 1 else f"the best {of}",
        "least": LEAST_SEEDS,
        "elsewhere": ""
        if scale.name == "paper"
        else f" Its models and data are larger{', and its models pretrained' * scratch}: compare"
        " the order of methods, not the level.",
    }
    notes = [f"{sentence(paper.scale_note(scale))}."]
    notes += [LEGEND[line].format(**values) for line in ("", *lines) if line in LEGEND]
    lacking = int((frame["expected"] - frame["runs"]).clip(lower=0).sum())
    if lacking:
        notes.append(
            f"{lacking} of {frame['expected'].sum()} runs are missing:"
            f" `{paper.fill_command(target, scale)}` trains them."
        )
    return notes


# -- Table 2 ---------------------------------------------------------------------------------------

PARAMETER_NAMES = dict(
    zip(PARAMETERS, ("η base", "λ base", "η", "λ", "λ base of L2", "λ of L2"), strict=True)
)


def layout2(main: MainGrid) -> Layout:
    """Table 2 as the paper prints it, its own values beside ours."""
    frame, scale = table2(main.scale), main.scale
    optimizers = list(scale.grid.optimizers)
    names = [paper.OPTIMIZERS.get(name) or name for name in optimizers]
    rows = []
    for parameter, name in PARAMETER_NAMES.items():
        if parameter not in set(frame["parameter"]):
            continue
        found = []
        for optimizer in optimizers:
            keep = (frame["parameter"] == parameter) & (frame["optimizer"] == optimizer)
            found += [_listed(frame.loc[keep, column]) for column in ("value", "paper")]
        rows.append(Row(name, cells(*found)))
    return Layout(
        "Table 2",
        "Learning rates η and decay rates λ",
        [
            ["Hyper-parameter", *(name for name in names for _ in range(2))],
            ["", *("here", "the paper") * len(names)],
        ],
        rows,
        [f"{sentence(paper.scale_note(scale))}."],
    )


def _listed(values: pd.Series) -> str:
    return ", ".join(NONE if math.isnan(value) else number(value) for value in values)


# -- what is written -------------------------------------------------------------------------------


def files(target: str, main: MainGrid) -> dict[str, bytes]:
    """<target>.csv, .md and .tex."""
    frames = {"table1": table1, "table3": table3, "rivals": rivals}
    frame = frames[target](main) if target in frames else table2(main.scale)
    found = layout(target, main)
    return {
        f"{target}.csv": csv(frame),
        f"{target}.md": markdown(found).encode(),
        f"{target}.tex": latex(found).encode(),
    }


def show(target: str, main: MainGrid) -> str:
    """The table as text for a terminal, without lines of gaps alone."""
    found = layout(target, main)
    rows = [r for r in found.rows if not r.line or {c.text for c in r.cells} - {GAP, NONE}]
    return plain(found._replace(rows=rows))
