"""What holds for every model, optimizer and rate: the paper's equations as properties."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import (
    DECAYS,
    METHODS,
    OPTIMIZERS,
    assert_close,
    assert_same,
    data,
    mlp,
    train,
    trained,
    weights,
)
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Adam, AdamW, NAdam, Optimizer, RMSprop

import lpwd
from lpwd.decay import reference

seeds = st.integers(0, 2**32 - 1)
optimizers = st.sampled_from(sorted(OPTIMIZERS))
profiles = st.sampled_from(["uniform", "linear", "reversed"])
#: η and ηλ: the sizes of a step and of a decay, up to the largest that any profile allows.
etas = st.floats(1e-3, 0.3)
sizes = st.floats(1e-6, 0.5)
few = settings(max_examples=25, deadline=None, derandomize=True)


# -- RWD and PWD are one recursion, seen at two moments -------------------------------------------

GRADIENT_ONLY: dict[str, Callable[..., Optimizer]] = {
    **OPTIMIZERS,
    "nesterov": lambda params, lr: SGD(params, lr=lr, momentum=0.9, nesterov=True),
    "amsgrad": lambda params, lr: Adam(params, lr=lr, amsgrad=True),
    "rmsprop": lambda params, lr: RMSprop(params, lr=lr, momentum=0.5),
    "nadam": NAdam,
}


@few
@given(seeds, st.sampled_from(sorted(GRADIENT_ONLY)), profiles, etas, sizes)
def test_rwd_from_decayed_weights_is_decayed_pwd(
    seed: int, optimizer: str, profile: str, eta: float, size: float
) -> None:
    def start(method: str) -> tuple[nn.Module, Optimizer, lpwd.WeightDecay]:
        model = mlp(seed)
        opt = GRADIENT_ONLY[optimizer](model.parameters(), lr=eta)
        return model, opt, lpwd.WeightDecay(opt, model, method, size / eta, profile=profile)

    model, opt, decay = start("pwd")
    pwd = train(model, opt)
    model, opt, _ = start("rwd")
    left = {name: 1 - eta * rate for name, rate in decay.rates.items()}
    with torch.no_grad():
        for name, p in model.named_parameters():
            p *= left[name]
    rwd = train(model, opt)
    assert_close(rwd, [{name: left[name] * w for name, w in step.items()} for step in pwd], 1e-9)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_rwd_and_pwd_differ_from_the_same_start(optimizer: str) -> None:
    rwd, pwd = trained("rwd", optimizer)[-1], trained("pwd", optimizer)[-1]
    assert max(float((rwd[name] - pwd[name]).abs().max()) for name in rwd) > 1e-4


# -- WD -------------------------------------------------------------------------------------------


@few
@given(seeds, optimizers, etas, sizes)
def test_decaying_after_backward_is_wd(seed: int, optimizer: str, eta: float, size: float) -> None:
    model = mlp(seed)
    opt = OPTIMIZERS[optimizer](model.parameters(), lr=eta)
    lpwd.WeightDecay(opt, model, "wd", size / eta)
    wd = train(model, opt)

    model = mlp(seed)
    opt = OPTIMIZERS[optimizer](model.parameters(), lr=eta)
    decay = lpwd.WeightDecay(opt, model, "pwd", size / eta)
    for step, expected in enumerate(wd):
        x, y = data(step)
        cross_entropy(model.forward(x), y).backward()  # past the hook
        decay.before_forward()
        opt.step()
        opt.zero_grad()
        assert_same(weights(model), expected)


@pytest.mark.parametrize("fused", [False, True])
def test_wd_with_adam_is_torch_adamw(fused: bool) -> None:
    model = mlp()
    torchs = train(model, AdamW(model.parameters(), lr=0.1, weight_decay=0.5, fused=fused))
    model = mlp()
    optimizer = Adam(model.parameters(), lr=0.1, fused=fused)
    lpwd.WeightDecay(optimizer, model, "wd", 0.5)
    assert_close(train(model, optimizer), torchs, 1e-15)


def test_wd_is_l2_for_plain_sgd_alone() -> None:
    assert_close(trained("wd", "sgd"), trained("l2", "sgd"), 1e-14)
    for optimizer in ("sgdm", "adam"):
        with pytest.raises(AssertionError):
            assert_close(trained("wd", optimizer), trained("l2", optimizer), 1e-4)


# -- L2 -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda params, **kw: SGD(params, lr=0.1, **kw),
        lambda params, **kw: SGD(params, lr=0.1, momentum=0.9, **kw),
        lambda params, **kw: SGD(params, lr=0.1, momentum=0.9, nesterov=True, **kw),
        lambda params, **kw: SGD(params, lr=0.1, momentum=0.9, fused=True, **kw),
        lambda params, **kw: SGD(params, lr=0.1, maximize=True, **kw),
        lambda params, **kw: Adam(params, lr=0.1, **kw),
        lambda params, **kw: Adam(params, lr=0.1, maximize=True, **kw),
        lambda params, **kw: Adam(params, lr=0.1, fused=True, **kw),
        lambda params, **kw: RMSprop(params, lr=0.1, **kw),
    ],
    ids=[
        *("sgd", "sgdm", "nesterov", "sgdm-fused", "sgd-maximize"),
        *("adam", "adam-maximize", "adam-fused", "rmsprop"),
    ],
)
def test_l2_is_torchs_own_weight_decay(make: Callable[..., Optimizer]) -> None:
    model = mlp()
    torchs = train(model, make(model.parameters(), weight_decay=0.5))
    model = mlp()
    optimizer = make(model.parameters())
    lpwd.WeightDecay(optimizer, model, "l2", 0.5)
    assert_close(train(model, optimizer), torchs, 1e-13)


# -- rate 0 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("method", METHODS)
def test_rate_zero_and_baseline_are_the_optimizer_alone(method: str, optimizer: str) -> None:
    model = mlp()
    plain = train(model, OPTIMIZERS[optimizer](model.parameters(), lr=0.1))
    assert_same(trained(method, optimizer, rate=0.0), plain)
    assert_same(trained("baseline", optimizer, rate=0.5), plain)


# -- Eqs. 8 and 2 ---------------------------------------------------------------------------------


def steps_of(
    seed: int, method: str, optimizer: str, eta: float, size: float, profile: str
) -> Iterator[tuple[dict[str, Tensor], ...]]:
    """(θ_t, θ̂ = θ − ηU, ηλ_i, θ_{t+1}, what OpposingRate has counted) of three steps.

    θ_t is seen before any decay. θ̂ is seen by rwd, between update and decay; for the others it
    is θ_{t+1} + ηλ_iθ_t.
    """
    model = mlp(seed)
    opt = OPTIMIZERS[optimizer](model.parameters(), lr=eta)
    seen: dict[str, Tensor] = {}
    opt.register_step_post_hook(lambda *_: seen.update(weights(model)))  # before the decay's hook
    decay = lpwd.WeightDecay(opt, model, method, size / eta, profile=profile)
    opposing = lpwd.OpposingRate(decay)
    rates = {name: torch.tensor(eta * rate) for name, rate in decay.rates.items()}
    for step in range(3):
        before = weights(model)
        (after,) = train(model, opt, [step])
        if method == "rwd":
            hat = dict(seen)
        else:
            hat = {name: after[name] + rates[name] * before[name] for name in after}
        counted = opposing.compute()
        opposing.reset()
        yield before, hat, rates, after, {"R_op": counted}


@few
@given(seeds, optimizers, etas, st.floats(1e-6, 0.5), profiles)
def test_eq8_always_holds_for_rwd(
    seed: int, optimizer: str, eta: float, size: float, profile: str
) -> None:
    for _, hat, _, after, found in steps_of(seed, "rwd", optimizer, eta, size, profile):
        for name in hat:
            assert bool((after[name] ** 2 <= hat[name] ** 2).all())
        assert found["R_op"].share == found["R_op"].size == 0


@few
@given(seeds, st.sampled_from(["wd", "pwd"]), optimizers, etas, st.floats(1e-3, 0.5), profiles)
def test_opposing_rate_counts_exactly_the_weights_of_eq2(
    seed: int, method: str, optimizer: str, eta: float, size: float, profile: str
) -> None:
    for theta, hat, rates, _, found in steps_of(seed, method, optimizer, eta, size, profile):
        marked = decayed = 0
        for name, t in theta.items():
            eta_u, r = t - hat[name], rates[name]
            # Eq. 2, simplified, with the decay term ηλ_iθ in the place of λθ.
            eq2 = torch.where(t < 0, eta_u < (1 - r / 2) * t, (eta_u > (1 - r / 2) * t) & (t > 0))
            assert torch.equal(eq2, reference.opposes(hat[name], r * t))
            marked += int(eq2.sum())
            decayed += int((t != 0).sum())
        assert found["R_op"].share == marked / decayed


@pytest.mark.parametrize("method", ["wd", "pwd"])
def test_there_are_opposing_penalties_to_count(method: str) -> None:
    found = [step[-1]["R_op"] for step in steps_of(0, method, "adam", 0.3, 0.2, "uniform")]
    assert all(0.01 < r_op.share < 0.5 and 0 < r_op.size < r_op.share for r_op in found)


# -- the rates ------------------------------------------------------------------------------------


def rates_of(widths: list[int], rate: float, **kwargs: Any) -> tuple[dict[str, float], nn.Module]:
    model = nn.Sequential(*(nn.Linear(a, b) for a, b in pairwise(widths)))
    decay = lpwd.WeightDecay(SGD(model.parameters(), lr=1e-3), model, "lpwd", rate, **kwargs)
    return decay.rates, model


widths = st.lists(st.integers(1, 9), min_size=2, max_size=12)
rates = st.floats(1e-6, 10)


@few
@given(widths, rates)
def test_lpwd_rises_linearly_to_twice_the_rate(widths: list[int], rate: float) -> None:
    found, _ = rates_of(widths, rate)
    n = len(widths) - 1
    layers = [found[f"{i}.weight"] for i in range(n)]
    assert max(layers) == layers[-1] == 2 * rate
    assert layers == pytest.approx([2 * rate * i / n for i in range(1, n + 1)], rel=1e-14)
    assert [found[f"{i}.bias"] for i in range(n)] == layers
    assert sum(layers) / n == pytest.approx(rate * (n + 1) / n, rel=1e-12)


@few
@given(widths, rates, profiles)
def test_normalize_mean_makes_the_mean_over_layers_the_rate(
    widths: list[int], rate: float, profile: str
) -> None:
    found, _ = rates_of(widths, rate, normalize="mean", profile=profile)
    n = len(widths) - 1
    assert sum(found[f"{i}.weight"] for i in range(n)) / n == pytest.approx(rate, rel=1e-12)


@few
@given(widths, rates, profiles, st.sampled_from([(), ("bias",)]))
def test_normalize_params_makes_the_mean_over_weights_the_rate(
    widths: list[int], rate: float, profile: str, exclude: tuple[str, ...]
) -> None:
    found, model = rates_of(widths, rate, normalize="params", profile=profile, exclude=exclude)
    sizes = {name: p.numel() for name, p in model.named_parameters() if found[name]}
    mean = sum(found[name] * size for name, size in sizes.items()) / sum(sizes.values())
    assert mean == pytest.approx(rate, rel=1e-12)


def test_normalized_profiles_keep_their_shape() -> None:
    none, _ = rates_of([3, 4, 5, 6], 0.5)
    for normalize in ("mean", "params"):
        found, _ = rates_of([3, 4, 5, 6], 0.5, normalize=normalize)
        ratios = {round(found[name] / none[name], 12) for name in none}
        assert len(ratios) == 1
        assert ratios != {1.0}


@pytest.mark.parametrize("method", DECAYS)
def test_uncoupled_decay_does_not_know_the_lr(method: str) -> None:
    """λ uncoupled is ηλ' coupled with λ' = λ/η."""
    uncoupled = trained(method, "sgdm", rate=0.04, lr=0.1, coupled=False)
    assert_close(uncoupled, trained(method, "sgdm", rate=0.4, lr=0.1), 1e-14)
