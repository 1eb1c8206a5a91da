"""Which parameters `exclude` leaves undecayed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from lpwd.decay.checks import check_choice
from lpwd.decay.layers import owner_and_leaf
from lpwd.decay.methods import EXCLUDE

#: "norm", "bias", "1d", a parameter's name or a dotted prefix, or a function of (name, parameter).
Kind = str | Callable[[str, Tensor], Any]
Exclude = Kind | Iterable[Kind]


def as_kinds(exclude: object) -> tuple[Kind, ...]:
    """One kind, or several. Raises ValueError for what is none."""
    if isinstance(exclude, str) or not isinstance(exclude, Iterable):
        exclude = (exclude,)
    kinds: tuple[Any, ...] = tuple(exclude)
    for kind in kinds:
        if isinstance(kind, type | nn.Module):
            raise ValueError(
                f"exclude: got {kind.__name__ if isinstance(kind, type) else type(kind).__name__};"
                ' pass "norm", parameter names, or a function of (name, parameter)'
            )
        if not callable(kind) and not (isinstance(kind, str) and kind):
            check_choice("exclude", kind, EXCLUDE)
    return kinds


def excluded(model: nn.Module, kinds: Sequence[Kind]) -> set[str]:
    """Names of the parameters that are left undecayed.

    Raises ValueError for a name that no parameter has or begins with.
    """
    params = dict(model.named_parameters())
    norms = {name for name, module in model.named_modules() if _is_norm(module)}
    left_out: set[str] = set()
    for kind in kinds:
        if kind == "norm":
            found = {name for name in params if owner_and_leaf(name)[0] in norms}
        elif kind == "bias":
            found = {name for name in params if _is_bias(owner_and_leaf(name)[1])}
        elif kind == "1d":
            found = {name for name, p in params.items() if p.ndim <= 1}
        elif callable(kind):
            found = {name for name, p in params.items() if kind(name, p)}
        else:
            found = {name for name in params if f"{name}.".startswith(f"{kind.rstrip('.')}.")}
            if not found:
                check_choice("exclude", kind, [*EXCLUDE, *params])
        left_out |= found
    return left_out


def _is_norm(module: nn.Module) -> bool:
    """Also those not of torch (Llama's, T5's): by the class's name, where it has scales alone."""
    if isinstance(module, (nn.LayerNorm, nn.RMSNorm)):  # also over several dimensions
        return True
    own = [p for name, p in module.named_parameters() if not owner_and_leaf(name)[0]]
    named = any("norm" in kind.__name__.lower() for kind in type(module).__mro__)
    return named and all(sum(size > 1 for size in p.shape) <= 1 for p in own)


def _is_bias(leaf: str) -> bool:
    """Also torch's attention (``in_proj_bias``) and recurrent layers (``bias_hh_l0``)."""
    return leaf.endswith("bias") or leaf.startswith("bias_")
