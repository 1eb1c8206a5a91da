"""Cautious weight decay (arXiv 2510.12402): only where the update does not lead away from zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lpwd.decay.groups import DecayedGroup, Tensors


class Cautious:
    """θ_{t+1} = θ̂ − ηλ_i·1[(θ_t − θ̂)θ_t ≥ 0]·θ_t, where θ̂ = θ_t − ηU.

    The update is read from what it made of the weights: any optimizer will do. It costs a copy of
    the decayed weights for the length of a step.

    `mirrored`: each tensor's mask is used from its last weight to its first. As many weights decay,
    but not those whose own update allows it: a control that tells whether the sign matters.
    """

    def __init__(self, mirrored: bool = False) -> None:
        self.mirrored = mirrored
        self._kept: list[tuple[DecayedGroup, Sequence[Any], Tensors]] = []

    def begin(self) -> None:
        """A step begins. What one that raised has left is forgotten."""
        self._kept = []

    def keep(self, group: DecayedGroup, taken: Sequence[Any]) -> None:
        """Before the update; `taken`: ηλ_i of each parameter."""
        self._kept.append((group, taken, torch._foreach_clone(group.params)))

    def penalties(self) -> list[tuple[DecayedGroup, Tensors]]:
        """After the update: each group, with what is still to be subtracted from its weights."""
        masked = []
        for group, taken, before in self._kept:
            penalties = group.penalties(taken, before)
            moved = torch._foreach_sub(before, group.params)
            # By signs: a product of small numbers would be rounded to 0.
            for penalty, towards in zip(map(_real, penalties), map(_real, moved), strict=True):
                away = penalty.sign() * towards.sign() < 0
                penalty.masked_fill_(_mirrored(away) if self.mirrored else away, 0.0)
            masked.append((group, penalties))
        self._kept = []
        return masked


def _mirrored(mask: Tensor) -> Tensor:
    return mask.flatten().flip(0).view_as(mask)


def _real(tensor: Tensor) -> Tensor:
    """A complex weight is two real ones, as torch's optimizers take it."""
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor
