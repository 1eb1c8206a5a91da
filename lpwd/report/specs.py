"""Parts that the charts share: looks, pickers, curves with bands."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import cycle
from typing import Any, cast

import altair as alt
import numpy as np
import pandas as pd
from markupsafe import Markup
from omegaconf import DictConfig

from lpwd.analysis import paper
from lpwd.analysis.intervals import Interval, interval
from lpwd.config.rates import rate_base
from lpwd.draw.words import LOOKS

#: Colours of paper.mplstyle (Okabe and Ito), lines and markers: each alone tells methods apart.
METHOD_LOOKS = {
    "Baseline": ("#000000", [1, 2], "cross"),
    "L2": ("#E69F00", [8, 2, 2, 2], "diamond"),
    "WD": (LOOKS["wd"]["color"], [6, 3], "square"),
    "RWD": ("#009E73", [3, 3], "triangle-up"),
    "PWD": ("#CC79A7", [10, 3], "triangle-down"),
    "LPWD": (LOOKS["lpwd"]["color"], [1, 0], "circle"),
}
#: With the two that Figure 6 shows beside the paper's.
KIND_LOOKS = METHOD_LOOKS | {
    "LPWD, mean over weights λ": ("#56B4E9", [12, 2], "diamond"),
    "CWD": ("#E69F00", [2, 2], "triangle-right"),
}
SERIES = ["#0072B2", "#E69F00", "#009E73"]
CURVES = ["train_loss", "test_top1", "r_op"]
FACTORS = ["lr_factor", "rate_factor"]
DIVERGED, MISSING = "div.", "–"
DARK = 0.55  # up to here cividis needs white numbers
INTERVAL = "their mean, 95 % interval"


def script_json(value: Any) -> Markup:
    """JSON that may stand inside a script element."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))


WIDTH, HEIGHT = 380, 230
CELL = 40


def shown_runs(runs: pd.DataFrame, same: list[str]) -> pd.DataFrame:
    """Of runs alike in the columns `same` those that a curve is the mean of: fresh seeds if any.

    `runs` names them, for a reader.
    """
    runs = runs.reset_index(drop=True)
    kind = runs[same].astype(object).where(runs[same].notna(), "").apply(tuple, axis=1)
    has_fresh = runs["seed"].gt(0).groupby(kind).transform("any") if len(runs) else runs["seed"] < 0
    shown = runs[(runs["seed"] > 0) | ~has_fresh]
    names = shown.drop_duplicates("hash").groupby(kind)["hash"].agg(", ".join)
    return shown.assign(runs=kind[shown.index].map(names))


def labelled(frame: pd.DataFrame, scale: DictConfig) -> pd.DataFrame:
    """The rows of Table 1's columns, with names and with rates as multiples of their base."""
    columns = zip(frame["data"], frame["model"], frame["optimizer"], strict=True)
    columns = [paper.Column(*column) for column in columns]
    known = set(paper.columns(scale))
    labels: dict[str, Any] = {
        "column": [column_name(column) for column in columns],
        "method": frame["method"].map(paper.METHOD_NAMES),
    }
    bases = [scale.base[column.optimizer] for column in columns]
    of_rates = list(map(rate_base, bases, frame["method"]))
    of_lrs = [base["lr"] for base in bases]
    labels["lr_factor"] = list(map(factor_label, frame["lr"] / of_lrs))
    labels["rate_factor"] = list(map(factor_label, frame["rate"] / of_rates))
    return frame.assign(**labels)[np.array([column in known for column in columns], bool)]


def column_name(column: paper.Column) -> str:
    return ", ".join(paper.column_names(column))


def factor_label(factor: float) -> str:
    return "" if math.isnan(factor) else f"{factor:.3g} × base"


def records(frame: pd.DataFrame) -> Any:
    """Rows for Vega, NaN as null."""
    return frame.astype(object).where(frame.notna(), None).to_dict("records")


def inline_data(frame: pd.DataFrame) -> alt.InlineData:
    """As a tuple: Altair copies a list, with all its rows, whenever it copies a chart."""
    return alt.InlineData(values=cast(Any, tuple(records(frame))))


# -- what readers pick -----------------------------------------------------------------------------


def pick(name: str, label: str, options: Sequence[str], value: str) -> Any:
    return alt.param(name, value, bind=alt.binding_select(options=options, name=f"{label} "))


def pick_column(target: str, columns: Sequence[paper.Column], first: paper.Column) -> Any:
    names = [column_name(column) for column in columns]
    return pick(f"column_{target}", "Setting", names, column_name(first))


def pick_cell(target: str, scale: DictConfig) -> Any:
    """A cell of a heatmap, by a click or from two lists; first the strongest penalty."""
    choices = {label: factors(scale, label) for label in FACTORS[::-1]}  # Vega reverses them
    lists: Any = {
        label: alt.binding_select(options=choices[label], name=f"{name} ")
        for label, name in zip(choices, ("λ", "η"), strict=True)
    }
    return alt.selection_point(
        f"cell_{target}",
        fields=list(choices),
        bind=lists,
        value=cast(Any, [{key: choices[key][0] for key in FACTORS}]),
        on="click",
        clear=False,
        toggle=False,
        empty=False,
    )


