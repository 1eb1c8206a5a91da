"""The six weight decays of the paper, for any torch optimizer, in one line.

Each method is two choices: *when* the weights are multiplied by 1 − ηλ_i (the moment), and how
λ_i runs over the layers (the profile). Notation: θ weights, η learning rate, λ decay rate, U the
optimizer's update, i the layer of n. `lpwd/reference.py` says the same, slowly and plainly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from itertools import compress
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lpwd.layers import Layers, did_you_mean, layer_index, unwrap

#: method: (moment, default profile)
METHODS: dict[str, tuple[str | None, str]] = {
    "baseline": (None, "uniform"),
    "l2": ("in the gradient", "uniform"),  # g ← g + λθ
    "wd": ("before the update", "uniform"),  # Eq. 1
    "rwd": ("after the update", "uniform"),  # Eq. 7
    "pwd": ("before the forward pass", "uniform"),  # Algorithm 2
    "lpwd": ("before the forward pass", "linear"),  # Algorithm 3
}

#: profile: λ_i/λ for layer i of n, shallow to deep. Linear is Eq. 9 with the maximum 2λ.
PROFILES: dict[str, Callable[[int, int], float]] = {
    "uniform": lambda i, n: 1.0,
    "linear": lambda i, n: 2 * i / n,
    "reversed": lambda i, n: 2 * (n + 1 - i) / n,
}

NORMALIZE = ("none", "mean", "params")
EXCLUDE = ("norm", "bias")

NORM_MODULES = (
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
    nn.LocalResponseNorm,
    nn.modules.batchnorm._NormBase,
)

#: Their steps evaluate the loss themselves, or take gradients that λθ cannot join.
CANNOT_COUPLE = (torch.optim.LBFGS, torch.optim.SparseAdam)

_attached: WeakSet[Optimizer] = WeakSet()


class DecayedGroup:
    """The decayed parameters of one of the optimizer's parameter groups."""

    def __init__(self, params: list[Tensor], lambdas: list[float], layers: list[int]) -> None:
        self.params = params
        self.lambdas = lambdas
        self.layers = layers
        self._eta: float | None = None
        self._rates: list[float] = []
        self._mask: list[bool] = []
        self._unfrozen = self

    def rates(self, eta: float) -> list[float]:
        """ηλ_i of each parameter; raises ValueError if one is above 1."""
        if eta != self._eta:
            self._eta, self._rates = eta, [eta * rate for rate in self.lambdas]
            if max(self._rates, default=0.0) > 1:
                raise ValueError(
                    f"ηλ_i = {max(self._rates):g} > 1 would turn weights around (η = {eta:g},"
                    f" largest λ_i = {max(self.lambdas):g}); lower the lr or the rate"
                )
        return self._rates

    # Copied to the device once: a copy at each step would wait for it.
    @cached_property
    def lambdas_on_device(self) -> Tensor:
        return torch.tensor(self.lambdas, device=self.params[0].device)

    @cached_property
    def layers_on_device(self) -> Tensor:
        """Zero-based, to index with."""
        return torch.tensor(self.layers, device=self.params[0].device) - 1

    def trainable(self) -> DecayedGroup:
        """The group without those of its parameters that are frozen at the moment."""
        mask = [p.requires_grad for p in self.params]
        if all(mask):
            return self
        if mask != self._mask:
            self._mask = mask
            self._unfrozen = DecayedGroup(
                list(compress(self.params, mask)),
                list(compress(self.lambdas, mask)),
                list(compress(self.layers, mask)),
            )
        return self._unfrozen


