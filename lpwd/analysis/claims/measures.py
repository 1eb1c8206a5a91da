"""How each claim is measured: from stored results to effects that are positive if it holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from omegaconf import DictConfig
from scipy.stats import spearmanr

from lpwd.analysis import cells, intervals, paper, protocols
from lpwd.analysis.claims.rule import Measured
from lpwd.analysis.intervals import LEAST_SEEDS
from lpwd.analysis.paper import Column
from lpwd.analysis.protocols import DIVERGED, fresh_or_first
from lpwd.config.rates import number, rate_grid, strong_penalty
from lpwd.draw.figures import figure1, figure3, figure5
from lpwd.store.frames import Results

#: "Low" for R_op (Section 4.1 gives no number), in percent.
LOW_R_OP = 5.0
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


def _mean(by_seed: pd.Series) -> float:
    """Of fresh seeds where there are enough, else of seed 0."""
    fresh = by_seed.drop(0, errors="ignore").dropna()
    return float(fresh.mean() if len(fresh) >= LEAST_SEEDS else by_seed.get(0, np.nan))


def three_digits(value: float) -> str:
    """Three digits and a sign; a plain − is easier to see than a hyphen."""
    return f"{value:+.3g}".replace("-", "−")


def _by_model(effects: pd.DataFrame) -> str:
    """The effect of each model (the cells) and its own interval, for a note; "" without seeds."""
    texts = []
    for model, of_model in effects.groupby("cell"):
        found = intervals.interval(of_model.loc[of_model["seed"] > 0, "effect"].tolist())
        if not found.known:
            return ""
        mean, low, high = map(three_digits, found[:3])
        texts.append(f"{paper.model_name(str(model))} {mean} [{low}, {high}]")
    return ", ".join(texts)


def _lambdas(results: Results, column: Column, methods: Sequence[str], protocol: str) -> str:
    """The λ that a protocol chose for each method, for a note."""
    texts = []
    for method in methods:
        which = {**column._asdict(), "method": method}
        rates = protocols.chosen_rates(results, **which)
        chosen = [rates[1]] if rates else []
        if protocol == "held-out":
            chosen = protocols.held_out_choice(results, **which)["rate"].unique()
        texts.append(f"{paper.METHODS[method]} {' and '.join(map(number, chosen))}")
    return f"at λ: {', '.join(texts)}"


# -- Tables 1 and 3 --------------------------------------------------------------------------------


def top1(
    results: Results, scale: DictConfig, column: Column, method: str, protocol: str
) -> pd.Series:
    """Top-1 (%) at the chosen rates by seed: 0 is the grid's, the one that was chosen.

    NaN while runs of the grid are missing: the best of a part may be far from the best of all.
    """
    which = {**column._asdict(), "method": method}
    results = cells.if_whole(results, scale, **which)
    if protocol == "held-out":
        first = protocols.held_out_value(results, **which)
        fresh = protocols.fresh_held_out(results, **which)
    else:
        run = protocols.chosen(results, **which)
        first = np.nan if run is None else run["best_mean"]
        fresh = protocols.fresh_values(results, **which)
    return pd.concat([pd.Series({0: first}), fresh.fillna(DIVERGED)])


def lpwd_over(method: str, protocol: str, results: Results, scale: DictConfig) -> Measured:
    """LPWD − `method` in every column of Table 1, points."""
    columns = paper.columns(scale)
    parts = {
        _name(c): top1(results, scale, c, "lpwd", protocol)
        - top1(results, scale, c, method, protocol)
        for c in columns
    }
    return Measured(_effects(parts), len(columns))


def ablation(protocol: str, results: Results, scale: DictConfig) -> dict[str, pd.Series]:
    """The three steps of Table 3, RWD − WD, PWD − RWD and LPWD − PWD, by seed."""
    column = paper.ablation_column(scale)
    values = [top1(results, scale, column, method, protocol) for method in ABLATION]
    names = [paper.METHODS[method] for method in ABLATION]
    return {
        f"{names[i + 1]} − {names[i]}": values[i + 1] - values[i] for i in range(len(names) - 1)
    }


def rwd_over_wd(protocol: str, results: Results, scale: DictConfig) -> Measured:
    """RWD − WD of Table 3, points."""
    steps = ablation(protocol, results, scale)
    note = _lambdas(results, paper.ablation_column(scale), ("wd", "rwd"), protocol)
    return Measured(_effects({"RWD − WD": steps["RWD − WD"]}), 1, note=note)


def order(protocol: str, results: Results, scale: DictConfig) -> Measured:
    """Each step of Table 3, points; their mean is a third of LPWD − WD."""
    note = _lambdas(results, paper.ablation_column(scale), ABLATION, protocol)
    return Measured(_effects(ablation(protocol, results, scale)), len(ABLATION) - 1, note=note)


def rwd_most(protocol: str, results: Results, scale: DictConfig) -> Measured:
    """RWD's step less each of the other two, points; it must be a step up, too, as a third case."""
    steps = ablation(protocol, results, scale)
    first = steps.pop("RWD − WD")
    more = {name: first - step for name, step in steps.items()}
    cases = pd.Series([_mean(series) for series in (*more.values(), first)])
    return Measured(_effects(more), len(steps), cases)


