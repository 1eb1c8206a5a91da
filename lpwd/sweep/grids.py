"""From an experiment's grids to runs: which there are, which are stored, which are left.

An experiment (configs/experiment/) is a list of grids in `hydra.sweeper.grids`, each with

    axes:    {config key: values}; every combination is a run
    rates:   grid (default: as the axes say) | chosen: η and λ are those that did best in the grid
             of `model` and `method` (default: the run's own), per dataset and optimizer |
             chosen_lr: η did best in the grid of the run's own kind of decay, λ as the axes say
    seeds:   none (default) | chosen: with `hydra.sweeper.seeds=n`, n fresh seeds at the rates that
             the paper's and the held-out protocol chose | all: n fresh seeds of every run
    when:    a condition (default: true), as in ${model.pretrained}; where it fails, no runs

`hydra.sweeper.most_seeds` is the most fresh seeds that an experiment takes. What the command line
says replaces an axis.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import Any, cast

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from lpwd.config.check import checked
from lpwd.config.compose import Composer, Config, scale_config
from lpwd.config.errors import ConfigError
from lpwd.config.rates import rate_grid
from lpwd.decay.checks import check_choice
from lpwd.store import identity
from lpwd.store.frames import Results
from lpwd.sweep.choices import AmongGrid, AmongMainGrid, ChoiceMissing

LR_KEYS = ("optimizer.lr", "optimizer.lr_factor")
#: {rates: the axes that the choice takes the place of}
CHOSEN = {"chosen": (*LR_KEYS, "decay.rate", "decay.rate_factor"), "chosen_lr": LR_KEYS}
SEEDS = ("none", "chosen", "all")


@dataclass
class Grid:
    """One grid of an experiment, as in the module's docstring."""

    axes: Mapping[str, Any] = field(default_factory=dict)
    rates: str = "grid"
    seeds: str = "none"
    model: str | None = None
    method: str | None = None
    when: Any = True

    def __post_init__(self) -> None:
        if not isinstance(self.axes, Mapping):
            raise ValueError(f"axes={self.axes} must be config keys and their values")
        check_choice("rates", self.rates, ("grid", *CHOSEN))
        check_choice("seeds", self.seeds, SEEDS)


@dataclass(frozen=True)
class Job:
    """A run to be: its overrides, its identity, and the settings that this is the hash of."""

    overrides: tuple[str, ...]
    run: str
    settings: identity.Settings = field(hash=False, compare=False)


