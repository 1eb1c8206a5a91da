"""WD by the optimizer's own decay, in the one pass that it makes over the weights anyway."""

from __future__ import annotations

from typing import Any

import torch

#: Whose own decay, `weight_decay` with `decoupled_weight_decay`, is Eq. 1 and costs no pass.
OWN_WD = (torch.optim.Adam, torch.optim.AdamW)


class OwnPass:
    """λ is lent to a parameter group for the length of a step.

    Between steps the optimizer decays nothing itself: no checkpoint of it says otherwise.
    """

    def __init__(self) -> None:
        self._before: list[tuple[dict[str, Any], dict[str, Any]]] = []

    def lend(self, group: dict[str, Any], rate: float) -> None:
        own = {"weight_decay": rate, "decoupled_weight_decay": True}
        self._before.append((group, {key: group[key] for key in own}))
        group.update(own)

    def take_back(self) -> None:
        for group, values in self._before:
            group.update(values)
        self._before = []
