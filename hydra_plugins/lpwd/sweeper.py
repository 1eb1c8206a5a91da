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
        from lpwd.config.errors import ConfigError
        from lpwd.store.store import Store
        from lpwd.sweep.grids import Expander, grids_of, unique

        check(self.config)
        if type(self.seeds) is not int or self.seeds < 0:
            raise ConfigError(f"hydra.sweeper.seeds={self.seeds} must be a whole number, 0 or more")
        loader = self.hydra_context.config_loader
        expander = Expander.of_sweep(loader, self.config, arguments)
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
        from lpwd.config.check import check

        if not jobs:
            return []
        missing = _missing(store, jobs)
        for job in missing:
            check(DictConfig(expander.config(job.overrides)))
        store.tidy()
        print(f"{len(jobs)} runs at scale {store.scale}: {len(jobs) - len(missing)} stored")
        returns: list[JobReturn] = []
        failed: dict[Any, str] = {}
        left = missing
        while left:
            free = _free(store, left)
            done = self.launcher.launch([list(job.overrides) for job in free], first + len(returns))
            returns += done
            failed |= {
                job: _error_line(of_job)
                for job, of_job in zip(free, done, strict=True)
                if of_job.status != JobStatus.COMPLETED
            }
            left = [job for job in _missing(store, left) if job not in failed]
        store.collect()
        if failed:
            _tell(failed)
            traces = f"{store.root / 'work'}/<hash>/failure.txt"
            sys.exit(
                f"error: {len(failed)} of {len(missing)} runs failed;"
                f"{f' tracebacks stand in {traces};' * bool(store.failures())}"
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


def _tell(failed: Mapping[Any, str]) -> None:
    for error in dict.fromkeys(failed.values()):
        of_jobs = [job for job, line in failed.items() if line == error]
        print(f"{len(of_jobs)} failed: {error}", file=sys.stderr)
        print(f"  the first: {' '.join(of_jobs[0].overrides)}", file=sys.stderr)


def _error_line(done: JobReturn) -> str:
    from lpwd.config.errors import ConfigError

    error = done._return_value  # the property of that name raises it
    line = " ".join(str(error).split())
    return line if isinstance(error, ConfigError) else f"{type(error).__name__}: {line}"
