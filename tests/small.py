"""Small models, data and training loops for the tests of the library."""

from collections.abc import Callable, Iterable
from typing import Any

import timm
import torch
from conftest import REPOSITORY
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Adam, Optimizer

import lpwd
from lpwd.decay import reference

torch.set_num_threads(1)

METHODS = ("baseline", "l2", "wd", "rwd", "pwd", "lpwd", "cwd", "cwd_mirrored")
#: Those that multiply the weights themselves.
DECAYS = ("wd", "rwd", "pwd", "lpwd", "cwd", "cwd_mirrored")

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": SGD,
    "sgdm": lambda params, **kwargs: SGD(params, momentum=0.9, **kwargs),
    "adam": Adam,
}

REFERENCE: dict[str, Callable[[], Any]] = {
    "sgd": reference.SGD,
    "sgdm": lambda: reference.SGD(momentum=0.9),
    "adam": reference.Adam,
}

Weights = dict[str, Tensor]


class Still(Optimizer):
    """Leaves the weights as they are: what changes them is the decay alone."""

    def __init__(self, params: Any, lr: Any = 0.1) -> None:
        super().__init__(params, {"lr": lr})

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        return closure() if closure is not None else None


def model_config(name: str, **changes: Any) -> Any:
    """configs/model/<name>.yaml for images of 32×32 pixels."""
    model = OmegaConf.load(REPOSITORY / "configs" / "model" / f"{name}.yaml")
    return OmegaConf.create({"data": {"side": 32}, "model": OmegaConf.merge(model, changes)}).model


def micro(name: str, **kwargs: Any) -> nn.Module:
    """convnext_micro or swin_micro of configs/model, in float64, without drop path."""
    config: Any = OmegaConf.to_container(model_config(name), resolve=True)
    kwargs = {**config["kwargs"], "num_classes": 10, "drop_path_rate": 0.0, **kwargs}
    torch.manual_seed(0)
    return timm.create_model(config["arch"], **kwargs).double()


def holds(model: nn.Module, state: Weights) -> bool:
    """Are these the model's weights, all but its classifier's?"""
    return all(
        torch.equal(tensor, state[name])
        for name, tensor in model.state_dict().items()
        if not name.startswith("head.fc")
    )


def mlp(seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Sequential:
    """Three layers (0, 2 and 4) of 3, 5, 4 and 2 units, the second with a normalisation."""
    torch.manual_seed(seed)
    layers = (nn.Linear(3, 5), nn.GELU(), nn.LayerNorm(5), nn.Linear(5, 4), nn.Linear(4, 2))
    return nn.Sequential(*layers).to(dtype)


def data(step: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """The batch of a step for `mlp`."""
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(8, 3, generator=generator, dtype=torch.float64)
    return x.to(dtype), torch.randint(2, (8,), generator=generator)


def images(step: int) -> tuple[Tensor, Tensor]:
    """The batch of a step for `micro`: two images of 32×32."""
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(2, 3, 32, 32, generator=generator, dtype=torch.float64)
    return x, torch.randint(10, (2,), generator=generator)


def weights(model: nn.Module) -> Weights:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def train(
    model: nn.Module,
    optimizer: Optimizer,
    steps: Iterable[int] = range(4),
    batch: Callable[[int], tuple[Tensor, Tensor]] = data,
) -> list[Weights]:
    """The plain loop; returns the weights after each step."""
    trajectory = []
    for step in steps:
        x, y = batch(step)
        cross_entropy(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()
        trajectory.append(weights(model))
    return trajectory


def attached(
    method: str,
    optimizer: str = "adam",
    rate: float = 0.5,
    lr: float = 0.1,
    model: nn.Module | None = None,
    **kwargs: Any,
) -> tuple[Any, Any, lpwd.WeightDecay]:
    """A model (`mlp`), an optimizer of it, and a decay."""
    model = mlp() if model is None else model
    opt = OPTIMIZERS[optimizer](model.parameters(), lr=lr)
    return model, opt, lpwd.WeightDecay(opt, model, method, rate, **kwargs)


def trained(method: str, *args: Any, **kwargs: Any) -> list[Weights]:
    """The trajectory of `mlp` under a method."""
    return train(*attached(method, *args, **kwargs)[:2])


def decayed(start: Weights, decay: lpwd.WeightDecay, etas: Iterable[float]) -> Weights:
    """θ₀ ∏(1 − ηλ_i): what decays alone leave of the weights."""
    left = {name: w.clone() for name, w in start.items()}
    for eta in etas:
        for name, rate in decay.rates.items():
            left[name] *= 1 - eta * rate
    return left


def by_reference(
    model: nn.Module,
    method: str,
    optimizer: str,
    rates: dict[str, float],
    eta: float = 0.1,
    towards: Weights | None = None,
    steps: Iterable[int] = range(4),
    batch: Callable[[int], tuple[Tensor, Tensor]] = data,
) -> list[Weights]:
    """The trajectory of a model without a decay, by the slow reference."""
    slow, theta, trajectory = REFERENCE[optimizer](), weights(model), []
    for step in steps:
        x, y = batch(step)

        def gradient(at: Weights, x: Tensor = x, y: Tensor = y) -> Weights:
            leaves = {name: w.clone().requires_grad_() for name, w in at.items()}
            loss = cross_entropy(functional_call(model, leaves, (x,)), y)
            return dict(zip(leaves, torch.autograd.grad(loss, [*leaves.values()]), strict=True))

        theta = reference.step(method, theta, gradient, slow, eta, rates, towards)
        trajectory.append(theta)
    return trajectory


def assert_same(one: list[Weights] | Weights, other: list[Weights] | Weights) -> None:
    """Equal bit for bit."""
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def assert_close(one: Any, other: Any, atol: float = 1e-12) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=atol)
