"""R_op, the rate of opposing penalties, measured while a model trains (Eqs. 10 and 11).

A penalty P opposes its purpose where the weight is larger in magnitude with it than without:
(θ̂ − P)² > θ̂². After the step the weight *is* θ̂ − P, so θ̂ = weight + P: nothing of the optimizer
need be known. Read so, Eq. 10 holds for each method with P the decay term as it was applied:
ηλ_iθ_t for wd and pwd, ηλ_i(θ_t − ηU) for rwd.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from lpwd.decay.groups import DecayedGroup, Tensors
from lpwd.decay.sharding import over_all_parts, parts_of
from lpwd.decay.steps import done
from lpwd.decay.weight_decay import WeightDecay


class Opposing(NamedTuple):
    """R_op, 0 to 1; NaN where nothing was decayed. The lists run over layers, shallow to deep."""

    share: float  # opposing weights ÷ weights with P ≠ 0
    size: float  # Σ|P_o| ÷ Σ|P|
    layer_share: list[float]
    layer_size: list[float]


class OpposingRate:
    """Measure R_op of a `WeightDecay` (wd, rwd, pwd or lpwd) on every `every`-th step.

        opposing = lpwd.OpposingRate(decay, every=10)
        ...  # train
        opposing.compute().share

    A measured step costs a copy of the decayed weights and a few passes over them; sums stay on
    the device until `compute`. Raises ValueError for baseline and l2, which decay no weights.
    """

    def __init__(self, decay: WeightDecay, every: int = 1) -> None:
        if not isinstance(decay, WeightDecay):
            raise ValueError(f"decay: got {type(decay).__name__}; pass the WeightDecay itself")
        if decay.moment in (None, "in the gradient"):
            raise ValueError(f"{decay.method} has no decay term; R_op is for wd, rwd, pwd and lpwd")
        if decay.towards:
            raise ValueError("R_op is of penalties towards zero; this decay has targets (towards=)")
        if any(p.is_complex() for p in decay._parameters.all_decayed()):
            raise ValueError("R_op is of real weights; this decay has complex ones")
        if not isinstance(every, int) or every < 1:
            raise ValueError(f"every={every!r} must be a whole number of at least 1")
        if decay._observer is not None:
            raise ValueError("this WeightDecay has an OpposingRate already; call its remove()")
        self.decay = decay
        self.every = every
        self._step = 0
        self._penalties: list[tuple[DecayedGroup, Tensors]] = []
        self._by_layer: WeakKeyDictionary[DecayedGroup, ByLayer] = WeakKeyDictionary()
        for _, group in decay._parameters.decayed():
            self._of(group)  # now, and not in the midst of training
        self.reset()
        decay._observer = self

    def compute(self) -> Opposing:
        """R_op over the measured steps since `reset`; waits for the device."""
        if self._sums is None:
            nan = [float("nan")] * self.decay.layer_count
            return Opposing(float("nan"), float("nan"), nan, nan)
        marked, decayed, marked_size, size = self._sums.cpu()
        return Opposing(
            float(marked.sum() / decayed.sum()),
            float(marked_size.sum() / size.sum()),
            (marked / decayed).tolist(),
            (marked_size / size).tolist(),
        )

    def reset(self) -> None:
        """Forget what was measured; which steps are measured goes on as before."""
        # [4, n] in float64: opposing weights, decayed weights, Σ|P_o|, Σ|P| of each layer.
        self._sums: Tensor | None = None

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold; of a step under way, pwd's penalties are left out."""
        sums = None if self._sums is None else self._sums.clone()
        return {"step": self._step, "sums": sums}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._step, sums = state["step"], state["sums"]
        device = next(iter(self.decay.model.parameters())).device
        self._sums = None if sums is None else sums.clone().to(device)

    def remove(self) -> None:
        """Detach from the decay; what was measured stays."""
        self.decay._observer = None

    def on_decay(self, group: DecayedGroup, penalties: Callable[[], Tensors]) -> None:
        """The decay calls this before it acts; `penalties` makes P of each parameter."""
        if self._step % self.every == 0:
            self._penalties.append((group, penalties()))

    def after_step(self) -> None:
        """The decay calls this when a step, and its own part in it, are complete."""
        self._step += 1
        for group, penalties in self._penalties:
            sums = _sums(parts_of(group.params), parts_of(penalties))
            # A skipped step (overflow) had no update that its penalties could oppose.
            sums = over_all_parts(sums, group.params[0]) * done(self.decay.optimizer)
            if self._sums is not None and self._sums.shape[1] != self.decay.layer_count:
                warnings.warn("the model has other layers now: R_op is of them alone", stacklevel=2)
                self._sums = None
            if self._sums is None:
                self._sums = sums.new_zeros(4, self.decay.layer_count)
            self._sums = self._of(group).add(self._sums.to(sums.device), sums)
        self._penalties = []

    def _of(self, group: DecayedGroup) -> ByLayer:
        device, known = group.params[0].device, self._by_layer.get(group)
        if known is None or known.order.device != device:
            known = ByLayer(group.layers, self.decay.layer_count, device)
            self._by_layer[group] = known
        return known


