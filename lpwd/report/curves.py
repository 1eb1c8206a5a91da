"""Figures 1, 3 and 5, and the curves of all runs, which the charts share."""

from __future__ import annotations

import math
from typing import Any, cast

import altair as alt
import numpy as np
import pandas as pd
from markupsafe import Markup
from omegaconf import DictConfig

from lpwd.analysis import paper
from lpwd.analysis.intervals import Interval
from lpwd.analysis.main_grid import MainGrid
from lpwd.analysis.robustness import BASELINE
from lpwd.config.rates import number, rate_grid, strong_penalty
from lpwd.draw.words import LOOKS, at_rates, width_text
from lpwd.report.specs import (
    CURVES,
    FACTORS,
    HEIGHT,
    INTERVAL,
    KIND_LOOKS,
    METHOD_LOOKS,
    SERIES,
    WIDTH,
    channels_of,
    epoch_curves,
    factors,
    inline_data,
    interval_layer,
    is_column,
    labelled,
    mean_lines,
    panels,
    pick,
    pick_column,
    records,
    script_json,
    series_channels,
    shown_runs,
)

# -- data ------------------------------------------------------------------------------------------


def curves(main: MainGrid) -> Markup:
    """A run of the tables a row: what it is, and its curves over epochs as lists.

    Fresh seeds take the place of seed 0 where there are some, as in the figures.
    """
    same = ["data", "model", "optimizer", "method", "lr", "rate"]
    runs = labelled(shown_runs(main.runs, same), main.scale)
    about = runs[["hash", "runs", "column", "method", "seed", "lr", "rate", *FACTORS]]
    epochs = main.epochs.sort_values(["hash", "epoch"]).merge(runs[["hash", "runs"]], on="hash")
    epochs = epochs.assign(r_op=100 * epochs["r_op_share"])
    # Where a seed has diverged, a mean of the others would be one of survivors.
    seeds = epochs.groupby("runs")["hash"].transform("nunique")
    of_all = epochs.groupby(["runs", "epoch"])[CURVES].transform("count").eq(seeds, axis=0)
    epochs[CURVES] = epochs[CURVES].where(of_all)
    lists = epochs.groupby("hash")[CURVES].agg(lambda values: [_brief(value) for value in values])
    return script_json(records(about.merge(lists, on="hash")))


def _brief(value: float) -> float | None:
    """Four digits, which is all that a curve shows; None where there is no number."""
    return float(f"{value:.4g}") if math.isfinite(value) else None


def figure1(frames: dict[str, pd.DataFrame], scale: DictConfig) -> Any:
    """Any run's curves; first the figure's own: WD and LPWD under the strongest penalty."""
    columns = paper.columns(scale)
    picks = [
        pick_column("figure1", columns, paper.adam_columns(scale)[0]),
        *(
            pick(f"{label}_figure1", name, factors(scale, label), factors(scale, label)[0])
            for label, name in zip(FACTORS, ("η", "λ"), strict=True)
        ),
    ]
    ticks = [
        alt.param(
            f"show_{name}",
            name in ("WD", "LPWD"),
            bind=alt.binding(input="checkbox", name=f"{name} "),
        )
        for name in METHOD_LOOKS
    ]
    shown = " || ".join(f"(datum.method == '{name}' && show_{name})" for name in METHOD_LOOKS)
    keep = [
        is_column("figure1"),
        "datum.lr_factor == lr_factor_figure1",
        "datum.rate_factor == rate_factor_figure1 || datum.method == 'Baseline'",
        shown,
    ]
    ticked = " + ".join(f"(show_{name} ? ',{name}' : '')" for name in METHOD_LOOKS)
    legend = alt.Legend(values=alt.ExprRef(f"split(substring({ticked}, 1), ',')"))
    loss = epoch_curves("train_loss", "training loss", keep, legend=legend)
    top1 = epoch_curves("test_top1", "test top-1 (%)", keep, legend=legend)
    return panels(loss, top1).add_params(*picks, *ticks)


def figure3(frames: dict[str, pd.DataFrame], scale: DictConfig) -> Any:
    """(a) zero-shot decay by model, (b) PWD − RWD over λ, seed 0 and fresh seeds."""
    return panels(_zero_shot(frames["figure3a"]), _gains(frames["figure3b"], scale))


def _zero_shot(frame: pd.DataFrame) -> Any:
    frame = shown_runs(frame, ["model"]).assign(rate=math.nan)
    frame["model"] = frame["model"].map(paper.model_name)
    columns = ["model", "step", "test_top1", "lr", "rate", "seed", "runs"]
    x = alt.X("step:Q", title="λ_s: percent of the weights taken away")
    base = alt.Chart(inline_data(frame[columns])).encode(x)
    channels = series_channels("model", sorted(frame["model"].unique()) or ["–"])
    return mean_lines(base, "test_top1", "test top-1 (%)", channels, marked=False).properties(
        title="(a) Zero-shot decay of trained Baselines"
    )