def factors(scale: DictConfig, label: str) -> list[str]:
    """The multiples of a base rate, largest first."""
    return [factor_label(factor) for factor in sorted(scale.grid[f"{label}s"], reverse=True)]


def is_column(target: str) -> str:
    return f"datum.column == column_{target}"


def panels(*charts: Any) -> Any:
    """Two beside each other, each with its own legend; the page has one where it is narrow."""
    return alt.concat(*charts, columns=2).resolve_scale(
        color="independent", shape="independent", strokeDash="independent"
    )


# -- curves ----------------------------------------------------------------------------------------


def channels_of(
    field: str, looks: dict[str, tuple[str, list[int], str]], legend: Any = alt.Undefined
) -> dict[str, Any]:
    """Colour, dash and marker by `field`, in one legend."""
    colours, dashes, shapes = (list(values) for values in zip(*looks.values(), strict=True))

    def among(values: list[Any]) -> alt.Scale:
        return alt.Scale(domain=list(looks), range=values)

    return {
        name: channel(f"{field}:N", title=None, legend=legend, scale=among(values))
        for name, channel, values in (
            ("color", alt.Color, colours),
            ("strokeDash", alt.StrokeDash, dashes),
            ("shape", alt.Shape, shapes),
        )
    }


def mean_lines(base: Any, y: str, title: str, channels: dict[str, Any], marked: bool = True) -> Any:
    """Means over seeds as lines, their range as bands; each point tells what it is."""
    by, mean = channels["color"].shorthand, f"mean({y}):Q"
    tooltip = [
        *(alt.Tooltip(by, title="of"), alt.Tooltip(base.encoding.x.shorthand)),
        alt.Tooltip(mean, title=title, format=".4~g"),
        *(alt.Tooltip("min(lr):Q", title="η"), alt.Tooltip("min(rate):Q", title="λ")),
        alt.Tooltip("distinct(seed):Q", title="seeds"),
        alt.Tooltip("runs:N"),
    ]
    value = alt.Y(mean, title=title, scale=alt.Scale(zero=False))
    color, dash, shape = (channels[name] for name in ("color", "strokeDash", "shape"))
    band = base.mark_area(opacity=0.2).encode(alt.Y(f"min({y}):Q"), alt.Y2(f"max({y}):Q"), color)
    line = base.mark_line().encode(value, color, dash)
    points = base.mark_point(filled=True, size=40, opacity=1 if marked else 0)
    points = points.encode(value, color, shape, tooltip=tooltip)
    return alt.layer(band, line, points).properties(width=WIDTH, height=HEIGHT)


def epoch_curves(
    y: str,
    title: str,
    keep: Sequence[Any],
    methods: Sequence[str] = (),
    legend: Any = alt.Undefined,
) -> Any:
    """Curves over epochs of the runs of the page's data set that pass all of `keep`."""
    looks = {name: METHOD_LOOKS[name] for name in methods or METHOD_LOOKS}
    base = alt.Chart(alt.NamedData("curves"))
    for condition in keep:
        base = base.transform_filter(condition)
    base = base.transform_calculate(epoch=f"sequence(1, length(datum.{y}) + 1)")
    base = base.transform_flatten(["epoch", y]).transform_filter(f"isValid(datum.{y})")
    base = base.encode(alt.X("epoch:Q", axis=alt.Axis(tickMinStep=1), scale=alt.Scale(nice=False)))
    return mean_lines(base, y, title, channels_of("method", looks, legend))


# -- the other figures -----------------------------------------------------------------------------


def series_channels(field: str, names: Sequence[str]) -> dict[str, Any]:
    """The looks of things that are no methods."""
    dashes, shapes = [[1, 0], [6, 3], [2, 2]], ["circle", "square", "triangle-up"]
    looks = cycle(zip(SERIES, dashes, shapes, strict=True))
    return channels_of(field, dict(zip(names, looks, strict=False)))


def interval_layer(
    fresh: pd.DataFrame, by: list[str], value: str, x: alt.X, color: alt.Color, offset: int
) -> list[Any]:
    """Means of fresh seeds with their 95 % intervals, `offset` pixels beside x; none of too few."""
    rows = []
    for key, part in fresh.groupby(by):
        found = interval(part[value])
        if found.known:
            rows.append({**dict(zip(by, key, strict=True)), **found._asdict(), "kind": INTERVAL})
    if not rows:
        return []
    tooltip = [alt.Tooltip(f"{name}:Q", format=".4~g") for name in Interval._fields]
    base = alt.Chart(inline_data(pd.DataFrame(rows))).encode(x, color, tooltip=tooltip)
    rule = base.mark_rule(strokeWidth=2, xOffset=offset).encode(alt.Y("low:Q"), alt.Y2("high:Q"))
    mean = base.mark_point(shape="diamond", size=70, fill="#fff", opacity=1, xOffset=offset)
    return [rule, mean.encode(alt.Y("mean:Q"))]
