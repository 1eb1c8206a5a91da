"""Rivals of the paper's methods: cautious weight decay, and decay towards given weights."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import (
    METHODS,
    OPTIMIZERS,
    Still,
    assert_close,
    attached,
    by_reference,
    mlp,
    train,
    trained,
    weights,
)
from torch import Tensor, nn
from torch.optim import SGD, Adam

import lpwd

few = settings(max_examples=25, deadline=None, derandomize=True)
DECAYING = [method for method in METHODS if method != "baseline"]


# -- cautious weight decay ------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("profile", ["uniform", "linear", "geometric"])
@pytest.mark.parametrize("method", ["cwd", "cwd_mirrored"])
def test_cwd_follows_the_reference(method: str, optimizer: str, profile: str) -> None:
    model, opt, decay = attached(method, optimizer, profile=profile)
    assert_close(train(model, opt), by_reference(mlp(), method, optimizer, decay.rates))


def test_mirrored_decays_as_many_weights_as_cwd_but_others() -> None:
    start = weights(mlp())

    def decayed(method: str) -> dict[str, Tensor]:
        after = {m: train(*attached(m, "sgd", 0.1)[:2], [0])[0] for m in ("baseline", method)}
        return {name: after["baseline"][name] != after[method][name] for name in start}

    cwd, mirrored = decayed("cwd"), decayed("cwd_mirrored")
    assert {k: int(v.sum()) for k, v in cwd.items()} == {
        k: int(v.sum()) for k, v in mirrored.items()
    }
    assert any(not torch.equal(cwd[name], mirrored[name]) for name in start)


@few
@given(st.integers(0, 2**32 - 1), st.sampled_from(sorted(OPTIMIZERS)), st.floats(1e-4, 4.0))
def test_cwd_is_wd_or_nothing_weight_by_weight(seed: int, optimizer: str, rate: float) -> None:
    def step(method: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        model = mlp(seed)
        opt = OPTIMIZERS[optimizer](model.parameters(), lr=0.1)
        lpwd.WeightDecay(opt, model, method, rate)
        start = weights(model)
        return start, train(model, opt, [0])[0]

    start, plain = step("baseline")
    wd, cwd = step("wd")[1], step("cwd")[1]
    for name, before in start.items():
        inward = (before - plain[name]) * before >= 0
        assert_close(cwd[name], torch.where(inward, wd[name], plain[name]), 1e-14)
        # Its update and its decay lead the same way: what decays, shrinks by both.
        assert_close(cwd[name][~inward], plain[name][~inward], 0)


def test_cwd_never_opposes_the_update() -> None:
    model, opt, decay = attached("cwd", "adam")
    opposing = lpwd.OpposingRate(decay)
    train(model, opt)
    all_of_it = opposing.compute()
    assert 0 <= all_of_it.share < 1
    model, opt, decay = attached("wd", "adam")
    wd = lpwd.OpposingRate(decay)
    train(model, opt)
    assert all_of_it.size != wd.compute().size


# -- towards --------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("method", DECAYING)
def test_towards_follows_the_reference(method: str, optimizer: str) -> None:
    aims = weights(mlp(seed=1))
    aims = {name: aims[name] for name in ("0.weight", "3.bias", "4.weight")}  # the rest: zero
    model, opt, decay = attached(method, optimizer, towards=aims)
    assert_close(
        train(model, opt), by_reference(mlp(), method, optimizer, decay.rates, towards=aims)
    )


@pytest.mark.parametrize("method", [m for m in DECAYING if m != "l2"])
@pytest.mark.parametrize("make", [Still, lambda params, lr: Adam(params, lr, fused=True)])
def test_at_the_target_nothing_decays(method: str, make: Any) -> None:
    """The state_dict() itself may be given: its tensors are the weights, which move."""
    model = mlp()
    opt = make(model.parameters(), lr=0.1)
    lpwd.WeightDecay(opt, model, method, 0.5, towards=model.state_dict())
    start = weights(model)
    for _ in range(3):
        (model(torch.ones(1, 3).double()).sum() * 0).backward()
        opt.step()
    assert_close(weights(model), start, 0)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1)
    (model(torch.ones(1, 3).double()).sum() * 0).backward()
    for p in model.parameters():
        p.grad = None
    opt.step()
    assert all((p < start[name] + 1).all() for name, p in model.named_parameters())


def test_zeros_as_a_target_are_no_target() -> None:
    zeros = {name: torch.zeros_like(w) for name, w in weights(mlp()).items()}
    for method in DECAYING:
        assert_close(trained(method, towards=zeros), trained(method))


@pytest.mark.parametrize(
    "wrap", [nn.DataParallel, lambda model: torch.compile(model, backend="eager")]
)
def test_the_targets_may_have_the_names_of_a_wrapped_model(wrap: Any) -> None:
    model = wrap(mlp())
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    decay = lpwd.WeightDecay(opt, model, "wd", 0.5, towards=model.state_dict())
    assert set(decay.towards) == set(decay.rates)


def test_a_new_head_decays_towards_zero() -> None:
    model = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2)).double()
    pretrained = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 7)).double().state_dict()
    opt = Still(model.parameters(), lr=0.1)
    decay = lpwd.WeightDecay(opt, model, "wd", 0.5, towards=pretrained)
    assert set(decay.towards) == {"0.weight", "0.bias"}
    start = weights(model)
    opt.step()
    moved = weights(model)
    assert_close(moved["1.weight"], 0.95 * start["1.weight"])
    expected = start["0.weight"] - 0.05 * (start["0.weight"] - pretrained["0.weight"])
    assert_close(moved["0.weight"], expected)


@pytest.mark.parametrize(
    ("towards", "message"),
    [
        ({"0.wieght": torch.ones(5, 3)}, "none of its names is a parameter of the same shape"),
        ({"0.weight": torch.ones(1)}, "none of its names is a parameter of the same shape"),
        ([torch.ones(5, 3)], "must be {parameter name: tensor}"),
        ({"0.weight": 0.0}, "must be {parameter name: tensor}"),
    ],
)
def test_targets_that_fit_nothing_are_refused(towards: Any, message: str) -> None:
    model = mlp()
    with pytest.raises(ValueError, match=message):
        lpwd.WeightDecay(SGD(model.parameters(), lr=0.1), model, "wd", 0.5, towards=towards)


def test_r_op_of_penalties_that_do_not_lead_to_zero_is_refused() -> None:
    _, _, decay = attached("wd", towards=weights(mlp(1)))
    with pytest.raises(ValueError, match="R_op is of penalties towards zero"):
        lpwd.OpposingRate(decay)
