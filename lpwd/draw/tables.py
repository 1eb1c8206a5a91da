"""Tables 1, 2 and 3 in the paper's layout, with the paper's numbers beside ours.

    tables.draw("table1", results, scale, folder)   writes table1.csv, .md and .tex
    print(tables.show("table1", results, scale))    the same for a terminal

A table is first a frame (the CSV, a row a cell, all it rests on), then a layout of texts, then
Markdown, LaTeX or plain text. Runs that are missing leave gaps and a line with the command that
fills them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig

from lpwd.analysis import paper
from lpwd.analysis.cells import PARAMETERS, TABLE1_METHODS, TABLE3_METHODS, table1, table2, table3
from lpwd.analysis.intervals import LEAST_SEEDS
from lpwd.analysis.paper import Column
from lpwd.config.rates import number
from lpwd.draw.formats import Layout, latex, markdown, plain
from lpwd.draw.words import GAP, NONE, TICK, interval_text, over_wd_text, plus_minus, runs_text
from lpwd.store import summary
from lpwd.store.files import write_whole
from lpwd.store.frames import Results

# -- Tables 1 and 3: their layouts -----------------------------------------------------------------

#: What stands under a method's own row, and how it is made from a row of the frame.
LINES: dict[str, Callable[[Any], str]] = {
    "the paper": lambda c: plus_minus(c.paper_mean, c.paper_std, NONE),
    "η, λ chosen": lambda c: _rates_text(c.lr, c.rate),
    "runs": lambda c: runs_text(c),
    "held-out": lambda c: _value(c.heldout),
    "fresh seeds": lambda c: interval_text(c, "seeds"),
    "fresh seeds, held-out": lambda c: interval_text(c, "heldout_seeds"),
    "fresh seeds, less WD's": lambda c: over_wd_text(c, "over_wd"),
    "fresh seeds, held-out, less WD's": lambda c: over_wd_text(c, "heldout_over_wd"),
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
    " interval includes 0, which is better is undecided.",
}


def layout1(frame: pd.DataFrame, scale: DictConfig) -> Layout:
    """Table 1 as the paper prints it, with further lines under each method."""
    columns = paper.columns(scale)
    names = [paper.column_names(column) for column in columns]
    header = [
        ["Method", *(name[0] for name in names)],
        ["", *(name[1] for name in names)],
        ["", *(name[2] for name in names)],
    ]
    lines = _lines(frame)
    body = []
    for method in TABLE1_METHODS:
        cells = _rows(frame[frame["method"] == method])
        body.append([f"**{paper.METHODS[method]}**", *(_main(c, frame) for c in cells)])
        body += [[f"  {name}", *(LINES[name](c) for c in cells)] for name in lines]
    return Layout(
        "Table 1",
        f"Test top-1 (%) of {_names(TABLE1_METHODS)}",
        header,
        body,
        _notes(frame, scale, "table1"),
    )


def layout3(frame: pd.DataFrame, scale: DictConfig) -> Layout:
    """Table 3 as the paper prints it, with further columns."""
    lines = _lines(frame)
    ticks = [paper.METHODS[method] for method in TABLE3_METHODS]
    body = []
    for c in _rows(frame):
        name = paper.METHODS[c.method]
        marks = [TICK if tick == name else "" for tick in ticks]
        body.append(["Baseline", *marks, _main(c, frame), *(LINES[line](c) for line in lines)])
    where = ", ".join(paper.column_names(paper.ablation_column(scale)))
    return Layout(
        "Table 3",
        f"Ablation: {where}",
        [["Method", *ticks, "Top-1 (%)", *lines]],
        body,
        _notes(frame, scale, "table3"),
    )


def _rows(frame: pd.DataFrame) -> list[Any]:
    return list(frame.itertuples(index=False))


def _lines(frame: pd.DataFrame) -> list[str]:
    """The further lines; those of fresh seeds only where there are some."""
    has_seeds = (frame[["seeds_n", "heldout_seeds_n"]] > 0).any(axis=None)
    return [name for name in LINES if has_seeds or not name.startswith("fresh")]


def _main(c: Any, frame: pd.DataFrame) -> str:
    """mean ± std, bold where it is the best of its column."""
    if math.isnan(c.mean):
        return "diverged" if c.runs and c.diverged == c.runs else GAP
    column = frame
    for name in Column._fields:
        column = column[column[name] == getattr(c, name)]
    text = plus_minus(c.mean, c.std)
    return f"**{text}**" if c.mean == column["mean"].max() else text


def _value(mean: float) -> str:
    return GAP if math.isnan(mean) else f"{mean:.2f}"


def _rates_text(lr: float, rate: float) -> str:
    if math.isnan(lr):
        return GAP
    return number(lr) if math.isnan(rate) else f"{number(lr)}, {number(rate)}"


def _notes(frame: pd.DataFrame, scale: DictConfig, target: str) -> list[str]:
    lines = ["", *_lines(frame)]
    k, of = summary.best_k(scale.epochs), f"of {scale.epochs}"
    values = {
        "statistic": f"mean ± std (ddof 0) of the best {k} {of}" if k > 1 else f"the best {of}",
        "least": LEAST_SEEDS,
        "elsewhere": ""
        if scale.name == "paper"
        else " Its models and data are larger: compare the order of methods, not the level.",
    }
    notes = [f"{_sentence(paper.scale_note(scale))}."]
    notes += [LEGEND[line].format(**values) for line in lines if line in LEGEND]
    lacking = int((frame["expected"] - frame["runs"]).clip(lower=0).sum())
    if lacking:
        notes.append(
            f"{lacking} of {frame['expected'].sum()} runs are missing:"
            f" `{paper.fill_command(target, scale)}` trains them."
        )
    return notes


def _names(methods: Sequence[str]) -> str:
    return ", ".join(paper.METHODS[method] for method in methods)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def layout2(frame: pd.DataFrame, scale: DictConfig) -> Layout:
    """Table 2 as the paper prints it, its own values beside ours."""
    optimizers = list(scale.grid.optimizers)
    names = [paper.OPTIMIZERS.get(name) or name for name in optimizers]
    body = []
    for parameter, name in PARAMETERS.items():
        row = [name]
        for optimizer in optimizers:
            keep = (frame["parameter"] == parameter) & (frame["optimizer"] == optimizer)
            row += [_listed(frame.loc[keep, column]) for column in ("value", "paper")]
        body.append(row)
    return Layout(
        "Table 2",
        "Learning rates η and decay rates λ",
        [
            ["Hyper-parameter", *(name for name in names for _ in range(2))],
            ["", *("here", "the paper") * len(names)],
        ],
        body,
        [f"{_sentence(paper.scale_note(scale))}."],
    )


def _listed(values: pd.Series) -> str:
    return ", ".join(NONE if math.isnan(value) else number(value) for value in values)


TABLES = {
    "table1": (table1, layout1),
    "table2": (table2, layout2),
    "table3": (table3, layout3),
}
DRAWINGS = tuple(TABLES)


def data(target: str, results: Results, scale: DictConfig) -> pd.DataFrame:
    """The cells of a table, a row each.

    `results` are the runs of the main grid, `scale` is the scale's node of the config.
    """
    return TABLES[target][0](results, scale)


def layout(target: str, frame: pd.DataFrame, scale: DictConfig) -> Layout:
    """The texts of a table, from what `data` made."""
    return TABLES[target][1](frame, scale)


def draw(target: str, results: Results, scale: DictConfig, folder: Path) -> list[Path]:
    """Write <target>.csv, .md and .tex into `folder`; returns their paths."""
    frame = data(target, results, scale)
    texts = layout(target, frame, scale)
    contents = {
        folder / f"{target}.csv": frame.to_csv(index=False, float_format="%.10g"),
        folder / f"{target}.md": markdown(texts),
        folder / f"{target}.tex": latex(texts),
    }
    for path, text in contents.items():
        write_whole(path, text.encode())
    return list(contents)


def show(target: str, results: Results, scale: DictConfig) -> str:
    """The table as text for a terminal, without lines that tell nothing."""
    texts = layout(target, data(target, results, scale), scale)
    telling = [row for row in texts.body if set(row[1:]) - {GAP, NONE} or row[0][0] != " "]
    return plain(texts._replace(body=telling))
