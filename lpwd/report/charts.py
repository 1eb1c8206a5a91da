"""The figures for the page: Vega-Lite charts of what lpwd.figures shows, to pick from and hover.

A chart is a Vega-Lite specification, drawn in the browser; the library stands in the page. What a
chart draws over epochs is one data set of the page, `curves`, that all charts share.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple, cast

import altair as alt
import numpy as np
import pandas as pd
import vl_convert
from markupsafe import Markup
from omegaconf import DictConfig

from lpwd.analysis import intervals, paper
from lpwd.analysis.intervals import Interval
from lpwd.analysis.protocols import fresh_or_first
from lpwd.config.rates import number, rate_grid, strong_penalty
from lpwd.draw import figures
from lpwd.draw.words import LOOKS, limits, short
from lpwd.report.verdicts import NO_CHOICE, PAPERS
from lpwd.store.frames import Results

#: Colours of paper.mplstyle (Okabe and Ito), lines and markers: each alone tells methods apart.
METHODS = {
    "Baseline": ("#000000", [1, 2], "cross"),
    "L2": ("#E69F00", [8, 2, 2, 2], "diamond"),
    "WD": (LOOKS["wd"]["color"], [6, 3], "square"),
    "RWD": ("#009E73", [3, 3], "triangle-up"),
    "PWD": ("#CC79A7", [10, 3], "triangle-down"),
    "LPWD": (LOOKS["lpwd"]["color"], [1, 0], "circle"),
}
SERIES = ["#0072B2", "#E69F00", "#009E73"]
CURVES = ["train_loss", "test_top1", "r_op"]
FACTORS = ["lr_factor", "rate_factor"]
DIVERGED, MISSING = "div.", "–"
DARK = 0.55  # up to here cividis needs white numbers
INTERVAL = "95 % interval"


class Chart(NamedTuple):
    """A figure of the page: its specification as JSON, and what a reader must know."""

    target: str
    title: str
    caption: str
    protocol: str
    spec: Markup
    lacking: int


def figures_of(results: Results, scale: DictConfig) -> list[Chart]:
    """Figures 1 to 5."""
    made = []
    for target, (title, caption, protocol, draw) in CHARTS.items():
        frames = figures.data(target, results, scale)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Automatically deduplicated")  # heatmaps share a pick
            spec = draw(frames, scale).configure(**CONFIG).to_dict()
        lacking = figures.lacking(target, frames, scale)
        made.append(Chart(target, title, caption, protocol, script_json(spec), lacking))
    return made


@cache
def library() -> Markup:
    """Vega, Vega-Lite and Vega-Embed as one script."""
    return Markup(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


def script_json(value: Any) -> Markup:
    """JSON that may stand inside a script element."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))


CONFIG: dict[str, Any] = {
    "font": "system-ui, sans-serif",
    "axis": {"labelFontSize": 11, "titleFontSize": 12, "titleFontWeight": "normal"},
    "legend": {
        **{"labelFontSize": 11, "titleFontSize": 11},
        **{"orient": "bottom", "columns": 3, "symbolOpacity": 1, "symbolStrokeWidth": 0},
    },
    "title": {"fontSize": 13, "anchor": "start", "fontWeight": "bold"},
    "view": {"stroke": None},
    "scale": {"invalid": {"color": {"value": "#eeeeee"}}},  # cells without a number
}
WIDTH, HEIGHT = 380, 230
CELL = 40


# -- data ------------------------------------------------------------------------------------------


def curves(results: Results, scale: DictConfig) -> Markup:
    """A run of the tables a row: what it is, and its curves over epochs as lists.

    Fresh seeds take the place of seed 0 where there are some, as in the figures.
    """
    same = ["data", "model", "optimizer", "method", "lr", "rate"]
    shown = [_shown(part) for _, part in results.runs.groupby(same, dropna=False)]
    runs = _labelled(pd.concat([_shown(results.runs.iloc[:0]), *shown]), scale)
    about = runs[["hash", "runs", "column", "method", "seed", "lr", "rate", *FACTORS]]
    epochs = results.epochs.sort_values(["hash", "epoch"])
    epochs = epochs.assign(r_op=100 * epochs["r_op_share"])
    lists = epochs.groupby("hash")[CURVES].agg(lambda values: [_brief(value) for value in values])
    return script_json(_records(about.merge(lists, on="hash")))


