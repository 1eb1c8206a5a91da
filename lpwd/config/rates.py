"""TODO lpwd.config.rates."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from omegaconf import DictConfig

from lpwd.config.compose import scale_config


def canonical_number(value: float) -> int | float:
    """1e-3 and 0.001, 0.1·3 and 0.3, 1.0 and 1: one number each."""
    value = float(f"{value:.12g}")
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


@cache
def grid_rates(scale: str) -> set[tuple[str, float, float]]:
    """(optimizer, η, λ) of every cell of a scale's grid; λ = 0 stands for Baseline."""
    cfg = scale_config(scale)
    rates = set()
    for optimizer, base in cfg.base.items():
        for lr_factor in cfg.grid.lr_factors:
            lr = float(canonical_number(base.lr * lr_factor))
            rates.add((str(optimizer), lr, 0.0))
            for rate_factor in cfg.grid.rate_factors:
                rates.add((str(optimizer), lr, float(canonical_number(base.rate * rate_factor))))
    return rates


class RateGrid(NamedTuple):
    """The grid of one optimizer (Table 2), in the order of the scale's factors."""

    lrs: list[float]
    rates: list[float]


def rate_grid(scale: DictConfig, optimizer: str) -> RateGrid:
    """η and λ of the scale's grid: factors times the base, in the canonical form of runs.csv."""
    base, grid = scale.base[optimizer], scale.grid
    return RateGrid(
        [float(canonical_number(base.lr * factor)) for factor in grid.lr_factors],
        [float(canonical_number(base.rate * factor)) for factor in grid.rate_factors],
    )


def grid_size(scale: DictConfig, optimizer: str, method: str) -> int:
    """How many runs (of one seed) the grid of a method has."""
    grid = rate_grid(scale, optimizer)
    return len(grid.lrs) * (1 if method == "baseline" else len(grid.rates))


def strong_penalty(scale: DictConfig, optimizer: str) -> tuple[float, float]:
    """The largest η and λ of the grid: 10 and 50 times the base (Figure 1, Section 4.4)."""
    grid = rate_grid(scale, optimizer)
    return max(grid.lrs), max(grid.rates)


def number(value: float) -> str:
    """A rate in few characters: 0.0192, 5e-5, 9.6e-4."""
    if value == 0 or abs(value) >= 1e-3:
        return f"{value:.3g}"
    mantissa, _, exponent = f"{value:.2e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
