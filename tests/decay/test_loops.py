"""Loops that people really write: one decay a step, where its gradient is taken."""

import copy
import warnings
from typing import Any, cast

import pytest
import torch
from small import DECAYS, assert_close, attached, micro, weights
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.utils.checkpoint import checkpoint

import lpwd

LR, RATE = 0.1, 0.5
ONCE = 1 - LR * RATE
METHODS = (*DECAYS, "l2")


def still(model: nn.Module, optimizer: Optimizer, **kwargs: Any) -> float:
    """What a step with zero gradients leaves of the first weight."""
    first = next(model.parameters())
    before = first.flatten()[0].item()
    (model(torch.zeros(1, 2, dtype=first.dtype)).sum() * 0).backward()
    optimizer.step(**kwargs)
    optimizer.zero_grad()
    return first.flatten()[0].item() / before


def pair() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)).double()


# -- a step within a step -------------------------------------------------------------------------


class Logged(SGD):
    def step(self, closure: Any = None) -> Any:
        return super().step(closure)


class Twice(SGD):
    """A base step that fails is tried again."""

    fails = False

    def step(self, closure: Any = None) -> Any:
        if self.fails:
            raise FloatingPointError
        return super().step(closure)


@pytest.mark.parametrize("method", [m for m in METHODS if m != "lpwd"])
def test_a_class_whose_step_calls_the_base_classs_decays_once(method: str) -> None:
    SGD([nn.Parameter(torch.ones(1))], lr=0.1)  # from now on torch runs the hooks of both levels
    model = pair()
    optimizer = Logged(model.parameters(), lr=LR)
    lpwd.WeightDecay(optimizer, model, method, RATE)
    assert still(model, optimizer) == pytest.approx(ONCE)
    assert still(model, optimizer, closure=lambda: None) == pytest.approx(ONCE)


@pytest.mark.parametrize("method", ["wd", "rwd", "l2", "cwd"])
def test_the_step_after_one_that_raised_decays(method: str) -> None:
    model = pair()
    optimizer = Twice(model.parameters(), lr=LR)
    lpwd.WeightDecay(optimizer, model, method, RATE)
    optimizer.fails = True
    with pytest.raises(FloatingPointError):
        optimizer.step()
    optimizer.fails = False
    first = model[0].weight.detach().clone()
    (model(torch.zeros(1, 2).double()).sum() * 0).backward()
    optimizer.zero_grad(set_to_none=False)
    optimizer.step()
    assert_close(model[0].weight.detach() / first, torch.full((2, 2), ONCE, dtype=torch.float64))


# -- the forward pass that is a step's own --------------------------------------------------------


@pytest.mark.parametrize("frozen_parts", [("0", "1"), ("0",)])
def test_weights_that_are_frozen_at_a_forward_pass_keep_their_decay(
    frozen_parts: tuple[str, ...],
) -> None:
    """As a discriminator is while the generator trains."""
    model, optimizer, _ = attached("pwd", "sgd", model=pair())
    before = [p.detach().clone() for p in model.parameters()]
    frozen = [model.get_submodule(name) for name in frozen_parts]
    for part in frozen:
        part.requires_grad_(False)
    model(torch.zeros(1, 2).double())
    for part in frozen:
        part.requires_grad_(True)
    (model(torch.zeros(1, 2).double()).sum() * 0).backward()
    optimizer.step()
    for p, old in zip(model.parameters(), before, strict=True):
        assert_close(p.detach(), ONCE * old)


@pytest.mark.parametrize("method", DECAYS)
@pytest.mark.parametrize("reentrant", [True, False])
def test_a_checkpointed_model_trains_as_a_plain_one(method: str, reentrant: bool) -> None:
    def run(checkpointed: bool) -> list[Tensor]:
        model, optimizer, _ = attached(method, "sgd")
        for step in range(3):
            x = torch.randn(4, 3, generator=torch.Generator().manual_seed(step)).double()
            x.requires_grad_()
            out = checkpoint(model, x, use_reentrant=reentrant) if checkpointed else model(x)
            assert isinstance(out, Tensor)
            cross_entropy(out, torch.arange(4) % 2).backward()
            optimizer.step()
            optimizer.zero_grad()
        return [p.detach() for p in model.parameters()]

    assert_close(run(True), run(False))


def test_a_pass_under_autocast_sees_the_decayed_weights() -> None:
    """Autocast keeps its casts of the weights for as long as it is on."""
    model = nn.Linear(2, 2, bias=False)
    optimizer = SGD(model.parameters(), lr=LR)
    lpwd.WeightDecay(optimizer, model, "pwd", RATE)
    x = torch.ones(1, 2)
    with torch.autocast("cpu", torch.bfloat16):
        before = model(x)
        optimizer.step()  # no gradients: the weights stay
        after = model(x)
    assert_close(after.float(), (ONCE * before).float(), atol=2e-2)
    assert not torch.equal(before, after)


