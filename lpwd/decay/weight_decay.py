"""The six weight decays of the paper, for any torch optimizer, in one line.

Each method is two choices: *when* the weights are multiplied by 1 − ηλ_i (the moment), and how
λ_i runs over the layers (the profile). Notation: θ weights, η learning rate, λ decay rate, U the
optimizer's update, i the layer of n. `reference.py` says the same, slowly and plainly.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lpwd.decay import attached, steps
from lpwd.decay.cautious import Cautious
from lpwd.decay.checks import SetOnce, check_choice, check_flag, check_rate
from lpwd.decay.exclude import Exclude, as_kinds
from lpwd.decay.groups import Observer, add_to_gradients
from lpwd.decay.layers import Layers
from lpwd.decay.methods import METHODS, NORMALIZE, PROFILES, Profile
from lpwd.decay.own_decay import OWN_WD, OwnDecay
from lpwd.decay.parameters import Pairs, Parameters, targets
from lpwd.decay.steps import outside_graphs
from lpwd.decay.table import table
from lpwd.decay.warn import warn_of_no_blocks, warn_of_no_effect


class WeightDecay(SetOnce):
    """Decay the weights that `optimizer` trains in `model`, by one of the paper's methods.

        optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
        decay = lpwd.WeightDecay(optimizer, model, method="lpwd", rate=0.01)

    The training loop stays as it is: the decay runs in the hooks of the optimizer's step and, for
    pwd and lpwd, of the model's forward pass. There is one decay for each optimizer step, however
    many forward passes accumulate into it; none in ``eval()`` or under ``no_grad``.

    Arguments:
        method: baseline | l2 | wd | rwd | pwd | lpwd; or cwd (arXiv 2510.12402), WD where the
            update does not move a weight away from zero; or cwd_mirrored, of as many others.
        rate: λ ≥ 0. The decay term is ηλ_iθ with the group's current η (Sec. 4.4).
        profile: λ_i/λ over the layers i = 1…n: uniform (1), linear (2i/n), reversed
            (2(n+1−i)/n), geometric (0.75^(n−i)) or a function of (i, n). Default: linear for lpwd,
            else uniform.
        normalize: none (as printed) | mean (the mean of λ_i over layers is λ) | params (the mean
            over the weights that this optimizer trains is λ).
        layers: block | module | tensor | lists of parameter names; see `lpwd.layer_index`.
        coupled: False leaves η out of the decay term: λ_iθ (Eq. 1 to the letter), none while η = 0.
        exclude: what is not decayed (n stays): any of "norm", "bias" and "1d" (at most one
            dimension), parameter names or dotted prefixes, or functions of (name, parameter).
        towards: what the weights decay towards instead of zero, by parameter name: the pretrained
            ``state_dict()``, say (θ − θ* takes θ's place: L2-SP, arXiv 1802.01483). Parameters
            that it lacks, or has in another shape (a new head), decay towards zero.

    Every trainable parameter of the optimizer is decayed, with a gradient or not (l2: with one),
    and none while it is frozen, or in a group with a ``weight_decay`` of 0 beside groups with
    another, whose place λ takes. For l2, λ_iθ is added to ``p.grad`` in place, as torch's own
    ``weight_decay`` of Adam and SGD adds it; η multiplies it there, `coupled` or not.

    With ``torch.compile(model, fullgraph=True)``, pass pwd and lpwd the compiled model: their hook
    stays outside the graph. Copies, pickles and exports of model and optimizer have no decay.

    Raises ValueError on wrong arguments, an optimizer that already decays, parameters that the
    model lacks or that have a WeightDecay already, or ηλ_i > 1 (later, too, as η grows; an lr that
    is a tensor is read here only). A step of pwd or lpwd without a training forward pass of `model`
    before it raises RuntimeError.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        model: nn.Module,
        method: str,
        rate: float,
        *,
        profile: str | Profile | None = None,
        normalize: str = "none",
        layers: Layers = "block",
        coupled: bool = True,
        exclude: Exclude = (),
        towards: Mapping[str, Tensor] | None = None,
    ) -> None:
        optimizer = attached.stepping(optimizer, model)
        check_choice("method", method, METHODS)
        self.moment, default_profile, mask = METHODS[method]
        self.method = method
        self.profile = default_profile if profile is None else profile
        if not callable(self.profile):
            check_choice("profile", self.profile, PROFILES)
        check_choice("normalize", normalize, NORMALIZE)
        check_flag("coupled", coupled)
        self.exclude = as_kinds(exclude)
        check_rate("rate", rate)
        attached.check_unattached(optimizer)
        if self.moment == "in the gradient":
            attached.check_can_couple(optimizer)
        self.optimizer, self.model = optimizer, model
        self._rate = float(rate)
        self.normalize, self.layers, self.coupled = normalize, layers, coupled
        self._observer: Observer | None = None
        self._step = steps.OuterStep()
        # pwd, lpwd: what the next decay is multiplied by (a tensor: only the device knows if a step
        # was skipped), and the parameters that have had theirs since the last step.
        self._due: float | Tensor = 1.0
        self._had: set[Tensor] = set()
        self._own = OwnDecay(optimizer)
        self._can_decay_itself = method == "wd" and coupled and type(optimizer) in OWN_WD
        self._cautious = Cautious(mirrored=mask == "mirrored") if mask else None
        self.towards = targets(model, towards or {})
        self._parameters = Parameters(
            optimizer,
            model,
            self._own,
            rate=self._rate if self.moment else 0.0,
            profile=self.profile,
            normalize=normalize,
            layers=layers,
            exclude=self.exclude,
            towards=self.towards,
            coupled=coupled,
            multiplies=self.moment != "in the gradient",
        )
        if self.moment != "in the gradient":
            warn_of_no_effect(self._parameters.entries(), self._parameters.etas())
        if self.profile != "uniform":
            warn_of_no_blocks(model, layers)
        self._hooks = [
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
            # A checkpoint after a step that raised holds the optimizer's own decay.
            optimizer.register_state_dict_pre_hook(lambda _: self._own.as_before()),
        ]
        if self.moment == "before the forward pass":
            hook = steps.ForwardHook(self._on_forward)
            self._hooks.append(model.register_forward_pre_hook(hook, prepend=True))
        attached.add(self)
        self._is_made = type(self) is WeightDecay

    # -- what the user may call -------------------------------------------------------------------

    @property
    def rate(self) -> float:
        """λ. Assigning another acts from the next decay on: a schedule is one line."""
        return self._rate

    @rate.setter
    def rate(self, rate: float) -> None:
        check_rate("rate", rate)
        self._rate = float(rate)
        self._parameters.set_rate(self._rate if self.moment else 0.0)

    @property
    def rates(self) -> dict[str, float]:
        """``{parameter name: λ_i}`` of every trainable parameter; 0 for the excluded ones."""
        return {entry.name: entry.rate for entry in self._parameters.entries()}

    @property
    def layer_count(self) -> int:
        """n, the number of layers."""
        return self._parameters.layer_count

    def table(self) -> str:
        """One line a layer: its parameters and weights, λ_i and, with the current η, ηλ_i."""
        return table(self._parameters.entries(), self._parameters.etas(), self.layer_count)

    def __str__(self) -> str:
        return f"{self.method}, λ = {self.rate:g}\n{self.table()}"

    @torch.no_grad()
    def before_forward(self) -> None:
        """Do what pwd and lpwd do before a training forward pass, once for each step.

        ``model(x)`` calls it. A loop that goes another way (``model.forward(x)``, an inner module)
        calls it itself, before the forward pass of every step.
        """
        if self.moment != "before the forward pass" or not self._hooks:  # removed
            return
        self._parameters.reshard()
        if not self._rate:  # that is the decay of this step, whatever λ is before it ends
            self._had.update(entry.parameter for entry in self._parameters.entries())
        groups = [(owner, group.without(self._had)) for owner, group in self._parameters.decayed()]
        groups = [(owner, group) for owner, group in groups if group.params]
        if groups:
            self._decay(self._due, groups)
            self._had.update(p for _, group in groups for p in group.params)
            torch.clear_autocast_cache()  # its casts are of the weights before

    def state_dict(self) -> dict[str, float]:
        """What a checkpoint must hold; the rates come from the constructor, never from here."""
        return {"due": 0.0 if self._had else float(self._due)}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from a checkpoint. Raises ValueError for the state of something else."""
        if "due" not in state:
            raise ValueError(f"no WeightDecay has this state: its keys are {', '.join(state)}")
        every = self._parameters.all_decayed() | {e.parameter for e in self._parameters.entries()}
        self._due, self._had = 1.0, set() if state["due"] else every

    def remove(self) -> None:
        """Detach from the optimizer and the model; the weights stay as they are."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        self._own.as_before()
        attached.discard(self)

    def __reduce__(self) -> Any:
        return type(None), ()  # None in a copy, or a pickle, of what holds the decay

    # -- the moments ------------------------------------------------------------------------------

    def _on_forward(self, module: nn.Module) -> None:
        trains = module is self.model and module.training  # a replica's weights are others
        if trains and (torch.is_grad_enabled() or steps.is_checkpointed()):
            if steps.is_in_backward():  # the pass whose output it is of had none
                self._check_decayed()
            self.before_forward()

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> Any:
        if not self._step.begins():
            return None
        self._begin_step()
        return steps.act_inside(args, kwargs, self._on_gradient, late=self._lends())

    @outside_graphs
    def _begin_step(self) -> None:
        self._own.as_before()  # if the last step raised
        if self not in attached.STEPPED:
            self._parameters.names()  # the model may have been sharded, or changed, since
        if self._cautious:
            self._cautious.begin()
        self._own.off()

    @outside_graphs
    @torch.no_grad()
    def _on_gradient(self, first: bool) -> None:
        """The gradient is there, the update is not. `first`: of this step's closure calls."""
        self._own.stay_off()
        done = steps.done(self.optimizer)
        if self.moment == "in the gradient":
            for owner, group in self._parameters.decayed():
                add_to_gradients(self.optimizer, owner, group)
        elif self._cautious and first:
            for owner, group in self._parameters.decayed():
                self._cautious.keep(group, self._parameters.eta(owner, group, done))
        elif self.moment == "before the update" and first:
            self._decay(done, self._parameters.decayed())
        elif self.moment == "before the forward pass" and first:
            self._check_decayed()

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if self._step.ends():
            self._end_step()

    @outside_graphs
    @torch.no_grad()
    def _end_step(self) -> None:
        self._own.as_before()
        attached.has_stepped(self)
        if self.moment == "after the update":
            self._decay(steps.done(self.optimizer), self._parameters.decayed())
        elif self._cautious:
            self._cautious.decay(self._observer)
        elif self.moment == "before the forward pass":
            # A skipped step has had its decay: the next try gets no second one.
            self._due, self._had = steps.done(self.optimizer), set()
        if self._observer is not None:
            self._observer.after_step()

    def _check_decayed(self) -> None:
        """Raise RuntimeError where there is something to decay (η > 0), and nothing was so far."""
        etas = (self._parameters.eta(*pair, 1.0) for pair in self._parameters.decayed())
        if not self._had and any(eta > 0 for eta in etas):
            raise RuntimeError(f"{self.method}: {steps.NO_FORWARD_PASS}")

    def _decay(self, done: float | Tensor, groups: Pairs) -> None:
        """θ ← (1 − ηλ_i)θ, or (1 − λ_i)θ uncoupled; with `done` = 0 nothing changes."""
        lent: dict[Tensor, float] = {}
        # All η first: if one is too large, nothing is decayed.
        with_etas = [(group, self._parameters.eta(owner, group, done)) for owner, group in groups]
        for group, eta in with_etas:
            if self._observer is not None:
                self._observer.on_decay(group, partial(group.penalties, eta))
            if self._lends() and group.is_for_own_pass:
                lent.update(zip(group.params, group.lambdas, strict=True))
                # The optimizer skips parameters without a gradient, so decay them here.
                group = group.without({p for p in group.params if p.grad is not None})
            if group.params:
                group.decay(eta)
        if lent:
            self._own.lend(lent)

    def _lends(self) -> bool:
        """Does the optimizer decay by λ_i itself, where that is for its own pass?"""
        once = self._parameters.lists_each_once
        return self._can_decay_itself and once and not self._step.is_compiled
