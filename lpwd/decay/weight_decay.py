"""The six weight decays of the paper, for any torch optimizer, in one line.

Each method is two choices: *when* the weights are multiplied by 1 − ηλ_i (the moment), and how
λ_i runs over the layers (the profile). Notation: θ weights, η learning rate, λ decay rate, U the
optimizer's update, i the layer of n. `reference.py` says the same, slowly and plainly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lpwd.decay import attached
from lpwd.decay.checks import check_choice, check_rate
from lpwd.decay.groups import DecayedGroup
from lpwd.decay.index import index_parameters, sizes_of
from lpwd.decay.layers import Layers, unwrap
from lpwd.decay.rates import EXCLUDE, METHODS, NORMALIZE, PROFILES

#: Whose own decay, `weight_decay` with `decoupled_weight_decay`, is Eq. 1 and costs no pass.
OWN_WD = (torch.optim.Adam, torch.optim.AdamW)


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
        exclude: any of "norm" (the parameters of torch's normalisations and their subclasses) and
            "bias": these are not decayed; n stays.

    Every trainable parameter of the optimizer is decayed, with a gradient or not (l2: with one),
    and none while it is frozen. For l2, λ_iθ is added to ``p.grad`` in place, as torch's own
    ``weight_decay`` of Adam and SGD adds it; η multiplies it there, `coupled` or not.

    With ``torch.compile(model, fullgraph=True)``, pass pwd and lpwd the compiled model: their hook
    stays outside the graph. Copies of the model or of the optimizer come without the
    decay: give them a WeightDecay of their own. Call `remove` before a model is pickled whole.

    Raises ValueError on wrong arguments, an optimizer that already decays, parameters that the
    model lacks, parameters that have a WeightDecay already, or ηλ_i > 1 (later, too, as η grows;
    an lr that is a tensor is read here only). A step of pwd or lpwd raises RuntimeError if no
    training forward pass of `model` came before it.
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
        attached.check_order(optimizer, model)
        check_choice("method", method, METHODS)
        self.moment, default_profile = METHODS[method]
        self.method = method
        self.profile = default_profile if profile is None else profile
        check_choice("profile", self.profile, PROFILES)
        check_choice("normalize", normalize, NORMALIZE)
        if not isinstance(coupled, bool):
            raise ValueError(f"coupled={coupled!r} must be True or False")
        several = isinstance(exclude, Iterable) and not isinstance(exclude, str)
        kinds: tuple[Any, ...] = tuple(exclude) if several else (exclude,)
        for kind in kinds:
            check_choice("exclude", kind, EXCLUDE)
        check_rate("rate", rate)
        attached.check_unattached(optimizer)
        if self.moment == "in the gradient":
            attached.check_can_couple(optimizer)
        self.optimizer = optimizer
        self.model = model
        self.rate = float(rate)
        self.normalize = normalize
        self.layers = layers
        self.coupled = coupled
        self.exclude = kinds
        self._observer: Callable[[DecayedGroup, Sequence[Any]], None] | None = None
        # pwd and lpwd: what the next training forward pass multiplies the decay by (None: there
        # was one since the last step). A tensor where only the device knows if a step was skipped.
        self._due: float | Tensor | None = 1.0
        self._own_decay: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self._index_parameters()
        attached.check_no_own_decay(self.optimizer)
        self._hooks = [
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
        ]
        if self.moment == "before the forward pass":
            on_forward: Any = torch.compiler.disable(self._on_forward)  # never part of a graph
            self._hooks.append(model.register_forward_pre_hook(on_forward, prepend=True))
        attached.DECAYS.add(self)

    # -- what the user may call -------------------------------------------------------------------

    @property
    def rates(self) -> dict[str, float]:
        """``{parameter name: λ_i}`` of every trainable parameter; 0 for the excluded ones."""
        self._index_if_changed()
        return {name: rate for name, p, rate in self._index.entries if p.requires_grad}

    @property
    def layer_count(self) -> int:
        """n, the number of layers."""
        return self._index.layer_count

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
        self._restore_own_decay()
        attached.DECAYS.discard(self)

    # -- the moments ------------------------------------------------------------------------------

    def _on_forward(self, module: nn.Module, args: Any) -> None:
        # A copy of the model (an EMA's, a replica) has this hook too, but not these weights.
        if module is self.model and module.training and torch.is_grad_enabled():
            self.before_forward()

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> Any:
        self._restore_own_decay()  # if the last step raised
        attached.check_no_own_decay(self.optimizer)
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
            self._decay(self._done())
        elif self.moment == "before the forward pass" and self._due is not None and first:
            raise RuntimeError(
                f"{self.method}: no training forward pass of the model since the last step, so no"
                " decay; call model(x) in train() mode instead of model.forward(x) or a part of"
                " it, or call decay.before_forward() yourself before each step's forward pass"
            )

    @torch.no_grad()
    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._restore_own_decay()
        if self.moment == "after the update":
            self._decay(self._done())
        elif self.moment == "before the forward pass":
            # A skipped step has had its decay: the next try gets no second one.
            self._due = self._done()

    def _done(self) -> float | Tensor:
        """1, or 0 if GradScaler lets a fused optimizer skip this step: only the device knows."""
        found_inf = getattr(self.optimizer, "found_inf", None)  # how many devices overflowed
        return 1.0 if found_inf is None else (found_inf == 0).double()

    # -- the arithmetic ---------------------------------------------------------------------------

    def _decay(self, done: float | Tensor) -> None:
        """θ ← (1 − ηλ_i)θ, or (1 − λ_i)θ uncoupled; with `done` = 0 nothing changes."""
        for optimizer_group, group in self._current():
            taken, left = group.fractions(self._eta(optimizer_group), done)
            if self._observer is not None:
                self._observer(group, taken)
            if self._can_decay_itself(group):
                self._enable_own_decay(optimizer_group, group.common_rate)
                # The optimizer skips parameters without a gradient, so decay them here.
                if bare := [p for p in group.params if p.grad is None]:
                    torch._foreach_mul_(bare, left[: len(bare)])
            else:
                torch._foreach_mul_(group.params, left)

    def _can_decay_itself(self, group: DecayedGroup) -> bool:
        """Can the optimizer's own decay do this, in the one pass that it makes over the weights?"""
        uniform = self.coupled and group.common_rate is not None
        return self.moment == "before the update" and uniform and type(self.optimizer) in OWN_WD

    def _enable_own_decay(self, optimizer_group: dict[str, Any], rate: float | None) -> None:
        own = {"weight_decay": rate, "decoupled_weight_decay": True}
        self._own_decay.append((optimizer_group, {key: optimizer_group[key] for key in own}))
        optimizer_group |= own

    def _restore_own_decay(self) -> None:
        """Between steps the optimizer decays nothing itself: no checkpoint of it says otherwise."""
        for optimizer_group, values in self._own_decay:
            optimizer_group.update(values)
        self._own_decay = []

    def _eta(self, group: dict[str, Any]) -> float | Tensor:
        return group["lr"] if self.coupled else 1.0

    def _add_to_gradients(self) -> None:
        """g ← g + λ_iθ, scaled as GradScaler scaled g where a fused optimizer will unscale it."""
        grad_scale = getattr(self.optimizer, "grad_scale", None)
        for optimizer_group, group in self._current():
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
            if optimizer_group.get("maximize"):
                torch._foreach_neg_(penalties)  # the optimizer will turn the gradient around
            torch._foreach_add_(grads, penalties)

    # -- the parameters ---------------------------------------------------------------------------

    def _current(self) -> Iterable[tuple[dict[str, Any], DecayedGroup]]:
        """The optimizer's groups, each with what is decayed of it; empty ones left out."""
        self._index_if_changed()
        for optimizer_group, group in self._pairs():
            if (trainable := group.trainable()).params:
                yield optimizer_group, trainable

    def _pairs(self) -> Iterable[tuple[dict[str, Any], DecayedGroup]]:
        return zip(self.optimizer.param_groups, self._index.groups, strict=True)

    def _index_if_changed(self) -> None:
        if self._index.sizes != sizes_of(self.optimizer):
            self._index_parameters()  # add_param_group() was called

    def _index_parameters(self) -> None:
        """Give each of the optimizer's parameters its layer and its λ_i, and check η and λ."""
        self._index = index_parameters(
            self.optimizer,
            unwrap(self.model),
            rate=0.0 if self.moment is None else self.rate,
            profile=self.profile,
            normalize=self.normalize,
            layers=self.layers,
            exclude=self.exclude,
        )
        for optimizer_group, group in self._pairs():
            check_rate("lr", float(optimizer_group["lr"]))
            if self.moment != "in the gradient":
                group.fractions(float(self._eta(optimizer_group)), 1.0)