# -- Figure 3 --------------------------------------------------------------------------------------


def _gains(results: Results, scale: DictConfig) -> tuple[pd.DataFrame, list[float]]:
    """PWD − RWD, a row a seed and a column a λ of Figure 3b; and those λ that are large."""
    column = paper.ablation_column(scale)
    frame = figure3.gains(results, scale, diverged=DIVERGED)
    rates = rate_grid(scale, column.optimizer).rates
    large = LARGE_FACTOR * scale.base[column.optimizer].rate * (1 - 1e-9)
    table = frame.pivot_table("gain", "seed", "rate", dropna=False).reindex(columns=rates)
    return table, [rate for rate in rates if rate >= large]


def pwd_over_rwd(results: Results, scale: DictConfig) -> Measured:
    """PWD − RWD at each large λ, points."""
    gains, large = _gains(results, scale)
    return Measured(_effects({f"λ={number(rate)}": gains[rate] for rate in large}), len(large))


def pwd_only_at_large(results: Results, scale: DictConfig) -> Measured:
    """PWD − RWD at large λ less the same at the other λ, means over λ, points."""
    gains, large = _gains(results, scale)
    at_large = gains[large].mean(axis=1, skipna=False)
    others = gains.drop(columns=large).mean(axis=1, skipna=False)
    return Measured(_effects({"large − other λ": at_large - others}), 1)


def zero_shot_falls(results: Results, scale: DictConfig) -> Measured:
    """−Spearman's ρ of accuracy and λ_s, of the best Baseline of every column.

    The cases are the steps of ten percent, of the mean over seeds: how far accuracy falls over
    each. Steps from less than twice the last accuracy, which is a guess's, are left out.
    """
    parts, falls, rises = {}, [], []
    for column in paper.columns(scale):
        which = {**column._asdict(), "method": "baseline"}
        best = protocols.chosen(cells.if_whole(results, scale, **which), **which)
        if best is None:
            continue
        runs = pd.concat([best.to_frame().T, protocols.fresh(results, best)])
        curves = runs[["hash", "seed"]].merge(results.zero_shot, on="hash")
        table = curves.pivot_table("test_top1", "step", "seed")
        steps = table.index.to_numpy()
        rhos = {seed: -_rho(steps, curve.to_numpy()) for seed, curve in table.items()}
        parts[_name(column)] = pd.Series(rhos)
        shown = table.drop(columns=0) if table.shape[1] > LEAST_SEEDS else table
        tenths = shown.mean(axis=1)[::10]
        fall = (tenths.shift() - tenths)[tenths.shift() > 2 * tenths.iloc[-1]]
        falls += fall.tolist()
        rises.append(_largest_rise(table[0]))
    images = scale.zero_shot_images or scale.images.test or "all"
    note = f"of {images} test images; largest rise: {max(rises):.1f} points" if rises else ""
    expected = len(paper.columns(scale))
    return Measured(_effects(parts), expected, pd.Series(falls, dtype=float), note)


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