# -- parameters that change -----------------------------------------------------------------------


@pytest.mark.parametrize("method", [m for m in METHODS if m != "lpwd"])
def test_a_new_head_in_the_place_of_the_old_is_decayed(method: str) -> None:
    model, optimizer, _ = attached(method, "sgd", model=pair())
    model[1] = nn.Linear(2, 2).double()
    optimizer.param_groups[0]["params"] = list(model.parameters())
    head = model[1].weight.detach().clone()
    assert still(model, optimizer) == pytest.approx(ONCE)
    assert_close(model[1].weight.detach(), ONCE * head)


@pytest.mark.parametrize("method", [m for m in METHODS if m != "lpwd"])
def test_groups_in_another_order_keep_their_own_lr(method: str) -> None:
    model = pair()
    groups = [
        {"params": list(part.parameters()), "lr": lr}
        for part, lr in zip(model, (0.1, 0.01), strict=True)
    ]
    optimizer = SGD(groups, lr=LR)
    lpwd.WeightDecay(optimizer, model, method, RATE)
    optimizer.param_groups.reverse()
    last = model[1].weight.detach().clone()
    assert still(model, optimizer) == pytest.approx(ONCE)
    assert_close(model[1].weight.detach(), (1 - 0.01 * RATE) * last)


def test_weights_unfrozen_later_count_in_the_mean_over_weights() -> None:
    model = pair()
    model[0].requires_grad_(False)
    optimizer = SGD(model.parameters(), lr=LR)
    decay = lpwd.WeightDecay(optimizer, model, "lpwd", RATE, normalize="params")
    assert list(decay.rates.values()) == pytest.approx([RATE] * len(decay.rates))
    model[0].requires_grad_(True)
    assert decay.rates["0.weight"] == pytest.approx(RATE * 2 / 3)
    assert decay.rates["1.weight"] == pytest.approx(RATE * 4 / 3)


@pytest.mark.parametrize("name", ["method", "profile", "normalize", "coupled", "exclude", "model"])
def test_nothing_but_the_rate_can_be_assigned(name: str) -> None:
    """A decay would go on as before, without a word."""
    _, _, decay = attached("wd", "sgd", model=pair())
    before = getattr(decay, name)
    with pytest.raises(AttributeError, match=f"WeightDecay.{name} is fixed"):
        setattr(decay, name, None)
    assert getattr(decay, name) is before


def test_a_name_that_a_decay_lacks_cannot_be_assigned() -> None:
    _, _, decay = attached("wd", "sgd", model=pair())
    with pytest.raises(AttributeError, match=r"WeightDecay has no 'rat'; did you mean 'rate'\?"):
        decay.rat = 0.1
    with pytest.raises(AttributeError, match="WeightDecay has no 'weight_decay'"):
        decay.weight_decay = 0.1


@pytest.mark.parametrize("method", METHODS)
def test_a_rate_that_is_assigned_acts(method: str) -> None:
    model, optimizer, decay = attached(method, "sgd", model=pair())
    decay.rate = 0.0
    assert still(model, optimizer) == 1
    decay.rate = 0.2
    assert decay.rate == 0.2
    assert max(decay.rates.values()) == pytest.approx(0.4 if method == "lpwd" else 0.2)
    with pytest.raises(ValueError, match="rate=-1"):
        decay.rate = -1


def test_a_parametrized_module_is_one_layer_and_its_bias_a_bias() -> None:
    class Same(nn.Module):
        def forward(self, w: Tensor) -> Tensor:
            return w

    parametrize = nn.utils.parametrize
    normed = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)), nn.Linear(4, 2))
    optimizer = SGD(normed.parameters(), lr=LR)
    assert lpwd.WeightDecay(optimizer, normed, "lpwd", RATE).layer_count == 2
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    parametrize.register_parametrization(model[1], "weight", Same())
    parametrize.register_parametrization(model[0], "bias", Same())
    decay = lpwd.WeightDecay(
        SGD(model.parameters(), lr=LR), model, "wd", RATE, exclude=["norm", "bias"]
    )
    assert {name for name, rate in decay.rates.items() if rate} == {"0.weight"}


# -- optimizers -----------------------------------------------------------------------------------


