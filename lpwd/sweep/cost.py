"""Hours and disk that runs take, from stored ones or from a few steps measured here."""

from __future__ import annotations

import gc
import json
import math
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from omegaconf import DictConfig, OmegaConf

from lpwd.config.compose import composed
from lpwd.config.errors import CannotWrite
from lpwd.config.paths import ROOT
from lpwd.store import identity
from lpwd.store.files import results_dir, write_whole

if TYPE_CHECKING:
    import torch  # two seconds to import: only where something is measured

    from lpwd.inputs.images import Images

#: Steps that are timed, after as many for warming up.
STEPS = 5
#: Evaluations of the test images in a zero-shot curve, of which a Baseline run ends with one.
ZERO_SHOT = 101


@dataclass(frozen=True)
class Cost:
    """What a model costs on one device, one run at a time."""

    step: float  # seconds of a training step
    image: float  # seconds of an image in evaluation
    peak: int  # bytes of GPU memory that torch held; 0 on a CPU


def seconds_of(settings: identity.Settings, scale: str, stored: pd.DataFrame) -> float:
    """What one run takes on one worker: the median of this device's stored ones like it, else
    from a few steps measured here.

    Raises:
        ConfigError: the scale wants a GPU, and there is none.
    """
    from lpwd.config.machine import device_name

    same = stored[
        (stored["model"] == settings["model"]["name"])
        & (stored["setting"] == identity.setting_id(settings))
        & (stored["status"] == "done")
    ]
    cfg = config_of(scale, settings["model"]["name"], settings["data"]["name"])
    same = same[same["device"] == device_name(_device(cfg))]
    if len(same):
        return float(same["seconds"].median())
    cost, (train, test) = measured(cfg), _sizes(scale, settings["data"]["name"])
    scaled = settings["scale"]
    steps = math.ceil(train / scaled["batch_size"])
    seconds = scaled["epochs"] * (steps * cost.step + test * cost.image)
    if settings["decay"]["method"] == "baseline":
        seconds += ZERO_SHOT * (scaled["zero_shot_images"] or test) * cost.image
    return seconds


@cache
def config_of(scale: str, model: str, data: str = "") -> DictConfig:
    """The scale's own setting for a model, with weights that need not be there."""
    chosen = [f"scale={scale}", f"model={model}", *[f"data={data}"] * bool(data)]
    return composed([*chosen, "model.pretrained=false"])


@cache
def _sizes(scale: str, data: str) -> tuple[int, int]:
    from lpwd.inputs.data import sizes

    cfg = composed([f"scale={scale}", f"data={data}"])
    return sizes(cfg.data, cfg.scale.images)


def _device(cfg: DictConfig) -> torch.device:
    from lpwd.config.machine import choose_device

    return choose_device(cfg.machine.device, cfg.scale.name)


def measured(cfg: DictConfig, anew: bool = False) -> Cost:
    """The cost of a config's steps on this machine; kept in results/<scale>/work/cost.json.

    Raises:
        ConfigError: the device is not here.
    """
    from lpwd.config.machine import device_name

    file = results_dir(cfg.scale.name) / "work" / "cost.json"
    key = f"{device_name(_device(cfg))}, torch {version('torch')}, {_what_costs(cfg)}"
    known = {}
    with suppress(OSError, ValueError):
        known = json.loads(file.read_text())
    if anew or key not in known:
        known[key] = asdict(_measure(cfg))
        with suppress(CannotWrite):
            write_whole(file, json.dumps(known, indent=1).encode())
    return Cost(**known[key])


def _what_costs(cfg: DictConfig) -> str:
    """All of a config that a step's time depends on, as text."""
    scale, machine = cfg.scale, cfg.machine
    said = {
        "model": [cfg.model.arch, OmegaConf.to_container(cfg.model.kwargs, resolve=True)],
        "images": [cfg.data.side, cfg.data.classes],
        "scale": [scale.batch_size, scale.eval_batch_size, scale.precision, scale.loader],
        "machine": [machine.threads, machine.channels_last, machine.compile],
    }
    return json.dumps(said)


def _measure(cfg: DictConfig) -> Cost:
    """Train two epochs on a few batches of noise, as a run would; the second one is measured."""
    import torch

    from lpwd.inputs.images import Dataset
    from lpwd.training.build import prepare
    from lpwd.training.loop import train_epoch

    device, scale = _device(cfg), cfg.scale
    on_gpu, marks = device.type == "cuda", []

    def mark() -> None:
        if on_gpu:
            torch.cuda.synchronize(device)
        marks.append(time.perf_counter())

    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    test = _noise(cfg, scale.eval_batch_size)
    images = Dataset(_noise(cfg, STEPS * scale.batch_size), _noise(cfg, 0), test)
    training = prepare(cfg, images)
    train_epoch(training, lambda: None)
    train_epoch(training, mark)
    mark()
    peak = torch.cuda.max_memory_reserved(device) if on_gpu else 0
    del training
    gc.collect()
    if on_gpu:
        torch.cuda.empty_cache()
    step = (marks[STEPS - 1] - marks[0]) / (STEPS - 1)
    return Cost(step, (marks[-1] - marks[-2]) / scale.eval_batch_size, peak)


def _noise(cfg: DictConfig, count: int) -> Images:
    import numpy as np

    from lpwd.inputs.images import Images

    rng, side = np.random.default_rng(0), cfg.data.side
    pixels = rng.integers(256, size=(count, side, side, 3), dtype=np.uint8)
    return Images(pixels, rng.integers(cfg.data.classes, size=count))


def disk_bytes(models: Iterable[Any], cfg: DictConfig, count: int, workers: int) -> int:
    """Room for `count` more stored runs of a config's scale and the checkpoints of `workers`.

    models: the `model` sections of the runs; the largest counts.
    """
    runs = (results_dir(cfg.scale.name) / "runs").glob("*/run.json")
    sizes = [file.stat().st_size for file, _ in zip(runs, range(200), strict=False)]
    each = sum(sizes) / len(sizes) if sizes else 1_500 * cfg.scale.epochs
    # A checkpoint holds the weights and Adam's two moments in fp32; while a new one is written,
    # the old one is still there.
    return int(count * each + workers * 2 * max(map(_parameters, models)) * 12)


def _parameters(model: Mapping[str, Any]) -> int:
    """How many a model has, its head's included: by the header of its own weights, else counted."""
    file = Path(ROOT / (model["weights"] or ""))
    if file.suffix != ".safetensors" or not file.is_file():
        kwargs = OmegaConf.to_container(OmegaConf.create(model["kwargs"]))
        return _counted(model["name"], model["arch"], json.dumps(kwargs))
    from safetensors import safe_open

    with safe_open(file, "np") as tensors:
        return sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118


@cache
def _counted(name: str, arch: str, kwargs: str) -> int:
    import torch

    from lpwd.inputs import models

    node = {"name": name, "arch": arch, "kwargs": json.loads(kwargs), "pretrained": False}
    with torch.device("meta"):
        model = models.create(OmegaConf.create({**node, "weights": None}), 100)
    return sum(p.numel() for p in model.parameters())
