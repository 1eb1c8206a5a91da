"""One page of HTML with all that is stored of a scale: verdicts, tables, figures, every run.

    report.files(main)   {"report.html": the page}

The page holds all it needs, scripts included, and opens without a network. Its numbers come from
analysis/; nothing is computed here that is computed there. It is identical when nothing changed
(same package versions).
"""

from __future__ import annotations

import re

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from lpwd.analysis import paper
from lpwd.analysis.main_grid import MainGrid
from lpwd.draw import answer
from lpwd.draw.words import sentence
from lpwd.report import charts, curves, stored, tables, verdicts


def files(main: MainGrid) -> dict[str, bytes]:
    """The page as a file."""
    return {"report.html": page(main).encode()}


def page(main: MainGrid) -> str:
    """The whole page."""
    environment = Environment(
        loader=PackageLoader("lpwd.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"inline": inline, "shown": shown}
    return environment.get_template("page.html.jinja").render(
        scale=main.scale.name,
        miniature=main.scale.name != "paper",
        note=sentence(paper.scale_note(main.scale)),
        fill=lambda target: paper.fill_command(target, main.scale),
        answer=answer.sentences(main),
        leads=charts.leads_of(main),
        verdicts=verdicts.summary(main),
        tables=tables.tables_of(main),
        figures=charts.figures_of(main),
        curves=curves.curves(main),
        vega=charts.library(),
        every=stored.table(main),
        made=stored.provenance(main.every.runs),
    )


def inline(text: str) -> Markup:
    """The little Markdown of notes and cells, **bold**, *emphasis* and `code`, as HTML."""
    html = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", str(escape(text)))
    html = re.sub(r"\*(.+?)\*", r"<em>\1</em>", html)
    return Markup(re.sub(r"`(.+?)`", r"<code>\1</code>", html))


def shown(cell: tables.Cell) -> Markup:
    """A cell of a table, bold where it is the best; its intervals on lines of their own."""
    text = Markup(re.sub(r" (?=\[|within |/ |\+ )", " <br>", str(inline(cell.text))))
    return Markup("<strong>{}</strong>").format(text) if cell.bold else text
