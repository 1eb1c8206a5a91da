"""The sweeper behind `python -m lpwd.train -m`: runs that are stored never reach a launcher."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from lpwd.sweep.outcomes import Outcomes

#: How often a sweep looks whether runs that others train are done.
POLL_SECONDS = 2.0


class StoreSweeper(Sweeper):
    """Expand `grids` (lpwd/sweep/grids.py) and the command line's sweeps; launch what is left.

    Grids that need a choice of rates come second, when the runs to choose among are there. Works
    with every launcher: each is handed plain override lists.
    """

    def __init__(self, grids: Any = None, seeds: int = 0, most_seeds: int | None = None) -> None:
        super().__init__()
        self.grids = grids
        self.seeds = seeds
        self.most_seeds = most_seeds
        self.config: DictConfig
        self.launcher: Launcher
        self.hydra_context: HydraContext

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        from hydra.core.plugins import Plugins

        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> list[JobReturn]:
        from lpwd.config.check import check
        from lpwd.config.compose import Composer
        from lpwd.config.errors import ConfigError
        from lpwd.store.store import Store
        from lpwd.sweep.grids import Expander, Grid, fresh_seeds, grids_of, unique
        from lpwd.sweep.outcomes import Outcomes

        check(self.config)
        seeds = fresh_seeds(self.seeds, self.most_seeds)
        loader = self.hydra_context.config_loader
        expander = Expander(Composer.of_sweep(loader, self.config), arguments, loader)
        swept = [o.get_key_element() for o in expander.arguments if o.is_sweep_override()]
        if "scale" in swept:
            raise ConfigError("scale: one sweep is of one scale; give each its own command")
        store, grids = Store(self.config.scale.name), grids_of(self.grids)
        if grids != [Grid()]:
            print(f"scale {store.scale}: putting the runs together", flush=True)
        if not store.stored():  # then all that a grid may read is needed: seconds before its runs
            self._check([config for grid in grids for config in expander.inputs(grid)], 1)
        outcomes = Outcomes(store)
        plain = unique(job for grid in grids for job in expander.plain(grid, seeds))
        chosen: list[Any] = []
        try:
            returns = self._launch(outcomes, expander, plain)
            if not outcomes.failed:
                results = store.collect()
                chosen = unique(j for grid in grids for j in expander.chosen(grid, results, seeds))
                returns += self._launch(outcomes, expander, chosen, first=len(returns))
        except (KeyboardInterrupt, ConfigError):
            outcomes.print_failures()
            raise
        outcomes.print_table([*plain, *chosen])
        outcomes.print_failures()
        if outcomes.failed:
            traces = f"{store.root / 'work'}/<hash>/failure.txt"
            sys.exit(
                f"error: {len(outcomes.failed)} of {len(returns)} runs failed;"
                f"{f' tracebacks are in {traces};' * bool(store.failures())}"
                " the same command tries them again"
            )
        return returns

    def _check(self, configs: Sequence[Any], runs: int) -> None:
        """Raise ConfigErrors for what runs of these configs lack on this machine."""
        from hydra_plugins.lpwd.local import LocalLauncher
        from lpwd.inputs.check import check_inputs
        from lpwd.sweep.doctor import check_ready
        from lpwd.sweep.workers import import_ahead

        local = isinstance(self.launcher, LocalLauncher)
        if local and configs:
            import_ahead()  # of the workers' seconds before a first step, most are imports
        for config in configs:
            check_inputs(config)
        if local:  # another machine may have what this one lacks
            check_ready(self.config, configs, runs)

    def _launch(
        self, outcomes: Outcomes, expander: Any, jobs: Sequence[Any], first: int = 0
    ) -> list[JobReturn]:
        """Train what is not stored; ends when all of it is, here or elsewhere, or has failed."""
        from hydra_plugins.lpwd.local import LocalLauncher
        from lpwd.sweep.outcomes import SweepStopped
        from lpwd.sweep.workers import described, worker_slots

        if not jobs:
            return []
        store = outcomes.store
        missing = _missing(store, jobs)
        self._check([expander.composer.config(job.overrides) for job in missing], len(missing))
        store.tidy()
        print(f"{len(jobs)} runs at scale {store.scale}: {len(jobs) - len(missing)} stored")
        local = self.launcher if isinstance(self.launcher, LocalLauncher) else None
        if missing and local:
            print(described(self.config, worker_slots(self.config)), flush=True)
        returns: list[JobReturn] = []
        left = missing
        while left:
            free = _free(store, left)
            if local:  # the others say how their jobs ended when all of them have
                local.on_return = lambda i, done, free=free: outcomes.ended(free[i], done)
            done = self.launcher.launch([list(job.overrides) for job in free], first + len(returns))
            returns += done
            for job, of_job in zip(free, done, strict=True) if not local else ():
                with suppress(SweepStopped):  # all of them have ended
                    outcomes.ended(job, of_job)
            left = [job for job in _missing(store, left) if job not in outcomes.failed]
        store.collect()
        return returns


def _missing(store: Any, jobs: Sequence[Any]) -> list[Any]:
    stored = store.stored()
    return [job for job in jobs if job.run not in stored]


def _free(store: Any, jobs: Sequence[Any]) -> list[Any]:
    """The jobs that nobody trains; while others train them all, wait: they may end, or die."""
    from lpwd.store.lock import in_training

    told = False
    while not (free := [job for job in jobs if not in_training(store.work(job.run))]):
        if not told:
            print(f"{len(jobs)} runs left, all in training elsewhere: waiting for them", flush=True)
            told = True
        time.sleep(POLL_SECONDS)
    return free
