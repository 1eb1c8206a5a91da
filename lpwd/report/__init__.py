"""One page of HTML with all that is stored of a scale: verdicts, tables, figures, every run.

    report.draw("report", results, scale, folder)   writes report.html

The page holds all it needs, scripts included, and opens without a network. What it says comes from
claims, tables, figures and stats; nothing is computed here that they compute. It is identical when
nothing changed (same package versions).
"""

from __future__ import annotations

import re
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from omegaconf import DictConfig

from lpwd.analysis import paper
from lpwd.report import charts, stored, tabled, verdicts
from lpwd.store import store
from lpwd.store.files import write_whole
from lpwd.store.frames import Results

DRAWINGS = ("report",)


def draw(target: str, results: Results, scale: DictConfig, folder: Path) -> list[Path]:
    """Write report.html into `folder`; returns its path.

    `results` are the runs of the main grid, `scale` is the scale's node of the config.
    """
    path = folder / f"{target}.html"
    write_whole(path, page(results, store.load(scale.name), scale).encode())
    return [path]


def page(results: Results, every: Results, scale: DictConfig) -> str:
    """The whole page. `every`: all stored runs, those beside the main grid included."""
    environment = Environment(
        loader=PackageLoader("lpwd.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["inline"] = inline
    note = paper.scale_note(scale)
    return environment.get_template("page.html.jinja").render(
        scale=scale.name,
        miniature=scale.name != "paper",
        note=note[0].upper() + note[1:],
        fill=lambda target: paper.fill_command(target, scale),
        verdicts=verdicts.summary(results, scale),
        tables=tabled.tables_of(results, every, scale),
        figures=charts.figures_of(results, scale),
        curves=charts.curves(results, scale),
        vega=charts.library(),
        every=stored.table(every, results),
        made=stored.provenance(every.runs),
    )


def inline(text: str) -> Markup:
    """The little Markdown of notes and cells, **bold**, *emphasis* and `code`, as HTML."""
    html = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", str(escape(text)))
    html = re.sub(r"\*(.+?)\*", r"<em>\1</em>", html)
    return Markup(re.sub(r"`(.+?)`", r"<code>\1</code>", html))
