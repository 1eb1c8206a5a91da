"""Every stored run as a table that filters, and what the runs were made with."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import pandas as pd
from itables import options, to_html_datatable
from itables.javascript import generate_init_offline_itables_html
from markupsafe import Markup

from lpwd.analysis import kinds, paper
from lpwd.analysis.main_grid import MainGrid
from lpwd.config.rates import number

#: What the runs' machines and packages are told by.
VERSIONS = ["commit", "lpwd", "torch", "timm", "python", "device", "threads"]

#: {heading: how it is drawn}: a list of the values to tick, or a field to type in.
TICKED = ["data", "model", "optimizer", "pretrained", "method", "η", "λ", "seed", "epochs"]
TICKED += ["in the tables", "status"]

WORDS: Any = {
    "search": "Find in all columns:",
    "emptyTable": "No run is stored yet.",
    "columnControl": {"order": "Sort", "dropdown": "Filter"},
}


class Every(NamedTuple):
    """The table that filters, as HTML, and the script that it needs before."""

    library: Markup
    html: Markup
    total: int


def table(main: MainGrid) -> Every:
    """All runs of the scale, and which of them tables and figures rest on."""
    frame = _shown(main.every.runs, set(main.runs["hash"]))
    ticked = [list(frame.columns).index(name) for name in TICKED]
    html = to_html_datatable(
        frame,
        connected=False,
        table_id="every-run",
        showIndex=False,
        maxBytes=0,
        classes="display compact nowrap",
        lengthMenu=[10, 25, 100, -1],
        pageLength=10,
        scrollX=True,
        ordering={"indicators": False, "handler": False},
        columnControl=[{"target": 0, "content": ["order"]}],
        columnDefs=[{"targets": ticked, "columnControl": ["order", ["searchList"]]}],
        language=WORDS,
    )
    return Every(_library(), Markup(html), len(frame))


@cache
def _library() -> Markup:
    """DataTables with its style; what itables adds for notebooks is left out."""
    html = generate_init_offline_itables_html(options.dt_bundle)
    script, end, _ = html.partition("</script>")
    return Markup(script + end)


def _shown(runs: pd.DataFrame, main: set[str]) -> pd.DataFrame:
    """The columns a reader looks for; accuracies in percent, with their protocol."""
    return pd.DataFrame(
        {
            "data": runs["data"].map(paper.DATASETS).fillna(runs["data"]),
            "model": runs["model"].map(paper.model_name),
            "optimizer": runs["optimizer"].map(paper.OPTIMIZERS).fillna(runs["optimizer"]),
            "pretrained": runs["pretrained"].map({"true": "yes", "false": "no"}).fillna("own file"),
            "method": kinds.names_of(runs),
            "η": runs["lr"].map(number),
            "λ": [_text(rate, number) for rate in runs["rate"]],
            "seed": runs["seed"],
            "epochs": runs["epochs"],
            "top-1, paper's protocol": _digits(runs["best_mean"], 2),
            "top-1, held-out protocol": _digits(runs["heldout_mean"], 2),
            "top-1, last epoch": _digits(runs["final_top1"], 2),
            "training loss, last epoch": _digits(runs["final_loss"], 4),
            "R_op (%)": _digits(100 * runs["r_op_share"], 3),
            "status": runs["status"],
            "in the tables": runs["hash"].isin(main).map({True: "yes", False: "no"}),
            "seconds": _digits(runs["seconds"], 1),
            "run": runs["hash"],
        }
    )


def _digits(values: pd.Series, count: int) -> list[str]:
    return [_text(value, f"{{:.{count}f}}".format) for value in values]


def _text(value: float, text: Callable[[float], str]) -> str:
    """Nothing where there is no number, so that the column still sorts as numbers."""
    return "" if math.isnan(value) else text(value)


class Made(NamedTuple):
    """When and with what the runs were made: a row for each set of versions."""

    total: int
    diverged: int
    hours: float
    first: str
    last: str
    header: list[str]
    rows: list[list[str]]


def provenance(runs: pd.DataFrame) -> Made:
    """Told by the runs themselves, so that the page is the same whenever it is drawn."""
    finished = runs.groupby(VERSIONS, dropna=False)["finished"]
    days = finished.agg(runs="size", first="min", last="max").reset_index()
    for end in ("first", "last"):
        days[end] = days[end].str[:10]
    dates = runs["finished"].sort_values()
    return Made(
        len(runs),
        int((runs["status"] == "diverged").sum()),
        float(runs["seconds"].sum()) / 3600,
        "" if runs.empty else _minute(dates.iloc[0]),
        "" if runs.empty else _minute(dates.iloc[-1]),
        [*VERSIONS, "runs", "first finished", "last finished"],
        [[str(value) for value in row] for row in days.itertuples(index=False)],
    )


def _minute(finished: str) -> str:
    """2026-11-24 03:34 UTC, of an ISO date."""
    return finished.replace("T", " ")[:16] + " UTC"
