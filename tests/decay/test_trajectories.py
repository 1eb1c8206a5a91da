"""The six methods, step by step, against values that no code of this project has computed."""

from collections.abc import Callable
from decimal import Decimal as D
from decimal import localcontext
from typing import Any

import pytest
import torch
from small import METHODS, OPTIMIZERS, REFERENCE, assert_close, by_reference, images, micro, train
from torch import Tensor, nn
from torch.optim import SGD

import lpwd
from lpwd.decay import reference

VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((method, {}) for method in METHODS),
    ("l2", {"profile": "linear"}),
    ("wd", {"profile": "linear"}),
    ("wd", {"profile": "geometric"}),
    ("cwd", {"profile": "linear"}),
    ("rwd", {"profile": "linear"}),
    ("pwd", {"profile": "reversed"}),
    ("wd", {"coupled": False}),
    ("rwd", {"coupled": False}),
    ("lpwd", {"coupled": False}),
]
IDS = ["-".join([method, *map(str, kwargs.values())]) for method, kwargs in VARIANTS]


# -- one weight, by head --------------------------------------------------------------------------


class Cube(nn.Module):
    """f(θ) = θ³/3, so g = θ²; θ_0 = 1."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self) -> Tensor:
        return self.theta**3 / 3


# SGD with η = 0.1, λ = 0.5, so ηλ = 0.05; two steps from 1.
BY_HEAD = {
    # 1 − 0.1·1² = 0.9; 0.9 − 0.1·0.81
    "baseline": (0.9, 0.819),
    # 1 − 0.1·(1 + 0.5) = 0.85; 0.85 − 0.1·(0.7225 + 0.425)
    "l2": (0.85, 0.73525),
    # 1 − 0.1·1 − 0.05·1 = 0.85; 0.85 − 0.07225 − 0.0425
    "wd": (0.85, 0.73525),
    # 0.95·(1 − 0.1) = 0.855; 0.95·(0.855 − 0.1·0.731025) = 0.95·0.7818975
    "rwd": (0.855, 0.742802625),
    # 0.95 − 0.1·0.9025 = 0.85975; 0.95·0.85975 = 0.8167625, − 0.1·0.66710098140625
    "pwd": (0.85975, 0.750052401859375),
    # one layer: λ_1 = 2λ. 0.9 − 0.1·0.81 = 0.819; 0.9·0.819 = 0.7371, − 0.1·0.54331641
    "lpwd": (0.819, 0.682768359),
    # as wd: every update leads towards zero
    "cwd": (0.85, 0.73525),
    "cwd_mirrored": (0.85, 0.73525),
}


@pytest.mark.parametrize("method", METHODS)
def test_sgd_on_a_cube_worked_out_by_head(method: str) -> None:
    model = Cube()
    optimizer = SGD(model.parameters(), lr=0.1)
    lpwd.WeightDecay(optimizer, model, method, 0.5)
    for expected in BY_HEAD[method]:
        optimizer.zero_grad()
        model().backward()
        optimizer.step()
        assert model.theta.item() == pytest.approx(expected, rel=0, abs=1e-14)


# -- three layers of one weight, in decimals ------------------------------------------------------
#
# f(a, b, c) = ½r² with r = abcx − y, so g_a = r·bc·x, g_b = r·ac·x, g_c = r·ab·x.

START = (0.8, -1.3, 1.1)
ETA, LAMBDA = 0.05, 0.4  # 2λ < 1: uncoupled LPWD too
DATA = [(1.0, 0.5), (-0.7, 1.2), (1.5, -0.3), (0.4, 0.9), (-1.1, -1.4), (0.9, 0.2)]


class Chain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for name, value in zip("abc", START, strict=True):
            layer = nn.Module()
            layer.w = nn.Parameter(torch.tensor(value, dtype=torch.float64))
            self.add_module(name, layer)

    def forward(self, x: float, y: float) -> Tensor:
        return (self.a.w * self.b.w * self.c.w * x - y) ** 2 / 2


def gradient(theta: list[D], x: D, y: D) -> list[D]:
    a, b, c = theta
    r = a * b * c * x - y
    return [r * b * c * x, r * a * c * x, r * a * b * x]


def update_terms(optimizer: str) -> Callable[[list[D]], list[D]]:
    """U as a function of one step's gradients after another, in the optimizers' own equations."""
    m, v, t = [D(0)] * 3, [D(0)] * 3, 0

    def sgd(g: list[D]) -> list[D]:
        return g

    def sgdm(g: list[D]) -> list[D]:
        for k in range(3):
            v[k] = D("0.9") * v[k] + g[k]
        return list(v)

    def adam(g: list[D]) -> list[D]:
        nonlocal t
        t += 1
        for k in range(3):
            m[k] = D("0.9") * m[k] + D("0.1") * g[k]
            v[k] = D("0.999") * v[k] + D("0.001") * g[k] * g[k]
        m_hat = [value / (1 - D("0.9") ** t) for value in m]
        v_hat = [value / (1 - D("0.999") ** t) for value in v]
        return [m_hat[k] / (v_hat[k].sqrt() + D("1e-8")) for k in range(3)]

    return {"sgd": sgd, "sgdm": sgdm, "adam": adam}[optimizer]


def by_hand(
    method: str, optimizer: str, profile: str | None = None, coupled: bool = True
) -> list[list[D]]:
    eta, lam = D(str(ETA)), D(str(LAMBDA))
    size = eta * lam if coupled else lam
    factors = {
        "uniform": (D(1), D(1), D(1)),
        "linear": (D(2) / 3, D(4) / 3, D(2)),
        "reversed": (D(2), D(4) / 3, D(2) / 3),
        "geometric": (D("0.5625"), D("0.75"), D(1)),
    }[profile or ("linear" if method == "lpwd" else "uniform")]
    s = [size * factor for factor in factors]  # ηλ_i, or λ_i
    three = range(3)
    update = update_terms(optimizer)
    theta = [D(str(value)) for value in START]
    trajectory = []
    for x, y in DATA:
        x, y = D(str(x)), D(str(y))
        if method == "baseline":  # θ − ηU
            u = update(gradient(theta, x, y))
            theta = [theta[k] - eta * u[k] for k in three]
        elif method == "l2":  # U of g + λ_iθ
            g = gradient(theta, x, y)
            u = update([g[k] + lam * factors[k] * theta[k] for k in three])
            theta = [theta[k] - eta * u[k] for k in three]
        elif method == "wd":  # θ − ηU − ηλ_iθ
            u = update(gradient(theta, x, y))
            theta = [theta[k] - eta * u[k] - s[k] * theta[k] for k in three]
        elif method in ("cwd", "cwd_mirrored"):  # as wd, where Uθ ≥ 0; one weight is its own mirror
            u = update(gradient(theta, x, y))
            kept = [D(u[k] * theta[k] >= 0) for k in three]
            theta = [theta[k] - eta * u[k] - s[k] * kept[k] * theta[k] for k in three]
        elif method == "rwd":  # θ − ηU − ηλ_i(θ − ηU)
            u = update(gradient(theta, x, y))
            theta = [theta[k] - eta * u[k] - s[k] * (theta[k] - eta * u[k]) for k in three]
        else:  # pwd and lpwd: θ ← θ − ηλ_iθ, then the gradient there, then the update
            theta = [theta[k] - s[k] * theta[k] for k in three]
            u = update(gradient(theta, x, y))
            theta = [theta[k] - eta * u[k] for k in three]
        trajectory.append(list(theta))
    return trajectory


def in_decimals(method: str, optimizer: str, kwargs: dict[str, Any]) -> Tensor:
    with localcontext() as context:
        context.prec = 60
        steps = by_hand(method, optimizer, **kwargs)
    return torch.tensor([[float(w) for w in theta] for theta in steps], dtype=torch.float64)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(("method", "kwargs"), VARIANTS, ids=IDS)
def test_library_follows_the_hand_calculation(
    method: str, optimizer: str, kwargs: dict[str, Any]
) -> None:
    model = Chain()
    opt = OPTIMIZERS[optimizer](model.parameters(), lr=ETA)
    decay = lpwd.WeightDecay(opt, model, method, LAMBDA, **kwargs)
    steps = []
    for x, y in DATA:
        opt.zero_grad()
        model(x, y).backward()
        opt.step()
        steps.append(torch.stack([p.detach() for p in model.parameters()]))
    assert decay.layer_count == 3
    assert_close(torch.stack(steps), in_decimals(method, optimizer, kwargs))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(("method", "kwargs"), VARIANTS[:-3], ids=IDS[:-3])
def test_reference_follows_the_hand_calculation(
    method: str, optimizer: str, kwargs: dict[str, Any]
) -> None:
    profile = kwargs.get("profile", "linear" if method == "lpwd" else "uniform")
    lam = reference.layerwise_rates({"a": 1, "b": 2, "c": 3}, LAMBDA, profile)
    opt = REFERENCE[optimizer]()
    theta = {
        name: torch.tensor(value, dtype=torch.float64)
        for name, value in zip("abc", START, strict=True)
    }
    steps = []
    for x, y in DATA:

        def gradient_at(w: dict[str, Tensor], x: float = x, y: float = y) -> dict[str, Tensor]:
            r = w["a"] * w["b"] * w["c"] * x - y
            return {
                "a": r * w["b"] * w["c"] * x,
                "b": r * w["a"] * w["c"] * x,
                "c": r * w["a"] * w["b"] * x,
            }

        theta = reference.step(method, theta, gradient_at, opt, ETA, lam)
        steps.append(torch.stack(list(theta.values())))
    assert_close(torch.stack(steps), in_decimals(method, optimizer, kwargs))


# -- real models ----------------------------------------------------------------------------------

REAL = [("convnext_micro", method, optimizer) for method in METHODS for optimizer in OPTIMIZERS]


@pytest.mark.parametrize(
    ("name", "method", "optimizer"),
    [*REAL, ("swin_micro", "rwd", "sgdm"), ("swin_micro", "lpwd", "adam")],
)
def test_fast_equals_reference_on_real_models(name: str, method: str, optimizer: str) -> None:
    eta, lam = (1e-3, 8.0) if optimizer == "adam" else (1e-2, 0.8)
    model, steps = micro(name), range(1, 4)
    opt = OPTIMIZERS[optimizer](model.parameters(), lr=eta)
    decay = lpwd.WeightDecay(opt, model, method, lam)
    profile = "linear" if method == "lpwd" else "uniform"
    rates = reference.layerwise_rates(lpwd.layer_index(model), lam, profile)
    if method != "baseline":
        assert rates == pytest.approx(decay.rates, rel=1e-15)
    slow = by_reference(micro(name), method, optimizer, rates, eta, steps=steps, batch=images)
    assert_close(train(model, opt, steps, images), slow)
