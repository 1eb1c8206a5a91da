"""What a method is made of: when it decays, and how λ_i runs over the layers.

Without torch, so that a config can be checked before torch is imported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

#: method: (moment, default profile)
METHODS: dict[str, tuple[str | None, str]] = {
    "baseline": (None, "uniform"),
    "l2": ("in the gradient", "uniform"),  # g ← g + λθ
    "wd": ("before the update", "uniform"),  # Eq. 1
    "rwd": ("after the update", "uniform"),  # Eq. 7
    "pwd": ("before the forward pass", "uniform"),  # Algorithm 2
    "lpwd": ("before the forward pass", "linear"),  # Algorithm 3
}

#: profile: λ_i/λ for layer i of n, shallow to deep. Linear is Eq. 9 with the maximum 2λ.
PROFILES: dict[str, Callable[[int, int], float]] = {
    "uniform": lambda i, n: 1.0,
    "linear": lambda i, n: 2 * i / n,
    "reversed": lambda i, n: 2 * (n + 1 - i) / n,
}

#: Which mean is λ: none as printed, else that of λ_i over the layers or over the weights.
NORMALIZE = ("none", "mean", "params")
#: What counts as a layer.
LAYERS = ("block", "module", "tensor")
#: What may be left undecayed.
EXCLUDE = ("norm", "bias", "1d")


def normalized_rate(
    rate: float, normalize: str, weights: Mapping[int, float], sizes: Sequence[tuple[int, int]]
) -> float:
    """What takes λ's place so that the mean of λ_i, over layers or over weights, is λ.

    `weights`: λ_i/λ by layer · `sizes`: (layer, number of weights) of each decayed parameter that
    trains.
    """
    if normalize == "none" or not sizes or rate == 0:
        return rate
    if normalize == "mean":
        return rate * len(weights) / math.fsum(weights.values())
    total = math.fsum(weights[layer] * count for layer, count in sizes)
    return rate * sum(count for _, count in sizes) / total
