"""The traps that a decay by hooks can fall into (and the ways of training that set them)."""

import copy
import io
import pickle
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from small import (
    DECAYS,
    METHODS,
    OPTIMIZERS,
    Still,
    Weights,
    assert_close,
    assert_same,
    attached,
    data,
    decayed,
    mlp,
    train,
    trained,
    weights,
)
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import LBFGS, SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import OneCycleLR

import lpwd

PRE = ("pwd", "lpwd")
X = data(0)[0]


def still(
    method: str, rate: float = 0.5, **kwargs: Any
) -> tuple[nn.Module, Optimizer, lpwd.WeightDecay]:
    """`mlp` under an optimizer that does nothing: the decay alone moves the weights."""
    model = mlp()
    optimizer = Still(model.parameters(), lr=0.1)
    return model, optimizer, lpwd.WeightDecay(optimizer, model, method, rate, **kwargs)


def assert_decayed(method: str, model: nn.Module, expected: Weights) -> None:
    """Bit for bit; cwd subtracts what the others multiply, so to rounding."""
    atol = 1e-6 if method.startswith("cwd") else 0
    torch.testing.assert_close(weights(model), expected, rtol=0, atol=atol)


# -- one decay for each step ----------------------------------------------------------------------


@pytest.mark.parametrize("method", DECAYS)
def test_accumulated_forward_passes_make_one_decay_a_step(method: str) -> None:
    model, optimizer, decay = still(method)
    start = weights(model)
    for _ in range(3):
        for _ in range(4):
            model(X).sum().backward()
        optimizer.step()
    assert_decayed(method, model, decayed(start, decay, [0.1] * 3))


@pytest.mark.parametrize("method", METHODS)
def test_accumulation_equals_the_whole_batch(method: str) -> None:
    whole = trained(method, "sgdm")
    model = mlp()
    optimizer = OPTIMIZERS["sgdm"](model.parameters(), lr=0.1)
    lpwd.WeightDecay(optimizer, model, method, 0.5)
    for step in range(4):
        x, y = data(step)
        for part in (slice(4), slice(4, 8)):
            (cross_entropy(model(x[part]), y[part]) / 2).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert_close(weights(model), whole[-1])


@pytest.mark.parametrize("method", DECAYS)
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, None])
def test_no_decay_in_eval_or_without_gradients(
    method: str, context: Callable[[], AbstractContextManager] | None
) -> None:
    model, _, _ = still(method)
    start = weights(model)
    if context is None:
        model.eval()
        model(X)
    else:
        with context():
            model(X)
    assert_same(weights(model), start)


@pytest.mark.parametrize("method", METHODS)
def test_evaluation_in_between_changes_nothing(method: str) -> None:
    model, optimizer, _ = attached(method)
    for step, expected in enumerate(trained(method)):
        model.eval()
        model(X)
        model.train()
        with torch.no_grad():
            model(X)
        assert_same(train(model, optimizer, [step]), [expected])


# -- the current η --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", DECAYS)
def test_a_schedule_decays_by_the_current_lr(method: str) -> None:
    model, optimizer, decay = still(method)
    start = weights(model)
    scheduler = OneCycleLR(optimizer, max_lr=0.4, total_steps=8, cycle_momentum=False)
    lrs = []
    for _ in range(8):
        model(X)
        lrs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
        assert_close(weights(model), decayed(start, decay, lrs), 1e-15)
    assert len(set(lrs)) > 5


def test_wd_under_a_schedule_is_adamw_under_it() -> None:
    trajectories = []
    for cls, kwargs in ((Adam, {}), (AdamW, {"weight_decay": 0.5})):
        model = mlp()
        optimizer = cls(model.parameters(), lr=0.1, **kwargs)
        if cls is Adam:
            lpwd.WeightDecay(optimizer, model, "wd", 0.5)
        scheduler = OneCycleLR(optimizer, max_lr=0.1, total_steps=6)  # turns β_1, too
        steps = []
        for step in range(6):
            steps += train(model, optimizer, [step])
            scheduler.step()
        trajectories.append(steps)
    assert_close(*trajectories, 1e-15)