class Masters(SGD):
    """bfloat16 weights that are written anew from copies in float32."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for p in self.param_groups[0]["params"]:
            master = self.state[p].setdefault("master", p.detach().float().clone())
            master.add_(p.grad.float(), alpha=-self.param_groups[0]["lr"])
            p.copy_(master)


class Bare(Optimizer):
    """A wrapper that skips torch's own constructor, and with it the hooks."""

    def __init__(self, inner: Optimizer) -> None:
        self.inner, self.param_groups = inner, inner.param_groups
        self.defaults, self.state = inner.defaults, inner.state

    def step(self, closure: Any = None) -> Any:
        return self.inner.step(closure)


class Holder(Bare):
    """One that says which optimizer it holds, as accelerate's does."""

    def __init__(self, inner: Optimizer) -> None:
        super().__init__(inner)
        self.optimizer = inner


@pytest.mark.parametrize("method", DECAYS)
def test_weights_kept_in_the_state_are_refused_at_the_first_step(method: str) -> None:
    model = nn.Linear(2, 2).bfloat16()
    optimizer = Masters(model.parameters(), lr=LR)
    lpwd.WeightDecay(optimizer, model, method, RATE)
    with pytest.raises(ValueError, match="Masters keeps the weights in its own state"):
        still(model, optimizer)


def test_wrappers_are_unwrapped_or_refused() -> None:
    model = pair()
    inner = SGD(model.parameters(), lr=LR)
    with pytest.raises(ValueError, match=r"Bare runs no step hooks .* pass the torch optimizer"):
        lpwd.WeightDecay(Bare(inner), model, "wd", RATE)
    holder = Holder(inner)
    assert lpwd.WeightDecay(holder, model, "wd", RATE).optimizer is inner
    assert still(model, holder) == pytest.approx(ONCE)


def test_a_wrapper_that_shows_the_hooks_of_what_it_wraps_is_unwrapped() -> None:
    """As Lightning's does; a decay attached to both would act twice."""
    model = pair()
    inner = SGD(model.parameters(), lr=LR)
    holder = Holder(inner)
    vars(holder).update(vars(inner))
    holder.optimizer = inner
    assert lpwd.WeightDecay(holder, model, "wd", RATE).optimizer is inner
    with pytest.raises(ValueError, match="has a WeightDecay already"):
        lpwd.WeightDecay(inner, model, "wd", RATE)


@pytest.mark.parametrize("wrong", [SGD, "adam", torch.amp.GradScaler("cpu")])
def test_what_is_no_optimizer_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"pass a torch optimizer itself$"):
        lpwd.WeightDecay(wrong, pair(), "wd", RATE)


class Copies(SGD):
    """Keeps where the weights began, as Prodigy does; one of them hardly moves."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        self.state["k"] = torch.tensor(1)  # pyright: ignore[reportArgumentType]
        for p in self.param_groups[0]["params"]:
            self.state[p].setdefault("p0", p.detach().clone())
            p.add_(p.grad, alpha=-self.param_groups[0]["lr"])


def test_copies_of_where_the_weights_began_are_no_masters() -> None:
    model = nn.Linear(2, 2).double()
    optimizer = Copies(model.parameters(), lr=LR)
    lpwd.WeightDecay(optimizer, model, "pwd", RATE, exclude="bias")
    first = model.weight.detach().clone()
    model(torch.zeros(1, 2).double()).sum().backward()  # moves the bias alone
    optimizer.step()
    assert_close(model.weight.detach(), first * ONCE)


@pytest.mark.parametrize("method", METHODS)
def test_an_lr_in_a_tensor_of_one(method: str) -> None:
    model = pair()
    optimizer = Adam(model.parameters(), lr=torch.tensor([LR], dtype=torch.float64))
    decay = lpwd.WeightDecay(optimizer, model, method, RATE)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    still(model, optimizer)
    if method != "l2":
        for name, p in model.named_parameters():
            assert_close(p.detach(), before[name] * (1 - LR * decay.rates[name]))


def test_a_removed_decay_does_nothing() -> None:
    model = pair()
    decay = lpwd.WeightDecay(SGD(model.parameters(), lr=LR), model, "pwd", RATE)
    decay.remove()
    before = [p.detach().clone() for p in model.parameters()]
    decay.before_forward()
    assert_close([p.detach() for p in model.parameters()], before)


def test_a_closure_that_takes_arguments() -> None:
    class Passing(SGD):
        def step(self, closure: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
            loss = closure(backward=True)
            super().step()
            return loss

    model = pair()
    optimizer = Passing(model.parameters(), lr=LR)
    lpwd.WeightDecay(optimizer, model, "wd", RATE)
    before = [p.detach().clone() for p in model.parameters()]

    def closure(backward: bool) -> Tensor:
        loss = model(torch.zeros(1, 2).double()).sum() * 0
        if backward:
            loss.backward()
        return loss

    optimizer.step(closure)
    assert_close([p.detach() for p in model.parameters()], [p * ONCE for p in before])


def test_a_warning_that_is_an_error_leaves_nothing_attached() -> None:
    model = pair()
    optimizer = SGD(model.parameters(), lr=LR)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="not made of blocks"):
            lpwd.WeightDecay(optimizer, model, "lpwd", RATE)
    lpwd.WeightDecay(optimizer, model, "lpwd", RATE, layers="module")


def test_lazy_weights_are_refused() -> None:
    model = nn.Sequential(nn.LazyLinear(2))
    optimizer = SGD(model.parameters(), lr=LR)
    with pytest.raises(ValueError, match=r"'0.weight' has no shape before .* make one first"):
        lpwd.WeightDecay(optimizer, model, "wd", RATE, exclude="1d")


@pytest.mark.parametrize("wrong", [nn.LayerNorm, nn.Linear(1, 1)])
def test_modules_are_no_names_to_exclude(wrong: Any) -> None:
    model = pair()
    with pytest.raises(ValueError, match=r"exclude: got (LayerNorm|Linear); pass"):
        lpwd.WeightDecay(SGD(model.parameters(), lr=LR), model, "wd", RATE, exclude=wrong)


def test_the_state_of_something_else_is_refused() -> None:
    model = pair()
    optimizer = SGD(model.parameters(), lr=LR)
    decay = lpwd.WeightDecay(optimizer, model, "wd", RATE)
    with pytest.raises(ValueError, match=r"its keys are state, param_groups$"):
        decay.load_state_dict(optimizer.state_dict())  # pyright: ignore[reportArgumentType]


class Engine(nn.Module):
    """As DeepSpeed's: it answers for the model that it holds."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("module"), name)

    def forward(self, *args: Any) -> Any:
        return self.module(*args)


