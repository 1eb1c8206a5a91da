"""The sweeper behind `python -m lpwd.train -m`: runs that are stored never reach a launcher."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


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
        from lpwd import sweeps
        from lpwd.errors import ConfigError
        from lpwd.runs import Store

        loader = self.hydra_context.config_loader
        expander = sweeps.Expander(
            lambda overrides: loader.load_sweep_config(self.config, overrides),
            arguments,
            loader.list_groups(""),
        )
        swept = [o.get_key_element() for o in expander.arguments if o.is_sweep_override()]
        if "scale" in swept:
            raise ConfigError("scale: one sweep is of one scale; give each its own command")
        store, grids = Store(self.config.scale.name), sweeps.grids_of(self.grids)
        plain = (job for grid in grids for job in expander.plain(grid, self.seeds))
        returns = self._launch(store, sweeps.unique(plain))
        results = store.collect()
        chosen = (job for grid in grids for job in expander.chosen(grid, results, self.seeds))
        returns += self._launch(store, sweeps.unique(chosen), first=len(returns))
        store.collect()
        return returns

    def _launch(self, store: Any, jobs: Sequence[Any], first: int = 0) -> list[JobReturn]:
        if not jobs:
            return []
        stored = store.stored()
        left = [job for job in jobs if job.run not in stored]
        print(f"{len(jobs)} runs at scale {store.scale}: {len(jobs) - len(left)} stored")
        if not left:
            return []
        returns = list(self.launcher.launch([list(job.overrides) for job in left], first))
        store.collect()
        failed: dict[str, list[Any]] = {}
        for job, done in zip(left, returns, strict=True):
            if done.status != JobStatus.COMPLETED:
                failed.setdefault(_error_line(done), []).append(job)
        for error, of_jobs in failed.items():
            print(f"{len(of_jobs)} failed: {error}", file=sys.stderr)
            print(f"  the first: {' '.join(of_jobs[0].overrides)}", file=sys.stderr)
        if failed:
            count = sum(len(of_jobs) for of_jobs in failed.values())
            sys.exit(
                f"error: {count} of {len(left)} runs failed; tracebacks stand in"
                f" {store.root / 'work'}/<hash>/failure.txt; the same command tries them again"
            )
        return returns


def _error_line(done: JobReturn) -> str:
    error = done._return_value  # the property of that name raises it
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