@pytest.mark.parametrize("method", DECAYS)
def test_each_group_decays_by_its_own_lr(method: str) -> None:
    model = mlp()
    start = weights(model)
    groups = [{"params": model[:3].parameters(), "lr": 0.01}, {"params": model[3:].parameters()}]
    optimizer = Still(groups, lr=0.2)
    decay = lpwd.WeightDecay(optimizer, model, method, 0.5)
    model(X)
    optimizer.step()
    left = {n: 1 - (0.01 if n[0] in "02" else 0.2) * rate for n, rate in decay.rates.items()}
    assert_decayed(method, model, {name: w * left[name] for name, w in start.items()})


@pytest.mark.parametrize("method", DECAYS)
def test_an_lr_that_grows_too_large_is_refused_each_time(method: str) -> None:
    model, optimizer, _ = still(method)
    optimizer.param_groups[0]["lr"] = 5.0

    def step() -> None:
        model(X)
        optimizer.step()

    for _ in range(2):
        with pytest.raises(ValueError, match=r"ηλ_i = .* > 1 .*lower the lr or the rate"):
            step()


# -- lr as a tensor (capturable optimizers) -------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "fused", "with targets"])
@pytest.mark.parametrize("method", METHODS)
def test_a_tensor_lr_equals_a_number(method: str, kind: str) -> None:
    trajectories = []
    for lr in (0.1, torch.tensor(0.1, dtype=torch.float64)):
        model = mlp()
        aims = {name: p + 1 for name, p in model.state_dict().items()}
        kwargs = {"profile": "linear", "towards": aims} if kind == "with targets" else {}
        optimizer = Adam(model.parameters(), lr=lr, fused=kind == "fused")
        lpwd.WeightDecay(optimizer, model, method, 0.5, **kwargs)
        steps = train(model, optimizer, range(2))
        if isinstance(lr, Tensor):
            lr.mul_(0.5)  # in place, as a scheduler does it
        else:
            optimizer.param_groups[0]["lr"] = 0.05
        trajectories.append(steps + train(model, optimizer, range(2, 4)))
    assert_close(*trajectories, 1e-14)


@pytest.mark.parametrize("method", DECAYS)
def test_half_precision_weights_beside_full_ones(method: str) -> None:
    for lr in (0.1, torch.tensor(0.1)):
        model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).bfloat16())
        optimizer = Still(model.parameters(), lr=lr)
        decay = lpwd.WeightDecay(optimizer, model, method, 0.5)
        opposing = lpwd.OpposingRate(decay)
        start = weights(model)
        decay.before_forward()
        optimizer.step()
        assert_close(weights(model), decayed(start, decay, [0.1]), 1e-2)
        assert {p.dtype for p in model.parameters()} == {torch.float32, torch.bfloat16}
        assert opposing.compute().share == 0


# -- closures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("keyword", [False, True])
@pytest.mark.parametrize("optimizer", ["sgdm", "adam"])
@pytest.mark.parametrize("method", METHODS)
def test_a_closure_equals_the_plain_loop(method: str, optimizer: str, keyword: bool) -> None:
    """Its backward() runs after the pre-hook: WD and L2 must act inside."""
    model, opt, _ = attached(method, optimizer)
    for step, expected in enumerate(trained(method, optimizer)):
        x, y = data(step)

        def closure(x: Tensor = x, y: Tensor = y) -> Tensor:
            opt.zero_grad()
            loss = cross_entropy(model(x), y)
            loss.backward()
            return loss

        loss = opt.step(closure=closure) if keyword else opt.step(closure)
        assert loss.item() > 0
        assert_same(weights(model), expected)


@pytest.mark.parametrize("search", [None, "strong_wolfe"])
@pytest.mark.parametrize("method", ["wd", "rwd", "pwd"])
def test_lbfgs_evaluates_often_and_decays_once(method: str, search: str | None) -> None:
    def run(by_hand: bool) -> tuple[Weights, int]:
        model = mlp()
        optimizer = LBFGS(model.parameters(), lr=0.5, max_iter=5, line_search_fn=search)
        if not by_hand:
            lpwd.WeightDecay(optimizer, model, method, 0.2)
        calls = 0

        @torch.no_grad()
        def decay(now: bool) -> None:
            for p in model.parameters() if by_hand and now else ():
                p *= 1 - 0.5 * 0.2

        def closure() -> Tensor:
            nonlocal calls
            optimizer.zero_grad()
            loss = cross_entropy(model(data(0)[0]), data(0)[1])
            loss.backward()
            calls += 1
            decay(now=method == "wd" and calls == 1)
            return loss

        decay(now=method == "pwd")
        optimizer.step(closure)
        decay(now=method == "rwd")
        return weights(model), calls

    (hooked, calls), (by_hand, _) = run(False), run(True)
    assert calls > 2
    assert_same(hooked, by_hand)