@pytest.mark.parametrize("method", METHODS)
def test_an_engine_is_unwrapped(method: str) -> None:
    plain, model = micro("convnext_micro"), micro("convnext_micro")
    expected = lpwd.WeightDecay(SGD(plain.parameters(), lr=LR), plain, method, RATE)
    engine = Engine(model)
    optimizer = SGD(engine.parameters(), lr=LR)
    decay = lpwd.WeightDecay(Holder(optimizer), engine, method, RATE)
    assert decay.rates == expected.rates
    before = model.head.fc.weight.detach().clone()
    (engine(torch.zeros(1, 3, 32, 32).double()).sum() * 0).backward()
    optimizer.step()
    assert_close(model.head.fc.weight.detach(), before * (1 - LR * decay.rates["head.fc.weight"]))


@pytest.mark.parametrize("layers", ["block", "module", "tensor"])
def test_a_wrapper_that_answers_for_timms_model(layers: str) -> None:
    """As Fabric's and peft's do, with the model behind a name that `unwrap` does not know."""

    class Answering(Engine):
        def __init__(self, module: nn.Module) -> None:
            super().__init__(module)
            self._forward_module = self._modules.pop("module")

        def __getattr__(self, name: str) -> Any:
            try:
                return nn.Module.__getattr__(self, name)
            except AttributeError:
                return getattr(nn.Module.__getattr__(self, "_forward_module"), name)

    model = micro("convnext_micro")
    expected = lpwd.layer_index(model, layers)
    found = lpwd.layer_index(Answering(model), layers)
    assert found == {f"_forward_module.{name}": i for name, i in expected.items()}


def test_an_engine_that_steps_flat_copies_is_refused() -> None:
    """As the optimizers of DeepSpeed's ZeRO do."""
    model = pair()
    flat = nn.Parameter(torch.cat([p.detach().flatten() for p in model.parameters()]))
    with pytest.raises(ValueError, match="the model lacks 1 of the optimizer's parameters"):
        lpwd.WeightDecay(Holder(SGD([flat], lr=LR)), Engine(model), "wd", RATE)


@pytest.mark.parametrize("method", METHODS)
def test_complex_weights(method: str) -> None:
    model = nn.Linear(2, 2, dtype=torch.complex128)
    optimizer = SGD(model.parameters(), lr=LR)
    lpwd.WeightDecay(optimizer, model, method, RATE, layers="module")
    first = model.weight.detach().clone()
    model(torch.zeros(1, 2, dtype=torch.complex128)).abs().sum().backward()
    model.bias.grad = None
    optimizer.step()
    assert_close(model.weight.detach(), first * (0.9 if method == "lpwd" else ONCE))


