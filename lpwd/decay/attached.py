"""What an optimizer and a model must be for a decay to be attached, and which decays are."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook

from lpwd.decay.own_decay import own_rate

#: {id of the optimizer: its decay}, of all decays that were attached and not removed.
DECAYS: WeakValueDictionary[int, Any] = WeakValueDictionary()
#: Those whose optimizer has stepped.
STEPPED: WeakSet[Any] = WeakSet()
#: Those whose optimizer is known to read the weights.
_READ: WeakSet[Any] = WeakSet()

#: In the name of an average of the weights that an optimizer keeps, and does not write back.
_AVERAGE = re.compile("ema|swa|average")

#: Their steps evaluate the loss themselves, or take gradients that λθ cannot join.
CANNOT_COUPLE = (torch.optim.LBFGS, torch.optim.SparseAdam)


def check_unattached(optimizer: Optimizer) -> None:
    if id(optimizer) in DECAYS:
        raise ValueError("this optimizer has a WeightDecay already; call its remove() first")
    params = _parameters(optimizer)
    for other in DECAYS.values():
        theirs = _parameters(other.optimizer)
        if other.moment == "before the forward pass" and not params.isdisjoint(theirs):
            raise ValueError(
                f"the {other.method} of another optimizer decays these parameters before each"
                " forward pass; call its remove() first, or build the model anew"
            )


def stepping(optimizer: Any, model: Any) -> Optimizer:
    """The optimizer whose step hooks run: the given one, or the one that a wrapper keeps in it.

    Raises ValueError for arguments that are swapped, for wrappers without a hook that runs, and for
    models whose parameters are not those of its layers.
    """
    kinds = type(optimizer).__name__, type(model).__name__
    if isinstance(optimizer, nn.Module) or not isinstance(model, nn.Module):
        raise ValueError(f"optimizer, model: got {kinds[0]}, {kinds[1]}; pass them in this order")
    if any(type(m).__name__ == "FullyShardedDataParallel" for m in model.modules()):
        raise ValueError(
            "model: FullyShardedDataParallel flattens the weights of several layers into one; use"
            " torch.distributed.fsdp.fully_shard"
        )
    # accelerate's wrapper has none of its own, Lightning's those of what it wraps.
    while not _runs_hooks(optimizer) or _shares_hooks(optimizer):
        inner = getattr(optimizer, "optimizer", None)
        if not isinstance(inner, Optimizer):
            if not isinstance(optimizer, Optimizer):
                raise ValueError(f"optimizer: got {kinds[0]}; pass a torch optimizer itself")
            raise ValueError(
                f"optimizer: {kinds[0]} runs no step hooks (it skips torch's Optimizer.__init__);"
                " pass the torch optimizer that it wraps"
            )
        optimizer = inner
    base = getattr(optimizer, "base_optimizer", None)
    if isinstance(base, Optimizer) and _parameters(base) == _parameters(optimizer):
        return base  # SAM's: its own step writes the weights back to what they were before
    return optimizer


def _runs_hooks(optimizer: Any) -> bool:
    """Has torch's Optimizer.__init__ made its hooks, and its step() one that runs them?"""
    hooks = {f"_optimizer_{kind}_hooks" for kind in ("step_pre", "step_post", "state_dict_pre")}
    is_hooked = getattr(getattr(type(optimizer), "step", None), "hooked", False)
    return is_hooked and all(hasattr(optimizer, name) for name in hooks)


def _shares_hooks(optimizer: Any) -> bool:
    inner, name = getattr(optimizer, "optimizer", None), "_optimizer_step_pre_hooks"
    return isinstance(inner, Optimizer) and getattr(inner, name, ()) is getattr(optimizer, name)


def _parameters(optimizer: Optimizer) -> set[Tensor]:
    return {p for group in optimizer.param_groups for p in group["params"]}


def check_can_couple(optimizer: Optimizer) -> None:
    """Raise ValueError if λθ cannot join this optimizer's gradients."""
    if isinstance(optimizer, CANNOT_COUPLE):
        raise ValueError(
            f"l2 cannot be coupled to {type(optimizer).__name__}; use method='wd', or Adam/SGD"
        )