def _grids(
    results: Results, scale: DictConfig, methods: Sequence[str], value: str, diverged: float
) -> dict[str, Matrices]:
    """The grids of `value` in every column where those of all methods are whole.

    `diverged` is what a diverged run counts as.
    """
    grids = {}
    for column in paper.columns(scale):
        rates = rate_grid(scale, column.optimizer)
        shape = (len(rates.lrs), len(rates.rates))
        of = {m: protocols.grid(results, **column._asdict(), method=m) for m in methods}
        matrices = {m: _matrix(runs, value, diverged, shape) for m, runs in of.items()}
        whole = {m: matrix for m, matrix in matrices.items() if matrix is not None}
        if len(whole) == len(methods):
            grids[_name(column)] = whole
    return grids


def _per_column(
    grids: dict[str, Matrices],
    scale: DictConfig,
    effect: Callable[[Matrices], float],
    cases: pd.Series | None = None,
) -> Measured:
    effects = {name: effect(matrices) for name, matrices in grids.items()}
    return Measured(_grid_effects(effects), len(paper.columns(scale)), cases)


def _matrix(
    runs: pd.DataFrame, value: str, diverged: float, shape: tuple[int, int]
) -> np.ndarray | None:
    if len(runs) != shape[0] * shape[1]:
        return None
    runs = runs.sort_values(["lr", "rate"])
    values = runs[value].mask(runs["status"] == "diverged", diverged)
    return values.to_numpy(float).reshape(shape)


def _top1_grids(results: Results, scale: DictConfig) -> dict[str, Matrices]:
    return _grids(results, scale, ("wd", "lpwd"), "best_mean", DIVERGED)


def _r_op_grids(results: Results, scale: DictConfig) -> dict[str, Matrices]:
    return _grids(results, scale, ("wd",), "r_op_share", np.nan)


def most_cells(results: Results, scale: DictConfig) -> Measured:
    """Share of (η, λ) at which LPWD beats WD, of those at which they differ, percent above 50."""

    def effect(m: Matrices) -> float:
        won = np.sign((m["lpwd"] - m["wd"]).round(9))
        return 50 * float(won.sum()) / max(1, np.abs(won).sum())

    return _per_column(_top1_grids(results, scale), scale, effect)


def robust(results: Results, scale: DictConfig) -> Measured:
    """LPWD − WD, mean over all η and λ, points.

    At λ = 0 both are Baseline: the one that keeps more over all λ loses less of the same accuracy.
    How far each ranges over λ would not tell, for a lower best makes the range smaller, too.
    """

    def effect(m: Matrices) -> float:
        return float((m["lpwd"] - m["wd"]).mean())

    return _per_column(_top1_grids(results, scale), scale, effect)


def lead_widens(results: Results, scale: DictConfig) -> Measured:
    """LPWD − WD under the strongest penalty less the same at each one's best rates, points.

    In the columns of Figure 1, whose strongest penalty leaves more than chance.
    """
    parts = {}
    for column in paper.adam_columns(scale):
        strongest = strong_penalty(scale, column.optimizer)
        strong, best = {}, {}
        for method in ("wd", "lpwd"):
            which = {**column._asdict(), "method": method}
            strong[method] = protocols.at_rates(results, strongest, **which).fillna(DIVERGED)
            best[method] = top1(results, scale, column, method, "paper's")
        parts[column.model] = strong["lpwd"] - strong["wd"] - (best["lpwd"] - best["wd"])
    effects = _effects(parts)
    return Measured(effects, len(paper.adam_columns(scale)), note=_by_model(effects))


