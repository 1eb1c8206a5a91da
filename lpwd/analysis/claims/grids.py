"""How the claims on whole grids are measured (Figures 2 and 4): one cell a column of Table 1."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from lpwd.analysis import paper
from lpwd.analysis.claims.effects import by_model, column_key, effects, grid_effects, rho
from lpwd.analysis.claims.rule import Measured
from lpwd.analysis.main_grid import MainGrid
from lpwd.analysis.protocols import DIVERGED, PAPERS, difference
from lpwd.config.rates import rate_grid, strong_penalty

#: "Low" for R_op (Section 4.1 gives no number), in percent.
LOW_R_OP = 5.0

#: {method: values [η, λ], both ascending}
Matrices = dict[str, np.ndarray]


def most_cells(main: MainGrid) -> Measured:
    """Share of (η, λ) at which LPWD beats WD, of those at which they differ, percent above 50."""

    def effect(m: Matrices) -> float:
        won = np.sign((m["lpwd"] - m["wd"]).round(9))
        return 50 * float(won.sum()) / max(1, np.abs(won).sum())

    return _per_column(_top1_grids(main), main, effect)


def robust(main: MainGrid) -> Measured:
    """LPWD − WD, mean over all η and λ, points.

    At λ = 0 both are Baseline: the one that keeps more over all λ loses less of the same accuracy.
    The range over λ would not show it, for a lower best makes the range smaller, too.
    """

    def effect(m: Matrices) -> float:
        return float((m["lpwd"] - m["wd"]).mean())

    return _per_column(_top1_grids(main), main, effect)


def lead_widens(main: MainGrid) -> Measured:
    """LPWD − WD under the strongest penalty less the same at each one's best rates, points.

    In the columns of Figure 1, whose strongest penalty leaves more than chance.
    """
    parts = {}
    for column in paper.adam_columns(main.scale):
        strongest = strong_penalty(main.scale, column.optimizer)
        strong = difference(*(main.at(column, m, *strongest) for m in ("lpwd", "wd")))
        best = difference(*(main.by_seed(column, m, PAPERS) for m in ("lpwd", "wd")))
        parts[column.model] = strong - best
    found = effects(parts)
    return Measured(found, len(paper.adam_columns(main.scale)), note=by_model(found))


def r_op_low(main: MainGrid) -> Measured:
    """LOW_R_OP less the mean R_op of WD over the grid, percent of the weights."""

    def effect(m: Matrices) -> float:
        return LOW_R_OP - 100 * float(np.nanmean(m["wd"]))

    return _per_column(_r_op_grids(main), main, effect)


def r_op_grows(axis: str, main: MainGrid) -> Measured:
    """Spearman's ρ of R_op with η at fixed λ ("lr"), or with λ at fixed η ("rate"); the mean.

    The cases are the single steps from one η, or λ, to the next.
    """
    grids = _r_op_grids(main)

    def lines(m: Matrices) -> np.ndarray:
        return m["wd"].T if axis == "lr" else m["wd"]

    def effect(m: Matrices) -> float:
        rhos = [rho(np.arange(len(line)), line) for line in lines(m)]
        return float(np.mean([found for found in rhos if np.isfinite(found)] or np.nan))

    steps = [step for m in grids.values() for step in np.diff(lines(m), axis=1).ravel()]
    return _per_column(grids, main, effect, pd.Series(steps, dtype=float))


def rwd_never_opposes(main: MainGrid) -> Measured:
    """1 for a run of RWD in Table 3 whose R_op is exactly 0, else −1."""
    cell = main.cell(paper.ablation_column(main.scale), "rwd")
    runs = cell.first[cell.first["status"] == "done"]
    by_run = {
        str(name): 1.0 if r_op == 0 else -1.0
        for name, r_op in zip(runs["hash"], runs["r_op_share"], strict=True)
    }
    expected = cell.expected - (len(cell.first) - len(runs))
    note = f"largest R_op: {runs['r_op_share'].max():g}" if len(runs) else ""
    return Measured(grid_effects(by_run), expected, note=note)


def _top1_grids(main: MainGrid) -> dict[str, Matrices]:
    return _grids(main, ("wd", "lpwd"), "best_mean", DIVERGED)


def _r_op_grids(main: MainGrid) -> dict[str, Matrices]:
    return _grids(main, ("wd",), "r_op_share", np.nan)


def _grids(
    main: MainGrid, methods: Sequence[str], value: str, diverged: float
) -> dict[str, Matrices]:
    """The grids of `value` in every column where those of all methods are whole.

    `diverged` is what a diverged run counts as.
    """
    grids = {}
    for column in paper.columns(main.scale):
        cells = {method: main.cell(column, method) for method in methods}
        if any(cell.missing for cell in cells.values()):
            continue
        grid = rate_grid(main.scale, column.optimizer)
        shape = len(grid.lrs), len(grid.rates)
        grids[column_key(column)] = {
            method: _matrix(cell.first, value, diverged).reshape(shape)
            for method, cell in cells.items()
        }
    return grids


def _matrix(runs: pd.DataFrame, value: str, diverged: float) -> np.ndarray:
    runs = runs.sort_values(["lr", "rate"])
    return runs[value].mask(runs["status"] == "diverged", diverged).to_numpy(float)


def _per_column(
    grids: dict[str, Matrices],
    main: MainGrid,
    effect: Callable[[Matrices], float],
    cases: pd.Series | None = None,
) -> Measured:
    found = {name: effect(matrices) for name, matrices in grids.items()}
    return Measured(grid_effects(found), len(paper.columns(main.scale)), cases)
