"""η and λ: of a run, of a scale's grid (Table 2), and as numbers with one spelling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from omegaconf import DictConfig


class Rates(NamedTuple):
    """η and λ of one run."""

    lr: float
    rate: float


def rates_of(config: Mapping[str, Any]) -> Rates:
    """η and λ that a composed config means: absolute, else the scale's base × factor.

    The one place where they are resolved: the optimizer, the decay and the run's hash take them
    from here. Canonical numbers.
    """
    optimizer, decay = config["optimizer"], config["decay"]
    base = config["scale"]["base"][optimizer["name"]]
    lr, rate = optimizer["lr"], decay["rate"]
    if lr is None:
        lr = base["lr"] * optimizer["lr_factor"]
    if rate is None:
        rate = rate_base(base, decay["method"]) * decay["rate_factor"]
    return Rates(canonical_number(lr), canonical_number(rate))


def rate_base(base: Mapping[str, Any], method: str) -> float:
    """λ_base of a method; L2 may have its own, since its λθ passes through Adam's division."""
    own = base.get("l2") if method == "l2" else None
    return base["rate"] if own is None else own


def canonical_number(value: float) -> int | float:
    """1e-3 and 0.001, 0.1·3 and 0.3, 1.0 and 1: one number each."""
    value = float(f"{value:.12g}")
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def number(value: float) -> str:
    """A rate in few characters: 0.0192, 5e-5, 9.6e-4."""
    if value == 0 or abs(value) >= 1e-3:
        return f"{value:.3g}"
    mantissa, _, exponent = f"{value:.2e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


# -- a scale's grid -------------------------------------------------------------------------------


class RateGrid(NamedTuple):
    """The grid of one optimizer and method, in the order of the scale's factors."""

    lrs: list[float]
    rates: list[float]


def rate_grid(scale: DictConfig, optimizer: str, method: str = "wd") -> RateGrid:
    """η and λ of the scale's grid: factors times the base, in the canonical form of runs.csv.

    Baseline has no λ.
    """
    base, grid = scale.base[optimizer], scale.grid
    factors = () if method == "baseline" else grid.rate_factors
    return RateGrid(
        [float(canonical_number(base.lr * factor)) for factor in grid.lr_factors],
        [float(canonical_number(rate_base(base, method) * factor)) for factor in factors],
    )


def strong_penalty(scale: DictConfig, optimizer: str) -> Rates:
    """The largest η and λ of the grid: 10 and 50 times the base in the paper (Figure 1)."""
    grid = rate_grid(scale, optimizer)
    return Rates(max(grid.lrs), max(grid.rates))
