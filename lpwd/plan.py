"""What a target takes before anything is trained: runs, hours, disk."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import pandas as pd
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig
from torch.nn import functional as F

from lpwd import runs, sweeps
from lpwd.claim import is_alive, newest_claim
from lpwd.config import CONFIGS

#: The paper's targets, and whether there is an experiment to train; Table 2 is the configs' own.
PAPER = {
    **{"table1": True, "table2": False, "table3": True},
    **{f"figure{n}": True for n in range(1, 6)},
}
EXPERIMENTS = {**PAPER, "controls": True}


@dataclass
class Needs:
    """The runs of one target. `waiting`: those whose rates are yet to be chosen among others."""

    target: str
    jobs: list[sweeps.Job]
    waiting: list[runs.Settings]


def needs(
    target: str,
    scale: str,
    seeds: int,
    results: runs.Results,
    expander: sweeps.Expander | None = None,
) -> Needs:
    """Every run that a target needs, stored or not; `expander` is one made for this scale."""
    expander = expander or expander_of(scale)
    jobs: dict[str, sweeps.Job] = {}
    waiting: list[runs.Settings] = []
    if not EXPERIMENTS[target]:
        return Needs(target, [], [])
    cfg = composed([f"+experiment={target}", f"scale={scale}"], f"hydra.sweeper.seeds={seeds}")
    for grid in sweeps.grids_of(cfg.hydra.sweeper.grids):
        jobs |= {job.run: job for job in expander.plain(grid, seeds)}
        try:
            jobs |= {job.run: job for job in expander.chosen(grid, results, seeds)}
        except sweeps.ChoiceMissing:
            waiting += expander.waiting(grid, seeds)
    return Needs(target, list(jobs.values()), waiting)


def expander_of(scale: str) -> sweeps.Expander:
    """One serves all targets of a scale, since no run's identity knows its experiment."""
    return sweeps.Expander(_compose, [f"scale={scale}"], _groups())


def composed(arguments: Sequence[str], *hydra_overrides: str) -> DictConfig:
    """The config of some overrides with its hydra node, outside of a Hydra application."""
    with _hydra():
        return compose("train", [*arguments, *hydra_overrides], return_hydra_config=True)


def table(scale: str, seeds: int = 0) -> pd.DataFrame:
    """A row a target: runs needed, of those shared with the rows above, stored, running, left.

    `all` are the paper's; the controls come after it.
    """
    store = runs.Store(scale)
    results, stored = store.collect(), store.stored()
    expander = expander_of(scale)
    seen: set[str] = set()
    rows = {}
    for target in EXPERIMENTS:
        need = needs(target, scale, seeds, results, expander)
        names = {job.run for job in need.jobs}
        left = [job for job in need.jobs if job.run not in stored]
        new = [job.settings for job in left if job.run not in seen] + need.waiting
        rows[target] = {
            "needed": len(names) + len(need.waiting),
            "shared": len(names & seen),
            "stored": len(names & stored),
            "running": sum(_in_training(store, job.run) for job in left),
            "left": len(new),
            "hours": sum(seconds_of(settings, scale, results.runs) for settings in new) / 3600,
        }
        seen |= names
    frame = pd.DataFrame.from_dict(rows, orient="index")
    of_paper = frame.loc[list(PAPER)]
    total = of_paper.sum()
    total["needed"] -= total["shared"]
    total["stored"] = total["needed"] - total["left"]
    total["shared"] = 0
    total = total.to_frame("all").T.astype(frame.dtypes.to_dict())
    ordered = pd.concat([of_paper, total, frame.drop(index=list(PAPER))])
    return ordered.rename_axis("target").reset_index()


def _in_training(store: runs.Store, run: str) -> bool:
    _, claim = newest_claim(store.work(run))
    return claim is not None and is_alive(claim)


# -- time and disk --------------------------------------------------------------------------------