@pytest.mark.parametrize("method", DECAYS)
def test_a_step_in_the_backward_pass(method: str) -> None:
    """One optimizer for each parameter, which steps as soon as its gradient is there."""
    model = pair()
    optimizers = {p: SGD([p], lr=LR) for p in model.parameters()}
    rates: dict[str, float] = {}
    for p, optimizer in optimizers.items():
        rates |= lpwd.WeightDecay(optimizer, model, method, RATE).rates
        p.register_post_accumulate_grad_hook(lambda p: optimizers[p].step())
        p.register_post_accumulate_grad_hook(lambda p: optimizers[p].zero_grad())
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for _ in range(2):
        (model(torch.zeros(1, 2).double()).sum() * 0).backward()
    for name, p in model.named_parameters():
        assert_close(p.detach(), before[name] * (1 - LR * rates[name]) ** 2)


def test_an_optimizer_that_never_steps_is_noticed_once() -> None:
    model = pair()
    mine = SGD(model.parameters(), lr=LR)
    decay = lpwd.WeightDecay(mine, model, "wd", RATE)
    other = Adam(model.parameters(), lr=LR)
    elsewhere = SGD([nn.Parameter(torch.ones(1))], lr=LR)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(5):
            still(model, other)
            elsewhere.step()
    (warning,) = [w for w in caught if "has not stepped" in str(w.message)]
    assert "(Adam) trains the same weights" in str(warning.message)
    assert decay.optimizer is mine


def test_an_optimizer_that_another_replaced_is_noticed_once() -> None:
    """In a second phase of training, say: the decay stayed with the first one's optimizer."""
    model = pair()
    first = SGD(model.parameters(), lr=LR)
    decay = lpwd.WeightDecay(first, model, "wd", RATE)
    still(model, first)
    second = Adam(model.parameters(), lr=LR)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(120):
            still(model, second)
    (warning,) = [w for w in caught if "steps no more" in str(w.message)]
    assert "(Adam) trains the same weights; attach it to that one" in str(warning.message)
    assert decay.optimizer is first


def test_an_inner_loop_with_another_optimizer_is_none_that_replaced_it() -> None:
    model = pair()
    outer = SGD(model.parameters(), lr=LR)
    decay = lpwd.WeightDecay(outer, model, "wd", RATE)
    inner = SGD(model.parameters(), lr=LR)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(30):
            still(model, outer)
            for _ in range(5):
                still(model, inner)
    decay.remove()


def test_a_second_phase_with_a_decay_of_its_own_is_as_it_should_be() -> None:
    model = pair()
    first, second = (SGD(model.parameters(), lr=LR) for _ in range(2))
    decays = [lpwd.WeightDecay(first, model, "wd", RATE)]
    still(model, first)
    decays.append(lpwd.WeightDecay(second, model, "wd", RATE))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [still(model, second) for _ in range(120)] == pytest.approx([1 - LR * RATE] * 120)


@pytest.mark.parametrize("key", ["weight_decay", "lambd", "wd", "weight_decay_1d"])
def test_a_decay_of_the_optimizers_own_is_refused_whatever_its_name(key: str) -> None:
    model = pair()
    optimizer = SGD([{"params": list(model.parameters()), key: 0.1}], lr=LR)
    with pytest.raises(ValueError, match=rf"SGD already decays \({key}=0.1\)"):
        lpwd.WeightDecay(optimizer, model, "wd", RATE)
    optimizer.param_groups[0][key] = 0
    lpwd.WeightDecay(optimizer, model, "wd", RATE)


class Inside(SGD):
    """Leaves the biases to an optimizer within it, as those do that step matrices otherwise."""

    def __init__(self, params: Any, lr: float, weight_decay: float) -> None:
        params = list(params)
        super().__init__(params, lr=lr)
        biases = [p for p in params if p.ndim < 2]
        self.inner = AdamW(biases, lr=lr, weight_decay=weight_decay)

    def step(self, closure: Any = None) -> Any:
        self.inner.step()


@pytest.mark.parametrize(("own", "said"), [(0.01, 1), (0.0, 0)])
def test_the_own_decay_of_an_optimizer_within_another_is_said_once(own: float, said: int) -> None:
    model = pair()
    optimizer = Inside(model.parameters(), LR, own)
    decay = lpwd.WeightDecay(optimizer, model, "wd", RATE)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            still(model, optimizer)
    texts = [str(w.message) for w in caught]
    assert len([t for t in texts if t.startswith("AdamW decays weights that wd of Inside")]) == said
    assert decay.optimizer is optimizer


