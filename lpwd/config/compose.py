"""Configs composed as Hydra composes them: for one run, for each of a sweep's, for defaults.

Composing takes Hydra 0.1 s, nearly all of it for the config groups. So each choice of groups is
composed by Hydra once, and the other overrides are applied to a copy, by Hydra's own function.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from lpwd.config.check import check_groups, keys, plain, without_hydra
from lpwd.config.errors import ConfigError, one_line, reworded
from lpwd.config.paths import CONFIGS, SCALES
from lpwd.decay.checks import check_choice

Config = dict[str, Any]


def scale_config(name: str) -> DictConfig:
    """The `scale` node of configs/scale/<name>.yaml; raises ConfigError for an unknown scale."""
    reworded(check_choice, "scale", name, SCALES)
    return OmegaConf.load(CONFIGS / "scale" / f"{name}.yaml").scale


def composed(arguments: Sequence[str], *hydra_overrides: str) -> DictConfig:
    """The config of some overrides with its hydra node, outside of a Hydra application."""
    with _hydra():
        return compose("train", [*arguments, *hydra_overrides], return_hydra_config=True)


class Composer:
    """The config of any overrides, as plain values: what Hydra would compose, but sooner.

    `compose` is Hydra's way from overrides to a config, `groups` are the config groups it knows.
    """

    def __init__(self, compose: Callable[[list[str]], DictConfig], groups: Sequence[str]) -> None:
        self._compose = compose
        self._groups = set(groups)
        self._bases: dict[tuple[str, ...], _Base] = {}

    @classmethod
    def of_sweep(cls, loader: ConfigLoader, config: DictConfig) -> Composer:
        """For the jobs of a running sweep with this config, as Hydra's `loader` composes them."""

        def compose(overrides: list[str]) -> DictConfig:
            return loader.load_sweep_config(config, overrides)

        return cls(compose, loader.list_groups(""))

    def config(self, overrides: Sequence[str]) -> Config:
        """The composed config of some overrides; raises ConfigError."""
        try:
            return self._config(overrides)
        except HydraException as error:
            raise ConfigError(one_line(error, keys())) from None

    def _config(self, overrides: Sequence[str]) -> Config:
        parsed = [_parsed(text) for text in overrides]
        of_groups = tuple(o.input_line or "" for o in parsed if o.key_or_group in self._groups)
        if of_groups not in self._bases:
            check_groups(of_groups)
            self._bases[of_groups] = _Base(self._compose(list(of_groups)))
        return self._bases[of_groups].with_values(
            [override for override in parsed if override.key_or_group not in self._groups]
        )


class _Base:
    """A composed choice of config groups, to which values are applied."""

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg = without_hydra(cfg)
        OmegaConf.set_struct(self.cfg, True)
        self.plain = plain(cfg)
        text = OmegaConf.to_yaml(self.cfg)
        followed = re.findall(r"\$\{([a-z_]+[a-z_.]*)\}", text)
        #: Keys that other nodes follow, as in ${data.side}: these take Hydra's own way.
        self.followed = set(followed)
        #: Other interpolations, such as ${.side}, may follow anything.
        self.is_plain = text.count("${") == len(followed) + text.count("${oc.env:")

    def with_values(self, overrides: Sequence[Override]) -> Config:
        if self.is_plain and all(self._is_plain(override) for override in overrides):
            return self._replaced(overrides)
        return self.as_hydra(overrides)

    def as_hydra(self, overrides: Sequence[Override]) -> Config:
        """Hydra's own way: the reference that `_replaced` equals."""
        cfg = copy.deepcopy(self.cfg)
        ConfigLoaderImpl._apply_overrides_to_config(list(overrides), cfg)
        return plain(cfg)

    def _is_plain(self, override: Override) -> bool:
        """Does it replace a plain value by another? Merging, adding and following are Hydra's."""
        value = override.value()
        leaf = _parent(self.plain, override.key_or_group).get(_name(override), override)
        return (
            override.type is not None
            and override.type.name == "CHANGE"
            and override.package is None
            and override.key_or_group not in self.followed
            and not isinstance(value, dict | list)
            and not (isinstance(value, str) and ("${" in value or value == "???"))
            and leaf is not override
            and not isinstance(leaf, dict | list)
        )

    def _replaced(self, overrides: Sequence[Override]) -> Config:
        config = copy.deepcopy(self.plain)
        for override in overrides:
            _parent(config, override.key_or_group)[_name(override)] = override.value()
        return config


def _parent(config: Config, key: str) -> Config:
    """The node that holds a key; an empty one where there is none."""
    node: Any = config
    for part in key.split(".")[:-1]:
        node = node.get(part) if isinstance(node, dict) else None
    return node if isinstance(node, dict) else {}


def _name(override: Override) -> str:
    return override.key_or_group.rpartition(".")[2]


@cache
def _parsed(text: str) -> Override:
    return OverridesParser.create().parse_override(text)


# -- outside of a Hydra application ---------------------------------------------------------------


@cache
def composer() -> Composer:
    """One for all who are no Hydra application: plans, defaults, tests."""

    def train(overrides: list[str]) -> DictConfig:
        with _hydra():
            return compose("train", overrides)

    return Composer(train, [path.name for path in CONFIGS.iterdir() if path.is_dir()])


@contextmanager
def _hydra() -> Iterator[None]:
    """Hydra initialized on configs/; a running application's own is kept."""
    if GlobalHydra.instance().is_initialized():
        yield
        return
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        yield
