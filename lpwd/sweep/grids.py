"""From an experiment's grids to runs: which there are, which are stored, which are left.

An experiment (configs/experiment/) is a list of grids in `hydra.sweeper.grids`, each with

    axes:    {config key: values}; every combination is a run
    rates:   grid (default: as the axes say) | chosen: η and λ are those that did best in the grid
             of `model` and `method` (default: the run's own), per dataset and optimizer
    seeds:   none (default) | chosen: with `hydra.sweeper.seeds=n`, n fresh seeds at the rates that
             the paper's and the held-out protocol chose | all: n fresh seeds of every run

What the command line says replaces an axis. Composing a config takes Hydra 0.1 s; so each choice
of config groups is composed once, and the other keys are set in a copy.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import Any, cast

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from lpwd.config.check import check, check_groups, keys
from lpwd.config.compose import without_hydra
from lpwd.config.errors import ConfigError
from lpwd.decay.checks import check_choice, did_you_mean
from lpwd.store import identity
from lpwd.store.frames import Results
from lpwd.sweep.choices import AmongGrid, AmongMainGrid

#: Composes the config of some overrides, as Hydra does.
Compose = Callable[[list[str]], DictConfig]

RATE_KEYS = ("optimizer.lr", "optimizer.lr_factor", "decay.rate", "decay.rate_factor")
SEEDS = ("none", "chosen", "all")


@dataclass
class Grid:
    """One grid of an experiment, as in the module's docstring."""

    axes: Mapping[str, Any] = field(default_factory=dict)
    rates: str = "grid"
    seeds: str = "none"
    model: str | None = None
    method: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.axes, Mapping):
            raise ValueError(f"axes={self.axes} must be config keys and their values")
        check_choice("rates", self.rates, ("grid", "chosen"))
        check_choice("seeds", self.seeds, SEEDS)


@dataclass(frozen=True)
class Job:
    """A run to be: its overrides and its identity."""

    overrides: tuple[str, ...]
    run: str
    settings: identity.Settings = field(hash=False, compare=False)


