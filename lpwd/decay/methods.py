"""What a method is made of: when it decays, and how λ_i runs over the layers.

Without torch, so that a config can be checked before torch is imported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from lpwd.decay.checks import check_rate

#: When a method decays; None: never.
Moment = Literal[
    "in the gradient", "before the update", "after the update", "before the forward pass"
]


class Method(NamedTuple):
    """When the weights decay, how λ_i runs over the layers if nobody says otherwise, and which.

    mask: cautious, those that the update does not move away from zero; mirrored, as many others.
    """

    moment: Moment | None
    profile: str = "uniform"
    mask: str | None = None


METHODS = {
    "baseline": Method(None),
    "l2": Method("in the gradient"),  # g ← g + λθ
    "wd": Method("before the update"),  # Eq. 1
    "rwd": Method("after the update"),  # Eq. 7
    "pwd": Method("before the forward pass"),  # Algorithm 2
    "lpwd": Method("before the forward pass", "linear"),  # Algorithm 3
    # Not the paper's: arXiv 2510.12402, and a control of it.
    "cwd": Method("before the update", mask="cautious"),
    "cwd_mirrored": Method("before the update", mask="mirrored"),
}

#: λ_i/λ of layer i of n.
Profile = Callable[[int, int], float]

#: Profiles by name, shallow to deep. Linear is Eq. 9 with the maximum 2λ; geometric is what
#: layer-wise lr decay by 0.75 a layer makes of a decay term ηλθ (Clark et al. 2020; BEiT).
PROFILES: dict[str, Profile] = {
    "uniform": lambda i, n: 1.0,
    "linear": lambda i, n: 2 * i / n,
    "reversed": lambda i, n: 2 * (n + 1 - i) / n,
    "geometric": lambda i, n: 0.75 ** (n - i),
}

#: Which mean is λ: none as printed, else that of λ_i over the layers or over the weights.
NORMALIZE = ("none", "mean", "params")
#: What counts as a layer.
LAYERS = ("block", "module", "tensor")
#: What may be left undecayed.
EXCLUDE = ("norm", "bias", "1d")


def profile_weights(profile: str | Profile, n: int) -> dict[int, float]:
    """``{i: λ_i/λ}`` for i in 1…n. Raises ValueError where a function gives no number ≥ 0."""
    weight = PROFILES[profile] if isinstance(profile, str) else profile
    weights = {i: weight(i, n) for i in range(1, n + 1)}
    for i, value in weights.items():
        check_rate(f"profile({i}, {n})", value)
    return weights


def normalized_rate(
    rate: float, normalize: str, weights: Mapping[int, float], sizes: Sequence[tuple[int, int]]
) -> float:
    """What takes λ's place so that the mean of λ_i, over layers or over weights, is λ.

    `weights`: λ_i/λ by layer · `sizes`: (layer, number of weights) of each decayed parameter that
    trains. Raises ValueError if the profile leaves nothing that could have a mean of λ.
    """
    if normalize == "none" or not sizes or rate == 0:
        return rate
    if normalize == "mean":
        count, total = len(weights), math.fsum(weights.values())
    else:
        count = sum(size for _, size in sizes)
        total = math.fsum(weights[layer] * size for layer, size in sizes)
    if not total:
        raise ValueError(f"normalize={normalize!r}: the profile is 0 wherever something is decayed")
    return rate * count / total