def _shown(same: pd.DataFrame) -> pd.DataFrame:
    """Of runs with the same settings those that a curve is the mean of, and their hashes."""
    shown = fresh_or_first(same)
    return shown.assign(runs=", ".join(shown["hash"].unique()))


def _labelled(frame: pd.DataFrame, scale: DictConfig) -> pd.DataFrame:
    """The rows of Table 1's columns, with names and with rates as multiples of their base."""
    columns = zip(frame["data"], frame["model"], frame["optimizer"], strict=True)
    columns = [paper.Column(*column) for column in columns]
    known = set(paper.columns(scale))
    labels: dict[str, Any] = {
        "column": [_column_name(column) for column in columns],
        "method": frame["method"].map(paper.METHOD_NAMES),
    }
    for kind, label in zip(("lr", "rate"), FACTORS, strict=True):
        bases = [scale.base[column.optimizer][kind] for column in columns]
        labels[label] = [_factor(factor) for factor in frame[kind] / bases]
    return frame.assign(**labels)[np.array([column in known for column in columns], bool)]


def _column_name(column: paper.Column) -> str:
    return ", ".join(paper.column_names(column))


def _factor(factor: float) -> str:
    return "" if math.isnan(factor) else f"{factor:.3g} × base"


def _brief(value: float) -> float | None:
    """Four digits, which is all that a curve shows; None where there is no number."""
    return float(f"{value:.4g}") if math.isfinite(value) else None


def _records(frame: pd.DataFrame) -> Any:
    """Rows for Vega, NaN as null."""
    return frame.astype(object).where(frame.notna(), None).to_dict("records")


def _inline(frame: pd.DataFrame) -> alt.InlineData:
    return alt.InlineData(values=_records(frame))


# -- what readers pick -----------------------------------------------------------------------------


def _pick(name: str, label: str, options: Sequence[str], value: str) -> Any:
    return alt.param(name, value, bind=alt.binding_select(options=options, name=f"{label} "))


def _pick_column(target: str, columns: Sequence[paper.Column], first: paper.Column) -> Any:
    names = [_column_name(column) for column in columns]
    return _pick(f"column_{target}", "Setting", names, _column_name(first))


def _pick_cell(target: str, scale: DictConfig) -> Any:
    """A cell of a heatmap, by a click or from two lists; first the strongest penalty."""
    factors = {label: _factors(scale, label) for label in FACTORS[::-1]}  # Vega reverses them
    lists: Any = {
        label: alt.binding_select(options=factors[label], name=f"{name} ")
        for label, name in zip(factors, ("λ", "η"), strict=True)
    }
    return alt.selection_point(
        f"cell_{target}",
        fields=list(factors),
        bind=lists,
        value=cast(Any, [{key: factors[key][0] for key in FACTORS}]),
        on="click",
        clear=False,
        toggle=False,
        empty=False,
    )


def _factors(scale: DictConfig, label: str) -> list[str]:
    """The multiples of a base rate, largest first."""
    return [_factor(factor) for factor in sorted(scale.grid[f"{label}s"], reverse=True)]


def _is_column(target: str) -> str:
    return f"datum.column == column_{target}"


def _panels(*charts: Any) -> Any:
    """Two beside each other, each with its own legend; the page has one where it is narrow."""
    return alt.concat(*charts, columns=2).resolve_scale(
        color="independent", shape="independent", strokeDash="independent"
    )


# -- curves ----------------------------------------------------------------------------------------


def _channels(field: str, looks: dict[str, tuple[str, list[int], str]]) -> dict[str, Any]:
    """Colour, dash and marker by `field`, in one legend."""
    colours, dashes, shapes = (list(values) for values in zip(*looks.values(), strict=True))

    def among(values: list[Any]) -> alt.Scale:
        return alt.Scale(domain=list(looks), range=values)

    return {
        "color": alt.Color(f"{field}:N", title=None, scale=among(colours)),
        "strokeDash": alt.StrokeDash(f"{field}:N", title=None, scale=among(dashes)),
        "shape": alt.Shape(f"{field}:N", title=None, scale=among(shapes)),
    }


