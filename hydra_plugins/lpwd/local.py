"""The default launcher: this machine's processors or GPUs, each with a process that stays.

Importing torch, timm and albumentations takes seconds; a worker pays for it once. A worker that
dies does not take the sweep with it: its run is tried once more, from its checkpoint.
"""

from __future__ import annotations

import signal
import sys
from collections import deque
from collections.abc import Sequence

import cloudpickle
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from lpwd.sweep.workers import Worker, wait_for, worker_slots


class LocalLauncher(Launcher):
    """Runs jobs in `machine.runs` worker processes: one a processor, or runs_per_gpu a GPU."""

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> list[JobReturn]:
        from tqdm import tqdm

        setup_globals()
        slots = worker_slots(self.config.machine)[: len(job_overrides)]
        waiting = deque(enumerate(job_overrides))
        returns: dict[int, JobReturn] = {}
        state = (self.hydra_context, self.task_function, self.config, Singleton.get_state())
        context = cloudpickle.dumps(state)  # Hydra's resolvers are closures: pickle refuses them
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
        workers = [Worker(slot, context) for slot in slots]
        bar = tqdm(total=len(job_overrides), unit="run", desc=self.config.scale.name, mininterval=1)
        failed = 0
        tried: set[int] = set()
        try:
            while len(returns) < len(job_overrides):
                for worker in workers:
                    if worker.job is None and waiting:
                        index, overrides = waiting.popleft()
                        worker.start(index, list(overrides), initial_job_idx + index)
                for worker in wait_for(workers):
                    index, done = worker.finish()
                    if worker.died and index not in tried:  # once may be a neighbour's fault
                        tried.add(index)
                        bar.write(f"{done._return_value}; its run is tried again", file=sys.stderr)
                        waiting.append((index, job_overrides[index]))
                        continue
                    returns[index] = done
                    failed += done.status != JobStatus.COMPLETED
                    bar.set_postfix({"failed": failed} if failed else {}, refresh=False)
                    bar.update()
        finally:
            for worker in workers:
                worker.ask_to_stop()
            for worker in workers:
                worker.stop()
            bar.close()
        return [returns[index] for index in range(len(job_overrides))]
