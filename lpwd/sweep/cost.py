"""Hours and disk that runs take, from stored ones or from a few steps measured here."""

from __future__ import annotations

import time
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import pandas as pd
from omegaconf import DictConfig

from lpwd.config.compose import composed
from lpwd.store import identity
from lpwd.store.files import results_dir

if TYPE_CHECKING:
    import torch  # two seconds to import: only where something is measured


def seconds_of(settings: identity.Settings, scale: str, stored: pd.DataFrame) -> float:
    """What one run takes on one worker: the median of stored ones like it, else measured now."""
    same = stored[
        (stored["model"] == settings["model"]["name"])
        & (stored["setting"] == identity.setting_id(settings))
        & (stored["status"] == "done")
    ]
    if len(same):
        return float(same["seconds"].median())
    data, scaled = settings["data"], settings["scale"]
    return _measured_seconds(scale, settings["model"]["name"], data["name"], scaled["epochs"])


@cache
def _measured_seconds(scale: str, model: str, data: str, epochs: int) -> float:
    from lpwd.config.machine import choose_device
    from lpwd.inputs.data import sizes

    cfg = composed([f"scale={scale}", f"model={model}", f"data={data}", "model.pretrained=false"])
    device = choose_device(cfg.machine.device)
    train, test = sizes(cfg.data, cfg.scale.images)
    batch = min(cfg.scale.batch_size, 512 if device.type == "cuda" else 32)
    forward, step = _seconds_per_image(cfg, device, batch)
    return epochs * (train * step + test * forward)


def _seconds_per_image(cfg: DictConfig, device: torch.device, batch: int) -> tuple[float, float]:
    """Seconds an image takes in evaluation and in training; the first of three is warm-up."""
    import torch
    from torch.nn.functional import cross_entropy

    from lpwd.inputs import models
    from lpwd.training.build import make_optimizer

    torch.set_num_threads(cfg.machine.threads)
    model: Any = models.create(cfg.model, cfg.data.classes)
    model = model.to(device, memory_format=torch.channels_last)
    optimizer = make_optimizer(cfg, model)
    side = cfg.data.side
    x = torch.randn(batch, 3, side, side, device=device).to(memory_format=torch.channels_last)
    y = torch.zeros(batch, dtype=torch.long, device=device)

    def evaluate() -> None:
        with torch.inference_mode():
            model(x)

    def train() -> None:
        cross_entropy(model(x), y).backward()
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
        import torch

        torch.cuda.synchronize(device)


def disk_bytes(scale: str, count: int, workers: int) -> int:
    """Room for `count` more stored runs and for the checkpoints of `workers` at once."""
    import torch

    from lpwd.inputs import models

    cfg = composed([f"scale={scale}", f"model={_largest(scale)}", "model.pretrained=false"])

    with torch.device("meta"):
        parameters = sum(p.numel() for p in models.create(cfg.model, 100).parameters())
    files = list((results_dir(scale) / "runs").glob("*/run.json"))[:200]
    sizes = [file.stat().st_size for file in files]
    each = sum(sizes) / len(sizes) if sizes else 1_500 * cfg.scale.epochs
    # A checkpoint holds the weights and Adam's two moments in fp32; while a new one is written,
    # the old one is still there.
    return int(count * each + workers * 2 * parameters * 12)


def _largest(scale: str) -> str:
    cfg = composed([f"scale={scale}"])
    return cast(str, cfg.scale.grid.series[-1])
