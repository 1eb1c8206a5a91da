"""Which of an optimizer's parameters are decayed, and with which λ_i."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from lpwd.decay.checks import check_rate
from lpwd.decay.exclude import Kind, excluded
from lpwd.decay.groups import DecayedGroup
from lpwd.decay.layers import Layers, layer_index, unwrap
from lpwd.decay.methods import Profile, normalized_rate, profile_weights
from lpwd.decay.own_decay import OwnDecay
from lpwd.decay.sharding import layout, like, sharded_modules

#: An optimizer's groups, each with what is decayed of it.
Pairs = Iterable[tuple[dict[str, Any], DecayedGroup]]
Key = list[tuple[bool, tuple[tuple[int, bool], ...]]]


def targets(model: nn.Module, towards: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies of those tensors that have the name and the shape of a parameter.

    Their names may be those of the user's own module, or of `model` that wraps it.

    Raises ValueError if there are none, or for what is no mapping of names to tensors.
    """
    if not isinstance(towards, Mapping) or not all(
        isinstance(tensor, Tensor) for tensor in towards.values()
    ):
        raise ValueError("towards must be {parameter name: tensor}, like a state_dict()")
    wrapped = (name for name, _ in model.named_parameters())
    found = {
        name: towards[key].detach().clone()  # a state_dict() holds the weights themselves
        for (name, p), outer in zip(unwrap(model).named_parameters(), wrapped, strict=True)
        for key in (name, outer)
        if key in towards and towards[key].shape == p.shape
    }
    if towards and not found:
        mine, theirs = next(unwrap(model).named_parameters())[0], next(iter(towards))
        raise ValueError(
            "towards: none of its names is a parameter of the same shape; the first is"
            f" {theirs!r}, the model's {mine!r}"
        )
    return found


class Entry(NamedTuple):
    """A parameter that the optimizer trains: its layer i, its λ_i (0 where it is not decayed), the
    optimizer's group that it is in."""

    name: str
    parameter: Tensor
    layer: int
    rate: float
    group: int


