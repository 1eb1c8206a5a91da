"""TODO lpwd.decay.checks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from numbers import Real
from typing import Any

import torch
from torch import nn

EXCLUDE = ("norm", "bias")

NORM_MODULES = (
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
    nn.LocalResponseNorm,
    nn.modules.batchnorm._NormBase,
)

#: Their steps evaluate the loss themselves, or take gradients that λθ cannot join.
CANNOT_COUPLE = (torch.optim.LBFGS, torch.optim.SparseAdam)

#: What an optimizer's own decay is called in its parameter groups (``lambd``: ASGD's).
OWN_DECAY = ("weight_decay", "lambd")


def _check_order(optimizer: Any, model: Any) -> None:
    """The two that are easily swapped; wrappers of optimizers need not be torch's class."""
    if not hasattr(optimizer, "register_step_pre_hook") or not isinstance(model, nn.Module):
        kinds = type(optimizer).__name__, type(model).__name__
        raise ValueError(f"optimizer, model: got {kinds[0]}, {kinds[1]}; pass them in this order")


def check_choice(key: str, value: object, known: Iterable[str]) -> None:
    """Raise ValueError, with the nearest known name, if `value` is none of them."""
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{key}={value!r} is unknown{did_you_mean(value, known)}")


def check_rate(key: str, value: Any) -> None:
    """Raise ValueError unless `value` is a finite number of at least 0."""
    try:
        number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else -1.0
    except OverflowError:  # a whole number beyond every float
        number = math.inf
    if not 0 <= number < math.inf:
        raise ValueError(f"{key}={value!r} must be a finite number of at least 0")


def _excluded(model: nn.Module, kinds: Sequence[str]) -> set[str]:
    """Names of the parameters that `exclude` leaves undecayed."""
    norms = {name for name, module in model.named_modules() if isinstance(module, NORM_MODULES)}
    excluded: set[str] = set()
    for name, _ in model.named_parameters():
        owner, _, leaf = name.rpartition(".")
        if ("norm" in kinds and owner in norms) or ("bias" in kinds and _is_bias(leaf)):
            excluded.add(name)
    return excluded


def _is_bias(leaf: str) -> bool:
    """Also torch's attention (``in_proj_bias``) and recurrent layers (``bias_hh_l0``)."""
    return leaf.endswith("bias") or leaf.startswith("bias_")


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """The end of an error message: the nearest known name, or the first of them."""
    known = list(known)
    near = get_close_matches(str(name), known, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known are {', '.join(known[:10])}{', …' if len(known) > 10 else ''}"