# -- GradScaler -----------------------------------------------------------------------------------

SCALED: dict[str, Callable[[Any], Optimizer]] = {
    "adam": lambda params: Adam(params, lr=0.1),
    "adam-fused": lambda params: Adam(params, lr=0.1, fused=True),
    "sgdm": lambda params: SGD(params, lr=0.1, momentum=0.9),
    "sgdm-fused": lambda params: SGD(params, lr=0.1, momentum=0.9, fused=True),
}


def scaled(
    method: str, optimizer: str, overflow: set[int], unscale: bool = False
) -> tuple[list[Weights], lpwd.WeightDecay]:
    """Steps 0…3 with loss scaling; those in `overflow` are tried once more."""
    model = mlp(dtype=torch.float32)
    opt = SCALED[optimizer](model.parameters())
    decay = lpwd.WeightDecay(opt, model, method, 0.5)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    trajectory = []
    for step in sorted([*range(4), *overflow]):
        x, y = data(step, torch.float32)
        scaler.scale(cross_entropy(model(x), y)).backward()
        skipped = step in overflow
        if skipped:
            model[0].weight.grad[0, 0] = torch.inf
            overflow = overflow - {step}
        if unscale:
            scaler.unscale_(opt)
        before = weights(model)
        scaler.step(opt)
        scaler.update()
        opt.zero_grad()
        if skipped:
            assert_same(weights(model), before)
        else:
            trajectory.append(weights(model))
    return trajectory, decay


def unscaled(method: str, optimizer: str) -> list[Weights]:
    model = mlp(dtype=torch.float32)
    opt = SCALED[optimizer](model.parameters())
    lpwd.WeightDecay(opt, model, method, 0.5)
    return train(model, opt, batch=lambda step: data(step, torch.float32))


@pytest.mark.parametrize("unscale", [False, True])
@pytest.mark.parametrize("optimizer", SCALED)
@pytest.mark.parametrize("method", METHODS)
def test_scaled_training_equals_unscaled(method: str, optimizer: str, unscale: bool) -> None:
    assert_close(scaled(method, optimizer, set(), unscale)[0], unscaled(method, optimizer), 1e-6)


@pytest.mark.parametrize("optimizer", SCALED)
@pytest.mark.parametrize("method", METHODS)
def test_an_overflow_changes_nothing_and_does_not_rearm_pwd(method: str, optimizer: str) -> None:
    # torch's own fused SGD leaves its momentum uninitialised if the very first step overflows.
    overflow = {2} if optimizer == "sgdm-fused" else {0, 2}
    trajectory, decay = scaled(method, optimizer, overflow)
    assert_close(trajectory, unscaled(method, optimizer), 1e-6)
    assert decay.state_dict() == {"due": 1.0}


def test_the_decay_of_a_skipped_step_travels_in_the_state_dict() -> None:
    model = mlp(dtype=torch.float32)
    optimizer = Adam(model.parameters(), lr=0.1, fused=True)
    decay = lpwd.WeightDecay(optimizer, model, "pwd", 0.5)
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(model(X.float()).sum()).backward()
    model[0].bias.grad.fill_(torch.inf)
    scaler.step(optimizer)
    assert decay.state_dict() == {"due": 0.0}
    before = weights(model)
    model(X.float())
    assert_same(weights(model), before)


def test_overflow_on_two_devices_is_no_growth() -> None:
    """GradScaler adds up the devices' flags: found_inf may be 2."""
    model, optimizer, _ = still("wd")
    optimizer.found_inf = torch.tensor(2.0)
    before = weights(model)
    optimizer.step()
    assert_same(weights(model), before)