class Averaging(SGD):
    """Keeps an average of the weights that no step reads."""

    def step(self, closure: Any = None) -> Any:
        super().step(closure)
        for p in self.param_groups[0]["params"]:
            self.state[p].setdefault("ema", p.detach().clone()).lerp_(p.detach(), 0.01)


@pytest.mark.parametrize("method", DECAYS)
def test_an_average_of_the_weights_in_the_state_is_no_copy_that_is_written_back(
    method: str,
) -> None:
    model = pair()
    optimizer = Averaging(model.parameters(), lr=LR)
    lpwd.WeightDecay(optimizer, model, method, RATE)
    for _ in range(2):
        still(model, optimizer)


def test_a_class_of_ones_own_may_have_attributes_of_its_own() -> None:
    class Logged(lpwd.WeightDecay):
        def __init__(self, *args: Any, log: list[str], **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.log = log

    model = pair()
    decay = Logged(SGD(model.parameters(), lr=LR), model, "wd", RATE, log=["a"])
    assert decay.log == ["a"]


def test_an_lr_of_none_is_named() -> None:
    model = pair()
    optimizer = SGD(model.parameters(), lr=LR)
    optimizer.param_groups[0]["lr"] = None
    with pytest.raises(ValueError, match="lr=None must be a finite number"):
        lpwd.WeightDecay(optimizer, model, "wd", RATE)


# -- exclusion ------------------------------------------------------------------------------------


class LlamaRMSNorm(nn.Module):
    """Not torch's, and not a subclass of it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(5))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        ((), {"0.weight", "0.bias", "1.weight", "2.weight", "2.bias"}),
        ("norm", {"0.weight", "0.bias", "2.weight", "2.bias"}),
        (["norm", "bias"], {"0.weight", "2.weight"}),
        ("1d", {"0.weight", "2.weight"}),
        ("2", {"0.weight", "0.bias", "1.weight"}),
        (["2.weight", "bias"], {"0.weight", "1.weight"}),
        (lambda name, p: p.numel() > 5, {"0.bias", "1.weight", "2.bias"}),
    ],
)
@pytest.mark.parametrize("method", ["wd", "l2", "lpwd"])
def test_what_people_exclude(method: str, exclude: Any, left: set[str]) -> None:
    model = nn.Sequential(nn.Linear(3, 5), LlamaRMSNorm(), nn.Linear(5, 2))
    optimizer = SGD(model.parameters(), lr=LR)
    decay = lpwd.WeightDecay(optimizer, model, method, RATE, exclude=exclude)
    assert {name for name, rate in decay.rates.items() if rate} == left
    assert decay.layer_count == 3  # n stays
    before = weights(model)
    (model(torch.ones(1, 3)).sum() * 0).backward()  # zeros: only the decay moves the weights
    optimizer.step()
    assert {n for n, w in weights(model).items() if not torch.equal(w, before[n])} == left


def test_biases_of_attention_and_recurrent_layers_are_biases() -> None:
    model = nn.ModuleList([nn.MultiheadAttention(4, 2), nn.LSTM(4, 4)])
    decay = lpwd.WeightDecay(SGD(model.parameters()), model, "wd", 0.5, exclude=["bias"])
    assert {name for name, rate in decay.rates.items() if rate} == {
        *("0.in_proj_weight", "0.out_proj.weight", "1.weight_ih_l0", "1.weight_hh_l0")
    }


def test_a_name_that_no_parameter_has_is_refused_with_the_nearest() -> None:
    model = pair()
    with pytest.raises(ValueError, match=r"exclude='0.wieght' is unknown; did you mean '0.weight'"):
        lpwd.WeightDecay(SGD(model.parameters(), lr=LR), model, "wd", RATE, exclude="0.wieght")


# -- what a step is not ---------------------------------------------------------------------------


class Sharpness(Optimizer):
    """SAM: a step at the worst weights nearby, taken from the weights that were."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {})
        self.base_optimizer = SGD(self.param_groups, lr=lr)
        self.param_groups = self.base_optimizer.param_groups

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        params = [p for group in self.param_groups for p in group["params"]]
        before = [p.clone() for p in params]
        torch._foreach_add_(params, [p.grad for p in params], alpha=0.05)
        with torch.enable_grad():
            closure()
        for p, old in zip(params, before, strict=True):
            p.data = old
        self.base_optimizer.step()


@pytest.mark.parametrize("method", DECAYS)
def test_sam_is_decayed_at_the_weights_that_its_step_starts_from(method: str) -> None:
    model = pair()
    optimizer = Sharpness(model.parameters(), lr=LR)
    decay = lpwd.WeightDecay(optimizer, model, method, RATE, profile="uniform")
    assert decay.optimizer is optimizer.base_optimizer

    def closure() -> None:
        optimizer.zero_grad()
        (model(torch.zeros(1, 2, dtype=torch.float64)).sum() * 0).backward()

    for _ in range(2):
        before = weights(model)
        closure()
        optimizer.step(closure)
        assert_close(weights(model), {name: ONCE * w for name, w in before.items()})


@pytest.mark.parametrize("method", METHODS)
def test_freezing_reaches_a_compiled_step(method: str) -> None:
    """Its graph would keep what was frozen as it was traced."""

    def trajectory(compiled: bool) -> list[dict[str, Tensor]]:
        torch.compiler.reset()
        model = pair()
        optimizer = Adam(model.parameters(), lr=LR)
        lpwd.WeightDecay(optimizer, model, method, RATE)
        step: Any = torch.compile(optimizer.step, backend="eager") if compiled else optimizer.step
        seen = []
        for frozen in (False, True, True, False):
            model[0].weight.requires_grad_(not frozen)
            optimizer.zero_grad()
            model(torch.ones(1, 2, dtype=torch.float64)).square().sum().backward()
            step()
            seen.append(weights(model))
        return seen

    for compiled, plain in zip(trajectory(True), trajectory(False), strict=True):
        assert_close(compiled, plain, atol=1e-5)  # compiled, torch's Adam rounds as float32 does


@pytest.mark.parametrize("lr", [LR, torch.tensor(LR)], ids=["number", "tensor"])
@pytest.mark.parametrize("coupled", [True, False])
@pytest.mark.parametrize("method", DECAYS)
def test_making_the_state_for_a_checkpoint_decays_nothing(
    method: str, coupled: bool, lr: Any
) -> None:
    """torch.distributed.checkpoint makes it by a step with an lr of 0."""
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

    model = pair()
    optimizer = Adam(model.parameters(), lr=lr)
    lpwd.WeightDecay(optimizer, model, method, RATE, coupled=coupled)
    before = weights(model)
    get_optimizer_state_dict(model, optimizer)
    assert_close(weights(model), before)


@pytest.mark.parametrize("method", ["pwd", "lpwd"])
def test_a_rate_that_rises_from_zero_after_the_forward_pass(method: str) -> None:
    model = pair()
    optimizer = SGD(model.parameters(), lr=LR)
    decay = lpwd.WeightDecay(optimizer, model, method, 0.0, profile="uniform")
    before = weights(model)
    (model(torch.zeros(1, 2, dtype=torch.float64)).sum() * 0).backward()
    decay.rate = RATE  # as in a hook of the step
    optimizer.step()
    assert_close(weights(model), before)
    assert still(model, optimizer) == pytest.approx(ONCE)


def test_a_rate_that_is_too_large_in_one_group_decays_none() -> None:
    model = pair()
    groups = [{"params": layer.parameters()} for layer in model]
    optimizer = SGD(groups, lr=LR)
    lpwd.WeightDecay(optimizer, model, "pwd", RATE)
    before = weights(model)
    optimizer.param_groups[1]["lr"] = 10.0
    with pytest.raises(ValueError, match="would flip the signs"):
        model(torch.zeros(1, 2, dtype=torch.float64))
    assert_close(weights(model), before)
    optimizer.param_groups[1]["lr"] = LR
    assert still(model, optimizer) == pytest.approx(ONCE)


class Averaged(SGD):
    """Not torch's: it counts its steps in tensors, and takes the loss."""

    def step(self, loss: float) -> float:
        super().step()
        for p in self.param_groups[0]["params"]:
            self.state[p]["step"] = self.state[p].get("step", torch.tensor(0.0)) + 1
        return float(loss)


def test_a_step_that_takes_the_loss_and_counts_in_tensors() -> None:
    """Its count is 1 where a scalar weight is 1, and the lr of a warm-up is 0."""
    model = pair()
    model.register_parameter("gain", nn.Parameter(torch.tensor(1.0, dtype=torch.float64)))
    optimizer = Averaged(model.parameters(), lr=0.0)
    lpwd.WeightDecay(optimizer, model, "wd", RATE)
    for lr in (0.0, LR, LR):
        optimizer.param_groups[0]["lr"] = lr
        before = model[0].weight[0, 0].item()
        (model(torch.zeros(1, 2, dtype=torch.float64)).sum() * 0).backward()
        assert optimizer.step(1.5) == 1.5
        assert model[0].weight[0, 0].item() == pytest.approx(before * (1 - lr * RATE))


def test_a_tensor_lr_loses_nothing_where_types_are_mixed() -> None:
    model = nn.Sequential(nn.Linear(2, 2).bfloat16(), nn.Linear(2, 2))
    optimizer = SGD(model.parameters(), lr=torch.tensor(0.13))
    lpwd.WeightDecay(optimizer, model, "wd", 1.0)
    before = model[1].weight.detach().clone()
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    torch.testing.assert_close(model[1].weight.detach(), before * 0.87, rtol=1e-6, atol=0)


class ChannelNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, 4, 1, 1))