def has_stepped(decay: Any) -> None:
    """To be called after each of its optimizer's steps."""
    STEPPED.add(decay)
    _OTHERS.pop(decay, None)
    if decay in _READ:
        return
    torchs = type(decay.optimizer).__module__.startswith("torch.optim")
    # With an lr of 0 nothing was written, and a state that looks like the weights is none of them.
    if torchs or all(group["lr"] for group in decay.optimizer.param_groups):
        if not torchs:
            _check_weights_are_read(decay.optimizer)
        _READ.add(decay)


def _check_weights_are_read(optimizer: Optimizer) -> None:
    """Raise ValueError if the optimizer writes its weights anew from copies in its own state.

    Masters in float32, or the sequences of a schedule-free method, would undo every decay of the
    weights. To be asked after a first step, when such a copy is what was written: of all weights of
    a precision, while a copy of where they began (Prodigy's, Lookahead's) is that of those alone
    which hardly moved.
    """
    are_copied: dict[torch.dtype, list[bool]] = {}
    for p, state in optimizer.state.items():
        if not (isinstance(p, Tensor) and isinstance(state, Mapping)):  # something else is kept
            continue
        kept = (s for key, s in state.items() if not _AVERAGE.search(str(key)))
        copies = [s for s in kept if isinstance(s, Tensor) and s.shape == p.shape]
        rtol = 4 * torch.finfo(p.dtype).eps if p.is_floating_point() else 0.0
        if p.numel() == 1 or not p.any():  # a count of steps may be 1, too
            continue
        is_copied = any(torch.allclose(c.to(p), p, rtol, atol=0.0) for c in copies)
        are_copied.setdefault(p.dtype, []).append(is_copied)
    if any(map(all, are_copied.values())):
        raise ValueError(
            f"{type(optimizer).__name__} keeps the weights in its own state and writes them anew in"
            " each step, so that a decay of the parameters is lost; use its own decay"
        )


# -- steps of other optimizers --------------------------------------------------------------------

#: {decay: steps of other optimizers with its weights since the last of its own}
_OTHERS: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
#: So many are no accident, before the first of its own: a wrapper's step comes before that of what
#: it wraps; and after it: an inner loop of meta-learning has a few with another optimizer.
_STEPS_BEFORE_FIRST, _STEPS_AFTER_LAST = 3, 100
#: Decays of which it was said that another optimizer decays their weights, too.
_SAID: WeakSet[Any] = WeakSet()


def add(decay: Any) -> None:
    """From now on the decay is attached, and other optimizers' steps are watched."""
    _watch()
    DECAYS[id(decay.optimizer)] = decay


def discard(decay: Any) -> None:
    """It is attached no more."""
    DECAYS.pop(id(decay.optimizer), None)


@cache
def _watch() -> None:
    register_optimizer_step_pre_hook(_on_any_step)


def _on_any_step(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
    # A graph would depend on which decays there are.
    if torch.compiler.is_compiling() or id(optimizer) in DECAYS:
        return
    params = _parameters(optimizer)
    for decay in list(DECAYS.values()):
        if params.isdisjoint(_parameters(decay.optimizer)):
            continue
        _warn_of_own_decay(optimizer, decay)
        _OTHERS[decay] = _OTHERS.get(decay, 0) + 1
        has_stepped = decay in STEPPED
        if _OTHERS[decay] == (_STEPS_AFTER_LAST if has_stepped else _STEPS_BEFORE_FIRST):
            warnings.warn(
                f"{decay.method} is attached to an optimizer that"
                f" {'steps no more' if has_stepped else 'has not stepped'}, while another"
                f" ({type(optimizer).__name__}) trains the same weights; attach it to that one",
                stacklevel=2,
            )


def _warn_of_own_decay(optimizer: Optimizer, decay: Any) -> None:
    """Warn, once, if another optimizer, one within the decay's say, decays the weights as well."""
    ours = {id(group) for group in decay.optimizer.param_groups}  # a wrapper has the same
    others = [group for group in optimizer.param_groups if id(group) not in ours]
    if decay not in _SAID and any(own_rate(group) for group in others):
        _SAID.add(decay)
        warnings.warn(
            f"{type(optimizer).__name__} decays weights that {decay.method} of"
            f" {type(decay.optimizer).__name__} decays, too; set its weight_decay to 0",
            stacklevel=3,
        )
