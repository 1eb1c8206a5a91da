"""The figures for the page: Vega-Lite charts of `analysis.figures`, to pick from and hover.

A chart is a Vega-Lite specification, drawn in the browser; the library is in the page. What a
chart draws over epochs is one data set of the page, `curves`, that all charts share.
"""

from __future__ import annotations

import os
import warnings
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import vl_convert
from altair.utils.schemapi import debug_mode
from markupsafe import Markup

from lpwd.analysis import figures
from lpwd.analysis.leads import leads
from lpwd.analysis.main_grid import MainGrid
from lpwd.config.errors import ConfigError
from lpwd.config.paths import named
from lpwd.report.curves import figure1, figure3, figure5, figure6, leads_chart
from lpwd.report.heatmaps import figure2, figure4
from lpwd.report.specs import script_json
from lpwd.report.verdicts import NO_CHOICE, PAPERS
from lpwd.store.files import write_whole


class Chart(NamedTuple):
    """A figure of the page: its specification as JSON, and what a reader must know."""

    target: str
    title: str
    caption: str
    protocol: str
    spec: Markup
    lacking: int


def figures_of(main: MainGrid) -> list[Chart]:
    """Figures 1 to 5, and 6, which the paper lacks."""
    made = []
    for target, (title, caption, protocol, draw) in CHARTS.items():
        with warnings.catch_warnings(), debug_mode(False):  # a check of each part: 0.2 s in all
            warnings.filterwarnings("ignore", "Automatically deduplicated")  # heatmaps share a pick
            spec = _spec(draw(figures.data(target, main), main.scale))
        lacking = figures.missing(target, main)
        made.append(Chart(target, title, caption, protocol, spec, lacking))
    return made


def leads_of(main: MainGrid) -> Markup:
    """LPWD − WD by column, the first figure of the page."""
    return _spec(leads_chart(leads(main)))


def _spec(chart: Any) -> Markup:
    return script_json(chart.configure(**CONFIG).to_dict(validate=False))


@cache
def library() -> Markup:
    """Vega, Vega-Lite and Vega-Embed as one script. It is kept: bundling takes over a second."""
    kept = f"vega-{version('vl-convert-python')}.js"
    with suppress(ConfigError, OSError):  # not there yet
        return Markup((_cache() / kept).read_text())
    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    with suppress(ConfigError):  # no home folder, or one that cannot be written to
        write_whole(_cache() / kept, script.encode())
    return Markup(script)


def _cache() -> Path:
    return named(os.environ.get("LPWD_CACHE") or "~/.cache/lpwd")


CONFIG: dict[str, Any] = {
    "font": "system-ui, sans-serif",
    "axis": {"labelFontSize": 11, "titleFontSize": 12, "titleFontWeight": "normal"},
    "legend": {
        **{"labelFontSize": 11, "titleFontSize": 11},
        **{
            "orient": "bottom",
            "columns": 3,
            "symbolOpacity": 1,
            "symbolStrokeWidth": 0,
            "labelLimit": 0,
        },
    },
    "title": {"fontSize": 13, "anchor": "start", "fontWeight": "bold"},
    "view": {"stroke": None},
    "background": "transparent",  # the page's own, light or dark
    "scale": {"invalid": {"color": {"value": "#eeeeee"}}},  # cells without a number
}


#: {figure: title, caption, protocol, how it is drawn}
CHARTS = {
    "figure1": (
        "Training under any penalty, epoch by epoch",
        "First shown is the paper's figure: WD and LPWD under the strongest penalty, the largest η"
        " and λ of the grid. Pick another setting, other rates, other methods. Where there are"
        " fresh seeds, lines are their mean and bands run from the least to the largest, up to"
        " where one of them diverges. Where nothing is drawn, nothing is trained yet.",
        NO_CHOICE,
        figure1,
    ),
    "figure2": (
        "How often WD pushes weights the wrong way",
        "R_op is the share of decayed weights that the decay moves away from zero. Each cell is one"
        " run of WD, the largest circled. Pick a cell to see R_op of all methods by epoch at those"
        " rates.",
        NO_CHOICE,
        figure2,
    ),
    "figure3": (
        "The side effect of decay, and what PWD mends of it",
        "(a) Trained Baselines whose weights are taken away percent by percent, without further"
        " training. (b) How much better PWD is than RWD, by decay rate.",
        PAPERS,
        figure3,
    ),
    "figure4": (
        "WD and LPWD at all rates",
        "Each cell is one run, the best circled. Purple: LPWD is better; orange: WD is. Pick a cell"
        " to see the test accuracy by epoch at those rates.",
        PAPERS,
        figure4,
    ),
    "figure5": (
        "WD and LPWD over the ConvNeXt series",
        "Each method at the rates chosen for the smallest model. Lines and bands are seed 0: mean"
        " and standard deviation over its best epochs. Diamonds are the mean of fresh seeds, the"
        " dots beside them, with its 95 % interval; one that diverged is left out.",
        PAPERS,
        figure5,
    ),
    "figure6": (
        "How robust each decay is to λ (not in the paper)",
        "Each method at its best η, over the decay of the whole training. Lines are the mean of"
        " fresh seeds where every λ has them, else seed 0; bars are 95 % intervals of fresh seeds;"
        " dotted: Baseline. After η: over how many factors of λ a method stays within one point of"
        " its best.",
        PAPERS,
        figure6,
    ),
}