def test_norms_over_several_dimensions_are_norms() -> None:
    model = nn.ModuleList([nn.LayerNorm((4, 8, 8)), ChannelNorm(), nn.RMSNorm((3, 2))])
    model.append(nn.Linear(2, 2))
    decay = lpwd.WeightDecay(SGD(model.parameters()), model, "wd", 0.5, exclude="norm")
    assert {name for name, rate in decay.rates.items() if rate} == {"3.weight", "3.bias"}


@pytest.mark.parametrize("method", ["wd", "rwd", "l2", "cwd"])
def test_a_compiled_step_of_a_class_that_calls_super_decays_once(method: str) -> None:
    torch.optim.SGD([nn.Parameter(torch.zeros(1))])  # its step has hooks from now on
    model = nn.Linear(4, 4, bias=False).double()
    optimizer = Logged(model.parameters(), lr=0.1)
    lpwd.WeightDecay(optimizer, model, method, rate=0.5)
    before = model.weight.detach().clone()
    step = torch.compile(optimizer.step, backend="eager")
    for times in (1, 2):
        model.zero_grad()
        (model(torch.ones(2, 4).double()) * 0).sum().backward()
        step()
        assert_close(model.weight.detach(), before * 0.95**times)


@pytest.mark.filterwarnings("ignore:1 parameters in groups of SGD")
def test_a_checkpoint_from_within_a_closure_leaves_the_optimizers_own_decay_off() -> None:
    model = nn.Linear(3, 3).double()
    groups = [
        {"params": [model.weight], "weight_decay": 0.5},
        {"params": [model.bias], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    lpwd.WeightDecay(optimizer, model, "wd", rate=0.5)
    before = model.weight.detach().clone()

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (model(torch.ones(2, 3).double()) * 0).sum()
        loss.backward()
        assert optimizer.state_dict()["param_groups"][0]["weight_decay"] == 0.5
        return loss

    optimizer.step(closure)  # pyright: ignore[reportArgumentType]
    assert_close(model.weight.detach(), before * 0.95)
    assert optimizer.param_groups[0]["weight_decay"] == 0.5


@pytest.mark.parametrize("method", ["pwd", "lpwd"])
def test_a_first_forward_pass_inside_backward_is_refused(method: str) -> None:
    """The output was of weights without the decay: adjoint ODEs, checkpointing of others."""

    class Adjoint(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, model: Any, x: Tensor, *weights: Tensor) -> Any:
            ctx.model, ctx.weights = model, weights
            ctx.save_for_backward(x)
            return model(x)

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            x = ctx.saved_tensors[0].detach().requires_grad_()
            with torch.enable_grad():
                found = torch.autograd.grad(ctx.model(x), (x, *ctx.weights), grads[0])
            return None, *found

    model = nn.Linear(4, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    decay = lpwd.WeightDecay(optimizer, model, method, rate=1.0)
    x = torch.ones(2, 4)
    before = model.weight.detach().clone()
    out = cast(Tensor, Adjoint.apply(model, x, *model.parameters()))
    with pytest.raises(RuntimeError, match="before_forward"):
        out.sum().backward()
    assert torch.equal(model.weight, before)
    decay.before_forward()
    cast(Tensor, Adjoint.apply(model, x, *model.parameters())).sum().backward()
    optimizer.step()


def test_a_checkpoint_in_mid_step_goes_on_from_a_rate_that_was_built_as_zero() -> None:
    def built() -> tuple[nn.Module, torch.optim.Optimizer, lpwd.WeightDecay]:
        model = nn.Linear(3, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        return model, optimizer, lpwd.WeightDecay(optimizer, model, "pwd", rate=0.0)

    saved, resumed = built(), built()
    saved[2].rate = 0.5
    saved[0](torch.ones(2, 3)).sum().backward()  # amid an accumulation
    for one, other in zip(resumed, saved, strict=True):
        one.load_state_dict(copy.deepcopy(other.state_dict()))
    resumed[2].rate = 0.5
    for model, _, _ in (saved, resumed):
        model(torch.ones(2, 3))
    assert torch.equal(cast(nn.Linear, resumed[0]).weight, cast(nn.Linear, saved[0]).weight)
