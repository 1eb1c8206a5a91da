"""Figures 2 and 4 as heatmaps to pick cells from, with the curves of the picked one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from omegaconf import DictConfig

from lpwd.analysis import paper
from lpwd.config.rates import rate_grid
from lpwd.draw.words import LOOKS, limits, short, signed
from lpwd.report.specs import (
    CELL,
    DARK,
    DIVERGED,
    FACTORS,
    METHOD_LOOKS,
    MISSING,
    epoch_curves,
    inline_data,
    is_column,
    labelled,
    panels,
    pick_cell,
    pick_column,
)

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
    return labelled(frame.assign(method="wd"), scale)


def _texts(values: pd.Series, text: Callable[[float], str], diverged: pd.Series) -> pd.Series:
    """What stands in a cell: a number, that it diverged, or that there is no run."""
    shown = [MISSING if math.isnan(value) else text(value) for value in values]
    return pd.Series(shown, values.index).mask(diverged, DIVERGED)


def _heatmap(
    target: str, frame: pd.DataFrame, title: str, color: alt.Color, name: str, pick: alt.Parameter
) -> Any:
    """Raw cells with their numbers; the best circled where no run is missing, the picked framed.

    `frame` has a column `dark`. On ties the best is that of the smaller rates.
    """
    of_column = frame.groupby("column")
    is_whole = of_column["text"].transform(lambda texts: (texts != MISSING).all())
    best_first = frame.dropna(subset="value").round({"value": 9})
    best_first = best_first.sort_values(["value", "lr", "rate"], ascending=[False, True, True])
    is_best = frame.index.isin(best_first.drop_duplicates("column").index)
    frame = frame.assign(circled=is_best & is_whole & (name != "difference"))
    shown = ["column", "lr", "rate", *FACTORS, "value", "text", "hash", "dark", "circled"]
    base = alt.Chart(inline_data(frame[shown])).transform_filter(is_column(target))
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
    circle = base.transform_filter("datum.circled").mark_point(size=1100, stroke="#000", aria=False)
    return alt.layer(cells, numbers, circle, frame_of).properties(
        title=title, width=alt.Step(CELL), height=alt.Step(CELL)
    )


def figure2(frames: dict[str, pd.DataFrame], scale: DictConfig) -> Any:
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
    pick = pick_cell("figure2", scale)
    title = "WD: mean R_op (%)"
    heatmap = _heatmap("figure2", cells.assign(dark=place < DARK), title, color, "r_op", pick)
    keep, methods = [is_column("figure2"), pick], ["WD", "RWD", "PWD", "LPWD"]
    curves = epoch_curves("r_op", "R_op (%) at the picked rates", keep, methods)
    return panels(heatmap, curves).add_params(pick_column("figure2", columns, columns[0]))


def figure4(frames: dict[str, pd.DataFrame], scale: DictConfig) -> Any:
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
    pick = pick_cell("figure4", scale)
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
    keep, methods = (
        [is_column("figure4"), pick],
        [name for name in METHOD_LOOKS if name != "Baseline"],
    )
    curves = epoch_curves("test_top1", "test top-1 (%) at the picked rates", keep, methods)
    return panels(*heatmaps, curves).add_params(pick_column("figure4", columns, columns[0]))


def _differences(by_method: dict[str, pd.DataFrame], pick: alt.Parameter) -> Any:
    wd, lpwd = by_method["wd"], by_method["lpwd"]
    difference = lpwd["value"] - wd["value"]
    either = (wd["text"] == DIVERGED) | (lpwd["text"] == DIVERGED)
    reach = -limits([-difference.abs().to_frame()])[0] or 1.0
    cells = wd.assign(
        value=difference,
        text=_texts(difference, partial(signed, digits=1), either),
        hash=wd["hash"] + " and " + lpwd["hash"],
        dark=difference.abs() > 0.6 * reach,
    )
    color = alt.Color(
        "value:Q",
        title="LPWD − WD (points)",
        scale=alt.Scale(domain=[-reach, reach], clamp=True, scheme="purpleorange", reverse=True),
    )
    return _heatmap("figure4", cells, "LPWD − WD (points)", color, "difference", pick)
