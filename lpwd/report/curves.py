"""Figures 1, 3 and 5, and the curves of all runs, which the charts share."""

from __future__ import annotations

import math
from typing import Any

import altair as alt
import pandas as pd
from markupsafe import Markup
from omegaconf import DictConfig

from lpwd.analysis import paper
from lpwd.analysis.main_grid import MainGrid
from lpwd.config.rates import number, rate_grid, strong_penalty
from lpwd.draw.words import LOOKS
from lpwd.report.specs import (
    CURVES,
    FACTORS,
    HEIGHT,
    INTERVAL,
    METHOD_LOOKS,
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
    epochs = main.epochs.sort_values(["hash", "epoch"])
    epochs = epochs.assign(r_op=100 * epochs["r_op_share"])
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
    loss = epoch_curves("train_loss", "training loss", keep)
    top1 = epoch_curves("test_top1", "test top-1 (%)", keep)
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
    names = {0: "seed 0", 1: "fresh seeds"}
    points = frame.assign(kind=(frame["seed"] > 0).astype(int).map(names))
    points = points[["rate", "gain", "seed", "hash", "kind"]]
    x = alt.X("rate:O", title="λ", axis=alt.Axis(format="~g"), scale=alt.Scale(domain=rates))
    y = alt.Y("gain:Q", title="gain in test top-1 (points)")
    channels = series_channels("kind", [*names.values(), INTERVAL])
    color, shape = channels["color"], channels["shape"]
    tooltip = [
        *(alt.Tooltip("rate:Q", title="λ"), alt.Tooltip("gain:Q", format="+.2f")),
        *(alt.Tooltip("seed:Q"), alt.Tooltip("hash:N", title="runs")),
    ]
    base = alt.Chart(inline_data(points)).encode(x, y, color)
    line = base.transform_filter("datum.seed == 0").mark_line()
    dots = base.mark_point(filled=True, size=45).encode(shape, tooltip=tooltip)
    zero = alt.Chart(inline_data(pd.DataFrame({"gain": [0]}))).mark_rule().encode(y)
    intervals = interval_layer(frame[frame["seed"] > 0], ["rate"], "gain", x, color)
    return alt.layer(zero, line, dots, *intervals).properties(
        title=f"(b) PWD − RWD at η = {number(lr)}", width=WIDTH, height=HEIGHT
    )


def figure5(frames: dict[str, pd.DataFrame], scale: DictConfig) -> Any:
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
    looks = {paper.METHOD_NAMES[name]: METHOD_LOOKS[paper.METHOD_NAMES[name]] for name in LOOKS}
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
    points = base.mark_point(filled=True, size=55).encode(y, color, shape, tooltip=tooltip)
    fresh = frame[frame["seed"] > 0]
    intervals = interval_layer(fresh, ["method", "model"], "best_mean", x, color)
    return alt.layer(band, line, points, *intervals).properties(width=WIDTH, height=HEIGHT)
