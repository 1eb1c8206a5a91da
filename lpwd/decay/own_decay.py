"""The optimizer's own decay: what it says of exclusion, off during a step, or doing WD's work."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

#: What an optimizer's own decay is called in its parameter groups (``lambd``: ASGD's, ``wd``:
#: Moonlight's Muon's); and what begins with the first, as MARS's ``weight_decay_1d``.
_KEYS = ("weight_decay", "lambd", "wd")

#: Whose own decay, `weight_decay` with `decoupled_weight_decay`, is Eq. 1 and costs no pass.
OWN_WD = (torch.optim.Adam, torch.optim.AdamW)


class OwnDecay:
    """The `weight_decay` of an optimizer's groups, beside a decay that takes its place.

    The usual two groups, 0.05 and 0, say which weights are meant: what has 0 is left out. It is 0
    everywhere for the length of a step; between steps the groups are as the user made them.

    Raises ValueError as `check` does.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        self._off: list[tuple[dict[str, Any], str, Any]] = []
        self._said: set[str] = set()
        self.check()

    def rates(self) -> list[Any]:
        """Of each group, as the user gave it."""
        off = {id(group): rate for group, _, rate in self._off}
        return [off.get(id(g), own_rate(g)) for g in self._optimizer.param_groups]

    def spared(self) -> set[Tensor]:
        """The parameters of groups with a decay of 0 beside others that have one."""
        rates = self.rates()
        if not any(rates):
            return set()
        groups = zip(self._optimizer.param_groups, rates, strict=True)
        return {p for group, rate in groups if not rate for p in group["params"]}

    def check(self) -> None:
        """Raise ValueError if all groups have a decay of their own, or some another than others."""
        rates = self.rates()
        if any(rates) and (all(rates) or len({float(rate) for rate in rates if rate}) > 1):
            key, rate = next((k, g[k]) for g in self._optimizer.param_groups for k in _on(g))
            raise ValueError(
                f"{type(self._optimizer).__name__} already decays ({key}={rate:g}); set its"
                f" {key} to 0 and leave the decay to WeightDecay (groups with one {key} beside"
                " groups with 0 may stay: those with 0 are not decayed)"
            )

    def say(self, spared: Iterable[str]) -> None:
        """Warn, once, of the names of what is spared, or no more."""
        names = list(spared)
        if set(names) == self._said:
            return
        self._said = set(names)
        kind = type(self._optimizer).__name__
        warnings.warn(
            f"{len(names)} parameters in groups of {kind} with weight_decay=0 are not decayed (the"
            f" first is {names[0]!r}); WeightDecay's rate takes the place of the other groups'"
            " weight_decay"
            if names
            else f"no group of {kind} has a weight_decay any more: those with 0 decay, too, now",
            stacklevel=5,
        )

    def off(self) -> None:
        """For the length of a step. Raises as `check` does."""
        self.check()
        self._off = [
            (group, key, group[key]) for group in self._optimizer.param_groups for key in _on(group)
        ]
        for group, key, _ in self._off:
            group[key] = 0.0

    def stay_off(self) -> None:
        """Off again, where a state_dict() in the closure has put it back."""
        if not self._off:
            self.off()

    def as_before(self) -> None:
        """After a step, or one that raised: also what is lent is taken back."""
        for group, key, rate in self._off:
            group[key] = rate
        self._off = []
        if isinstance(self._optimizer.param_groups, _Once):
            self._optimizer.param_groups = self._optimizer.param_groups.before

    def lend(self, rates: Mapping[Tensor, float]) -> None:
        """Have the optimizer, one of OWN_WD, decay by λ_i in the pass that it makes anyway.

        To be called from within its step. Nobody else sees its groups, split by λ_i.
        """
        split: list[dict[str, Any]] = []
        for group in self._optimizer.param_groups:
            parts: dict[float, list[Tensor]] = {}
            for p in group["params"]:
                parts.setdefault(rates.get(p, 0.0), []).append(p)
            split += [
                {**group, "params": params, "weight_decay": rate, "decoupled_weight_decay": True}
                for rate, params in parts.items()
            ]
        self._optimizer.param_groups = _Once(self._optimizer, split)


class _Once(list[Any]):
    """Groups that are an optimizer's until they are first read."""

    def __init__(self, optimizer: Optimizer, groups: list[Any]) -> None:
        super().__init__(groups)
        self.optimizer, self.before = optimizer, optimizer.param_groups

    def __iter__(self) -> Any:
        self.optimizer.param_groups = self.before
        return super().__iter__()


def _on(group: dict[str, Any]) -> list[str]:
    keys = [key for key in group if key in _KEYS or key.startswith(f"{_KEYS[0]}_")]
    return [key for key in keys if group[key] and not isinstance(group[key], bool | str)]


def own_rate(group: dict[str, Any]) -> Any:
    """The decay that an optimizer has for a group of its own."""
    return next((group[key] for key in _on(group)), 0.0)