# -- checkpoints ----------------------------------------------------------------------------------


@pytest.mark.parametrize("middle", [False, True], ids=["between-steps", "mid-accumulation"])
@pytest.mark.parametrize("method", METHODS)
def test_a_resumed_run_equals_an_uninterrupted_one(
    method: str, middle: bool, tmp_path: Path
) -> None:
    def start() -> tuple[nn.Module, Optimizer, lpwd.WeightDecay]:
        model = mlp()
        optimizer = Adam(model.parameters(), lr=0.1)
        return model, optimizer, lpwd.WeightDecay(optimizer, model, method, 0.5)

    def passes(run: tuple[nn.Module, Optimizer, lpwd.WeightDecay], which: range) -> None:
        model, optimizer, _ = run
        for i in which:
            x, y = data(i)
            cross_entropy(model(x), y).backward()
            if i % 2:
                optimizer.step()
                optimizer.zero_grad()

    stop = 5 if middle else 6
    whole = start()
    passes(whole, range(10))

    first = start()
    passes(first, range(stop))
    states = {"parts": [part.state_dict() for part in first]}
    torch.save({**states, "grads": [p.grad for p in first[0].parameters()]}, tmp_path / "saved")
    second = start()
    saved = torch.load(tmp_path / "saved", weights_only=True)
    for part, state in zip(second, saved["parts"], strict=True):
        part.load_state_dict(state)
    for p, grad in zip(second[0].parameters(), saved["grads"], strict=True):
        p.grad = grad
    passes(second, range(stop, 10))
    assert_same(weights(second[0]), weights(whole[0]))


@pytest.mark.parametrize("method", METHODS)
def test_a_loaded_weight_decay_of_the_optimizers_own_is_refused(method: str) -> None:
    model, optimizer, _ = attached(method)
    stale = Adam(mlp().parameters(), lr=0.1, weight_decay=0.01)
    optimizer.load_state_dict(stale.state_dict())
    cross_entropy(model(X), data(0)[1]).backward()
    before = weights(model)
    with pytest.raises(ValueError, match=r"already decays \(weight_decay=0.01\)"):
        optimizer.step()
    assert_same(weights(model), before)


# -- torch.compile --------------------------------------------------------------------------------

Compile = Callable[..., Any]


