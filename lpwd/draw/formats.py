"""A table as typed cells, and how it is written: Markdown, LaTeX, a terminal's text, CSV."""

from __future__ import annotations

import re
from typing import NamedTuple

import pandas as pd

from lpwd.draw.words import spans


class Cell(NamedTuple):
    text: str
    bold: bool = False


class Row(NamedTuple):
    """name: the first column · method: whose row it is, "" if no method's · line: "" for a method's
    own row, else which of the further lines under it (`tables.LINES`)."""

    name: str
    cells: list[Cell]
    method: str = ""
    line: str = ""


class Layout(NamedTuple):
    """A table. The header may have several rows: equal neighbours in one row are one cell."""

    name: str  # "Table 1"
    title: str
    header: list[list[str]]
    rows: list[Row]
    notes: list[str]


def cells(*texts: str) -> list[Cell]:
    return [Cell(text) for text in texts]


def csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False, float_format="%.10g").encode()


def pipe_table(rows: list[list[str]]) -> str:
    """Rows of texts as Markdown's lines of a table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def markdown(layout: Layout) -> str:
    """As a pipe table; the header's rows are joined, for Markdown has only one."""
    heads = [", ".join(filter(None, heads)) for heads in zip(*layout.header, strict=True)]
    body = [
        [_bold(row.name, _is_heading(row)), *(_bold(*cell) for cell in row.cells)]
        for row in layout.rows
    ]
    table = pipe_table([heads, ["---", *["---:"] * (len(heads) - 1)], *body])
    notes = "\n".join(f"- {note}" for note in layout.notes)
    return f"# {layout.name}. {layout.title}\n\n{table}\n\n{notes}\n"


def _bold(text: str, bold: bool) -> str:
    return f"**{text}**" if bold else text


def _is_heading(row: Row) -> bool:
    """A method's own row, with further lines under it."""
    return bool(row.method) and not row.line


LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "_": r"\_",
    "#": r"\#",
    "±": r"$\pm$",
    "η": r"$\eta$",
    "λ": r"$\lambda$",
    "—": "---",
    "–": "--",
}


def latex(layout: Layout) -> str:
    """As a booktabs table (needs the packages booktabs and graphicx)."""
    heads = [
        " & ".join(
            f"\\multicolumn{{{span}}}{{c}}{{{_tex(text)}}}" if span > 1 else _tex(text)
            for text, span in spans(row)
        )
        for row in layout.header
    ]
    lines = [
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{_tex(layout.title)}.}}",
        "\\resizebox{\\textwidth}{!}{%",
        f"\\begin{{tabular}}{{l{'c' * len(layout.rows[0].cells)}}}",
        "\\toprule",
        *(f"{head} \\\\" for head in heads),
        "\\midrule",
        *map(_tex_row, layout.rows),
        "\\bottomrule",
        "\\end{tabular}}",
        "\\footnotesize",
        *(f"\\par {_tex(note)}" for note in layout.notes),
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _tex_row(row: Row) -> str:
    gap = "\\addlinespace\n" if _is_heading(row) else ""
    texts = [_tex(row.name, _is_heading(row)), *(_tex(*cell) for cell in row.cells)]
    return f"{gap}{' & '.join(texts)} \\\\"


def _tex(text: str, bold: bool = False) -> str:
    text = "".join(LATEX.get(character, character) for character in text)
    text = re.sub(r"`(.+?)`", r"\\texttt{\1}", text)
    return f"\\textbf{{{text}}}" if bold else text


def plain(layout: Layout) -> str:
    """For a terminal: columns as wide as they need be, equal neighbours of the header once."""
    body = [
        ["  " * bool(row.line) + row.name, *(cell.text for cell in row.cells)]
        for row in layout.rows
    ]
    rows = [*layout.header, *body]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for index, row in enumerate(rows):
        if index < len(layout.header) - 1:
            row = ["" if i and row[i] == row[i - 1] else text for i, text in enumerate(row)]
        first, *others = [text.rjust(width) for text, width in zip(row, widths, strict=True)]
        lines.append("  ".join([row[0].ljust(len(first)), *others]).rstrip())
    lines.insert(len(layout.header), "-" * (sum(widths) + 2 * (len(widths) - 1)))
    return "\n".join([f"{layout.name}. {layout.title}", *lines, *layout.notes])
