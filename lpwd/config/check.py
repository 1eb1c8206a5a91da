"""The types and bounds of every config key: wrong input ends in one line, before any work.

Hydra composes the YAML of configs/; `check` holds the result against the dataclasses below.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import is_dataclass
from functools import cache
from types import NoneType
from typing import Any, get_args, get_type_hints

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lpwd.config.compose import without_hydra
from lpwd.config.errors import ConfigError, reworded
from lpwd.config.paths import CONFIGS, is_folder, names_in
from lpwd.config.schema import (
    AT_LEAST,
    AT_MOST,
    CHOICES,
    IN_WORDS,
    LARGEST,
    OPTIMIZER_KEYS,
    OPTIONAL,
    Config,
)
from lpwd.decay.checks import EXCLUDE, check_choice, did_you_mean


def keys() -> list[str]:
    """Every config key, for the nearest name to a misspelt one."""
    return [*_hints(Config)]


def check(cfg: DictConfig) -> None:
    """Hold a composed config against its types, choices and bounds; raises ConfigError."""
    plain = _typed(cfg)
    values = dict(_flatten(plain))
    for key, known in CHOICES.items():
        if values[key] is not None:
            reworded(check_choice, key, values[key], known)
    for kind in plain["decay"]["exclude"]:
        reworded(check_choice, "decay.exclude", kind, EXCLUDE)
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
                reworded(check_choice, key, value, names_in(key))


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
    from lpwd.inputs.augment import build_augment

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
        from lpwd.inputs.models import check_arch

        check_arch(arch)


@cache
def _archs() -> set[str]:
    """The archs that configs/model/ names: those are there."""
    return {OmegaConf.load(CONFIGS / "model" / f"{name}.yaml").arch for name in names_in("model")}


def _flatten(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        yield f"{prefix}{key}", value
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
