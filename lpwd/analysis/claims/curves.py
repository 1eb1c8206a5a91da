"""How the claims on Figures 1, 3 and 5 are measured: effects that are positive if they hold."""

from __future__ import annotations

import pandas as pd

from lpwd.analysis import figures, paper
from lpwd.analysis.claims.effects import by_model, chosen_lambdas, column_key, effects, rho
from lpwd.analysis.claims.rule import Measured
from lpwd.analysis.intervals import LEAST_SEEDS, slopes
from lpwd.analysis.main_grid import MainGrid
from lpwd.analysis.protocols import DIVERGED, PAPERS, fresh_or_first
from lpwd.config.rates import number, rate_grid

#: How many of the grid's λ are large: in the paper 10 and 50 times the base.
LARGE = 2


def pwd_over_rwd(main: MainGrid) -> Measured:
    """PWD − RWD at each large λ, points."""
    gains, large = _gains(main)
    return Measured(effects({f"λ={number(rate)}": gains[rate] for rate in large}), len(large))


def pwd_only_at_large(main: MainGrid) -> Measured:
    """PWD − RWD at large λ less the same at the other λ, means over λ, points."""
    gains, large = _gains(main)
    at_large = gains[large].mean(axis=1, skipna=False)
    others = gains.drop(columns=large).mean(axis=1, skipna=False)
    return Measured(effects({"large − other λ": at_large - others}), 1)


def _gains(main: MainGrid) -> tuple[pd.DataFrame, list[float]]:
    """PWD − RWD, a row a seed and a column a λ of Figure 3b; and those λ that are large."""
    optimizer = paper.ablation_column(main.scale).optimizer
    rates = rate_grid(main.scale, optimizer).rates
    frame = figures.gains(main)
    table = frame.pivot_table("gain", "seed", "rate", dropna=False).reindex(columns=rates)
    return table, sorted(rates, reverse=True)[:LARGE]


def zero_shot_falls(main: MainGrid) -> Measured:
    """−Spearman's ρ of accuracy and λ_s, of the best Baseline of every column.

    The cases are the steps of ten percent, of the mean over seeds: how far accuracy falls over
    each. Steps from less than twice the last accuracy, which is a guess's, are left out.
    """
    parts, falls, rises = {}, [], []
    columns = paper.columns(main.scale)
    for column in columns:
        runs = figures.best_and_fresh(main.cell(column, "baseline"))
        if runs.empty:
            continue
        table = (
            runs[["hash", "seed"]]
            .merge(main.zero_shot, on="hash")
            .pivot_table("test_top1", "step", "seed")
        )
        steps = table.index.to_numpy()
        rhos = {seed: -rho(steps, curve.to_numpy()) for seed, curve in table.items()}
        parts[column_key(column)] = pd.Series(rhos)
        shown = table.drop(columns=0) if table.shape[1] > LEAST_SEEDS else table
        tenths = shown.mean(axis=1)[::10]
        fall = (tenths.shift() - tenths)[tenths.shift() > 2 * tenths.iloc[-1]]
        falls += fall.tolist()
        rises.append(_largest_rise(table[0]))
    images = main.scale.zero_shot_images or main.scale.images.test or "all"
    note = f"of {images} test images; largest rise: {max(rises):.1f} points" if rises else ""
    return Measured(effects(parts), len(columns), pd.Series(falls, dtype=float), note)


def _largest_rise(top1: pd.Series) -> float:
    return float((top1 - top1.cummin()).max())


def strongest_gap(curve: str, sign: int, main: MainGrid) -> Measured:
    """The gap between the two curves of Figure 1, mean over epochs; the cases are its epochs."""
    frame = figures.data("figure1", main)["figure1"]
    missing = DIVERGED if curve == "test_top1" else float("nan")  # a diverged loss has no value
    by_epoch = (
        frame.assign(value=frame[curve].fillna(missing))
        .pivot_table("value", ["model", "seed", "method"], "epoch")
        .reindex(columns=range(1, main.scale.epochs + 1))
        .fillna(missing)
    )
    lpwd, wd = (by_epoch[by_epoch.index.get_level_values("method") == m] for m in ("lpwd", "wd"))
    gaps = sign * (lpwd.droplevel("method") - wd.droplevel("method")).dropna(how="all")
    found = gaps.mean(axis=1).rename("effect").rename_axis(["cell", "seed"]).reset_index()
    shown = fresh_or_first(gaps.reset_index("seed")).drop(columns="seed")
    cases = pd.Series(shown.groupby("model").mean().to_numpy().ravel())
    return Measured(found, len(main.scale.grid.models), cases, by_model(found))


def lead_grows(main: MainGrid) -> Measured:
    """Slope of LPWD − WD from one model of the series to the next, points."""
    frame = figures.data("figure5", main)["figure5"]
    top1 = frame["best_mean"].mask(frame["status"] == "diverged", DIVERGED)
    wd, lpwd = (
        frame.assign(best_mean=top1)[frame["method"] == method]
        .pivot_table("best_mean", "seed", "model")
        .reindex(columns=list(main.scale.grid.series))
        for method in ("wd", "lpwd")
    )
    note = chosen_lambdas(main, paper.series_column(main.scale), ("wd", "lpwd"), PAPERS)
    return Measured(effects({"series": slopes(lpwd - wd)}), 1, note=note)