def compiled_training(method: str, attach_to: str, **kwargs: Any) -> list[Weights]:
    torch.compiler.reset()
    model = mlp()
    optimizer = Adam(model.parameters(), lr=0.1)
    if attach_to == "compiled":
        compiled = torch.compile(model, **kwargs)
        lpwd.WeightDecay(optimizer, compiled, method, 0.5)
    elif attach_to == "model, then compile":
        lpwd.WeightDecay(optimizer, model, method, 0.5)
        compiled = torch.compile(model, **kwargs)
    elif attach_to == "model, compiled before":
        compiled = torch.compile(model, **kwargs)
        lpwd.WeightDecay(optimizer, model, method, 0.5)
    else:
        model.compile(**kwargs)
        lpwd.WeightDecay(optimizer, model, method, 0.5)
        compiled = model
    steps = []
    for step in range(4):
        x, y = data(step)
        compiled.eval()
        compiled(x)
        compiled.train()
        cross_entropy(compiled(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()
        steps.append(weights(model))
    return steps


@pytest.mark.parametrize(
    "attach_to",
    ["compiled", "model, then compile", "model, compiled before", "compiled in place"],
)
@pytest.mark.parametrize("method", ["l2", "wd", "rwd", "lpwd"])
def test_a_compiled_model_trains_as_an_uncompiled_one(method: str, attach_to: str) -> None:
    assert_close(compiled_training(method, attach_to, backend="eager"), trained(method))


@pytest.mark.parametrize("attach_to", ["compiled", "model, then compile"])
def test_a_compiled_backward_pass_sees_the_decayed_weights(attach_to: str) -> None:
    assert_close(compiled_training("lpwd", attach_to, backend="aot_eager"), trained("lpwd"))


def test_fullgraph_takes_the_compiled_model() -> None:
    kwargs = {"backend": "eager", "fullgraph": True}
    assert_close(compiled_training("pwd", "compiled", **kwargs), trained("pwd"))
    for method in ("l2", "wd", "rwd"):  # they have no hook in the forward pass
        trajectory = compiled_training(method, "model, then compile", **kwargs)
        assert_close(trajectory, trained(method))
    with pytest.raises(Exception, match=r"torch\.compiler\.disable"):  # loud, if not kind
        compiled_training("pwd", "model, then compile", **kwargs)


def test_a_hook_added_to_a_graph_that_has_run_is_not_silently_off() -> None:
    """torch does not look for new hooks in a model that it has compiled and run before."""
    torch.compiler.reset()
    model = mlp()
    compiled = torch.compile(model, backend="eager")
    compiled(X)
    optimizer = Adam(model.parameters(), lr=0.1)
    lpwd.WeightDecay(optimizer, model, "pwd", 0.5)
    cross_entropy(compiled(X), data(0)[1]).backward()
    with pytest.raises(RuntimeError, match="no training forward pass"):
        optimizer.step()


@pytest.mark.parametrize(
    ("method", "make"), [*((method, SGD) for method in METHODS), ("wd", Adam), ("lpwd", AdamW)]
)
def test_a_compiled_optimizer_step_decays(method: str, make: Any) -> None:
    def run(backend: str | None) -> list[Weights]:
        torch.compiler.reset()
        model = mlp()
        optimizer = make(model.parameters(), lr=0.1, weight_decay=0.0)
        lpwd.WeightDecay(optimizer, model, method, 0.5)
        step = torch.compile(optimizer.step, backend=backend) if backend else optimizer.step
        trajectory = []
        for i in range(4):
            optimizer.param_groups[0]["lr"] = 0.1 if i < 2 else 0.05
            x, y = data(i)
            cross_entropy(model(x), y).backward()
            step()
            optimizer.zero_grad()
            trajectory.append(weights(model))
        return trajectory

    # torch compiles Adam's step as if capturable: its step count is in float32.
    assert_close(run("eager"), run(None), 1e-12 if make is SGD else 1e-4)


# -- a forward pass that never reaches the hook ---------------------------------------------------


@pytest.mark.parametrize("method", PRE)
@pytest.mark.parametrize(
    "forward",
    [
        lambda model: model.forward(X),
        lambda model: model[4](model[3](model[:3](X))),
        lambda model: nn.Sequential(*model)(X),
        lambda model: copy.deepcopy(model)(X),
        lambda model: model.eval()(X),
    ],
    ids=["forward()", "parts", "inside-another", "a-copy", "eval"],
)
def test_a_forward_past_the_hook_raises_with_the_mend(
    method: str, forward: Callable[[Any], Tensor]
) -> None:
    model, optimizer, _ = attached(method, "sgd")
    train(model, optimizer, [0])
    before = weights(model)
    forward(model).sum().backward()
    with pytest.raises(RuntimeError, match=r"call model\(x\) in train\(\) mode .*before_forward"):
        optimizer.step()
    assert_same(weights(model), before)


@pytest.mark.parametrize("method", METHODS)
def test_before_forward_is_the_mend_where_one_is_needed(method: str) -> None:
    model, optimizer, decay = attached(method)
    assert bool(model._forward_pre_hooks) == (method in PRE)
    for step, expected in enumerate(trained(method)):
        x, y = data(step)
        for _ in range(2 if method in PRE else step % 2):  # decays once for each step
            decay.before_forward()
        cross_entropy(model.forward(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()
        assert_same(weights(model), expected)


# -- parameters -----------------------------------------------------------------------------------


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.head = nn.Linear(3, 5)
        self.head.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.embed(x))


@pytest.mark.filterwarnings("ignore:optimizer contains a parameter group with duplicate")
@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("method", DECAYS)
def test_tied_parameters_decay_once_though_they_be_listed_twice(method: str, twice: bool) -> None:
    model = Tied()
    start = weights(model)
    listed = [model.embed.weight, model.head.weight, model.head.bias]
    optimizer = Still(listed if twice else model.parameters())
    decay = lpwd.WeightDecay(optimizer, model, method, 0.5)
    assert list(decay.rates) == ["embed.weight", "head.bias"]
    model(torch.tensor([1, 2]))
    optimizer.step()
    assert_decayed(method, model, decayed(start, decay, [0.1]))


@pytest.mark.parametrize("method", [*DECAYS, "l2"])
def test_frozen_parameters_are_not_decayed_until_they_are_unfrozen(method: str) -> None:
    model = mlp()
    model[0].requires_grad_(False)  # frozen when the decay is attached
    optimizer = SGD(model.parameters(), lr=0.1)
    decay = lpwd.WeightDecay(optimizer, model, method, 0.5)

    def step() -> set[str]:
        before = weights(model)
        (model(X).sum() * 0).backward()
        optimizer.step()
        optimizer.zero_grad()
        expected = decayed(before, decay, [0.1])
        assert_close(weights(model), expected, 1e-15)
        moved = {name for name, w in weights(model).items() if not torch.equal(w, before[name])}
        assert moved <= set(decay.rates)
        return {name[0] for name in moved}

    assert step() == {"2", "3", "4"}
    model[3].requires_grad_(False)  # frozen while training
    assert step() == {"2", "4"}
    model[0].requires_grad_(True)
    assert step() == {"0", "2", "4"}
    model[3].requires_grad_(True)
    assert step() == {"0", "2", "3", "4"}


def test_frozen_parameters_keep_their_layer() -> None:
    model = mlp()
    model[0].requires_grad_(False)
    decay = lpwd.WeightDecay(SGD(model[3:].parameters(), lr=0.1), model, "lpwd", 0.5)
    assert decay.layer_count == 4
    assert decay.rates["4.weight"] == 1.0
    assert decay.rates["3.weight"] == 0.75


@pytest.mark.parametrize(
    ("method", "expected"),
    [("wd", 0.95), ("rwd", 0.95), ("pwd", 0.95), ("l2", 1.0), ("baseline", 1.0)],
)
def test_parameters_without_a_gradient_decay_but_not_by_l2(method: str, expected: float) -> None:
    model = mlp()
    start = weights(model)
    optimizer = SGD(model.parameters(), lr=0.1)
    lpwd.WeightDecay(optimizer, model, method, 0.5)
    model(X)
    model[4](torch.zeros(1, 4, dtype=torch.float64)).sum().backward()
    optimizer.step()
    assert model[0].weight.grad is None
    assert_same(weights(model)["0.weight"], start["0.weight"] * expected)


@pytest.mark.parametrize("method", DECAYS)
def test_a_group_added_later_decays_by_its_own_lr(method: str) -> None:
    model = mlp()
    start = weights(model)
    optimizer = Still(model[:3].parameters(), lr=0.1)
    decay = lpwd.WeightDecay(optimizer, model, method, 0.5)
    model(X)
    optimizer.step()
    optimizer.add_param_group({"params": model[3:].parameters(), "lr": 0.3})
    assert list(decay.rates) == list(start)
    model(X)
    optimizer.step()
    rates = decay.rates
    left = {n: (1 - 0.1 * rates[n]) ** 2 if n[0] in "02" else 1 - 0.3 * rates[n] for n in start}
    assert_close(weights(model), {name: w * left[name] for name, w in start.items()}, 1e-15)


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ({"params": [nn.Parameter(torch.ones(7))]}, r"lacks 1 of .*\(7,\)"),
        ({"lr": 9.0}, "> 1"),
    ],
)
@pytest.mark.parametrize("method", DECAYS)
def test_a_wrong_group_added_later_is_refused(method: str, group: Any, message: str) -> None:
    model = mlp()
    optimizer = Still(model[:4].parameters())
    lpwd.WeightDecay(optimizer, model, method, 0.5)
    optimizer.add_param_group({"params": model[4].parameters(), **group})

    def step() -> None:
        model(X)
        optimizer.step()

    with pytest.raises(ValueError, match=message):
        step()


# -- removal, copies, wrappers --------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_remove_leaves_the_optimizer_alone(method: str) -> None:
    model, optimizer, decay = attached(method, "sgd")
    train(model, optimizer, range(2))
    decay.remove()
    decay.remove()
    alone = mlp()
    alone.load_state_dict(model.state_dict())
    plain = train(alone, SGD(alone.parameters(), lr=0.1), range(2, 4))
    assert_same(train(model, optimizer, range(2, 4)), plain)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("clone", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_of_the_optimizer_has_no_decay_as_torch_copies_no_hooks(
    method: str, clone: Callable[[Any], Any]
) -> None:
    model, optimizer, _ = attached(method)
    train(model, optimizer, [0])
    copied = clone(optimizer)
    assert not copied._optimizer_step_pre_hooks
    assert not copied._optimizer_step_post_hooks
    assert_same(train(model, optimizer, range(1, 4)), trained(method)[1:])


def saved(model: nn.Module) -> Any:
    buffer = io.BytesIO()
    torch.save(model, buffer)
    return torch.load(io.BytesIO(buffer.getvalue()), weights_only=False)


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x)), saved])
@pytest.mark.parametrize("method", ["wd", "lpwd"])
def test_a_model_is_pickled_whole_without_its_decay(
    method: str, clone: Callable[[Any], Any]
) -> None:
    model = mlp()
    model.decay = lpwd.WeightDecay(Adam(model.parameters(), lr=0.1), model, method, 0.5)
    model(X)
    for copied in (clone(model), clone(clone(model))):
        before = weights(copied)
        assert_same(before, weights(model))
        assert copied.decay is None
        assert_same(copied(X), model(X))
        assert_same(weights(copied), before)
        optimizer = Adam(copied.parameters(), lr=0.1)
        lpwd.WeightDecay(optimizer, copied, method, 0.5)
        train(copied, optimizer)