def _lines(base: Any, y: str, title: str, channels: dict[str, Any], marked: bool = True) -> Any:
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


def _epochs(y: str, title: str, keep: Sequence[Any], methods: Sequence[str] = ()) -> Any:
    """Curves over epochs of the runs of the page's data set that pass all of `keep`."""
    looks = {name: METHODS[name] for name in methods or METHODS}
    base = alt.Chart(alt.NamedData("curves"))
    for condition in keep:
        base = base.transform_filter(condition)
    base = base.transform_calculate(epoch=f"sequence(1, length(datum.{y}) + 1)")
    base = base.transform_flatten(["epoch", y]).transform_filter(f"isValid(datum.{y})")
    base = base.encode(alt.X("epoch:Q", axis=alt.Axis(tickMinStep=1), scale=alt.Scale(nice=False)))
    return _lines(base, y, title, _channels("method", looks))


def _figure1(frames: dict[str, pd.DataFrame], scale: DictConfig) -> Any:
    """Any run's curves; first the figure's own: WD and LPWD under the strongest penalty."""
    columns = paper.columns(scale)
    picks = [
        _pick_column("figure1", columns, paper.adam_columns(scale)[0]),
        *(
            _pick(f"{label}_figure1", name, _factors(scale, label), _factors(scale, label)[0])
            for label, name in zip(FACTORS, ("η", "λ"), strict=True)
        ),
    ]
    ticks = [
        alt.param(
            f"show_{name}",
            name in ("WD", "LPWD"),
            bind=alt.binding(input="checkbox", name=f"{name} "),
        )
        for name in METHODS
    ]
    shown = " || ".join(f"(datum.method == '{name}' && show_{name})" for name in METHODS)
    keep = [
        _is_column("figure1"),
        "datum.lr_factor == lr_factor_figure1",
        "datum.rate_factor == rate_factor_figure1 || datum.method == 'Baseline'",
        shown,
    ]
    loss = _epochs("train_loss", "training loss", keep)
    top1 = _epochs("test_top1", "test top-1 (%)", keep)
    return _panels(loss, top1).add_params(*picks, *ticks)


# -- heatmaps --------------------------------------------------------------------------------------


def _cells(
    runs: pd.DataFrame,
    value: str,
    columns: Sequence[paper.Column],
    scale: DictConfig,
    text: Callable[[float], str],
) -> pd.DataFrame:
    """Every cell of the grids of `columns`: value, text and hash; those without a run, too."""
    parts = []
    for column in columns:
        grid = rate_grid(scale, column.optimizer)
        cells = pd.MultiIndex.from_product([grid.lrs, grid.rates], names=["lr", "rate"])
        keep = (runs[list(column._fields)] == list(column)).all(axis=1)
        found = runs[keep].set_index(["lr", "rate"])[[value, "status", "hash"]].reindex(cells)
        parts.append(found.reset_index().assign(**column._asdict()))
    frame = pd.concat(parts, ignore_index=True)
    frame["value"] = frame[value].mask(frame["status"] == "diverged")
    frame["text"] = _texts(frame["value"], text, frame["status"] == "diverged")
    frame["hash"] = frame["hash"].fillna("not trained yet")
    return _labelled(frame.assign(method="wd"), scale)


def _texts(values: pd.Series, text: Callable[[float], str], diverged: pd.Series) -> pd.Series:
    """What stands in a cell: a number, that it diverged, or that there is no run."""
    shown = [MISSING if math.isnan(value) else text(value) for value in values]
    return pd.Series(shown, values.index).mask(diverged, DIVERGED)