@dataclass(eq=False)
class Parameters:
    """The parameters of an optimizer, each with its layer and its λ_i.

    They are read anew when the optimizer's groups hold others than before: they may be added,
    replaced, sorted or unfrozen at any time. Raises ValueError for parameters that the model
    lacks, wrong `layers`, wrong η, or ηλ_i > 1 where η `multiplies` λ_i.
    """

    optimizer: Optimizer
    model: nn.Module
    own: OwnDecay
    rate: float
    profile: str | Profile
    normalize: str
    layers: Layers
    exclude: Sequence[Kind]
    towards: Mapping[str, Tensor]
    coupled: bool
    multiplies: bool

    def __post_init__(self) -> None:
        self._read()

    def set_rate(self, rate: float) -> None:
        self.rate = rate
        self._read()

    def entries(self) -> list[Entry]:
        """Those that train."""
        self._read_if_changed()
        return [entry for entry in self._entries if entry.parameter.requires_grad]

    def decayed(self) -> Pairs:
        """The optimizer's groups, each with what is decayed of it; empty ones left out."""
        self._read_if_changed()
        for optimizer_group, group in self._pairs():
            if (trainable := group.trainable()).params:
                yield optimizer_group, trainable

    def all_decayed(self) -> set[Tensor]:
        """Frozen or not."""
        return {p for _, group in self._pairs() for p in group.params}

    def eta(self, owner: dict[str, Any], group: DecayedGroup, done: float | Tensor) -> Any:
        """What λ_i is multiplied by; 0 if `done` is 0 (a skipped step).

        Uncoupled it is 0, too, where the lr is: torch's distributed checkpoints make an optimizer's
        state by a step with an lr of 0.
        Raises ValueError if an ηλ_i is above 1; of a tensor that would wait for the device.
        """
        eta = owner["lr"]
        if isinstance(eta, Tensor):
            eta = eta.reshape(())  # torch takes [η], too
        if not self.coupled:
            eta = (eta != 0) * 1.0
        if not isinstance(eta, Tensor):
            group.fractions(eta)
        return eta * done

    def etas(self) -> list[float]:
        groups = self.optimizer.param_groups
        return [float(group["lr"]) if self.coupled else 1.0 for group in groups]

    def reshard(self) -> None:
        """Have FSDP2 gather the weights anew: after an evaluation it keeps them as they were."""
        for module in self._sharded:
            module.reshard()

    def _pairs(self) -> Iterator[tuple[dict[str, Any], DecayedGroup]]:
        for optimizer_group, parts in zip(self.optimizer.param_groups, self._groups, strict=True):
            for group in parts:
                yield optimizer_group, group

    def _key(self) -> Key:
        """What changes when others are to be read: the parameters themselves, not their number.

        For the mean over the weights that train, also which of them do; and which groups have a
        decay of their own.
        """
        watched = self.normalize == "params"
        return [
            (bool(own), tuple((id(p), watched and p.requires_grad) for p in group["params"]))
            for group, own in zip(self.optimizer.param_groups, self.own.rates(), strict=True)
        ]

    def _read_if_changed(self) -> None:
        if self._read_at != self._key():
            self._read()

    def names(self) -> dict[Tensor, str]:
        """Of the model's parameters; raises ValueError if it lacks one of the optimizer's."""
        self._sharded = sharded_modules(self.model)
        self.reshard()  # the model's parameters are then the optimizer's
        names: dict[Tensor, str] = {p: name for name, p in unwrap(self.model).named_parameters()}
        if lazy := [name for p, name in names.items() if is_lazy(p)]:
            raise ValueError(
                f"{lazy[0]!r} has no shape before the model's first forward pass; make one first"
            )
        params = [p for group in self.optimizer.param_groups for p in group["params"]]
        if lacking := [p for p in params if p not in names]:
            raise ValueError(
                f"the model lacks {len(lacking)} of the optimizer's parameters (the first has"
                f" shape {tuple(lacking[0].shape)}); pass the model that the optimizer trains, and"
                " make the optimizer after the model is sharded or its layers are replaced"
            )
        return names

    def _read(self) -> None:
        names, model = self.names(), unwrap(self.model)
        listed = [group["params"] for group in self.optimizer.param_groups]
        groups = [list(dict.fromkeys(params)) for params in listed]
        #: Does none of the optimizer's groups hold a parameter twice (and step it twice)?
        self.lists_each_once = [len(params) for params in listed] == [
            len(params) for params in groups
        ]
        index = layer_index(model, self.layers)
        spared = [names[p] for p in self.own.spared()]
        left_out = excluded(model, self.exclude).union(spared)
        self.own.say(name for name in names.values() if name in spared)
        self.layer_count = max(index.values(), default=0)
        # The frozen ones are read too: they may be unfrozen later.
        layers = {p: index[names[p]] for group in groups for p in group}
        rates = self._rates({p: i for p, i in layers.items() if names[p] not in left_out})
        self._entries = [
            Entry(names[p], p, layers[p], rates.get(p, 0.0), number)
            for number, group in enumerate(groups)
            for p in group
        ]
        aims: dict[Tensor, Tensor] = {
            p: self.towards[name] for p, name in names.items() if name in self.towards
        }
        self._groups = [_groups(group, rates, layers, aims) for group in groups]
        self._read_at = self._key()
        for optimizer_group, group in self._pairs():
            lr = optimizer_group["lr"]
            lr = float(lr) if isinstance(lr, Tensor) else lr
            check_rate("lr", lr)
            if self.multiplies:
                group.fractions(lr if self.coupled else 1.0)

    def _rates(self, layers: dict[Tensor, int]) -> dict[Tensor, float]:
        """λ_i of each parameter that is decayed, from its layer."""
        weights = profile_weights(self.profile, self.layer_count)
        sizes = [(i, p.numel()) for p, i in layers.items() if p.requires_grad]
        rate = normalized_rate(self.rate, self.normalize, weights, sizes)
        return {p: rate * weights[i] for p, i in layers.items()}


def _groups(
    params: list[Tensor],
    lambdas: dict[Tensor, float],
    layers: dict[Tensor, int],
    targets: dict[Tensor, Tensor],
) -> list[DecayedGroup]:
    """What is decayed of one of the optimizer's groups: towards zero and towards targets apart, as
    are weights of other types, or that processes share in other ways."""
    # With λ = 0 nothing is touched at all: Baseline, bit for bit.
    kept = [p for p in params if lambdas.get(p)]
    parts: dict[tuple[Any, ...], list[Tensor]] = {}
    for p in kept:
        parts.setdefault((p in targets, p.dtype, layout(p)), []).append(p)
    return [
        DecayedGroup(
            part,
            [lambdas[p] for p in part],
            [layers[p] for p in part],
            [like(targets[p], p) for p in part if p in targets],
            whole=len(part) == len(params),
        )
        for part in parts.values()
    ]
