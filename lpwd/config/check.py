"""A composed config held against the schema: wrong input ends in one line, before any work."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from contextlib import suppress
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError

from lpwd.config.errors import ConfigError, first_line, no_such_key, reworded
from lpwd.config.paths import CONFIGS, names_in
from lpwd.config.schema import OPTIMIZER_KEYS, Config
from lpwd.decay.checks import check_choice


def without_hydra(cfg: DictConfig) -> DictConfig:
    """A composed config without Hydra's own node."""
    return OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])


def check(cfg: DictConfig) -> DictConfig:
    """The config with its values as the schema reads them; raises ConfigError."""
    return OmegaConf.create(checked(plain(cfg)))


def plain(cfg: DictConfig) -> dict[str, Any]:
    """A composed config as plain values, without Hydra's node; raises ConfigError."""
    own = without_hydra(cfg)
    try:
        return OmegaConf.to_container(own, resolve=True, throw_on_missing=True)  # pyright: ignore
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or "the config"
        raise ConfigError(f"{key}: {first_line(error)}") from None


def checked(config: dict[str, Any]) -> dict[str, Any]:
    """The same for plain values."""
    try:
        found = Config.model_validate(config)
    except ValidationError as error:
        raise ConfigError(_one_line(error, config)) from None
    _check_optimizer(found)
    _check_towards(found)
    return found.model_dump(exclude_unset=True)


def keys() -> list[str]:
    """Every config key, for the nearest name to a misspelt one."""
    return list(fields())


def fields(section: type[BaseModel] = Config, prefix: str = "") -> dict[str, Any]:
    """{config key: its type}, sections included."""
    found: dict[str, Any] = {}
    for name, field in section.model_fields.items():
        found[f"{prefix}{name}"] = field.annotation
        if _is_section(field.annotation):
            found |= fields(field.annotation, f"{prefix}{name}.")  # pyright: ignore
    return found


def command_line(arguments: Sequence[str]) -> list[str]:
    """A command line as Hydra shall read it; raises ConfigError for a wrong choice of a group.

    A name such as 2024_01 is quoted, or Hydra would read the number 202401.
    """
    overrides = get_args_parser().parse_args(arguments).overrides
    check_groups(overrides)
    return [_quoted(text) if text in overrides else text for text in arguments]


def _quoted(text: str) -> str:
    """An override with its numbers in quotes, where its key takes a text."""
    override = OverridesParser.create().parse_override(text)
    numbers = isinstance(override.value(), ChoiceSweep | int | float)
    if not numbers or not _takes_text(fields().get(override.key_or_group)):
        return text
    key, _, spelled = text.partition("=")
    return f"{key}={_WORD.sub(_as_name, spelled)}"


#: The words of a value or a sweep, quoted ones whole.
_WORD = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[^,()'"\s][^,()]*""")


def _as_name(word: re.Match[str]) -> str:
    with suppress(HydraException):
        if type(OverridesParser.create().parse_override(f"key={word[0]}").value()) in (int, float):
            return f"'{word[0].strip()}'"
    return word[0]


def check_groups(overrides: Sequence[str]) -> None:
    """Raise ConfigError where overrides give a config group something that is no name."""
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        value: Any = override.value()
        values = value.list if isinstance(value, ChoiceSweep) else [value]
        key = override.key_or_group
        if isinstance(value, Glob):  # Hydra looks for the names itself
            continue
        for value in values if (CONFIGS / key).is_dir() else ():
            if not isinstance(value, str | list):  # what Hydra itself ends in a traceback
                reworded(check_choice, key, value, names_in(key))


# -- one line of an error -------------------------------------------------------------------------

#: Types in a user's words.
IN_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    list: "a list, as in [a,b]",
    dict: "keys and values, as in {a: 1}",
}
#: What some keys must be, where the type alone says too little.
MUST_BE = {
    "model.pretrained": "true, false or a file of weights",
    "optimizer.betas": "two numbers from 0 to below 1",
    "data.mean": "three finite numbers, one a colour",
    "data.std": "three numbers above 0, one a colour",
    "machine.compile": "false, true or graphs",
    "machine.device": "auto, cpu, cuda or cuda:<number>",
    **dict.fromkeys(
        (f"scale.grid.{name}factors" for name in ("lr_", "rate_", "control_lr_")),
        "a list of finite numbers ≥ 0, the largest first",
    ),
    "scale.base": "{adam: {lr: …, rate: …}, sgdm: {lr: …, rate: …}}, all finite numbers ≥ 0",
}


def _one_line(error: ValidationError, config: dict[str, Any]) -> str:
    """The first fault, with its key and what it must be."""
    fault = error.errors()[0]
    path = [str(part) for part in fault["loc"]]
    known = fields()
    while len(path) > 1 and ".".join(path) not in known and fault["type"] not in _OF_KEYS:
        path.pop()  # in a list or dictionary, or one of several types
    key = ".".join(path)
    value = config
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    if fault["type"] == "missing":
        return f"{key} is missing; leave ~{key} out, or give it a value"
    if fault["type"] == "extra_forbidden":
        return no_such_key(key, keys())
    if fault["type"] == "choice" and not isinstance(value, list):
        return f"{key}={value!r} is unknown{fault['msg']}"
    if fault["type"] == "choice":
        return f"{key}: {fault['input']!r} is unknown{fault['msg']}"
    return f"{key}={value} must be {MUST_BE.get(key) or _must_be(known.get(key), fault)}"


#: Faults of the keys themselves, whose whole path is meant.
_OF_KEYS = ("missing", "extra_forbidden")


def _must_be(hint: Any, fault: Any) -> str:
    bound = fault.get("ctx", {})
    if fault["type"] == "less_than_equal":
        return f"at most {bound['le']}"
    if fault["type"] == "greater_than_equal":
        return f"a finite number of at least {bound['ge']:g}"
    if fault["type"] == "finite_number":
        return "a finite number"
    if _is_section(hint):
        return "keys and values, as in configs/"
    nullable = NoneType in get_args(hint)
    kind = _kind(get_args(hint)[0] if nullable else hint)
    return IN_WORDS.get(kind, "another value") + " or null" * nullable


def _kind(hint: Any) -> Any:
    """The plain type of a hint: float of Annotated[float, …], list of list[float]."""
    if get_origin(hint) is Annotated:
        return _kind(get_args(hint)[0])
    return get_origin(hint) or hint


def _takes_text(hint: Any) -> bool:
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return str in map(_kind, options)


def _is_section(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, BaseModel)


# -- what takes several keys ----------------------------------------------------------------------


def _check_optimizer(config: Config) -> None:
    optimizer, base = config.optimizer, config.scale.base.get(config.optimizer.name)
    for key in OPTIMIZER_KEYS[optimizer.name]:
        if getattr(optimizer, key) is None:
            name = optimizer.name
            raise ConfigError(f"optimizer.{key}: {name} needs one; choose it by optimizer={name}")
    if base is None:
        raise ConfigError(f"scale.base.{optimizer.name} must hold the base rates lr and rate")
    for key, factor, of in (
        ("optimizer.lr_factor", optimizer.lr_factor, base.lr),
        ("decay.rate_factor", config.decay.rate_factor, base.rate),
    ):
        if not math.isfinite(factor * of):
            raise ConfigError(f"{key}={factor} times the scale's base {of} is too large a number")


def _check_towards(config: Config) -> None:
    if config.decay.towards == "pretrained" and config.model.pretrained is False:
        raise ConfigError(
            "decay.towards=pretrained: this model starts from scratch (model.pretrained=false);"
            " give it weights, or leave decay.towards out"
        )
