"""Which parameters `exclude` leaves undecayed."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

NORM_MODULES = (
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
    nn.LocalResponseNorm,
    nn.modules.batchnorm._NormBase,
)


def excluded(model: nn.Module, kinds: Sequence[str]) -> set[str]:
    """Names of the parameters that `exclude` leaves undecayed."""
    norms = {name for name, module in model.named_modules() if isinstance(module, NORM_MODULES)}
    names: set[str] = set()
    for name, _ in model.named_parameters():
        owner, _, leaf = name.rpartition(".")
        if ("norm" in kinds and owner in norms) or ("bias" in kinds and is_bias(leaf)):
            names.add(name)
    return names


def is_bias(leaf: str) -> bool:
    """Also torch's attention (``in_proj_bias``) and recurrent layers (``bias_hh_l0``)."""
    return leaf.endswith("bias") or leaf.startswith("bias_")