def _gains(frame: pd.DataFrame, scale: DictConfig) -> Any:
    lr, _ = strong_penalty(scale, "adam")
    rates = sorted(rate_grid(scale, "adam").rates)
    kinds = {"seed 0": (SERIES[0], "circle"), "fresh seeds": ("#808080", "circle")}
    kinds[INTERVAL] = ("#D55E00", "diamond")
    looks = {kind: (colour, [1, 0], shape) for kind, (colour, shape) in kinds.items()}
    points = frame.assign(kind=np.where(frame["seed"] > 0, "fresh seeds", "seed 0"))
    points = points[["rate", "gain", "seed", "hash", "kind"]]
    x = alt.X("rate:O", title="λ", axis=alt.Axis(format="~g"), scale=alt.Scale(domain=rates))
    y = alt.Y("gain:Q", title="gain in test top-1 (points)")
    color, _, shape = channels_of("kind", looks).values()
    tooltip = [
        *(alt.Tooltip("rate:Q", title="λ"), alt.Tooltip("gain:Q", format="+.2f")),
        *(alt.Tooltip("seed:Q"), alt.Tooltip("hash:N", title="runs")),
    ]
    base = alt.Chart(inline_data(points)).encode(x, y, color)
    line = base.transform_filter("datum.seed == 0").mark_line()
    dots = base.mark_point(filled=True, size=30).encode(shape, tooltip=tooltip)
    zero = alt.Chart(inline_data(pd.DataFrame({"gain": [0]}))).mark_rule().encode(y)
    intervals = interval_layer(frame[frame["seed"] > 0], ["rate"], "gain", x, color, 9)
    return alt.layer(zero, line, dots, *intervals).properties(
        title=f"(b) PWD − RWD at η = {number(lr)}", width=WIDTH, height=HEIGHT
    )


def figure5(frames: dict[str, pd.DataFrame], scale: DictConfig) -> Any:
    """Seed 0 with the std of its best epochs as a band; fresh seeds with their interval."""
    frame = frames["figure5"].copy()
    frame["model"] = frame["model"].map(_size)
    frame["low"] = frame["best_mean"] - frame["best_std"]
    frame["high"] = frame["best_mean"] + frame["best_std"]
    columns = ["model", "method", "lr", "rate", "seed", "best_mean", "low", "high", "hash"]
    series = list(map(_size, scale.grid.series))
    domain = alt.Scale(domain=series)
    title = f"model: {paper.model_name(paper.family(scale.grid.series[0]))}"
    x = alt.X("model:N", scale=domain, title=title, axis=alt.Axis(labelAngle=0))
    y = alt.Y("best_mean:Q", title="test top-1 (%)", scale=alt.Scale(zero=False))
    names = {name: paper.METHOD_NAMES[name] for name in LOOKS}
    labels = {name: at_rates(names[name], frame[frame["method"] == name]) for name in LOOKS}
    frame["method"] = frame["method"].map(labels)
    looks = {labels[name]: METHOD_LOOKS[names[name]] for name in LOOKS}
    color, dash, shape = channels_of("method", looks).values()
    tooltip = [
        *(alt.Tooltip("method:N"), alt.Tooltip("model:N")),
        alt.Tooltip("best_mean:Q", title="test top-1 (%)", format=".2f"),
        *(alt.Tooltip("lr:Q", title="η"), alt.Tooltip("rate:Q", title="λ")),
        *(alt.Tooltip("seed:Q"), alt.Tooltip("hash:N", title="run")),
    ]
    base = alt.Chart(inline_data(frame[columns])).encode(x)
    first = base.transform_filter("datum.seed == 0")
    band = first.mark_area(opacity=0.2).encode(alt.Y("low:Q"), alt.Y2("high:Q"), color)
    line = first.mark_line().encode(y, color, dash)
    points = first.mark_point(filled=True, size=55).encode(y, color, shape, tooltip=tooltip)
    layers = [band, line, points]
    for offset, method in zip((-9, 9), looks, strict=True):
        fresh = frame[(frame["seed"] > 0) & (frame["method"] == method)]
        seeds = alt.Chart(inline_data(fresh[columns])).mark_circle(size=15, xOffset=1.7 * offset)
        layers += [seeds.encode(x, y, color, tooltip=tooltip)]
        layers += interval_layer(fresh, ["method", "model"], "best_mean", x, color, offset)
    return alt.layer(*layers).properties(width="container", height=HEIGHT)


def _size(model: str) -> str:
    """A model of a series without its family: tiny."""
    return model.partition("_")[2]


