"""The decayed parameters of one of the optimizer's groups, with λ_i, i and ηλ_i of each."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass
from functools import cached_property
from itertools import compress
from typing import Any, Protocol

import torch
from torch import Tensor

#: What torch's foreach functions take and give.
Tensors = list[Tensor] | tuple[Tensor, ...]

#: So many weights are decayed as fast by a pass as by one more call of the optimizer's kernel.
WORTH_A_CALL = 2**17


@dataclass(eq=False)
class DecayedGroup:
    """The decayed parameters of one of the optimizer's parameter groups.

    `targets`: what they decay towards; none where that is zero. `whole`: they are all that the
    group has.
    """

    params: list[Tensor]
    lambdas: list[float]
    layers: list[int]
    targets: list[Tensor]
    whole: bool = False

    def __post_init__(self) -> None:
        self._eta: float | None = None
        self._fractions: tuple[list[float], list[float]] = [], []
        self._mask: list[bool] = []
        self._unfrozen = self

    def fractions(self, eta: float) -> tuple[list[float], list[float]]:
        """ηλ_i and 1 − ηλ_i of each parameter; raises ValueError if an ηλ_i is above 1."""
        if eta != self._eta:
            taken = [eta * rate for rate in self.lambdas]
            if max(taken, default=0.0) > 1:
                raise ValueError(
                    f"ηλ_i = {max(taken):g} > 1 would flip the signs of weights (η = {eta:g},"
                    f" largest λ_i = {max(self.lambdas):g}); lower the lr or the rate"
                )
            self._eta, self._fractions = eta, (taken, [1 - rate for rate in taken])
        return self._fractions

    @cached_property
    def is_for_own_pass(self) -> bool:
        """Would Adam decay them in its own pass, and sooner than a pass over them does?

        It makes a call for each λ_i (and for what is not decayed), which must be worth it. Measured
        on a CPU alone.
        """
        more = len(set(self.lambdas)) - self.whole  # calls than without
        if not more:
            return not self.targets
        on_cpu = self.params[0].device.type == "cpu"
        size = sum(p.numel() for p in self.params)
        return not self.targets and on_cpu and size >= more * WORTH_A_CALL

    def trainable(self) -> DecayedGroup:
        """The group without those of its parameters that are frozen at the moment."""
        mask = [p.requires_grad for p in self.params]
        if all(mask):
            return self
        if mask != self._mask:
            self._mask = mask
            self._unfrozen = self._where(mask)
        return self._unfrozen

    def without(self, had: Set[Tensor]) -> DecayedGroup:
        """The group without some of its parameters."""
        if not had:
            return self
        return self._where([p not in had for p in self.params])

    def _where(self, mask: list[bool]) -> DecayedGroup:
        return DecayedGroup(
            list(compress(self.params, mask)),
            list(compress(self.lambdas, mask)),
            list(compress(self.layers, mask)),
            list(compress(self.targets, mask)),
        )

    def distances(self, at: Any = None) -> Tensors:
        """θ − θ* of each parameter, θ its weights or those that are given."""
        at = self.params if at is None else at
        return torch._foreach_sub(at, self.targets) if self.targets else at

    def penalties(self, eta: float | Tensor, at: Any = None) -> Tensors:
        """P = ηλ_i(θ − θ*) of each parameter; η is 0 where a step is skipped."""
        if not isinstance(eta, Tensor):
            return torch._foreach_mul(self.distances(at), self.fractions(eta)[0])
        # The device alone knows η: stay there, do not wait for it. A tensor for each ηλ_i, or one
        # of another type than the weights, would be a launch a parameter.
        penalties = torch._foreach_mul(self.distances(at), self.lambdas)
        torch._foreach_mul_(penalties, eta.to(penalties[0].dtype))
        return penalties

    def decay(self, eta: float | Tensor) -> None:
        """θ ← θ − ηλ_i(θ − θ*)."""
        if self.targets or isinstance(eta, Tensor):
            torch._foreach_sub_(self.params, self.penalties(eta))
        else:
            torch._foreach_mul_(self.params, self.fractions(eta)[1])


class Observer(Protocol):
    """What measures a decay, as `OpposingRate` does."""

    def on_decay(self, group: DecayedGroup, penalties: Callable[[], Tensors]) -> None: ...
    def after_step(self) -> None: ...


def add_to_gradients(optimizer: Any, owner: dict[str, Any], group: DecayedGroup) -> None:
    """g ← g + λ_iθ, scaled as GradScaler scaled g where a fused optimizer will unscale it."""
    group = group.without({p for p in group.params if p.grad is None})
    if not group.params:
        return
    grads = [p.grad for p in group.params if p.grad is not None]
    if any(grad.is_sparse for grad in grads):
        raise ValueError("l2 cannot be coupled to sparse gradients; use method='wd'")
    penalties = torch._foreach_mul(group.distances(), group.lambdas)
    if (grad_scale := getattr(optimizer, "grad_scale", None)) is not None:
        torch._foreach_mul_(penalties, grad_scale)
    if owner.get("maximize"):
        torch._foreach_neg_(penalties)  # the optimizer will turn the gradient around
    torch._foreach_add_(grads, penalties)
