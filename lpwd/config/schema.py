"""TODO lpwd.config.schema."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from lpwd.config.paths import SCALES, names_in
from lpwd.decay.layers import LAYERS
from lpwd.decay.rates import METHODS, NORMALIZE, PROFILES


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
    schedule: str = "constant"
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
class Grid:
    datasets: list[str] = MISSING
    models: list[str] = MISSING
    series: list[str] = MISSING
    optimizers: list[str] = MISSING
    lr_factors: list[float] = MISSING
    rate_factors: list[float] = MISSING


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
    grid: Grid = field(default_factory=Grid)


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
    "scale.name": SCALES,
    "data.name": names_in("data"),
    "model.name": names_in("model"),  # tables compare a run with the config of its model's name
    "optimizer.name": ("adam", "sgdm"),
    "optimizer.schedule": ("constant", "cosine"),
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

#: What no machine bears; other whole numbers end where runs.csv and torch's do.
AT_MOST = {"machine.threads": 1024, "machine.loader_workers": 256, "machine.runs_per_gpu": 64}
LARGEST = 2**31 - 1

#: What each optimizer cannot do without.
OPTIMIZER_KEYS = {"adam": ("betas", "eps"), "sgdm": ("momentum",)}

#: Keys that not every config of their group has.
OPTIONAL = {f"optimizer.{key}" for of_one in OPTIMIZER_KEYS.values() for key in of_one}

#: The types of the dataclasses above in a user's words.
IN_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    list[Any]: "a list, as in [a,b]",
    list[str]: "a list of names, as in [a,b]",
    list[float]: "a list of numbers, as in [0.5,0.4]",
    dict[str, Any]: "keys and values, as in {a: 1}",
    dict[str, dict[str, float]]: "{adam: {lr: …, rate: …}, sgdm: {lr: …, rate: …}}, all numbers",
}
