"""Warnings, once, when a decay is attached: valid settings that are hardly what was meant."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence

import torch
from torch import nn

from lpwd.decay.blocks import find_blocks
from lpwd.decay.layers import Layers, timm_model, unwrap
from lpwd.decay.parameters import Entry

_HALF = (torch.bfloat16, torch.float16)


def warn_of_no_blocks(model: nn.Module, layers: Layers) -> None:
    """Warn if layers="block" was taken as "module"."""
    net = unwrap(model)
    if layers == "block" and timm_model(net) is None and not find_blocks(net):
        warnings.warn(
            f"{type(model).__name__} is not made of blocks: every module with parameters of its"
            " own is a layer; print(decay) shows them, layers=[[...], ...] names others",
            stacklevel=3,
        )


def warn_of_no_effect(entries: Iterable[Entry], etas: Sequence[float]) -> None:
    """Warn of half-precision weights that ηλ_i is too small to change.

    θ(1 − x) rounds to θ for every θ of p bits if x < 2^−(p + 1): 2⁻⁹ for bfloat16.
    """
    lost = [
        entry
        for entry in entries
        if entry.parameter.dtype in _HALF
        and 0 < etas[entry.group] * entry.rate < torch.finfo(entry.parameter.dtype).eps / 4
    ]
    if lost:
        kind = lost[0].parameter.dtype
        warnings.warn(
            f"ηλ_i is below {torch.finfo(kind).eps / 4:.2g} for {len(lost)} parameters in"
            f" {str(kind).removeprefix('torch.')} (the first is {lost[0].name!r}): their decay"
            " rounds away; keep the weights in float32 and use autocast",
            stacklevel=3,
        )
