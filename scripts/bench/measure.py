"""How things are measured: two in turns, and what a row of the results is."""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from omegaconf import DictConfig, OmegaConf

from lpwd.config import compose
from lpwd.config.check import without_hydra
from lpwd.config.paths import ROOT
from lpwd.training import build, loop

FOLDER = ROOT / "results" / "bench"
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

#: The real images where they are, else the digits: what is in the images changes no timing.
DATA = "cifar100" if os.environ.get("LPWD_DATA") else "digits"
SHORT = ["scale.images.train=1280", "scale.images.heldout=200", "scale.images.test=300"]


class Row(NamedTuple):
    """One measurement: ours ÷ theirs, or what `case` says; `must` is its target."""

    work: str
    case: str
    against: str
    ratio: float
    must: str
    low: float = float("nan")
    high: float = float("nan")
    ours: float = float("nan")  # seconds
    theirs: float = float("nan")
    turns: int = 1

    @property
    def met(self) -> bool | None:
        """Does the ratio keep its target? None where there is none."""
        if not self.must:
            return None
        bound = float(self.must[1:].strip())
        return self.ratio <= bound if self.must[0] == "≤" else self.ratio >= bound


# -- measuring ------------------------------------------------------------------------------------


def seconds(function: Callable[[], Any]) -> float:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


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
    """Both in turns; `speed` turns the ratio around: how many times faster ours is."""
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


def training(*overrides: str) -> loop.Training:
    """A run of scale mini, ready to train, its batches and models as there."""
    return build.prepare(config("scale=mini", f"data={DATA}", *SHORT, *overrides))


def median_seconds(function: Callable[[], Any], turns: int = 8) -> float:
    return statistics.median(seconds(function) for _ in range(turns))


# -- runs and sweeps ------------------------------------------------------------------------------


@contextmanager
def folder_of_results() -> Iterator[Path]:
    """An empty results/ for a `with` block, for this process and its children."""
    before = os.environ.get("LPWD_RESULTS")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LPWD_RESULTS"] = folder
        try:
            yield Path(folder)
        finally:
            os.environ.pop("LPWD_RESULTS")
            if before is not None:
                os.environ["LPWD_RESULTS"] = before


def plain(cfg: DictConfig) -> dict[str, Any]:
    return cast(dict[str, Any], OmegaConf.to_container(without_hydra(cfg), resolve=True))


def quiet(command: list[str]) -> None:
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
