"""The six decays once more, slowly and plainly: easy to read, easy to modify, the tests' yardstick.

Everything is a dictionary of tensors by parameter name; nothing is hooked, fused or cached.
Notation: theta_t the weights, g the gradient, U the update term, eta the learning rate, lam[name]
the layer-wise decay rate λ_i (the same for all layers but in lpwd).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Tensors = dict[str, Tensor]


class SGD:
    """U = g, or with momentum U = v with v ← μv + g (torch's form: no dampening)."""

    def __init__(self, momentum: float = 0.0) -> None:
        self.momentum = momentum
        self.v: Tensors = {}

    def update(self, g: Tensors) -> Tensors:
        for name in g:
            self.v[name] = self.momentum * self.v.get(name, torch.zeros_like(g[name])) + g[name]
        return dict(self.v)


class Adam:
    """U = m̂ / (√v̂ + ε) with bias-corrected m̂ and v̂ (Kingma & Ba, Algorithm 1)."""

    def __init__(self, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> None:
        self.beta1, self.beta2, self.eps = beta1, beta2, eps
        self.m: Tensors = {}
        self.v: Tensors = {}
        self.t = 0

    def update(self, g: Tensors) -> Tensors:
        self.t += 1
        u: Tensors = {}
        for name in g:
            zero = torch.zeros_like(g[name])
            self.m[name] = self.beta1 * self.m.get(name, zero) + (1 - self.beta1) * g[name]
            self.v[name] = self.beta2 * self.v.get(name, zero) + (1 - self.beta2) * g[name] ** 2
            m_hat = self.m[name] / (1 - self.beta1**self.t)
            v_hat = self.v[name] / (1 - self.beta2**self.t)
            u[name] = m_hat / (v_hat.sqrt() + self.eps)
        return u


def layerwise_rates(index: Mapping[str, int], rate: float, profile: str) -> dict[str, float]:
    """λ_i of each parameter from its layer i of n (Eq. 9; the maximum is 2λ)."""
    n = max(index.values())
    if profile == "linear":
        return {name: rate * 2 * i / n for name, i in index.items()}
    if profile == "reversed":
        return {name: rate * 2 * (n + 1 - i) / n for name, i in index.items()}
    if profile == "geometric":
        return {name: rate * 0.75 ** (n - i) for name, i in index.items()}
    return dict.fromkeys(index, rate)


def step(
    method: str,
    theta_t: Tensors,
    gradient: Callable[[Tensors], Tensors],
    optimizer: SGD | Adam,
    eta: float,
    lam: Mapping[str, float],
    towards: Mapping[str, Tensor] | None = None,
) -> Tensors:
    """θ_{t+1} from θ_t, by one step of the optimizer with one decay.

    `gradient` gives ∇f at the weights it is called with. For lpwd, `lam` is the linear profile:
    there is no other difference from pwd. With `towards`, weights decay towards its tensors.
    """
    theta = dict(theta_t)

    def penalty(weights: Tensors) -> Tensors:
        """λ_i(θ − θ*)."""
        aims = towards or {}
        return {name: lam[name] * (w - aims.get(name, 0.0)) for name, w in weights.items()}

    if method in ("pwd", "lpwd"):  # Algorithms 2 and 3: decay, then the gradient at those weights
        decayed = penalty(theta)
        theta = {name: w - eta * decayed[name] for name, w in theta.items()}

    g = gradient(theta)
    if method == "l2":  # the gradient of f + λ/2·‖θ‖²
        added = penalty(theta)
        g = {name: g[name] + added[name] for name in g}

    u = optimizer.update(g)
    theta_hat = {name: theta[name] - eta * u[name] for name in theta}

    if method == "wd":  # Eq. 1: decays by the weights of before the update
        decayed = penalty(theta)
        return {name: theta_hat[name] - eta * decayed[name] for name in theta}
    if method in ("cwd", "cwd_mirrored"):  # Eq. 1 where the update leads towards what is decayed to
        decayed = penalty(theta)
        masks = {name: u[name] * decayed[name] >= 0 for name in theta}
        if method == "cwd_mirrored":  # a control: each tensor's mask in reverse order
            masks = {name: mask.flatten().flip(0).view_as(mask) for name, mask in masks.items()}
        return {name: theta_hat[name] - eta * decayed[name] * masks[name] for name in theta}
    if method == "rwd":  # Eq. 7: decays by the weights of after it
        decayed = penalty(theta_hat)
        return {name: theta_hat[name] - eta * decayed[name] for name in theta}
    return theta_hat


def opposes(theta_hat: Tensor, penalty: Tensor) -> Tensor:
    """Eq. 10, weight by weight: does the penalty P make the weight θ̂ = θ − ηU larger?"""
    return (theta_hat - penalty) ** 2 > theta_hat**2