class Expander:
    """Expands grids into jobs; `arguments` are the command line's overrides, with its sweeps."""

    def __init__(
        self,
        composer: Composer,
        arguments: Sequence[str] = (),
        loader: ConfigLoader | None = None,
    ) -> None:
        self.composer = composer
        self.arguments = OverridesParser.create(loader).parse_overrides(list(arguments))

    def plain(self, grid: Grid, seeds: int = 0) -> Iterator[Job]:
        """The jobs of a grid that do not wait for a choice of rates."""
        if grid.rates in CHOSEN:
            return
        for overrides in self._combinations(grid.axes):
            yield self._job(overrides)
            if grid.seeds == "all":
                for seed in range(1, seeds + 1):
                    yield self._job([*overrides, f"seed={seed}"])

    def chosen(
        self,
        grid: Grid,
        results: Results,
        seeds: int = 0,
        waiting: dict[Hashable, identity.Settings] | None = None,
    ) -> Iterator[Job]:
        """The jobs of a grid at chosen rates.

        Where runs to choose among are missing, it raises ChoiceMissing, or adds the jobs, their
        rates to come, to `waiting`.
        """
        at_rates = list(self._at_chosen_rates(grid, seeds))
        if not at_rates:
            return
        jobs = [(overrides, seed, self._job(overrides).settings) for overrides, seed in at_rates]
        if grid.rates in CHOSEN:
            main = AmongMainGrid(results, jobs[0][2]["scale"]["name"])
            chosen = partial(main.rates, model=grid.model, method=grid.method)
            rates_of = chosen if grid.rates == "chosen" else main.lrs
        else:
            rates_of = AmongGrid(results, ((j.run, j.settings) for j in self.plain(grid))).rates
        for overrides, seed, settings in jobs:
            try:
                of_kind = rates_of(settings)
            except ChoiceMissing:
                if waiting is None:
                    raise
                waiting |= self._waiting(grid, overrides, seed)
                continue
            for rates in of_kind:
                yield self._job([*overrides, *rates, f"seed={seed}"])

    def inputs(self, grid: Grid) -> Iterator[Config]:
        """Configs with each choice of data and model that a grid makes: all that it reads."""
        for overrides in self._combinations(grid.axes, of=("data", "model")):
            yield checked(self.composer.config(overrides))

    def _waiting(
        self, grid: Grid, overrides: list[str], seed: int
    ) -> dict[Hashable, identity.Settings]:
        """A job of `chosen` at rates to come, unless it is in a grid.

        Its key is the same for two grids that will give the same job.
        """
        settings = self._job([*overrides, f"seed={seed}"]).settings
        if not seed and _is_in_grid(settings, grid):
            return {}
        model = grid.model or settings["model"]["name"]
        method = grid.method or settings["decay"]["method"]
        return {(identity.as_text(settings), grid.rates == "chosen_lr", model, method): settings}

    def _at_chosen_rates(self, grid: Grid, seeds: int) -> Iterator[tuple[list[str], int]]:
        """Overrides without rates, and the seeds that they are trained with at the chosen ones."""
        first = 0 if grid.rates in CHOSEN else 1
        last = seeds if grid.seeds == "all" or (grid.seeds, grid.rates) == ("chosen", "grid") else 0
        if grid.rates == "grid" and grid.seeds != "chosen":
            return
        taken = CHOSEN.get(grid.rates, CHOSEN["chosen"])
        axes = {key: value for key, value in grid.axes.items() if key not in taken}
        yield from product(self._combinations(axes), range(first, last + 1))

    def _combinations(self, axes: Mapping[str, Any], of: Sequence[str] = ()) -> Iterator[list[str]]:
        """Every combination of the axes and the command line's sweeps, as overrides.

        of: sections of the config; of the axes in others only the first value is taken.
        """
        values = {key: [f"{key}={value}" for value in _listed(axes[key])] for key in axes}
        for override in self.arguments:
            values[override.get_key_element()] = _texts(override)
        if empty := [key for key, of_key in values.items() if not of_key]:
            raise ConfigError(f"{empty[0]}: there is no value to train with; name one, or more")
        if of:
            values = {
                key: of_key if key.partition(".")[0] in of else of_key[:1]
                for key, of_key in values.items()
            }
        yield from (list(overrides) for overrides in product(*values.values()))

    def _job(self, overrides: Sequence[str]) -> Job:
        settings = identity.settings(checked(self.composer.config(overrides)))
        return Job(tuple(overrides), identity.run_id(settings), settings)


def grids_of(node: Any) -> list[Grid]:
    """`hydra.sweeper.grids` as Grids; without any, one grid whose axes are the command line's."""
    plain = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    try:
        found = [Grid(**grid) for grid in cast(list[dict[str, Any]], plain or [{}])]
    except (TypeError, ValueError) as error:
        fault = str(error).replace("Grid.__init__()", "a grid")
        must = "must be a list of grids, as in configs/experiment"
        raise ConfigError(f"hydra.sweeper.grids={plain} {must}: {fault}") from None
    return [grid for grid in found if grid.when]


def fresh_seeds(seeds: Any, most: Any) -> int:
    """How many fresh seeds an experiment takes of those that are asked for.

    Raises ConfigError where one of the two is no such number.
    """
    if type(seeds) is not int or seeds < 0:
        raise ConfigError(f"hydra.sweeper.seeds={seeds} must be a whole number, 0 or more")
    if most is not None and (type(most) is not int or most < 1):
        raise ConfigError(f"hydra.sweeper.most_seeds={most} must be a whole number from 1, or null")
    return min(seeds, most or seeds)


def unique(jobs: Iterator[Job]) -> list[Job]:
    """Each run once, in the order of its first appearance."""
    return list({job.run: job for job in jobs}.values())


def _is_in_grid(settings: identity.Settings, grid: Grid) -> bool:
    """Is a run at rates to be chosen one of those to choose among?"""
    if grid.rates == "chosen":
        return settings["model"]["name"] == grid.model
    decay, scale = settings["decay"], scale_config(settings["scale"]["name"])
    return decay["rate"] in rate_grid(scale, settings["optimizer"]["name"]).rates


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _texts(override: Override) -> list[str]:
    key = override.get_key_element()
    if override.is_sweep_override():
        if not override.is_discrete_sweep():
            raise ConfigError(f"{key}: only lists, choice(), range() and glob() can be swept")
        return [f"{key}={value}" for value in override.sweep_string_iterator()]
    return [f"{key}={override.get_value_element_as_str()}"]