def _heatmap(
    target: str, frame: pd.DataFrame, title: str, color: alt.Color, name: str, pick: alt.Parameter
) -> Any:
    """Raw cells with their numbers; the picked one framed. `frame` has a column `dark`."""
    shown = ["column", "lr", "rate", *FACTORS, "value", "text", "hash", "dark"]
    base = alt.Chart(_inline(frame[shown])).transform_filter(_is_column(target))
    base = base.encode(
        alt.X("rate:O", title="λ", axis=alt.Axis(format="~g", labelAngle=-45)),
        alt.Y("lr:O", title="η", sort="descending", axis=alt.Axis(format="~g")),
    )
    tooltip = [
        *(alt.Tooltip("lr:Q", title="η"), alt.Tooltip("rate:Q", title="λ")),
        *(alt.Tooltip("text:N", title=title), alt.Tooltip("hash:N", title="run")),
    ]
    cells = base.mark_rect(cursor="pointer", stroke="#fff", invalid="show").encode(
        color=color, tooltip=tooltip
    )
    ink = alt.when("datum.dark").then(alt.value("#fff")).otherwise(alt.value("#000"))
    numbers = base.mark_text(fontSize=11).encode(text="text:N", color=ink, tooltip=tooltip)
    cells = cells.properties(name=name).add_params(pick)
    frame_of = base.transform_filter(pick).mark_rect(fill=None, stroke="#000", strokeWidth=3)
    return alt.layer(cells, numbers, frame_of).properties(
        title=title, width=alt.Step(CELL), height=alt.Step(CELL)
    )


def _figure2(frames: dict[str, pd.DataFrame], scale: DictConfig) -> Any:
    """(b) the mean of every run of WD, and beside it (a) R_op by epoch at the picked rates."""
    columns = paper.figure_columns(scale)
    means = frames["figure2b"].assign(r_op=100 * frames["figure2b"]["r_op_share"])
    cells = _cells(means, "r_op", columns, scale, short)
    positive = cells.loc[cells["value"] > 0, "value"]
    domain = [float(positive.min()), float(positive.max())] if len(positive) > 1 else [0.01, 1]
    place = np.log(cells["value"].clip(lower=domain[0]) / domain[0]) / np.log(domain[1] / domain[0])
    color = alt.Color(
        "value:Q",
        title="mean R_op of WD (%)",
        scale=alt.Scale(type="log", domain=domain, clamp=True, scheme="cividis"),
    )
    pick = _pick_cell("figure2", scale)
    title = "WD: mean R_op (%)"
    heatmap = _heatmap("figure2", cells.assign(dark=place < DARK), title, color, "r_op", pick)
    keep, methods = [_is_column("figure2"), pick], ["WD", "RWD", "PWD", "LPWD"]
    curves = _epochs("r_op", "R_op (%) at the picked rates", keep, methods)
    return _panels(heatmap, curves).add_params(_pick_column("figure2", columns, columns[0]))


def _figure4(frames: dict[str, pd.DataFrame], scale: DictConfig) -> Any:
    """WD, LPWD and their difference at all rates, and test top-1 by epoch at the picked ones."""
    columns = paper.figure_columns(scale)
    frame = frames["figure4"]
    by_method = {
        name: _cells(frame[frame["method"] == name], "best_mean", columns, scale, "{:.1f}".format)
        for name in LOOKS
    }
    low, high = limits([cells[["value"]] for cells in by_method.values()])
    top1 = alt.Color(
        "value:Q",
        title="test top-1 (%)",
        scale=alt.Scale(domain=[low, high], clamp=True, scheme="cividis"),
    )
    pick = _pick_cell("figure4", scale)
    heatmaps = [
        _heatmap(
            "figure4",
            cells.assign(dark=cells["value"] < low + DARK * (high - low)),
            f"{paper.METHOD_NAMES[name]}: test top-1 (%)",
            top1,
            f"top1_{name}",
            pick,
        )
        for name, cells in by_method.items()
    ]
    heatmaps.append(_differences(by_method, pick))
    keep, methods = [_is_column("figure4"), pick], [name for name in METHODS if name != "Baseline"]
    curves = _epochs("test_top1", "test top-1 (%) at the picked rates", keep, methods)
    return _panels(*heatmaps, curves).add_params(_pick_column("figure4", columns, columns[0]))


def _signed(points: float) -> str:
    return f"{round(points, 1) + 0.0:+.1f}".replace("-", "−")  # + 0.0: never −0.0


