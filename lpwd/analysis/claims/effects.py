"""What the measures of claims share: effects by cell and seed, and how they are noted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from lpwd.analysis import paper
from lpwd.analysis.intervals import LEAST_SEEDS, holm, signed
from lpwd.analysis.main_grid import MainGrid
from lpwd.analysis.paper import Column
from lpwd.config.rates import number


def effects(parts: dict[str, pd.Series]) -> pd.DataFrame:
    """{cell: effects by seed} as the columns cell, seed and effect."""
    rows = [
        {"cell": cell, "seed": seed, "effect": effect}
        for cell, series in parts.items()
        for seed, effect in series.items()
    ]
    return pd.DataFrame(rows, columns=["cell", "seed", "effect"])


def grid_effects(by_cell: dict[str, float]) -> pd.DataFrame:
    """{cell: effect} of the grid's runs, seed 0."""
    return effects({cell: pd.Series({0: effect}) for cell, effect in by_cell.items()})


def column_key(column: Column) -> str:
    """A column as a cell of effects."""
    return " ".join(column)


def mean(by_seed: pd.Series) -> float:
    """Of fresh seeds where there are enough, else of seed 0."""
    fresh = by_seed.drop(0, errors="ignore").dropna()
    return float(fresh.mean() if len(fresh) >= LEAST_SEEDS else by_seed.get(0, np.nan))


def rho(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's rank correlation without NaNs; NaN where one of them does not vary."""
    x, y = x[np.isfinite(y)], y[np.isfinite(y)]
    if len(y) < 2 or np.ptp(y) == 0 or np.ptp(x) == 0:
        return float("nan")
    one, other = (pd.Series(values).rank() for values in (x, y))  # scipy.stats is slow to import
    return float(np.corrcoef(one, other)[0, 1])


# -- notes ----------------------------------------------------------------------------------------


def by_model(found: pd.DataFrame) -> str:
    """The effect of each model (the cells) and its corrected interval; "" without seeds."""
    fresh = found[found["seed"] > 0].pivot_table("effect", "seed", "cell")
    texts = []
    for model, own in holm(fresh).items():
        if not own.known:
            return ""
        middle, low, high = map(signed, own[:3])
        texts.append(f"{paper.model_name(model)} {middle} [{low}, {high}]")
    return ", ".join(texts)


def chosen_lambdas(main: MainGrid, column: Column, methods: Sequence[str], protocol: str) -> str:
    """The λ that a protocol chose for each method; "" while one of them has none."""
    texts = []
    for method in methods:
        rates = main.cell(column, method).choice(protocol)["rate"].unique()
        if not len(rates):
            return ""
        texts.append(f"{paper.METHOD_NAMES[method]} {' and '.join(map(number, rates))}")
    return f"at λ: {', '.join(texts)}"
