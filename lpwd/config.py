"""The types and bounds of every config key: wrong input ends in one line, before any work.

Hydra composes the YAML of configs/; `check` holds the result against the dataclasses below.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lpwd.decay import EXCLUDE, METHODS, NORMALIZE, PROFILES, check_choice
from lpwd.errors import ConfigError
from lpwd.layers import LAYERS

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "configs"
SCALES = tuple(sorted(path.stem for path in (CONFIGS / "scale").glob("*.yaml")))


@dataclass
class Data:
    name: str = MISSING
    root: str = MISSING
    classes: int = MISSING
    augment: list[Any] = MISSING
    mean: list[float] = MISSING
    std: list[float] = MISSING


@dataclass
class Model:
    name: str = MISSING
    arch: str = MISSING
    kwargs: dict[str, Any] = MISSING
    pretrained: Any = MISSING
    weights: str | None = None


@dataclass
class Optimizer:
    name: str = MISSING
    lr: float | None = None
    lr_factor: float = 1.0
    betas: list[float] | None = None
    eps: float | None = None
    momentum: float | None = None


@dataclass
class Decay:
    method: str = MISSING
    rate: float | None = None
    rate_factor: float = 1.0
    profile: str | None = None
    normalize: str = "none"
    layers: str = "block"
    coupled: bool = True
    exclude: list[str] = field(default_factory=list)


@dataclass
class Images:
    train: int | None = None
    heldout: int = 0
    test: int | None = None


@dataclass
class Scale:
    name: str = MISSING
    images: Images = field(default_factory=Images)
    epochs: int = MISSING
    batch_size: int = MISSING
    drop_last: bool = False
    eval_batch_size: int = MISSING
    zero_shot_images: int | None = None
    precision: str = "fp32"
    loader: str = "device"
    r_op_every: int = 10
    base: dict[str, dict[str, float]] = MISSING
    grid: dict[str, Any] = MISSING


@dataclass
class Machine:
    device: str = "auto"
    threads: int = 1
    channels_last: bool = True
    compile: bool = False
    loader_workers: int = 2
    runs: int | None = None
    runs_per_gpu: int = 1
    checkpoint_minutes: float = 5.0


@dataclass
class Wandb:
    mode: str = "disabled"
    project: str = "lpwd"
    group: str | None = None


@dataclass
class Config:
    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    optimizer: Optimizer = field(default_factory=Optimizer)
    decay: Decay = field(default_factory=Decay)
    scale: Scale = field(default_factory=Scale)
    machine: Machine = field(default_factory=Machine)
    wandb: Wandb = field(default_factory=Wandb)
    seed: int = 0
    experiment: str | None = None


CHOICES = {
    "optimizer.name": ("adam", "sgdm"),
    "decay.method": METHODS,
    "decay.profile": PROFILES,
    "decay.normalize": NORMALIZE,
    "decay.layers": LAYERS,
    "scale.precision": ("fp32", "tf32", "bf16"),
    "scale.loader": ("device", "albumentations"),
    "wandb.mode": ("disabled", "offline", "online"),
}

#: key: its least value; null passes where the type allows it.
AT_LEAST = {
    "data.classes": 2,
    "scale.images.train": 1,
    "scale.images.heldout": 0,
    "scale.images.test": 2,  # two halves
    "scale.epochs": 1,
    "scale.batch_size": 1,
    "scale.eval_batch_size": 1,
    "scale.zero_shot_images": 1,
    "scale.r_op_every": 1,
    "machine.threads": 1,
    "machine.loader_workers": 0,
    "machine.runs": 1,
    "machine.runs_per_gpu": 1,
    "machine.checkpoint_minutes": 0,
    "seed": 0,
    "optimizer.lr": 0,
    "optimizer.lr_factor": 0,
    "optimizer.eps": 0,
    "optimizer.momentum": 0,
    "decay.rate": 0,
    "decay.rate_factor": 0,
}


def without_hydra(cfg: DictConfig) -> DictConfig:
    return OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])


def keys() -> list[str]:
    """Every config key, for the nearest name to a misspelt one."""
    plain: Any = OmegaConf.to_container(OmegaConf.structured(Config))
    return [key for key, _ in _flatten(plain)]


def check(cfg: DictConfig) -> None:
    """Hold a composed config against its types, choices and bounds; raises ConfigError."""
    try:
        typed = OmegaConf.merge(OmegaConf.structured(Config), without_hydra(cfg))
        plain: Any = OmegaConf.to_container(typed, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or "the config"
        raise ConfigError(f"{key}: {str(error).splitlines()[0]}") from None
    values = dict(_flatten(plain))
    for key, known in CHOICES.items():
        if values[key] is not None:
            _reworded(check_choice, key, values[key], known)
    for kind in plain["decay"]["exclude"]:
        _reworded(check_choice, "decay.exclude", kind, EXCLUDE)
    for key, least in AT_LEAST.items():
        value = values[key]
        if value is not None and not (math.isfinite(value) and value >= least):
            raise ConfigError(f"{key}={value} must be a finite number of at least {least}")
    _check_optimizer(plain)
    _check_data_root(plain["data"])


def _check_optimizer(plain: dict[str, Any]) -> None:
    name, base = plain["optimizer"]["name"], plain["scale"]["base"]
    if set(base.get(name, ())) != {"lr", "rate"}:
        raise ConfigError(f"scale.base.{name} must hold the base rates lr and rate")
    for key, value in base[name].items():
        if not (math.isfinite(value) and value >= 0):
            raise ConfigError(f"scale.base.{name}.{key}={value} must be a finite number ≥ 0")
    betas = plain["optimizer"]["betas"]
    if betas is not None and not (len(betas) == 2 and all(0 <= beta < 1 for beta in betas)):
        raise ConfigError(f"optimizer.betas={betas} must be two numbers from 0 to below 1")


def _check_data_root(data: dict[str, Any]) -> None:
    """A folder that somebody named must be there; the default one may be made by a download."""
    if data["name"] != "digits" and data["root"] != "data" and not Path(data["root"]).is_dir():
        raise ConfigError(
            f"data.root={data['root']} (or LPWD_DATA) does not exist; name the folder that holds"
            " the data, or leave it out to download them (docs/data.md)"
        )


def _reworded(function: Any, *args: Any) -> None:
    try:
        function(*args)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _flatten(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        yield f"{prefix}{key}", value
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")


def scale_config(name: str) -> DictConfig:
    """The `scale` node of configs/scale/<name>.yaml; raises ConfigError for an unknown scale."""
    _reworded(check_choice, "scale", name, SCALES)
    return OmegaConf.load(CONFIGS / "scale" / f"{name}.yaml").scale
