"""WD by the optimizer's own decay, where it has one that is Eq. 1: the same bits, in one pass."""

from typing import Any

import pytest
import torch
from small import assert_same, data, mlp, train, weights
from torch.nn.functional import cross_entropy
from torch.optim import Adam, AdamW

import lpwd


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


@pytest.mark.parametrize("kwargs", [{"profile": "linear"}, {"exclude": "bias"}, {"coupled": False}])
def test_other_decays_keep_their_own_pass(
    kwargs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = mlp()
    optimizer = Adam(model.parameters(), lr=0.01)
    lpwd.WeightDecay(optimizer, model, "wd", 0.3, **kwargs)
    counts = multiplied(monkeypatch)
    train(model, optimizer, steps=range(1))
    assert sum(counts) >= (4 if "exclude" in kwargs else 8)


def test_between_steps_the_optimizer_says_what_it_was_given() -> None:
    model, optimizer, decay = decayed(Adam)
    during = []
    optimizer.register_step_pre_hook(
        lambda optimizer, *_: during.append(optimizer.param_groups[0]["weight_decay"])
    )
    train(model, optimizer, steps=range(2), batch=lambda step: data(step, torch.float32))
    assert during == [0.3, 0.3]
    group = optimizer.state_dict()["param_groups"][0]
    assert (group["weight_decay"], group["decoupled_weight_decay"]) == (0.0, False)
    decay.remove()


def test_a_step_that_raises_leaves_no_decay_behind() -> None:
    model, optimizer, decay = decayed(Adam)
    fail = optimizer.register_step_pre_hook(lambda *_: 1 / 0)
    train_one = [0]
    with pytest.raises(ZeroDivisionError):
        train(model, optimizer, steps=train_one, batch=lambda step: data(step, torch.float32))
    fail.remove()
    train(model, optimizer, steps=train_one, batch=lambda step: data(step, torch.float32))
    assert optimizer.param_groups[0]["weight_decay"] == 0.0

    optimizer.register_step_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(model, optimizer, steps=train_one, batch=lambda step: data(step, torch.float32))
    decay.remove()
    assert optimizer.param_groups[0]["weight_decay"] == 0.0
