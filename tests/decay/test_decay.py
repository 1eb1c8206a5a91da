"""WeightDecay: what it tells and what it refuses."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from small import METHODS, assert_same, mlp, train, weights
from torch import nn
from torch.optim import ASGD, LBFGS, SGD, Adam, AdamW, NAdam, Optimizer, SparseAdam

import lpwd
from lpwd.decay.methods import METHODS as MOMENTS

# -- what it tells --------------------------------------------------------------------------------


def test_three_choices_make_the_methods() -> None:
    assert tuple(MOMENTS) == METHODS
    assert MOMENTS["pwd"] == MOMENTS["lpwd"]._replace(profile="uniform")
    assert MOMENTS["wd"] == MOMENTS["cwd"]._replace(mask=None)


def test_rates_are_named_and_layered() -> None:
    model = mlp()
    decay = lpwd.WeightDecay(Adam(model.parameters()), model, "lpwd", 0.1)
    assert decay.layer_count == 4
    assert list(decay.rates) == [name for name, _ in model.named_parameters()]
    assert decay.rates["0.weight"] == decay.rates["0.bias"] == pytest.approx(0.05)
    assert decay.rates["4.bias"] == 0.2
    decay.rates["4.bias"] = 7  # a copy
    assert decay.rates["4.bias"] == 0.2


def test_baseline_has_no_rates() -> None:
    model = mlp()
    decay = lpwd.WeightDecay(Adam(model.parameters()), model, "baseline", 0.1)
    assert set(decay.rates.values()) == {0.0}


@pytest.mark.parametrize("rate", [1, 0, np.float32(0.5), np.float64(0.5), np.int64(1)])
def test_any_real_number_is_a_rate(rate: Any) -> None:
    model = mlp()
    decay = lpwd.WeightDecay(SGD(model.parameters(), lr=0.1), model, "wd", rate)
    assert decay.rates["0.weight"] == float(rate)


# -- what it refuses, before it touches anything --------------------------------------------------


def refused(message: str, optimizer: Optimizer, model: nn.Module, *args: Any, **kw: Any) -> None:
    """It raises one line, and leaves neither hooks nor changes behind."""
    before = weights(model)
    with pytest.raises(ValueError, match=message) as caught:
        lpwd.WeightDecay(optimizer, model, *args, **kw)
    assert "\n" not in str(caught.value)
    assert not model._forward_pre_hooks
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks
    assert_same(weights(model), before)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"method": "lwpd"}, "method='lwpd' is unknown; did you mean 'lpwd'"),
        ({"method": "adamw"}, "method='adamw' is unknown; known are baseline, l2, wd, rwd, pwd"),
        ({"method": None}, "method=None is unknown"),
        ({"profile": "liner"}, "profile='liner' is unknown; did you mean 'linear'"),
        ({"normalize": "param"}, "normalize='param' is unknown; did you mean 'params'"),
        ({"exclude": ["biases"]}, "exclude='biases' is unknown; did you mean 'bias'"),
        ({"layers": "modules"}, "layers='modules' is unknown; did you mean 'module'"),
        ({"rate": -0.1}, "rate=-0.1 must be a finite number of at least 0"),
        ({"rate": float("nan")}, "rate=nan must be a finite number"),
        ({"rate": float("inf")}, "rate=inf must be a finite number"),
        ({"rate": "0.1"}, "rate='0.1' must be a finite number"),
        ({"rate": None}, "rate=None must be a finite number"),
        ({"rate": True}, "rate=True must be a finite number"),
        ({"rate": torch.tensor(-1.0)}, "rate=tensor.*must be a finite number"),
        ({"rate": 5.01}, r"ηλ_i = 1.002 > 1 .*lower the lr or the rate"),  # lpwd: 2λ
        ({"rate": 0.6, "coupled": False}, r"ηλ_i = 1.2 > 1"),
    ],
)
def test_wrong_arguments(kwargs: dict[str, Any], message: str) -> None:
    model = mlp()
    optimizer = Adam(model.parameters(), lr=0.1)
    refused(message, optimizer, model, **{"method": "lpwd", "rate": 0.1, **kwargs})


@pytest.mark.parametrize("lr", [float("nan"), float("inf"), -1.0])
def test_wrong_lr(lr: float) -> None:
    model = mlp()
    optimizer = SGD(model.parameters(), lr=0.1)
    optimizer.param_groups[0]["lr"] = lr  # past torch's own check, as a bad scheduler would
    refused("^lr=.* must be a finite number", optimizer, model, "wd", 0.1)


@pytest.mark.parametrize("method", ["wd", "rwd", "pwd", "lpwd"])
def test_the_largest_product_allowed_is_one(method: str) -> None:
    most = 0.5 if method == "lpwd" else 1.0
    model = mlp()
    refused("> 1", SGD(model.parameters(), lr=1.0), model, method, most * 1.001)
    optimizer = SGD(model.parameters(), lr=1.0)
    lpwd.WeightDecay(optimizer, model, method, most)
    assert all(torch.isfinite(w).all() for w in train(model, optimizer)[-1].values())


def test_a_tensor_lr_is_checked_too() -> None:
    model = mlp()
    refused("ηλ_i = 1.2 > 1", Adam(model.parameters(), lr=torch.tensor(2.0)), model, "wd", 0.6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (AdamW, r"AdamW already decays \(weight_decay=0.01\); set its weight_decay to 0"),
        (lambda params: SGD(params, weight_decay=1e-4), r"SGD already decays .*0.0001"),
        (lambda params: NAdam(params, weight_decay=1), "NAdam already decays"),
        (ASGD, r"ASGD already decays \(lambd=0.0001\); set its lambd to 0"),
        (
            lambda params: Adam(
                [{"params": [p], "weight_decay": 0.1 * i} for i, p in enumerate(params)]
            ),
            r"Adam already decays \(weight_decay=0.1\)",
        ),
    ],
    ids=["adamw", "sgd", "nadam", "asgd", "one-group"],
)
@pytest.mark.parametrize("method", METHODS)
def test_an_optimizer_that_already_decays(method: str, make: Callable, message: str) -> None:
    model = mlp()
    refused(message, make(model.parameters()), model, method, 0.1)


@pytest.mark.parametrize("make", [LBFGS, lambda params: SparseAdam(list(params))])
def test_l2_on_an_optimizer_that_cannot_couple_it(make: Callable) -> None:
    model = mlp()
    refused("l2 cannot be coupled to", make(model.parameters()), model, "l2", 0.1)


def test_l2_on_sparse_gradients() -> None:
    model = nn.Embedding(4, 3, sparse=True)
    optimizer = SGD(model.parameters(), lr=0.1)
    lpwd.WeightDecay(optimizer, model, "l2", 0.1)
    model(torch.tensor([1])).sum().backward()
    with pytest.raises(ValueError, match="l2 cannot be coupled to sparse gradients"):
        optimizer.step()


def test_parameters_that_the_model_lacks() -> None:
    model, other = mlp(), nn.Linear(7, 1)
    optimizer = SGD([*model.parameters(), *other.parameters()])
    refused(
        r"the model lacks 2 of the optimizer's parameters \(the first has shape \(1, 7\)\)",
        *(optimizer, model, "wd", 0.1),
    )
    refused("the model lacks 8 of", SGD(mlp(1).parameters()), model, "wd", 0.1)


@pytest.mark.parametrize("method", METHODS)
def test_attached_twice(method: str) -> None:
    model = mlp()
    optimizer = SGD(model.parameters(), lr=0.1)
    first = lpwd.WeightDecay(optimizer, model, method, 0.1)
    with pytest.raises(ValueError, match="has a WeightDecay already; call its remove"):
        lpwd.WeightDecay(optimizer, model, "wd", 0.1)
    first.remove()
    lpwd.WeightDecay(optimizer, model, "wd", 0.1)
    start = weights(model)
    optimizer.step()
    assert_same(weights(model), {name: w * (1 - 0.1 * 0.1) for name, w in start.items()})


@pytest.mark.parametrize("method", ["pwd", "lpwd"])
def test_a_forgotten_decay_of_the_same_weights_is_found(method: str) -> None:
    """A notebook's cell run again: the old one would decay once more before the next forward."""
    model = mlp()
    old = lpwd.WeightDecay(SGD(model.parameters(), lr=0.1), model, method, 0.1)
    optimizer = SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=f"the {method} of another optimizer decays these param"):
        lpwd.WeightDecay(optimizer, model, "wd", 0.1)
    old.remove()
    lpwd.WeightDecay(optimizer, model, "wd", 0.1)


def test_two_optimizers_share_a_model() -> None:
    model = mlp()
    start = weights(model)
    optimizers = [SGD(model[:3].parameters(), lr=0.1), SGD(model[3:].parameters(), lr=0.2)]
    for optimizer in optimizers:
        lpwd.WeightDecay(optimizer, model, "pwd", 0.5)
    model(torch.ones(1, 3, dtype=torch.float64))
    left = {name: 1 - 0.5 * (0.1 if name[0] in "02" else 0.2) for name in start}
    assert_same(weights(model), {name: w * left[name] for name, w in start.items()})
