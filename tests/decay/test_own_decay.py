"""WD by the optimizer's own decay, where it has one that is Eq. 1: the same bits, in one pass."""

import copy
import warnings
from typing import Any

import pytest
import torch
from small import METHODS, assert_same, data, mlp, train, weights
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Adam, AdamW

import lpwd
from lpwd.decay import groups

NO_BIAS = {"exclude": "bias"}


class OwnPass(Adam):
    """Adam under another name: WD makes a pass of its own over the weights."""


def decayed(make: type[Adam], **kwargs: Any) -> tuple[torch.nn.Module, Adam, lpwd.WeightDecay]:
    model = mlp(dtype=torch.float32)
    weight_decay = kwargs.pop("weight_decay", 0.0)
    optimizer = make(model.parameters(), lr=0.01, weight_decay=weight_decay, **kwargs)
    return model, optimizer, lpwd.WeightDecay(optimizer, model, "wd", 0.3)


def multiplied(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the tensors that the decay multiplies itself."""
    counts: list[int] = []
    real = torch._foreach_mul_
    monkeypatch.setattr(
        torch, "_foreach_mul_", lambda params, by: (counts.append(len(params)), real(params, by))
    )
    return counts


@pytest.mark.parametrize("make", [Adam, AdamW])
@pytest.mark.parametrize("kind", ["fused", "foreach", "amsgrad", "maximize"])
def test_the_same_bits_without_a_pass(
    make: type[Adam], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, optimizer, _ = decayed(OwnPass, **{kind: True})
    expected = train(model, optimizer, batch=lambda step: data(step, torch.float32))
    model, optimizer, _ = decayed(make, **{kind: True})
    counts = multiplied(monkeypatch) if kind == "fused" else []
    found = train(model, optimizer, batch=lambda step: data(step, torch.float32))
    assert_same(found, expected)
    assert counts == []


def test_weights_without_a_gradient_are_decayed_too() -> None:
    model, optimizer, _ = decayed(Adam)
    before = weights(model)
    x, y = data(0, torch.float32)
    cross_entropy(model(x), y).backward()
    model[0].weight.grad = None
    optimizer.step()
    assert torch.equal(model[0].weight, before["0.weight"] * (1 - 0.01 * 0.3))


def test_a_frozen_weight_with_an_old_gradient_is_not_decayed() -> None:
    trajectories = []
    for make in (Adam, OwnPass):
        model, optimizer, _ = decayed(make)
        x, y = data(0, torch.float32)
        cross_entropy(model(x), y).backward()
        model[0].weight.requires_grad_(False)
        optimizer.step()
        trajectories.append(weights(model))
    assert_same(*trajectories)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"profile": "linear"},  # a call for each λ_i: not worth it for weights so few
        {"exclude": "bias"},
        {"coupled": False},
        {"towards": {"0.weight": torch.zeros(5, 3)}},
    ],
)
def test_other_decays_keep_their_own_pass(
    kwargs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = mlp()
    optimizer = Adam(model.parameters(), lr=0.01)
    lpwd.WeightDecay(optimizer, model, "wd", 0.3, **kwargs)
    counts = multiplied(monkeypatch)
    train(model, optimizer, steps=range(1))
    assert sum(counts) >= (4 if "exclude" in kwargs else 7)


# -- layer-wise: the groups split by λ_i, for the optimizer's eyes alone --------------------------


@pytest.mark.parametrize("kind", ["fused", "foreach", "amsgrad"])
@pytest.mark.parametrize("kwargs", [{"profile": "linear"}, {"profile": "geometric", **NO_BIAS}])
def test_layer_wise_wd_has_the_same_bits_without_a_pass(
    kind: str, kwargs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "WORTH_A_CALL", 0)
    trajectories, counts = [], []
    for make in (OwnPass, Adam):
        model = mlp(dtype=torch.float32)
        parts = [
            {"params": model[:3].parameters(), "lr": 0.02},
            {"params": model[3:].parameters()},
        ]
        optimizer = make(parts, lr=0.01, **{kind: True})
        lpwd.WeightDecay(optimizer, model, "wd", 0.3, **kwargs)
        model[3].bias.requires_grad_(False)
        counts = multiplied(monkeypatch) if make is Adam and kind == "fused" else []
        trajectories.append(train(model, optimizer, batch=lambda i: data(i, torch.float32)))
    assert_same(*trajectories)
    assert counts == []


@pytest.mark.filterwarnings("ignore:optimizer contains a parameter group with duplicate")
def test_a_parameter_listed_twice_decays_once() -> None:
    trajectories = []
    for make in (OwnPass, Adam):
        model = mlp()
        optimizer = make([*model.parameters(), model[0].weight], lr=0.01)
        lpwd.WeightDecay(optimizer, model, "wd", 0.3)
        trajectories.append(train(model, optimizer))
    assert_same(*trajectories)


def test_large_weights_are_worth_a_call_for_each_rate() -> None:
    def worth(size: int) -> list[bool]:
        model = torch.nn.Sequential(*(torch.nn.Linear(size, 1024) for _ in range(3)))
        optimizer = Adam(model.parameters())
        with warnings.catch_warnings(action="ignore"):  # no blocks
            decay = lpwd.WeightDecay(optimizer, model, "wd", 0.3, profile="linear")
        return [group.is_for_own_pass for _, group in decay._parameters.decayed()]

    assert (worth(64), worth(128)) == ([False], [True])


def test_nobody_but_the_optimizer_sees_what_is_lent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "WORTH_A_CALL", 0)
    model = mlp(dtype=torch.float32)
    optimizer = Adam(model.parameters(), lr=0.01)
    seen: list[Any] = []

    def look(optimizer: Any, *_: Any) -> None:
        seen.append(copy.deepcopy(optimizer.state_dict()["param_groups"]))

    for register in (optimizer.register_step_pre_hook, optimizer.register_step_post_hook):
        register(look)
    lpwd.WeightDecay(optimizer, model, "wd", 0.3, profile="linear")
    for register in (optimizer.register_step_pre_hook, optimizer.register_step_post_hook):
        register(look)
    own, of_each = optimizer.param_groups, copy.deepcopy(optimizer.state_dict()["param_groups"])
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 100)
    for i in range(2):
        train(model, optimizer, steps=[i], batch=lambda step: data(step, torch.float32))
        scheduler.step()
        assert optimizer.param_groups is own
    of_each[0]["initial_lr"] = 0.01
    assert seen == [of_each] * 8

    model[0].weight.grad = torch.zeros(5, 3).to_sparse()  # Adam raises in the middle of its step
    with pytest.raises(RuntimeError, match="sparse"):
        optimizer.step()
    assert optimizer.param_groups is own
    assert optimizer.state_dict()["param_groups"] == of_each


def test_a_step_that_a_hook_stops_leaves_no_decay_behind() -> None:
    model, optimizer, _ = decayed(Adam)
    before = weights(model)
    fail = optimizer.register_step_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(model, optimizer, steps=[0], batch=lambda step: data(step, torch.float32))
    (group,) = optimizer.state_dict()["param_groups"]
    assert (group["weight_decay"], group["decoupled_weight_decay"]) == (0, False)
    fail.remove()
    assert_same(weights(model), before)
    assert optimizer.param_groups[0]["weight_decay"] == 0.0


# -- exclusion by the optimizer's groups ----------------------------------------------------------


def two_groups(make: Any, model: torch.nn.Module, own: float = 0.05, **kwargs: Any) -> Any:
    """What timm, Hugging Face and many others make: matrices decay, norms and biases do not."""
    params = list(model.parameters())
    parts = [
        {"params": [p for p in params if p.ndim > 1], "weight_decay": own},
        {"params": [p for p in params if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return make(parts, lr=0.01, **kwargs)


@pytest.mark.parametrize("make", [SGD, Adam, AdamW])
@pytest.mark.parametrize("method", METHODS)
def test_a_group_with_a_decay_of_0_beside_another_is_excluded(method: str, make: Any) -> None:
    model, other = mlp(), mlp()
    optimizer = two_groups(make, model)
    with pytest.warns(UserWarning, match=r"5 parameters in groups of .*the first is '0.bias'"):
        decay = lpwd.WeightDecay(optimizer, model, method, 0.3, normalize="params")
    plain = two_groups(make, other, own=0.0)
    rates = lpwd.WeightDecay(plain, other, method, 0.3, normalize="params", exclude="1d").rates
    assert decay.rates == rates
    before = copy.deepcopy(optimizer.state_dict())
    with warnings.catch_warnings(action="error"):  # once
        assert_same(train(model, optimizer), train(other, plain))
    after = optimizer.state_dict()["param_groups"]
    assert [group["weight_decay"] for group in after] == [0.05, 0.0]
    assert after == before["param_groups"]


def test_after_remove_the_optimizer_decays_by_itself_again() -> None:
    model, other = mlp(), mlp()
    optimizer, plain = two_groups(SGD, model), two_groups(SGD, other)
    with pytest.warns(UserWarning, match="not decayed"):
        decay = lpwd.WeightDecay(optimizer, model, "wd", 0.3)
    optimizer.register_step_pre_hook(lambda *_: 1 / 0 if decay._hooks else None)
    with pytest.raises(ZeroDivisionError):
        optimizer.step()
    assert [g["weight_decay"] for g in optimizer.state_dict()["param_groups"]] == [0.05, 0.0]
    decay.remove()
    other.load_state_dict(model.state_dict())
    assert_same(train(model, optimizer), train(other, plain))


def test_exclusion_comes_and_goes_with_the_groups() -> None:
    model = mlp()
    optimizer = two_groups(SGD, model, own=0.0)
    decay = lpwd.WeightDecay(optimizer, model, "wd", 0.3)
    assert set(decay.rates.values()) == {0.3}
    optimizer.load_state_dict(two_groups(SGD, mlp()).state_dict())
    with pytest.warns(UserWarning, match="5 parameters in groups of SGD"):
        assert decay.rates["0.bias"] == 0
    optimizer.load_state_dict(two_groups(SGD, mlp(), own=0.0).state_dict())
    with pytest.warns(UserWarning, match="no group of SGD has a weight_decay any more"):
        assert decay.rates["0.bias"] == 0.3


def test_timms_groups_are_respected() -> None:
    from timm.optim import create_optimizer_v2

    model = mlp()
    optimizer = create_optimizer_v2(model, opt="adamw", lr=0.1, weight_decay=0.05)
    with pytest.warns(UserWarning, match="5 parameters in groups of AdamW"):
        decay = lpwd.WeightDecay(optimizer, model, "lpwd", 0.1)
    assert {n for n, rate in decay.rates.items() if not rate} == {
        name for name, p in model.named_parameters() if p.ndim <= 1
    }