def test_a_pickle_of_a_model_loads_without_this_library() -> None:
    model, _, _ = still("pwd")
    loads = (
        "import pickle, sys; sys.modules['lpwd'] = None;"
        "import torch; model = pickle.load(sys.stdin.buffer);"
        "model(torch.ones(1, 3).double())"
    )
    subprocess.run([sys.executable, "-c", loads], input=pickle.dumps(model), check=True)


@pytest.mark.parametrize("method", METHODS)
def test_an_average_of_the_model_neither_decays_nor_disturbs(method: str) -> None:
    from timm.utils import ModelEmaV3
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    model, optimizer, _ = attached(method)
    averages = (
        AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.5)),
        ModelEmaV3(model, decay=0.5),
    )
    expected = {name: w.clone() for name, w in averages[0].module.state_dict().items()}
    for step, trained_weights in enumerate(trained(method)):
        assert_same(train(model, optimizer, [step]), [trained_weights])
        averages[0].update_parameters(model)
        averages[1].update(model)
        for average in averages:
            before = weights(average.module)
            average.module.train()(X).sum().backward()
            assert_same(weights(average.module), before)
        for name, w in expected.items():
            w.lerp_(trained_weights[name], 0.5) if step else w.copy_(trained_weights[name])
        assert_close(weights(averages[0].module), expected)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("method", ["wd", "lpwd"])
def test_an_exported_model_has_no_decay(method: str, strict: bool) -> None:
    torch.compiler.reset()
    model, optimizer, _ = attached(method)
    before = weights(model)
    exported = torch.export.export(model, (X,), strict=strict)
    assert "_foreach" not in str(exported)
    assert_same(weights(model), before)
    assert_close(exported.module()(X), copy.deepcopy(model)(X))
    assert_same(train(model, optimizer), trained(method))


@pytest.mark.parametrize("method", METHODS)
def test_a_data_parallel_model(method: str) -> None:
    model = mlp()
    wrapped = nn.DataParallel(model)
    optimizer = Adam(wrapped.parameters(), lr=0.1)
    decay = lpwd.WeightDecay(optimizer, wrapped, method, 0.5)
    assert list(decay.rates) == list(weights(model))
    steps = [
        {n.removeprefix("module."): w for n, w in s.items()} for s in train(wrapped, optimizer)
    ]
    assert_same(steps, trained(method))


def test_layers_replaced_behind_the_optimizers_back_are_noticed() -> None:
    model, optimizer, _ = attached("wd", "sgd")
    model[0] = nn.Linear(3, 5).double()
    with pytest.raises(ValueError, match="or its layers are replaced"):
        optimizer.step()