class WeightDecay:
    """Decay the weights that `optimizer` trains in `model`, by one of the paper's methods.

        optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
        decay = lpwd.WeightDecay(optimizer, model, method="lpwd", rate=0.01)

    The training loop stays as it is: the decay runs in the hooks of the optimizer's step and, for
    pwd and lpwd, of the model's forward pass. There is one decay for each optimizer step, however
    many forward passes accumulate into it; none in ``eval()`` or under ``no_grad``.

    Arguments:
        method: baseline | l2 | wd | rwd | pwd | lpwd.
        rate: λ ≥ 0. The decay term is ηλ_iθ with the group's current η (Sec. 4.4).
        profile: λ_i/λ over the layers i = 1…n: uniform (1), linear (2i/n) or reversed
            (2(n+1−i)/n). Default: linear for lpwd, else uniform.
        normalize: none (as printed) | mean (the mean of λ_i over layers is λ) | params (the mean
            over weights is λ).
        layers: block | module | tensor | lists of parameter names; see `lpwd.layer_index`.
        coupled: False leaves η out of the decay term: λ_iθ (Eq. 1 to the letter).
        exclude: any of "norm", "bias": these parameters are not decayed; n stays.

    Every trainable parameter of the optimizer is decayed, with a gradient or not (l2: with one).
    For l2, λ_iθ is added to ``p.grad`` in place, as torch's own ``weight_decay`` of Adam and SGD
    adds it.

    Raises ValueError on wrong arguments, an optimizer that already decays, parameters that the
    model lacks, an optimizer that has a WeightDecay, or ηλ_i > 1. A step of pwd or lpwd raises
    RuntimeError if no training forward pass of `model` came before it.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        model: nn.Module,
        method: str,
        rate: float,
        *,
        profile: str | None = None,
        normalize: str = "none",
        layers: Layers = "block",
        coupled: bool = True,
        exclude: Iterable[str] = (),
    ) -> None:
        check_choice("method", method, METHODS)
        self.moment, default_profile = METHODS[method]
        self.method = method
        self.profile = default_profile if profile is None else profile
        check_choice("profile", self.profile, PROFILES)
        check_choice("normalize", normalize, NORMALIZE)
        exclude = (exclude,) if isinstance(exclude, str) else tuple(exclude)
        for kind in exclude:
            check_choice("exclude", kind, EXCLUDE)
        check_rate("rate", rate)
        if optimizer in _attached:
            raise ValueError("this optimizer has a WeightDecay already; call its remove() first")
        if self.moment == "in the gradient" and isinstance(optimizer, CANNOT_COUPLE):
            raise ValueError(
                f"l2 cannot be coupled to {type(optimizer).__name__}; use method='wd', or Adam/SGD"
            )
        self.optimizer = optimizer
        self.model = model
        self.rate = float(rate)
        self.normalize = normalize
        self.layers = layers
        self.coupled = coupled
        self.exclude = exclude
        self._observer: Callable[[DecayedGroup, Sequence[Any]], None] | None = None
        # pwd and lpwd: what the next training forward pass multiplies the decay by (None: there
        # was one since the last step). A tensor where only the device knows if a step was skipped.
        self._due: float | Tensor | None = 1.0
        self._index_parameters()
        self._check_groups()
        self._hooks = [
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
            model.register_forward_pre_hook(self._on_forward, prepend=True),
        ]
        _attached.add(optimizer)

    # -- what the user may call -------------------------------------------------------------------

    @property
    def rates(self) -> dict[str, float]:
        """``{parameter name: λ_i}`` of every trainable parameter; 0 for the excluded ones."""
        return dict(self._rates_by_name)

    @property
    def layer_count(self) -> int:
        """n, the number of layers."""
        return self._layer_count

    @torch.no_grad()
    def before_forward(self) -> None:
        """Do what pwd and lpwd do before a training forward pass, once for each step.

        ``model(x)`` calls it. A loop that goes another way (``model.forward(x)``, an inner module)
        calls it itself, before the forward pass of every step.
        """
        if self.moment == "before the forward pass" and self._due is not None:
            self._decay(self._due)
            self._due = None

    def state_dict(self) -> dict[str, float]:
        """What a checkpoint must hold; the rates come from the constructor, never from here."""
        return {"due": 0.0 if self._due is None else float(self._due)}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self._due = state["due"] or None

    def remove(self) -> None:
        """Detach from the optimizer and the model; the weights stay as they are."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        _attached.discard(self.optimizer)

    # -- the moments ------------------------------------------------------------------------------

    @torch.compiler.disable
    def _on_forward(self, module: nn.Module, args: Any) -> None:
        if module.training and torch.is_grad_enabled():
            self.before_forward()

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> Any:
        self._check_groups()
        closure = args[1] if len(args) > 1 else kwargs.get("closure")
        if closure is None:
            self._on_gradient(first=True)
            return None
        # The optimizer calls the closure, and with it backward(), only after this hook.
        closure = self._act_inside(closure)
        if len(args) > 1:
            return (args[0], closure, *args[2:]), kwargs
        return args, {**kwargs, "closure": closure}

    def _act_inside(self, closure: Callable[[], Any]) -> Callable[[], Any]:
        first = True

        def closure_with_decay() -> Any:
            nonlocal first
            loss = closure()
            self._on_gradient(first)
            first = False
            return loss

        return closure_with_decay

    @torch.no_grad()
    def _on_gradient(self, first: bool) -> None:
        """The gradient is there, the update is not. `first`: of this step's closure calls."""
        if self.moment == "in the gradient":
            self._add_to_gradients()
        elif self.moment == "before the update" and first:
            self._decay(1.0 if (skipped := self._skipped()) is None else 1.0 - skipped)
        elif self.moment == "before the forward pass" and self._due is not None and first:
            raise RuntimeError(
                f"{self.method}: no training forward pass of the model since the last step, so no"
                " decay; call model(x) in train() mode instead of model.forward(x) or a part of"
                " it, or call decay.before_forward() yourself before each step's forward pass"
            )

    @torch.no_grad()
    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        skipped = self._skipped()
        done = 1.0 if skipped is None else 1.0 - skipped
        if self.moment == "after the update":
            self._decay(done)
        elif self.moment == "before the forward pass":
            self._due = done  # a skipped step has had its decay: the next try gets no second one

    def _skipped(self) -> Tensor | None:
        """1 where GradScaler lets a fused optimizer skip this step (overflow), on the device."""
        return getattr(self.optimizer, "found_inf", None)

    # -- the arithmetic ---------------------------------------------------------------------------

    def _decay(self, done: float | Tensor) -> None:
        """θ ← (1 − ηλ_i)θ; with `done` = 0 (a skipped step) nothing changes."""
        for optimizer_group, group in self._current():
            rates = self._rates(optimizer_group, group, done)
            if self._observer is not None:
                self._observer(group, rates)
            torch._foreach_mul_(group.params, [1 - rate for rate in rates])

    def _rates(
        self, optimizer_group: dict[str, Any], group: DecayedGroup, done: float | Tensor
    ) -> Sequence[Any]:
        """The fraction of θ that is taken away, parameter by parameter: ηλ_i, or λ_i uncoupled."""
        eta = optimizer_group["lr"] if self.coupled else 1.0
        if isinstance(eta, Tensor) or isinstance(done, Tensor):
            # The device alone knows η, or if the step is skipped: stay there, do not wait for it.
            return (group.lambdas_on_device * eta * done).unbind()
        return group.rates(eta)

    def _add_to_gradients(self) -> None:
        """g ← g + λ_iθ, scaled as GradScaler scaled g where a fused optimizer will unscale it."""
        grad_scale = getattr(self.optimizer, "grad_scale", None)
        for _, group in self._current():
            pairs = zip(group.params, group.lambdas, strict=True)
            with_grad = [(p, p.grad, rate) for p, rate in pairs if p.grad is not None]
            if not with_grad:
                continue
            params, grads, lambdas = map(list, zip(*with_grad, strict=True))
            if any(grad.is_sparse for grad in grads):
                raise ValueError("l2 cannot be coupled to sparse gradients; use method='wd'")
            penalties = torch._foreach_mul(params, lambdas)
            if grad_scale is not None:
                torch._foreach_mul_(penalties, grad_scale)
            torch._foreach_add_(grads, penalties)

    # -- the parameters ---------------------------------------------------------------------------

    def _current(self) -> Iterable[tuple[dict[str, Any], DecayedGroup]]:
        """The optimizer's groups, each with what is decayed of it; empty ones left out."""
        groups = self.optimizer.param_groups
        if self._group_sizes != [len(group["params"]) for group in groups]:
            self._index_parameters()  # add_param_group() was called
        for optimizer_group, group in zip(groups, self._groups, strict=True):
            if (trainable := group.trainable()).params:
                yield optimizer_group, trainable

    def _check_groups(self) -> None:
        for group in self.optimizer.param_groups:
            if group.get("weight_decay"):
                raise ValueError(
                    f"{type(self.optimizer).__name__} already decays"
                    f" (weight_decay={group['weight_decay']:g}); set its weight_decay to 0 and"
                    " leave the decay to WeightDecay"
                )

    def _index_parameters(self) -> None:
        """Give each of the optimizer's parameters its layer and its λ_i, and check them."""
        module = unwrap(self.model)
        names = {id(p): name for name, p in module.named_parameters()}
        index = layer_index(module, self.layers)
        excluded = _excluded(module, self.exclude)
        groups = [group["params"] for group in self.optimizer.param_groups]
        lacking = [p for group in groups for p in group if id(p) not in names]
        if lacking:
            raise ValueError(
                f"the model lacks {len(lacking)} of the optimizer's parameters (the first has"
                f" shape {tuple(lacking[0].shape)}); pass the model that the optimizer trains"
            )
        self._layer_count = max(index.values(), default=0)
        self._group_sizes = [len(group) for group in groups]
        trained = [p for group in groups for p in group if p.requires_grad]
        decayed = {names[id(p)]: p.numel() for p in trained if names[id(p)] not in excluded}
        rate = self._normalized_rate(decayed, index) if self.moment else 0.0
        self._rates_by_name = {
            name: rate * self._weight(index[name]) if name in decayed else 0.0
            for name in (names[id(p)] for p in trained)
        }
        self._groups = [self._decayed_group(group, names, index, rate, decayed) for group in groups]
        for optimizer_group, group in zip(self.optimizer.param_groups, self._groups, strict=True):
            check_rate("lr", optimizer_group["lr"])
            if self.moment != "in the gradient" and group.params:
                self._rates(optimizer_group, group, 1.0)

    def _decayed_group(
        self,
        params: list[Tensor],
        names: dict[int, str],
        index: dict[str, int],
        rate: float,
        decayed: Iterable[str],
    ) -> DecayedGroup:
        # With λ = 0 nothing is touched at all: Baseline, bit for bit.
        kept = [p for p in params if rate and names[id(p)] in decayed]
        layers = [index[names[id(p)]] for p in kept]
        return DecayedGroup(kept, [rate * self._weight(i) for i in layers], layers)

    def _weight(self, layer: int) -> float:
        return PROFILES[self.profile](layer, self._layer_count)

    def _normalized_rate(self, sizes: dict[str, int], index: dict[str, int]) -> float:
        """What takes λ's place so that the mean of λ_i, over layers or over weights, is λ."""
        if self.normalize == "none" or not sizes:
            return self.rate
        if self.normalize == "mean":
            n = self._layer_count
            return self.rate * n / math.fsum(self._weight(i) for i in range(1, n + 1))
        total = math.fsum(self._weight(index[name]) * size for name, size in sizes.items())
        return self.rate * sum(sizes.values()) / total


def check_choice(key: str, value: object, known: Iterable[str]) -> None:
    """Raise ValueError, with the nearest known name, if `value` is none of them."""
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{key}={value!r} is unknown{did_you_mean(value, known)}")


def check_rate(key: str, value: object) -> None:
    """Raise ValueError unless `value` is a finite number of at least 0."""
    if isinstance(value, Tensor):
        return  # reading it would wait for the device
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value < 0:  # pyright: ignore
        raise ValueError(f"{key}={value!r} must be a finite number of at least 0")


def _excluded(model: nn.Module, kinds: Sequence[str]) -> set[str]:
    """Names of the parameters that `exclude` leaves undecayed."""
    norms = {name for name, module in model.named_modules() if isinstance(module, NORM_MODULES)}
    excluded: set[str] = set()
    for name, _ in model.named_parameters():
        owner, _, leaf = name.rpartition(".")
        if ("norm" in kinds and owner in norms) or ("bias" in kinds and leaf == "bias"):
            excluded.add(name)
    return excluded