def r_op_low(results: Results, scale: DictConfig) -> Measured:
    """LOW_R_OP less the mean R_op of WD over the grid, percent of the weights."""

    def effect(m: Matrices) -> float:
        return LOW_R_OP - 100 * float(np.nanmean(m["wd"]))

    return _per_column(_r_op_grids(results, scale), scale, effect)


def r_op_grows(axis: str, results: Results, scale: DictConfig) -> Measured:
    """Spearman's ρ of R_op with η at fixed λ ("lr"), or with λ at fixed η ("rate"); the mean.

    The cases are the single steps from one η, or λ, to the next.
    """
    grids = _r_op_grids(results, scale)

    def lines(m: Matrices) -> np.ndarray:
        return m["wd"].T if axis == "lr" else m["wd"]

    def effect(m: Matrices) -> float:
        rhos = [_rho(np.arange(len(line)), line) for line in lines(m)]
        return float(np.mean([rho for rho in rhos if np.isfinite(rho)] or np.nan))

    steps = [step for m in grids.values() for step in np.diff(lines(m), axis=1).ravel()]
    return _per_column(grids, scale, effect, pd.Series(steps, dtype=float))


def rwd_never_opposes(results: Results, scale: DictConfig) -> Measured:
    """1 for a run of RWD in Table 3 whose R_op is exactly 0, else −1."""
    column = paper.ablation_column(scale)
    stored = protocols.grid(results, **column._asdict(), method="rwd")
    runs = stored[stored["status"] == "done"]
    effects = {
        str(name): 1.0 if r_op == 0 else -1.0
        for name, r_op in zip(runs["hash"], runs["r_op_share"], strict=True)
    }
    grid = rate_grid(scale, column.optimizer)
    expected = len(grid.lrs) * len(grid.rates) - (len(stored) - len(runs))
    note = f"largest R_op: {runs['r_op_share'].max():g}" if len(runs) else ""
    return Measured(_grid_effects(effects), expected, note=note)


# -- Figures 1 and 5 -------------------------------------------------------------------------------


def strong_penalty_gap(curve: str, sign: int, results: Results, scale: DictConfig) -> Measured:
    """The gap between the two curves of Figure 1, mean over epochs; the cases are its epochs."""
    frame = figure1.data(results, scale)["figure1"]
    every = range(1, scale.epochs + 1)
    if curve == "test_top1":
        frame[curve] = frame[curve].fillna(DIVERGED)
    by_epoch = frame.pivot_table(curve, ["model", "seed", "method"], "epoch").reindex(columns=every)
    if curve == "test_top1":
        by_epoch = by_epoch.fillna(DIVERGED)
    lpwd, wd = (by_epoch[by_epoch.index.get_level_values("method") == m] for m in ("lpwd", "wd"))
    gaps = sign * (lpwd.droplevel("method") - wd.droplevel("method")).dropna(how="all")
    effects = gaps.mean(axis=1).rename("effect").rename_axis(["cell", "seed"]).reset_index()
    shown = fresh_or_first(gaps.reset_index("seed")).drop(columns="seed")
    cases = pd.Series(shown.groupby("model").mean().to_numpy().ravel())
    return Measured(effects, len(scale.grid.models), cases, _by_model(effects))


def gain_grows(results: Results, scale: DictConfig) -> Measured:
    """Slope of LPWD − WD from one model of the series to the next, points."""
    frame = figure5.data(results, scale)["figure5"]
    frame["best_mean"] = frame["best_mean"].mask(frame["status"] == "diverged", DIVERGED)
    wd, lpwd = (
        frame[frame["method"] == method]
        .pivot_table("best_mean", "seed", "model")
        .reindex(columns=list(scale.grid.series))
        for method in ("wd", "lpwd")
    )
    first = paper.ablation_column(scale)._replace(model=scale.grid.series[0])
    note = _lambdas(results, first, ("wd", "lpwd"), "paper's")
    return Measured(_effects({"series": intervals.slopes(lpwd - wd)}), 1, note=note)