def seconds_of(settings: runs.Settings, scale: str, stored: pd.DataFrame) -> float:
    """What one run takes on one worker: the median of stored ones like it, else measured now."""
    same = stored[
        (stored["model"] == settings["model"]["name"])
        & (stored["setting"] == runs.setting_id(settings))
        & (stored["status"] == "done")
    ]
    if len(same):
        return float(same["seconds"].median())
    data, scaled = settings["data"], settings["scale"]
    return _measured_seconds(scale, settings["model"]["name"], data["name"], scaled["epochs"])


#: Images of the whole data sets: training and test.
SIZES = {"cifar10": (50_000, 10_000), "cifar100": (50_000, 10_000)}


@cache
def _measured_seconds(scale: str, model: str, data: str, epochs: int) -> float:
    from lpwd.train import choose_device

    cfg = composed([f"scale={scale}", f"model={model}", f"data={data}", "model.pretrained=false"])
    device = choose_device(cfg.machine.device)
    images, sizes = cfg.scale.images, SIZES.get(data, (0, 0))
    train = sizes[0] if images.train is None else images.train
    test = (sizes[1] if images.test is None else images.test) + images.heldout
    batch = min(cfg.scale.batch_size, 512 if device.type == "cuda" else 32)
    forward, step = _seconds_per_image(cfg, device, batch)
    return epochs * (train * step + test * forward)


def _seconds_per_image(cfg: DictConfig, device: torch.device, batch: int) -> tuple[float, float]:
    """Seconds an image takes in evaluation and in training; the first of three is warm-up."""
    from lpwd import models
    from lpwd.train import make_optimizer

    torch.set_num_threads(cfg.machine.threads)
    model: Any = models.create(cfg.model, cfg.data.classes)
    model = model.to(device, memory_format=torch.channels_last)
    optimizer = make_optimizer(cfg, model)
    x = torch.randn(batch, 3, 32, 32, device=device).to(memory_format=torch.channels_last)
    y = torch.zeros(batch, dtype=torch.long, device=device)

    def evaluate() -> None:
        with torch.inference_mode():
            model(x)

    def train() -> None:
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()

    return _timed(evaluate, device) / batch, _timed(train, device) / batch


def _timed(function: Any, device: torch.device, repeats: int = 2) -> float:
    function()
    _wait(device)
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    _wait(device)
    return (time.perf_counter() - start) / repeats


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def disk_bytes(scale: str, count: int, workers: int) -> int:
    """Room for `count` more stored runs and for the checkpoints of `workers` at once."""
    cfg = composed([f"scale={scale}", f"model={_largest(scale)}", "model.pretrained=false"])
    from lpwd import models

    with torch.device("meta"):
        parameters = sum(p.numel() for p in models.create(cfg.model, 100).parameters())
    files = list((runs.results_dir(scale) / "runs").glob("*/run.json"))[:200]
    sizes = [file.stat().st_size for file in files]
    each = sum(sizes) / len(sizes) if sizes else 1_500 * cfg.scale.epochs
    # A checkpoint holds the weights and Adam's two moments in fp32; while a new one is written,
    # the old one is still there.
    return int(count * each + workers * 2 * parameters * 12)


def _largest(scale: str) -> str:
    cfg = composed([f"scale={scale}"])
    return cast(str, cfg.scale.grid.series[-1])


# -- Hydra ----------------------------------------------------------------------------------------


class _hydra:
    """Hydra initialized on configs/ for a `with` block; a running application's own is kept."""

    def __enter__(self) -> None:
        self.ours = not GlobalHydra.instance().is_initialized()
        if self.ours:
            initialize_config_dir(str(CONFIGS), version_base="1.3")

    def __exit__(self, *error: object) -> None:
        if self.ours:
            GlobalHydra.instance().clear()


def _compose(overrides: list[str]) -> DictConfig:
    with _hydra():
        return compose("train", overrides)


def _groups() -> list[str]:
    return [path.name for path in Path(CONFIGS).iterdir() if path.is_dir()]
