"""The types and bounds of every config key: wrong input ends in one line, before any work.

Hydra composes the YAML of configs/; `check` holds the result against the dataclasses below.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lpwd.decay import EXCLUDE, METHODS, NORMALIZE, PROFILES, check_choice
from lpwd.errors import ConfigError
from lpwd.layers import LAYERS, did_you_mean

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "configs"


def names_in(group: str) -> tuple[str, ...]:
    """The configs of a group, as in configs/<group>/<name>.yaml."""
    return tuple(sorted(path.stem for path in (CONFIGS / group).glob("[!_]*.yaml")))


SCALES = names_in("scale")


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


def without_hydra(cfg: DictConfig) -> DictConfig:
    return OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])


def keys() -> list[str]:
    """Every config key, for the nearest name to a misspelt one."""
    return [*_hints(Config)]


def check(cfg: DictConfig) -> None:
    """Hold a composed config against its types, choices and bounds; raises ConfigError."""
    plain = _typed(cfg)
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
        most = AT_MOST.get(key, LARGEST)
        if isinstance(value, int) and value > most:
            raise ConfigError(f"{key}={value} must be at most {most}")
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", device := plain["machine"]["device"]):
        raise ConfigError(f"machine.device={device} must be auto, cpu, cuda or cuda:<number>")
    _check_optimizer(plain)
    _check_data(plain["data"])
    _check_arch(plain["model"]["arch"])


def check_groups(arguments: Iterable[str]) -> None:
    """Raise ConfigError where a command line gives a config group something that is no name."""
    texts = [argument for argument in arguments if not argument.startswith("-")]
    for override in OverridesParser.create().parse_overrides(texts):
        value: Any = override.value()
        values = value.list if isinstance(value, ChoiceSweep) else [value]
        key = override.key_or_group
        for value in values if (CONFIGS / key).is_dir() else ():
            if not isinstance(value, str | list):  # what Hydra itself ends in a traceback
                _reworded(check_choice, key, value, names_in(key))


def _typed(cfg: DictConfig) -> dict[str, Any]:
    """The config as plain values of the types that the dataclasses above say."""
    own = without_hydra(cfg)
    raw: Any = OmegaConf.to_container(own)
    for key, hint in _hints(Config).items():
        if is_dataclass(hint) and not isinstance(_at(raw, key), dict):
            raise ConfigError(f"{key}={_at(raw, key)} must be keys and values, as in configs/")
        group, _, name = key.rpartition(".")
        if name not in (_at(raw, group) if group else raw) and key not in OPTIONAL:
            raise ConfigError(f"{key} is missing; leave ~{key} out, or give it a value")
    try:
        typed = OmegaConf.merge(OmegaConf.structured(Config), own)
        plain: Any = OmegaConf.to_container(typed, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        full_key = getattr(error, "full_key", None) or "the config"
        key = next((key for key in (full_key, *_parents(full_key)) if key in _hints(Config)), None)
        if key is None:
            fault = str(error).partition("\n")[0]
            raise ConfigError(f"{full_key}: {fault}{did_you_mean(full_key, keys())}") from None
        raise ConfigError(f"{key}={_at(raw, key)} must be {_in_words(key)}") from None
    resolved: Any = OmegaConf.to_container(own, resolve=True)
    for key, hint in _hints(Config).items():
        if not is_dataclass(hint) and not _same_kind(value := _at(resolved, key), _at(plain, key)):
            raise ConfigError(f"{key}={value!r} must be {_in_words(key)}")
    return plain


def _same_kind(value: Any, typed: Any) -> bool:
    """Is a value what it was read as? "no" is false, and [] {}, to OmegaConf: but not to a run."""
    if isinstance(typed, list):
        return isinstance(value, list) and all(map(_same_kind, value, typed))
    if isinstance(typed, dict):
        return isinstance(value, dict) and all(_same_kind(value.get(k), typed[k]) for k in typed)
    number = isinstance(typed, bool | int | float)
    return not number or type(value) in (type(typed), {float: int}.get(type(typed)))


@cache
def _hints(schema: type, prefix: str = "") -> dict[str, Any]:
    """Every config key and its type."""
    hints: dict[str, Any] = {}
    for name, hint in get_type_hints(schema).items():
        hints[f"{prefix}{name}"] = hint
        if is_dataclass(hint):
            hints |= _hints(hint, f"{prefix}{name}.")  # pyright: ignore[reportArgumentType]
    return hints


def _in_words(key: str) -> str:
    hint = _hints(Config)[key]
    plain = next(iter(set(get_args(hint)) - {NoneType}), hint) if _nullable(hint) else hint
    return IN_WORDS[plain] + (" or null" if _nullable(hint) else "")


def _nullable(hint: Any) -> bool:
    return NoneType in get_args(hint)


def _parents(key: str) -> list[str]:
    """a.b[0].c: a.b[0], a.b, a."""
    ends = [match.start() for match in re.finditer(r"[.\[]", key)]
    return [key[:end] for end in reversed(ends)]


def _at(tree: Any, key: str) -> Any:
    for part in key.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree


def _check_optimizer(plain: dict[str, Any]) -> None:
    name, base = plain["optimizer"]["name"], plain["scale"]["base"]
    for key in OPTIMIZER_KEYS[name]:
        if plain["optimizer"][key] is None:
            raise ConfigError(f"optimizer.{key}: {name} needs one; choose it by optimizer={name}")
    if set(base.get(name, ())) != {"lr", "rate"}:
        raise ConfigError(f"scale.base.{name} must hold the base rates lr and rate")
    for key, value in base[name].items():
        if not (math.isfinite(value) and value >= 0):
            raise ConfigError(f"scale.base.{name}.{key}={value} must be a finite number ≥ 0")
    betas = plain["optimizer"]["betas"]
    if betas is not None and not (len(betas) == 2 and all(0 <= beta < 1 for beta in betas)):
        raise ConfigError(f"optimizer.betas={betas} must be two numbers from 0 to below 1")
    for key, factor, of in (
        ("optimizer.lr_factor", plain["optimizer"]["lr_factor"], base[name]["lr"]),
        ("decay.rate_factor", plain["decay"]["rate_factor"], base[name]["rate"]),
    ):
        if not math.isfinite(factor * of):
            raise ConfigError(f"{key}={factor} times the scale's base {of} is too large a number")


def _check_data(data: dict[str, Any]) -> None:
    from lpwd.data.loaders import build_augment

    build_augment(data["augment"])
    for key in ("mean", "std"):
        if len(data[key]) != 3 or not all(map(math.isfinite, data[key])):
            raise ConfigError(f"data.{key}={data[key]} must be three finite numbers, one a colour")
    if min(data["std"]) <= 0:
        raise ConfigError(f"data.std={data['std']} must be three numbers above 0")
    # A folder that somebody named must be there; the default one may be made by a download.
    if data["name"] != "digits" and data["root"] != "data" and not is_folder(data["root"]):
        raise ConfigError(
            f"data.root={data['root']} (or LPWD_DATA) does not exist; name the folder that holds"
            " the data, or leave it out to download them (docs/data.md)"
        )


def _check_arch(arch: str) -> None:
    if arch not in _archs():  # timm takes seconds to import
        from lpwd.models import check_arch

        check_arch(arch)


@cache
def _archs() -> set[str]:
    """The archs that configs/model/ names: those are there."""
    return {OmegaConf.load(CONFIGS / "model" / f"{name}.yaml").arch for name in names_in("model")}


def is_folder(name: str) -> bool:
    """Is there such a folder? No name at all, as one too long, is no reason to fail."""
    try:
        return Path(name).expanduser().is_dir()
    except (OSError, RuntimeError):
        return False


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
