"""The sweeper behind `python -m lpwd.train -m`: runs that are stored never reach a launcher."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

#: How often a sweep looks whether runs that others train are done.
POLL_SECONDS = 2.0


class StoreSweeper(Sweeper):
    """Expand `grids` (see lpwd/sweeps.py) and the command line's sweeps; launch what is not stored.

    Grids that need a choice of rates come second, when the runs to choose among are there. Works
    with every launcher: each is handed plain override lists.
    """

    def __init__(self, grids: Any = None, seeds: int = 0) -> None:
        super().__init__()
        self.grids = grids
        self.seeds = seeds
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
        from lpwd.sweep.grids import Expander, grids_of, unique

        check(self.config)
        if type(self.seeds) is not int or self.seeds < 0:
            raise ConfigError(f"hydra.sweeper.seeds={self.seeds} must be a whole number, 0 or more")
        loader = self.hydra_context.config_loader
        expander = Expander(Composer.of_sweep(loader, self.config), arguments, loader)
        swept = [o.get_key_element() for o in expander.arguments if o.is_sweep_override()]
        if "scale" in swept:
            raise ConfigError("scale: one sweep is of one scale; give each its own command")
        store, grids = Store(self.config.scale.name), grids_of(self.grids)
        plain = (job for grid in grids for job in expander.plain(grid, self.seeds))
        returns = self._launch(store, expander, unique(plain))
        results = store.collect()
        chosen = (job for grid in grids for job in expander.chosen(grid, results, self.seeds))
        returns += self._launch(store, expander, unique(chosen), first=len(returns))
        store.collect()
        return returns

    def _launch(
        self, store: Any, expander: Any, jobs: Sequence[Any], first: int = 0
    ) -> list[JobReturn]:
        """Train what is not stored; ends when all of it is, here or elsewhere, or has failed."""
        from hydra_plugins.lpwd.local import LocalLauncher
        from lpwd.inputs.check import check_inputs, check_present

        if not jobs:
            return []
        missing = _missing(store, jobs)
        configs = [expander.composer.config(job.overrides) for job in missing]
        for config in configs:
            check_inputs(config)
        if isinstance(self.launcher, LocalLauncher):  # another machine may have what this one lacks
            check_present(configs)
        store.tidy()
        print(f"{len(jobs)} runs at scale {store.scale}: {len(jobs) - len(missing)} stored")
        returns: list[JobReturn] = []
        failed: dict[Any, str] = {}
        left = missing
        while left:
            free = _free(store, left)
            done = self.launcher.launch([list(job.overrides) for job in free], first + len(returns))
            returns += done
            faults = map(_fault, free, done)
            failed |= {job: fault for job, fault in zip(free, faults, strict=True) if fault}
            left = [job for job in _missing(store, left) if job not in failed]
        store.collect()
        if failed:
            _print_failures(failed)
            traces = f"{store.root / 'work'}/<hash>/failure.txt"
            sys.exit(
                f"error: {len(failed)} of {len(missing)} runs failed;"
                f"{f' tracebacks are in {traces};' * bool(store.failures())}"
                " the same command tries them again"
            )
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


def _print_failures(failed: Mapping[Any, str]) -> None:
    for error in dict.fromkeys(failed.values()):
        of_jobs = [job for job, line in failed.items() if line == error]
        print(f"{len(of_jobs)} failed: {error}", file=sys.stderr)
        print(f"  the first: {' '.join(of_jobs[0].overrides)}", file=sys.stderr)


def _fault(job: Any, done: JobReturn) -> str:
    """Why a job failed; "" if it did not."""
    from lpwd.config.errors import ConfigError

    result = done._return_value  # the property of that name raises it
    if done.status == JobStatus.COMPLETED:
        # The run's outcome begins with its hash. Another one would never be found in the store.
        trained = str(result).partition(" ")[0]
        same = trained == job.run
        return "" if same else f"trained as run {trained} where {job.run} was expected"
    line = " ".join(str(result).split())
    return line if isinstance(result, ConfigError) else f"{type(result).__name__}: {line}"
