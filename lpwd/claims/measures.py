"""How each claim is measured: from stored results to effects that are positive if it holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from omegaconf import DictConfig
from scipy.stats import spearmanr

from lpwd import paper, stats
from lpwd.claims.rule import Measured
from lpwd.figures import figure1, figure3, figure5
from lpwd.figures.common import fresh_or_first
from lpwd.paper import Column
from lpwd.runs import Results

#: "Low" for R_op (Section 4.1 gives no number), in percent.
LOW_R_OP = 5.0
#: PWD and RWD are alike if they differ by less than this, in points.
ALIKE = 0.5
#: A λ is large from this multiple of its base.
LARGE_FACTOR = 10

ABLATION = ("wd", "rwd", "pwd", "lpwd")


def _effects(parts: dict[str, pd.Series]) -> pd.DataFrame:
    """{cell: effects by seed} as the columns cell, seed and effect."""
    rows = [
        {"cell": cell, "seed": seed, "effect": effect}
        for cell, series in parts.items()
        for seed, effect in series.items()
    ]
    return pd.DataFrame(rows, columns=["cell", "seed", "effect"])


def _grid_effects(effects: dict[str, float]) -> pd.DataFrame:
    """{cell: effect} of the grid's runs, seed 0."""
    return _effects({cell: pd.Series({0: effect}) for cell, effect in effects.items()})


def _name(column: Column) -> str:
    return " ".join(column)


# -- Tables 1 and 3 --------------------------------------------------------------------------------


def top1(
    results: Results, scale: DictConfig, column: Column, method: str, protocol: str
) -> pd.Series:
    """Top-1 (%) at the chosen rates by seed: 0 is the grid's, the one that was chosen.

    NaN while runs of the grid are missing: the best of a part may be far from the best of all.
    """
    which = {**column._asdict(), "method": method}
    if len(stats.grid(results, **which)) < paper.grid_size(scale, column.optimizer, method):
        return pd.Series({0: np.nan})
    if protocol == "held-out":
        first, fresh = (
            stats.held_out_value(results, **which),
            stats.fresh_held_out(results, **which),
        )
    else:
        run = stats.chosen(results, **which)
        first = np.nan if run is None else run["best_mean"]
        fresh = stats.fresh_values(results, **which).fillna(0.0)
    return pd.concat([pd.Series({0: first}), fresh])


def lpwd_over(method: str, protocol: str, results: Results, scale: DictConfig) -> Measured:
    """LPWD − `method` in every column of Table 1, points."""
    columns = paper.columns(scale)
    parts = {
        _name(c): top1(results, scale, c, "lpwd", protocol)
        - top1(results, scale, c, method, protocol)
        for c in columns
    }
    return Measured(_effects(parts), len(columns))


def ablation(results: Results, scale: DictConfig) -> dict[str, pd.Series]:
    """The three steps of Table 3, RWD − WD, PWD − RWD and LPWD − PWD, by seed."""
    column = paper.ablation_column(scale)
    values = [top1(results, scale, column, method, "paper") for method in ABLATION]
    names = [paper.METHODS[method] for method in ABLATION]
    return {
        f"{names[i + 1]} − {names[i]}": values[i + 1] - values[i] for i in range(len(names) - 1)
    }


def rwd_over_wd(results: Results, scale: DictConfig) -> Measured:
    """RWD − WD of Table 3, points."""
    steps = ablation(results, scale)
    return Measured(_effects({"RWD − WD": steps["RWD − WD"]}), 1)


def order(results: Results, scale: DictConfig) -> Measured:
    """Each step of Table 3, points."""
    return Measured(_effects(ablation(results, scale)), len(ABLATION) - 1)


def rwd_most(results: Results, scale: DictConfig) -> Measured:
    """RWD's step less the larger of the other two, points."""
    steps = pd.DataFrame(ablation(results, scale))
    lead = steps["RWD − WD"] - steps.drop(columns="RWD − WD").max(axis=1, skipna=False)
    return Measured(_effects({"RWD's lead": lead}), 1)


# -- Figure 3 --------------------------------------------------------------------------------------