#: Where Figure 6's curves are over: title, column.
TOTALS = {"Σηλ": "total", "Σηλ, mean over the weights": "total_mean"}


def figure6(frames: dict[str, pd.DataFrame], scale: DictConfig) -> Any:
    """Top-1 over the total decay: fresh seeds where every λ has them, else seed 0; and Baseline.

    λ beside the grid that those seeds lack are marks of seed 0.
    """
    points, widths = frames["figure6_points"], frames["figure6_width"]
    labels = {width.name: width_text(width) for width in cast(Any, widths.itertuples())}
    frame = points[points["name"].isin(labels)]
    top1 = frame["curve"].fillna(frame["first"])
    frame = frame.assign(top1=top1, name=frame["name"].map(labels))
    looks = {label: KIND_LOOKS[name] for name, label in labels.items()} or METHOD_LOOKS
    color, dash, shape = channels_of("name", looks).values()
    options = alt.binding_radio(options=[*TOTALS.values()], labels=[*TOTALS], name="over ")
    over = alt.param("over_figure6", "total", bind=options)
    base = alt.Chart(inline_data(frame)).transform_calculate(x="datum[over_figure6]")
    base = base.encode(alt.X("x:Q", title="total decay", scale=alt.Scale(type="log")), color)
    y = alt.Y("top1:Q", title="test top-1 (%)", scale=alt.Scale(zero=False))
    tooltip = [
        *(alt.Tooltip("name:N", title="of"), alt.Tooltip("rate:Q", title="λ")),
        *(alt.Tooltip(f"{total}:Q", title=name, format=".3~g") for name, total in TOTALS.items()),
        alt.Tooltip("first:Q", title="seed 0", format=".2f"),
        *(alt.Tooltip("seeds_n:Q", title="fresh seeds"), alt.Tooltip("seeds_mean:Q", format=".2f")),
        *(alt.Tooltip(f"seeds_{end}:Q", title=end, format=".2f") for end in ("low", "high")),
    ]
    line = base.transform_filter("isValid(datum.curve)").mark_line().encode(y, dash)
    marks = base.mark_point(filled=True, size=50).encode(y, shape, tooltip=tooltip)
    bars = base.transform_filter("isValid(datum.seeds_low)").mark_rule(strokeWidth=2)
    bars = bars.encode(alt.Y("seeds_low:Q"), alt.Y2("seeds_high:Q"))
    none = alt.Chart(inline_data(points[points["name"] == BASELINE.name]))
    level = none.mark_rule(strokeDash=[2, 2]).encode(alt.Y("first:Q"))
    band = none.mark_rect(opacity=0.12).encode(alt.Y("seeds_low:Q"), alt.Y2("seeds_high:Q"))
    layers = alt.layer(band, level, bars, line, marks).add_params(over)
    return layers.properties(width="container", height=HEIGHT)


OURS = {"ours, paper's protocol": "seeds", "ours, held-out": "heldout_seeds"}


def leads_chart(frame: pd.DataFrame) -> Any:
    """`analysis.leads`: the paper's LPWD − WD by column, and fresh seeds with their intervals."""
    parts = [frame[["column"]].assign(kind="the paper", mean=frame["reported"])]
    for kind, prefix in OURS.items():
        ends = {end: frame[f"{prefix}_{end}"] for end in Interval._fields}
        parts.append(frame[["column"]].assign(kind=kind, **ends))
    points = pd.concat(parts)
    colours, shapes = ["#000000", *SERIES], ["diamond", "circle", "square"]
    looks = zip(points["kind"].unique(), colours, shapes, strict=False)
    color, _, shape = channels_of("kind", {k: (c, [1, 0], s) for k, c, s in looks}).values()
    tooltip = ["column:N", "kind:N"]
    tooltip += [alt.Tooltip(f"{name}:Q", format=".2f") for name in ("mean", "low", "high")]
    bold = alt.when(f"datum.label === '{frame['column'].iloc[-1]}'").then(alt.value("bold"))
    axis = alt.Axis(labelLimit=220, labelFontWeight=bold.otherwise(alt.value("normal")))
    y = alt.Y("column:N", sort=None, title=None, axis=axis, scale=alt.Scale(paddingInner=0.4))
    x = alt.X("mean:Q", title=None, axis=alt.Axis(tickCount=6))
    base = alt.Chart(inline_data(points)).encode(y, alt.YOffset("kind:N", sort=None), color)
    bars = base.mark_rule(strokeWidth=2).encode(alt.X("low:Q"), alt.X2("high:Q"))
    means = base.mark_point(filled=True, size=40, opacity=1).encode(x, shape, tooltip=tooltip)
    zero = alt.Chart(inline_data(pd.DataFrame({"mean": [0]}))).mark_rule().encode(x)
    return alt.layer(zero, bars, means).properties(width="container", height=34 * len(frame))