class ByLayer:
    """Adds what was summed of tensors to the totals of their layers, always in the same order.

    `index_add_` would add in any order on a GPU, and round otherwise each time.
    """

    def __init__(self, layers: Sequence[int], count: int, device: torch.device) -> None:
        totals_first = torch.tensor([*range(1, count + 1), *layers])
        # To be copied without waiting for the device.
        self.order = totals_first.argsort(stable=True).to(device, non_blocking=True)
        self.lengths = totals_first.bincount()[1:].to(device, non_blocking=True)

    def add(self, totals: Tensor, sums: Tensor) -> Tensor:
        """[k, layers] + [k, tensors] → [k, layers]"""
        rows = torch.cat([totals, sums], dim=1).t().index_select(0, self.order).contiguous()
        # unsafe: does not look whether the lengths add up, for which it would wait.
        return torch.segment_reduce(rows, "sum", lengths=self.lengths, unsafe=True).t()


def _sums(weights: Tensors, penalties: Tensors) -> Tensor:
    """Opposing weights, decayed weights, Σ|P_o| and Σ|P| of each tensor: float64 [4, tensors].

    Eq. 10 with θ̂ = weight + P, simplified: P(2·weight + P) < 0. Taken by signs it holds to the last
    bit, where squares and sums of small weights would be rounded away.
    """
    on_cpu = weights[0].device.type == "cpu"
    return _sums_by_passes(weights, penalties) if on_cpu else _sums_by_foreach(weights, penalties)


def _sums_by_foreach(weights: Tensors, penalties: Tensors) -> Tensor:
    """A few kernels for all tensors together; each sum is in float64, and in a fixed order."""

    def total(tensors: Any) -> list[Tensor]:
        return list(torch._foreach_norm(tensors, 1, dtype=torch.float64))

    signs = torch._foreach_sign(penalties)
    decayed = total(signs)
    opposing = torch._foreach_add(penalties, weights, alpha=2)
    torch._foreach_mul_(opposing, signs)
    torch._foreach_sign_(opposing)
    torch._foreach_clamp_max_(opposing, 0)  # −1 where P opposes, else 0
    marked = total(opposing)
    torch._foreach_mul_(opposing, penalties)
    columns = [*marked, *decayed, *total(opposing), *total(penalties)]
    return torch.stack(columns).view(4, -1)


#: Small tensors are measured together, up to so many weights: what a processor's cache holds.
TOGETHER = 2**17


def _sums_by_passes(weights: Sequence[Tensor], penalties: Sequence[Tensor]) -> Tensor:
    """For processors: passes over what their cache holds."""
    parts, start, size = [], 0, 0
    for end, weight in enumerate(weights):
        if size and size + weight.numel() > TOGETHER:
            parts.append(_sums_together(weights[start:end], penalties[start:end]))
            start, size = end, 0
        size += weight.numel()
    parts.append(_sums_together(weights[start:], penalties[start:]))
    return torch.cat(parts, dim=1)


def _sums_together(weights: Sequence[Tensor], penalties: Sequence[Tensor]) -> Tensor:
    """One long vector: tensor by tensor would take many more passes."""
    weight, penalty = (_at_least_float32(_flat(part, weights)) for part in (weights, penalties))
    opposing = (penalty.sign() * (penalty + 2 * weight)) < 0
    size = penalty.abs()
    counts = [p.numel() for p in weights]
    columns = (opposing, size != 0, size * opposing, size)
    sums = [torch.stack([part.sum() for part in column.split(counts)]) for column in columns]
    return torch.stack([of_tensors.double() for of_tensors in sums])


def _flat(tensors: Sequence[Tensor], like: Sequence[Tensor]) -> Tensor:
    """All values in one vector, a tensor of channels_last as it lies in memory: without a copy."""
    pairs = zip(tensors, like, strict=True)
    return torch.cat(
        [t.permute(0, 2, 3, 1).flatten() if _is_channels_last(p) else t.flatten() for t, p in pairs]
    )


def _at_least_float32(t: Tensor) -> Tensor:
    """A sum of many half-precision numbers, in that precision, loses most of them."""
    return t.to(torch.promote_types(t.dtype, torch.float32))


def _is_channels_last(t: Tensor) -> bool:
    return t.ndim == 4 and t.is_contiguous(memory_format=torch.channels_last)
