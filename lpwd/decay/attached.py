"""What an optimizer and a model must be for a decay to be attached, and which decays are."""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

import torch
from torch import nn
from torch.optim import Optimizer

#: All decays that were attached and not removed.
DECAYS: WeakSet[Any] = WeakSet()

#: Their steps evaluate the loss themselves, or take gradients that λθ cannot join.
CANNOT_COUPLE = (torch.optim.LBFGS, torch.optim.SparseAdam)

#: What an optimizer's own decay is called in its parameter groups (``lambd``: ASGD's).
OWN_DECAY = ("weight_decay", "lambd")


def check_unattached(optimizer: Optimizer) -> None:
    params = {p for group in optimizer.param_groups for p in group["params"]}
    for other in DECAYS:
        if other.optimizer is optimizer:
            raise ValueError("this optimizer has a WeightDecay already; call its remove() first")
        theirs = (p for group in other.optimizer.param_groups for p in group["params"])
        if other.moment == "before the forward pass" and not params.isdisjoint(theirs):
            raise ValueError(
                f"the {other.method} of another optimizer decays these parameters before each"
                " forward pass; call its remove() first, or build the model anew"
            )


def check_order(optimizer: Any, model: Any) -> None:
    """The two that are easily swapped; wrappers of optimizers need not be torch's class."""
    if not hasattr(optimizer, "register_step_pre_hook") or not isinstance(model, nn.Module):
        kinds = type(optimizer).__name__, type(model).__name__
        raise ValueError(f"optimizer, model: got {kinds[0]}, {kinds[1]}; pass them in this order")


def check_no_own_decay(optimizer: Optimizer) -> None:
    """Raise ValueError if a group of the optimizer decays its weights itself."""
    for group in optimizer.param_groups:
        for key in OWN_DECAY:
            if group.get(key):
                raise ValueError(
                    f"{type(optimizer).__name__} already decays ({key}={group[key]:g});"
                    f" set its {key} to 0 and leave the decay to WeightDecay"
                )


def check_can_couple(optimizer: Optimizer) -> None:
    """Raise ValueError if λθ cannot join this optimizer's gradients."""
    if isinstance(optimizer, CANNOT_COUPLE):
        raise ValueError(
            f"l2 cannot be coupled to {type(optimizer).__name__}; use method='wd', or Adam/SGD"
        )
