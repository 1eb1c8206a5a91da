"""Warnings, once, when a decay is attached: valid settings that are hardly what was meant."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence

import torch
from torch import nn

from lpwd.decay.blocks import find_blocks, inside
from lpwd.decay.layers import Layers, layer_index, owner_and_leaf, timm_models, unwrap
from lpwd.decay.parameters import Entry

_HALF = (torch.bfloat16, torch.float16)


#: So many modules with weight matrices outside all blocks are no stem, and no head.
_MANY = 8


def warn_of_no_blocks(model: nn.Module, layers: Layers) -> None:
    """Warn if layers="block" was taken as "module", or has a part of no blocks as one layer."""
    net = unwrap(model)
    nets, blocks = timm_models(net), find_blocks(net)
    if layers != "block" or nets == [net]:
        return
    if not nets and not blocks:
        warnings.warn(
            f"{type(model).__name__} is not made of blocks: every module with parameters of its"
            " own is a layer; print(decay) shows them, layers=[[...], ...] names others",
            stacklevel=3,
        )
        return
    within = {p for of_timm in nets for p in of_timm.parameters()}
    index, loose = layer_index(net, layers), dict[int, dict[str, None]]()
    for name, p in net.named_parameters():
        if p.ndim > 1 and p not in within and inside(name, blocks) is None:
            loose.setdefault(index[name], {})[owner_and_leaf(name)[0]] = None
    for layer, modules in loose.items():
        if len(modules) >= _MANY:
            warnings.warn(
                f"layer {layer} of {type(model).__name__} has {len(modules)} modules in which no"
                f" blocks are found (the first is {next(iter(modules))!r}); print(decay) shows the"
                " layers, layers=[[...], ...] names others",
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