def _gains(results: Results, scale: DictConfig, large: bool) -> tuple[dict[str, pd.Series], int]:
    """PWD − RWD by seed for each large, or each other, λ of Figure 3b; and how many λ there are."""
    column = paper.ablation_column(scale)
    base = scale.base[column.optimizer].rate
    frame = figure3.gains(results, scale)
    frame["gain"] = frame["pwd"] - frame["rwd"]
    rates = paper.rates(scale, column.optimizer).rates
    wanted = [rate for rate in rates if (rate >= LARGE_FACTOR * base * (1 - 1e-9)) == large]
    return {
        f"λ={paper.number(rate)}": frame[frame["rate"] == rate].set_index("seed")["gain"]
        for rate in wanted
    }, len(wanted)


def pwd_over_rwd(results: Results, scale: DictConfig) -> Measured:
    """PWD − RWD at large λ, points."""
    gains, count = _gains(results, scale, large=True)
    return Measured(_effects(gains), count)


def pwd_like_rwd(results: Results, scale: DictConfig) -> Measured:
    """ALIKE − |PWD − RWD| at the other λ, points."""
    gains, count = _gains(results, scale, large=False)
    return Measured(_effects({cell: ALIKE - gain.abs() for cell, gain in gains.items()}), count)


def zero_shot_falls(results: Results, scale: DictConfig) -> Measured:
    """−Spearman's ρ of accuracy and λ_s, of the best Baseline of every column."""
    parts, rises = {}, []
    for column in paper.columns(scale):
        best = stats.chosen(results, **column._asdict(), method="baseline")
        if best is None:
            continue
        hashes = pd.concat([best.to_frame().T, stats.fresh(results, best)]).set_index("seed")[
            "hash"
        ]
        curves = {
            seed: results.zero_shot[results.zero_shot["hash"] == name]
            for seed, name in hashes.items()
        }
        parts[_name(column)] = pd.Series(
            {
                seed: -_rho(curve["step"].to_numpy(), curve["test_top1"].to_numpy())
                for seed, curve in curves.items()
            }
        )
        rises.append(_largest_rise(curves[0]["test_top1"]))
    note = f"largest rise on the way down: {max(rises):.1f} points" if rises else ""
    return Measured(_effects(parts), len(paper.columns(scale)), note=note)


def _largest_rise(top1: pd.Series) -> float:
    return float((top1 - top1.cummin()).max())


