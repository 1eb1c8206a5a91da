"""How things are measured, two in turns, and what a row of the results is."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from omegaconf import DictConfig
from torch.utils.benchmark import timer  # waits for the GPU, where there is one

from lpwd.config import compose
from lpwd.training import build

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

#: The real images where they are, else the digits: what is in the images changes no timing.
DATA = "cifar100" if os.environ.get("LPWD_DATA") else "digits"
SHORT = ["scale.images.train=1280", "scale.images.heldout=200", "scale.images.test=300"]

NAN = float("nan")


class Row(NamedTuple):
    """One measurement: ours ÷ theirs, or what `case` says; `must` is its target."""

    work: str
    case: str
    against: str
    ratio: float
    must: str = ""
    low: float = NAN  # quartiles of the ratio
    high: float = NAN
    ours: float = NAN  # seconds
    theirs: float = NAN
    turns: int = 1

    @property
    def met(self) -> bool | None:
        """Does the ratio keep its target? None where there is none."""
        if not self.must:
            return None
        bound = float(self.must[1:].strip())
        return self.ratio <= bound if self.must[0] == "≤" else self.ratio >= bound


def seconds(function: Callable[[], Any]) -> float:
    """What one call takes, on a GPU until all of it is done."""
    start = timer()
    function()
    return timer() - start


def median_seconds(function: Callable[[], Any], turns: int = 8) -> float:
    return statistics.median(seconds(function) for _ in range(turns))


def side_by_side(
    work: str,
    case: str,
    against: str,
    must: str,
    ours: Callable[[], Any],
    theirs: Callable[[], Any],
    turns: int = 30,
    speed: bool = False,
) -> Row:
    """Both in turns, after a warm-up; with `speed` the ratio says how many times faster ours is."""
    ours()
    theirs()
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(turns)]
    ratios = [b / a if speed else a / b for a, b in pairs]
    low, _, high = statistics.quantiles(ratios, n=4)
    mine, other = (statistics.median(column) for column in zip(*pairs, strict=True))
    # Of medians, not the median ratio: one slow turn of either must not pull it.
    ratio = other / mine if speed else mine / other
    return Row(work, case, against, ratio, must, low, high, mine, other, turns)


def config(*overrides: str) -> DictConfig:
    return compose.composed([f"machine.device={DEVICE.type}", *overrides])


def training(*overrides: str) -> build.Training:
    """A run of scale mini, ready to train, its batches and models as there."""
    return build.prepare(config("scale=mini", f"data={DATA}", *SHORT, *overrides))


@contextmanager
def folder_of_results() -> Iterator[None]:
    """An empty results/ for a `with` block, for this process and its children."""
    with TemporaryDirectory() as folder, patch.dict(os.environ, LPWD_RESULTS=folder):
        yield
