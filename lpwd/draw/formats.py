"""TODO lpwd.draw.formats."""

from __future__ import annotations

import re
from typing import NamedTuple

from lpwd.draw import words


class Layout(NamedTuple):
    """A table as texts. The header may have several rows: equal neighbours in one row are one."""

    name: str  # "Table 1"
    title: str
    header: list[list[str]]
    body: list[list[str]]
    notes: list[str]


# -- writing ---------------------------------------------------------------------------------------


def markdown(layout: Layout) -> str:
    """As a pipe table; the header's rows are joined, for Markdown has only one."""
    heads = [", ".join(filter(None, heads)) for heads in zip(*layout.header, strict=True)]
    rows = [heads, ["---", *["---:"] * (len(heads) - 1)], *layout.body]
    table = "\n".join(f"| {' | '.join(map(str.strip, row))} |" for row in rows)
    notes = "\n".join(f"- {note}" for note in layout.notes)
    return f"# {layout.name}. {layout.title}\n\n{table}\n\n{notes}\n"


LATEX = {
    **{"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#"},
    **{"±": r"$\pm$", "η": r"$\eta$", "λ": r"$\lambda$", "✓": r"$\checkmark$"},
    **{"—": "---", "–": "--"},
}


def latex(layout: Layout) -> str:
    """As a booktabs table (needs the packages booktabs, amssymb and graphicx)."""
    width = len(layout.body[0])
    heads = [
        " & ".join(
            f"\\multicolumn{{{span}}}{{c}}{{{_tex(text)}}}" if span > 1 else _tex(text)
            for text, span in words.spans(row)
        )
        for row in layout.header
    ]
    gaps = ["\\addlinespace\n" if row[0].startswith("**") else "" for row in layout.body]
    body = [gap + " & ".join(map(_tex, row)) for gap, row in zip(gaps, layout.body, strict=True)]
    lines = [
        *("\\begin{table}", "\\centering", f"\\caption{{{_tex(layout.title)}.}}"),
        "\\resizebox{\\textwidth}{!}{%",
        *(f"\\begin{{tabular}}{{l{'c' * (width - 1)}}}", "\\toprule"),
        *(f"{head} \\\\" for head in heads),
        "\\midrule",
        *(f"{row} \\\\" for row in body),
        *("\\bottomrule", "\\end{tabular}}", "\\footnotesize"),
        *(f"\\par {_tex(note)}" for note in layout.notes),
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _tex(text: str) -> str:
    text = "".join(LATEX.get(character, character) for character in text.strip())
    text = re.sub(r"\*\*(.+?)\*\*", r"\\textbf{\1}", text)
    return re.sub(r"`(.+?)`", r"\\texttt{\1}", text)


def plain(layout: Layout) -> str:
    """For a terminal: columns as wide as they need be, equal neighbours of the header once."""
    rows = [*layout.header, *layout.body]
    rows = [[cell.replace("**", "") for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for index, row in enumerate(rows):
        if index < len(layout.header) - 1:
            row = ["" if i and row[i] == row[i - 1] else text for i, text in enumerate(row)]
        first, *others = [text.rjust(width) for text, width in zip(row, widths, strict=True)]
        lines.append("  ".join([row[0].ljust(len(first)), *others]).rstrip())
    lines.insert(len(layout.header), "-" * (sum(widths) + 2 * (len(widths) - 1)))
    return "\n".join([f"{layout.name}. {layout.title}", *lines, *layout.notes])