def _differences(by_method: dict[str, pd.DataFrame], pick: alt.Parameter) -> Any:
    wd, lpwd = by_method["wd"], by_method["lpwd"]
    difference = lpwd["value"] - wd["value"]
    either = (wd["text"] == DIVERGED) | (lpwd["text"] == DIVERGED)
    reach = -limits([-difference.abs().to_frame()])[0] or 1.0
    cells = wd.assign(
        value=difference,
        text=_texts(difference, _signed, either),
        hash=wd["hash"] + " and " + lpwd["hash"],
        dark=difference.abs() > 0.6 * reach,
    )
    color = alt.Color(
        "value:Q",
        title="LPWD − WD (points)",
        scale=alt.Scale(domain=[-reach, reach], clamp=True, scheme="purpleorange", reverse=True),
    )
    return _heatmap("figure4", cells, "LPWD − WD (points)", color, "difference", pick)


# -- the other figures -----------------------------------------------------------------------------


def _series(field: str, names: Sequence[str]) -> dict[str, Any]:
    """The looks of things that are no methods."""
    dashes, shapes = [[1, 0], [6, 3], [2, 2]], ["circle", "square", "triangle-up"]
    looks = zip(SERIES, dashes, shapes, strict=True)
    return _channels(field, dict(zip(names, looks, strict=False)))


def _figure3(frames: dict[str, pd.DataFrame], scale: DictConfig) -> Any:
    """(a) zero-shot decay by model, (b) PWD − RWD over λ, seed 0 and fresh seeds."""
    return _panels(_zero_shot(frames["figure3a"]), _gains(frames["figure3b"], scale))


def _zero_shot(frame: pd.DataFrame) -> Any:
    shown = [_shown(part) for _, part in frame.groupby("model")]
    frame = pd.concat([_shown(frame.iloc[:0]), *shown]).assign(rate=math.nan)
    frame["model"] = frame["model"].map(paper.model_name)
    columns = ["model", "step", "test_top1", "lr", "rate", "seed", "runs"]
    x = alt.X("step:Q", title="λ_s: percent of the weights taken away")
    base = alt.Chart(_inline(frame[columns])).encode(x)
    channels = _series("model", sorted(frame["model"].unique()) or ["–"])
    return _lines(base, "test_top1", "test top-1 (%)", channels, marked=False).properties(
        title="(a) Zero-shot decay of trained Baselines"
    )


def _gains(frame: pd.DataFrame, scale: DictConfig) -> Any:
    lr, _ = strong_penalty(scale, "adam")
    rates = sorted(rate_grid(scale, "adam").rates)
    names = {0: "seed 0", 1: "fresh seeds"}
    points = frame.assign(kind=(frame["seed"] > 0).astype(int).map(names))
    points = points[["rate", "gain", "seed", "hash", "kind"]]
    x = alt.X("rate:O", title="λ", axis=alt.Axis(format="~g"), scale=alt.Scale(domain=rates))
    y = alt.Y("gain:Q", title="gain in test top-1 (points)")
    channels = _series("kind", [*names.values(), INTERVAL])
    color, shape = channels["color"], channels["shape"]
    tooltip = [
        *(alt.Tooltip("rate:Q", title="λ"), alt.Tooltip("gain:Q", format="+.2f")),
        *(alt.Tooltip("seed:Q"), alt.Tooltip("hash:N", title="runs")),
    ]
    base = alt.Chart(_inline(points)).encode(x, y, color)
    line = base.transform_filter("datum.seed == 0").mark_line()
    dots = base.mark_point(filled=True, size=45).encode(shape, tooltip=tooltip)
    zero = alt.Chart(_inline(pd.DataFrame({"gain": [0]}))).mark_rule().encode(y)
    intervals = _intervals(frame[frame["seed"] > 0], ["rate"], "gain", x, color)
    return alt.layer(zero, line, dots, *intervals).properties(
        title=f"(b) PWD − RWD at η = {number(lr)}", width=WIDTH, height=HEIGHT
    )