class Expander:
    """Expands grids into jobs; `compose` is Hydra's, `arguments` are the command line's sweeps."""

    def __init__(self, compose: Compose, arguments: Sequence[str], groups: Sequence[str]) -> None:
        self.compose = compose
        self.arguments = OverridesParser.create().parse_overrides(list(arguments))
        self.groups = set(groups)
        self._composed: dict[tuple[str, ...], dict[str, Any]] = {}

    @classmethod
    def of_sweep(
        cls, loader: ConfigLoader, config: DictConfig, arguments: Sequence[str] = ()
    ) -> Expander:
        """For the jobs of a running sweep with this config, as Hydra's `loader` composes them."""
        groups = loader.list_groups("")
        return cls(lambda overrides: loader.load_sweep_config(config, overrides), arguments, groups)

    def plain(self, grid: Grid, seeds: int = 0) -> Iterator[Job]:
        """The jobs of a grid that do not wait for a choice of rates."""
        if grid.rates == "chosen":
            return
        for overrides in self._combinations(grid.axes):
            yield self._job(overrides)
            if grid.seeds == "all":
                for seed in range(1, seeds + 1):
                    yield self._job([*overrides, f"seed={seed}"])

    def chosen(self, grid: Grid, results: Results, seeds: int = 0) -> Iterator[Job]:
        """The jobs of a grid at chosen rates; raises ChoiceMissing while runs are missing."""
        at_rates = list(self._at_chosen_rates(grid, seeds))
        if not at_rates:
            return
        jobs = [(overrides, seed, self._job(overrides).settings) for overrides, seed in at_rates]
        if grid.rates == "chosen":
            main = AmongMainGrid(results, jobs[0][2]["scale"]["name"])
            rates_of = partial(main.rates, model=grid.model, method=grid.method)
        else:
            rates_of = AmongGrid(results, ((j.run, j.settings) for j in self.plain(grid))).rates
        for overrides, seed, settings in jobs:
            for rates in rates_of(settings):
                yield self._job([*overrides, *rates, f"seed={seed}"])

    def waiting(self, grid: Grid, seeds: int = 0) -> list[identity.Settings]:
        """The jobs that `chosen` will give, at rates to come; without those that are in a grid."""
        jobs = ((self._job(o).settings, seed) for o, seed in self._at_chosen_rates(grid, seeds))
        return [s for s, seed in jobs if seed > 0 or s["model"]["name"] != grid.model]

    def _at_chosen_rates(self, grid: Grid, seeds: int) -> Iterator[tuple[list[str], int]]:
        """Overrides without rates, and the seeds that they are trained with at the chosen ones."""
        first = 0 if grid.rates == "chosen" else 1
        last = seeds if grid.seeds == "all" or (grid.seeds, grid.rates) == ("chosen", "grid") else 0
        if grid.rates == "grid" and grid.seeds != "chosen":
            return
        axes = {key: value for key, value in grid.axes.items() if key not in RATE_KEYS}
        yield from product(self._combinations(axes), range(first, last + 1))

    def _combinations(self, axes: Mapping[str, Any]) -> Iterator[list[str]]:
        """Every combination of the axes and the command line's sweeps, as overrides."""
        values = {key: [f"{key}={value}" for value in _listed(axes[key])] for key in axes}
        for override in self.arguments:
            values[override.get_key_element()] = _texts(override)
        if empty := [key for key, of_key in values.items() if not of_key]:
            raise ConfigError(f"{empty[0]}: there is no value to train with; name one, or more")
        yield from (list(overrides) for overrides in product(*values.values()))

    def _job(self, overrides: Sequence[str]) -> Job:
        config = self.config(overrides)
        try:
            settings = identity.settings(config)
        except (AttributeError, KeyError, TypeError):
            check(OmegaConf.create(config))  # tells what is wrong with it
            raise
        return Job(tuple(overrides), identity.run_id(settings), settings)

    def config(self, overrides: Sequence[str]) -> dict[str, Any]:
        """The composed config of a job, as plain values."""
        of_groups = tuple(o for o in overrides if o.partition("=")[0].lstrip("+") in self.groups)
        of_values = [o for o in overrides if o not in of_groups]
        if any("${" in o or o[0] in "+~" for o in of_values):  # left to Hydra, slower
            return _plain(self.compose(list(overrides)))
        if of_groups not in self._composed:
            check_groups(of_groups)
            self._composed[of_groups] = _plain(self.compose(list(of_groups)))
        config = copy.deepcopy(self._composed[of_groups])
        for override in OverridesParser.create().parse_overrides(of_values):
            _set(config, override.key_or_group, override.value())
        return config


def grids_of(node: Any) -> list[Grid]:
    """`hydra.sweeper.grids` as Grids; without any, one grid whose axes are the command line's."""
    plain = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    try:
        return [Grid(**grid) for grid in cast(list[dict[str, Any]], plain or [{}])]
    except (TypeError, ValueError) as error:
        fault = str(error).replace("Grid.__init__()", "a grid")
        must = "must be a list of grids, as in configs/experiment"
        raise ConfigError(f"hydra.sweeper.grids={plain} {must}: {fault}") from None


def unique(jobs: Iterator[Job]) -> list[Job]:
    """Each run once, in the order of its first appearance."""
    return list({job.run: job for job in jobs}.values())


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _texts(override: Override) -> list[str]:
    key = override.get_key_element()
    if override.is_sweep_override():
        if not override.is_discrete_sweep():
            raise ConfigError(f"{key}: only lists, choice() and range() can be swept")
        return [f"{key}={value}" for value in override.sweep_string_iterator()]
    return [f"{key}={override.get_value_element_as_str()}"]


def _plain(cfg: DictConfig) -> dict[str, Any]:
    return cast(dict[str, Any], OmegaConf.to_container(without_hydra(cfg), resolve=True))


def _set(config: dict[str, Any], key: str, value: Any) -> None:
    *parents, leaf = key.split(".")
    node = config
    for parent in parents:
        node = node.get(parent) or {} if isinstance(node, dict) else {}
    if not isinstance(node, dict) or leaf not in node:
        raise ConfigError(f"there is no config key {key}{did_you_mean(key, keys())}")
    node[leaf] = value