def _rho(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's rank correlation without NaNs; NaN where one of them does not vary."""
    x, y = x[np.isfinite(y)], y[np.isfinite(y)]
    if len(y) < 2 or np.ptp(y) == 0 or np.ptp(x) == 0:
        return float("nan")
    return float(spearmanr(x, y)[0])  # pyright: ignore[reportArgumentType]


# -- the whole grid: one cell a column of Table 1 -------------------------------------------------

#: {method: values [η, λ], both ascending}
Matrices = dict[str, np.ndarray]


def _per_column(
    results: Results,
    scale: DictConfig,
    methods: Sequence[str],
    value: str,
    diverged: float,
    effect: Callable[[Matrices], float],
) -> Measured:
    """`effect` of the grids of `value` in every column whose grids are whole.

    `diverged` is what a diverged run counts as.
    """
    columns = paper.columns(scale)
    effects = {}
    for column in columns:
        grid = paper.rates(scale, column.optimizer)
        shape = (len(grid.lrs), len(grid.rates))
        matrices = {
            m: _matrix(stats.grid(results, **column._asdict(), method=m), value, diverged, shape)
            for m in methods
        }
        whole = {m: matrix for m, matrix in matrices.items() if matrix is not None}
        if len(whole) == len(methods):
            effects[_name(column)] = effect(whole)
    return Measured(_grid_effects(effects), len(columns))


def _matrix(
    runs: pd.DataFrame, value: str, diverged: float, shape: tuple[int, int]
) -> np.ndarray | None:
    if len(runs) != shape[0] * shape[1]:
        return None
    runs = runs.sort_values(["lr", "rate"])
    values = runs[value].mask(runs["status"] == "diverged", diverged)
    return values.to_numpy(float).reshape(shape)


def most_cells(results: Results, scale: DictConfig) -> Measured:
    """Share of (η, λ) at which LPWD beats WD, in percent above one half."""

    def effect(m: Matrices) -> float:
        return 100 * float((m["lpwd"] > m["wd"]).mean()) - 50

    return _per_column(results, scale, ("wd", "lpwd"), "best_mean", 0.0, effect)


def robust(results: Results, scale: DictConfig) -> Measured:
    """How much further WD's accuracy ranges over λ than LPWD's, mean over η, points."""

    def effect(m: Matrices) -> float:
        return float(np.ptp(m["wd"], axis=1).mean() - np.ptp(m["lpwd"], axis=1).mean())

    return _per_column(results, scale, ("wd", "lpwd"), "best_mean", 0.0, effect)


def lead_widens(results: Results, scale: DictConfig) -> Measured:
    """LPWD − WD under the strongest penalty less the same at each one's best rates, points."""

    def effect(m: Matrices) -> float:
        strong = m["lpwd"][-1, -1] - m["wd"][-1, -1]
        return float(strong - (m["lpwd"].max() - m["wd"].max()))

    return _per_column(results, scale, ("wd", "lpwd"), "best_mean", 0.0, effect)


def r_op_low(results: Results, scale: DictConfig) -> Measured:
    """LOW_R_OP less the mean R_op of WD over the grid, percent of the weights."""

    def effect(m: Matrices) -> float:
        return LOW_R_OP - 100 * float(np.nanmean(m["wd"]))

    return _per_column(results, scale, ("wd",), "r_op_share", np.nan, effect)


def r_op_grows(axis: str, results: Results, scale: DictConfig) -> Measured:
    """Spearman's ρ of R_op with η at fixed λ ("lr"), or with λ at fixed η ("rate"); the mean."""

    def effect(m: Matrices) -> float:
        lines = m["wd"].T if axis == "lr" else m["wd"]
        rhos = [_rho(np.arange(len(line)), line) for line in lines]
        return float(np.mean([rho for rho in rhos if np.isfinite(rho)] or np.nan))

    return _per_column(results, scale, ("wd",), "r_op_share", np.nan, effect)


def rwd_never_opposes(results: Results, scale: DictConfig) -> Measured:
    """1 for a run of RWD in Table 3 whose R_op is exactly 0, else −1."""
    column = paper.ablation_column(scale)
    stored = stats.grid(results, **column._asdict(), method="rwd")
    runs = stored[stored["status"] == "done"]
    effects = {
        str(name): 1.0 if r_op == 0 else -1.0
        for name, r_op in zip(runs["hash"], runs["r_op_share"], strict=True)
    }
    grid = paper.rates(scale, column.optimizer)
    expected = len(grid.lrs) * len(grid.rates) - (len(stored) - len(runs))
    note = f"largest R_op: {runs['r_op_share'].max():g}" if len(runs) else ""
    return Measured(_grid_effects(effects), expected, note=note)


# -- Figures 1 and 5 -------------------------------------------------------------------------------


def strong_penalty(curve: str, sign: int, results: Results, scale: DictConfig) -> Measured:
    """The gap between the two curves of Figure 1, mean over epochs; the cases are its epochs."""
    frame = figure1.data(results, scale)["figure1"]
    table = frame.pivot_table(curve, ["model", "seed", "epoch"], "method", dropna=False)
    table = table.reindex(columns=["wd", "lpwd"]).reset_index().rename(columns={"model": "cell"})
    gaps = table.assign(effect=sign * (table["lpwd"] - table["wd"]))
    effects = gaps.groupby(["cell", "seed"])["effect"].mean().reset_index()
    cases = fresh_or_first(gaps).groupby(["cell", "epoch"])["effect"].mean()
    return Measured(effects, len(scale.grid.models), cases)


def gain_grows(results: Results, scale: DictConfig) -> Measured:
    """Slope of LPWD − WD from one model of the series to the next, points."""
    frame = figure5.data(results, scale)["figure5"]
    frame["best_mean"] = frame["best_mean"].mask(frame["status"] == "diverged", 0.0)
    table = frame.pivot_table("best_mean", "seed", ["method", "model"], aggfunc="first")
    slopes = {}
    for seed, row in table.iterrows():
        wd, lpwd = (
            row.reindex([(m, model) for model in scale.grid.series]) for m in ("wd", "lpwd")
        )
        gain = lpwd.to_numpy(float) - wd.to_numpy(float)
        slopes[seed] = (
            np.polyfit(range(len(gain)), gain, 1)[0] if np.isfinite(gain).all() else np.nan
        )
    return Measured(_effects({"series": pd.Series(slopes, dtype=float)}), 1)
