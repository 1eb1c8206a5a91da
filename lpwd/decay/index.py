"""Which λ_i each of an optimizer's parameters decays with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn
from torch.optim import Optimizer

from lpwd.decay.exclude import Kind, excluded
from lpwd.decay.groups import DecayedGroup
from lpwd.decay.layers import Layers, layer_index
from lpwd.decay.rates import PROFILES, normalized_rate

Key = list[tuple[tuple[int, bool], ...]]


class Index(NamedTuple):
    """entries: (name, parameter, λ_i), 0 where it is not decayed · groups: one for each of the
    optimizer's · layer_count: n · key: `key_of` when this was made."""

    entries: list[tuple[str, Tensor, float]]
    groups: list[DecayedGroup]
    layer_count: int
    key: Key


def index_parameters(
    optimizer: Optimizer,
    model: nn.Module,
    *,
    rate: float,
    profile: str,
    normalize: str,
    layers: Layers,
    exclude: Sequence[Kind],
) -> Index:
    """Raises ValueError for parameters that the model lacks, or wrong `layers`."""
    names = {p: name for name, p in model.named_parameters()}
    groups = [list(dict.fromkeys(group["params"])) for group in optimizer.param_groups]
    params = [p for group in groups for p in group]
    if lacking := [p for p in params if p not in names]:
        raise ValueError(
            f"the model lacks {len(lacking)} of the optimizer's parameters (the first has"
            f" shape {tuple(lacking[0].shape)}); pass the model that the optimizer trains"
        )
    index, left_out = layer_index(model, layers), excluded(model, exclude)
    n = max(index.values(), default=0)
    weights = {i: PROFILES[profile](i, n) for i in range(1, n + 1)}
    # The frozen ones are indexed too: they may be unfrozen later.
    decayed = {p: index[names[p]] for p in params if names[p] not in left_out}
    sizes = {p: p.numel() for p in decayed if p.requires_grad}
    rate = normalized_rate(rate, normalize, weights, [(decayed[p], sizes[p]) for p in sizes])
    lambdas = {p: rate * weights[i] for p, i in decayed.items()}
    return Index(
        [(names[p], p, lambdas.get(p, 0.0)) for p in params],
        [_group(group, lambdas, decayed) for group in groups],
        n,
        key_of(optimizer, normalize),
    )


def _group(
    params: list[Tensor], lambdas: dict[Tensor, float], layers: dict[Tensor, int]
) -> DecayedGroup:
    # With λ = 0 nothing is touched at all: Baseline, bit for bit.
    kept = [p for p in params if lambdas.get(p)]
    whole = len(kept) == len(params)
    return DecayedGroup(kept, [lambdas[p] for p in kept], [layers[p] for p in kept], whole)


def key_of(optimizer: Optimizer, normalize: str) -> Key:
    """What changes when an index no longer fits: the parameters themselves, not their number.

    For the mean over the weights that train, also which of them do.
    """
    return [
        tuple((id(p), normalize == "params" and p.requires_grad) for p in group["params"])
        for group in optimizer.param_groups
    ]