def _intervals(
    fresh: pd.DataFrame, by: list[str], value: str, x: alt.X, color: alt.Color
) -> list[Any]:
    """A layer of the 95 % intervals of fresh seeds; none where there are too few seeds."""
    rows = []
    for key, part in fresh.groupby(by):
        found = intervals.interval(part[value].tolist())
        if found.known:
            rows.append({**dict(zip(by, key, strict=True)), **found._asdict(), "kind": INTERVAL})
    if not rows:
        return []
    tooltip = [alt.Tooltip(f"{name}:Q", format=".4~g") for name in Interval._fields]
    chart = alt.Chart(_inline(pd.DataFrame(rows))).mark_rule(strokeWidth=6, opacity=0.5)
    return [chart.encode(x, alt.Y("low:Q"), alt.Y2("high:Q"), color, tooltip=tooltip)]


def _figure5(frames: dict[str, pd.DataFrame], scale: DictConfig) -> Any:
    """Seed 0 with the std of its best epochs as a band; the intervals of fresh seeds as bars."""
    frame = frames["figure5"].assign(method=frames["figure5"]["method"].map(paper.METHOD_NAMES))
    frame["model"] = frame["model"].map(paper.model_name)
    frame["low"] = frame["best_mean"] - frame["best_std"]
    frame["high"] = frame["best_mean"] + frame["best_std"]
    columns = ["model", "method", "lr", "rate", "seed", "best_mean", "low", "high", "hash"]
    series = [paper.model_name(model) for model in scale.grid.series]
    domain = alt.Scale(domain=series)
    x = alt.X("model:N", scale=domain, title=None, axis=alt.Axis(labelAngle=0))
    y = alt.Y("best_mean:Q", title="test top-1 (%)", scale=alt.Scale(zero=False))
    looks = {paper.METHOD_NAMES[name]: METHODS[paper.METHOD_NAMES[name]] for name in LOOKS}
    color, dash, shape = _channels("method", looks).values()
    tooltip = [
        *(alt.Tooltip("method:N"), alt.Tooltip("model:N")),
        alt.Tooltip("best_mean:Q", title="test top-1 (%)", format=".2f"),
        *(alt.Tooltip("lr:Q", title="η"), alt.Tooltip("rate:Q", title="λ")),
        *(alt.Tooltip("seed:Q"), alt.Tooltip("hash:N", title="run")),
    ]
    base = alt.Chart(_inline(frame[columns])).encode(x)
    first = base.transform_filter("datum.seed == 0")
    band = first.mark_area(opacity=0.2).encode(alt.Y("low:Q"), alt.Y2("high:Q"), color)
    line = first.mark_line().encode(y, color, dash)
    points = base.mark_point(filled=True, size=55).encode(y, color, shape, tooltip=tooltip)
    fresh = frame[frame["seed"] > 0]
    intervals = _intervals(fresh, ["method", "model"], "best_mean", x, color)
    return alt.layer(band, line, points, *intervals).properties(width=WIDTH, height=HEIGHT)


#: {figure: title, caption, protocol, how it is drawn}
CHARTS = {
    "figure1": (
        "Training under any penalty, epoch by epoch",
        "First shown is the paper's figure: WD and LPWD under the strongest penalty, the largest η"
        " and λ of the grid. Pick another setting, other rates, other methods. Where there are"
        " fresh seeds, lines are their mean and bands run from the least to the largest. Where"
        " nothing is drawn, nothing is trained yet.",
        NO_CHOICE,
        _figure1,
    ),
    "figure2": (
        "How often WD pushes weights the wrong way",
        "R_op is the share of decayed weights that the decay moves away from zero. Each cell is one"
        " run of WD. Pick a cell to see R_op of all methods by epoch at those rates.",
        NO_CHOICE,
        _figure2,
    ),
    "figure3": (
        "The side effect of decay, and what PWD mends of it",
        "(a) Trained Baselines whose weights are taken away percent by percent, without further"
        " training. (b) How much better PWD is than RWD, by decay rate.",
        PAPERS,
        _figure3,
    ),
    "figure4": (
        "WD and LPWD at all rates",
        "Each cell is one run. Purple: LPWD is better; orange: WD is. Pick a cell to see the test"
        " accuracy by epoch at those rates.",
        PAPERS,
        _figure4,
    ),
    "figure5": (
        "WD and LPWD over the ConvNeXt series",
        "Each method at the rates chosen for the smallest model. Lines and bands are seed 0: mean"
        " and standard deviation over its best epochs.",
        PAPERS,
        _figure5,
    ),
}
