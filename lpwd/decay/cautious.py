"""Cautious weight decay (arXiv 2510.12402): only where the update does not lead away from zero."""

from __future__ import annotations

import torch
from torch import Tensor

from lpwd.decay.groups import DecayedGroup, Observer, Tensors
from lpwd.decay.sharding import is_sharded


class Cautious:
    """θ_{t+1} = θ̂ − ηλ_i·1[(θ_t − θ̂)θ_t ≥ 0]·θ_t, where θ̂ = θ_t − ηU.

    The update is read from what it made of the weights: any optimizer will do. It costs a copy of
    the decayed weights for the length of a step.

    `mirrored`: each tensor's mask is used from its last weight to its first. As many weights decay,
    but not those whose own update allows it: a control that tells whether the sign matters.
    """

    def __init__(self, mirrored: bool = False) -> None:
        self.mirrored = mirrored
        self._kept: list[tuple[DecayedGroup, float | Tensor, Tensors]] = []

    def begin(self) -> None:
        """A step begins. What one that raised has left is forgotten."""
        self._kept = []

    def keep(self, group: DecayedGroup, eta: float | Tensor) -> None:
        """Before the update. Raises ValueError where a mirror image is on another process."""
        if self.mirrored and any(map(is_sharded, group.params)):
            raise ValueError("cwd_mirrored, a control, cannot take sharded weights; cwd can")
        self._kept.append((group, eta, torch._foreach_clone(group.params)))

    def decay(self, observer: Observer | None) -> None:
        """After the update: subtract what the masks leave of the penalties."""
        for group, eta, before in self._kept:
            penalties = self._masked(group, group.penalties(eta, before), before)
            if observer is not None:
                observer.on_decay(group, lambda penalties=penalties: penalties)
            torch._foreach_sub_(group.params, penalties)
        self._kept = []

    def _masked(self, group: DecayedGroup, penalties: Tensors, before: Tensors) -> Tensors:
        # By signs: a product of small numbers would be rounded to 0.
        moved = torch._foreach_sub(before, group.params)
        mask = torch._foreach_sign([_real(tensor) for tensor in moved])
        parts = [_real(penalty) for penalty in penalties]
        torch._foreach_mul_(mask, torch._foreach_sign(parts))
        torch._foreach_add_(mask, 1)
        torch._foreach_clamp_max_(mask, 1)  # 0 where the signs differ, else 1
        torch._foreach_mul_(
            parts, [_mirrored(tensor) for tensor in mask] if self.mirrored else mask
        )
        return penalties


def _mirrored(mask: Tensor) -> Tensor:
    return mask.flatten().flip(0).view_as(mask)


def _real(tensor: Tensor) -> Tensor:
    """A complex weight is two real ones, as torch's optimizers take it."""
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor
