"""The default launcher: this machine's processors or GPUs, each with a process that stays.

Importing torch, timm and albumentations takes seconds; a worker pays for it once. A worker or GPU
that is lost does not take the sweep with it: its run is tried once more, on another GPU if there is
one, from its checkpoint.
"""

from __future__ import annotations

import signal
import sys
from collections import Counter, deque
from collections.abc import Callable, Sequence

import cloudpickle
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from lpwd.sweep.workers import Lost, Worker, stop_all, wait_for, worker_slots

#: How many runs a GPU may lose, and finish none between them, before it is left alone.
STRIKES = 2


class LocalLauncher(Launcher):
    """Runs jobs in `machine.runs` worker processes: one a processor, or runs_per_gpu a GPU."""

    #: Called with each job's number in a `launch` and its result, as soon as it is there.
    on_return: Callable[[int, JobReturn], None] = staticmethod(lambda index, done: None)

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
        slots = worker_slots(self.config)[: len(job_overrides)]
        queue = Queue(len(job_overrides), slots)
        returns: dict[int, JobReturn] = {}
        state = (self.hydra_context, self.task_function, self.config, Singleton.get_state())
        context = cloudpickle.dumps(state)  # Hydra's resolvers are closures: pickle refuses them
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
        workers = [Worker(slot, context) for slot in slots]
        bar = tqdm(total=len(job_overrides), unit="run", desc=self.config.scale.name, mininterval=1)
        failures = 0
        try:
            while len(returns) < len(job_overrides):
                for worker in workers:
                    if worker.job is None and (index := queue.next(worker.slot)) is not None:
                        worker.start(index, list(job_overrides[index]), initial_job_idx + index)
                for worker in wait_for(workers):
                    index, done = worker.finish()
                    if news := queue.lost(index, worker.slot, done):
                        bar.write(news, file=sys.stderr)
                        continue
                    returns[index] = done
                    failures += done.status != JobStatus.COMPLETED
                    bar.set_postfix({"failed": failures} if failures else {}, refresh=False)
                    bar.update()
                    self.on_return(index, done)
        except KeyboardInterrupt:
            bar.write("stopping with checkpoints; Ctrl-C again: at once", file=sys.stderr)
            raise
        finally:
            stop_all(workers)
            bar.close()
        return [returns[index] for index in range(len(job_overrides))]


class Queue:
    """The jobs that wait, and what was lost where."""

    def __init__(self, count: int, slots: Sequence[str | None]) -> None:
        self.waiting = deque(range(count))
        self.usable = dict.fromkeys(slots)
        self.lost_on: dict[int, str | None] = {}
        self.strikes: Counter[str] = Counter()

    def next(self, slot: str | None) -> int | None:
        """The next job for a worker; a lost one's goes elsewhere, if anything else is usable.

        Raises:
            ConfigError: every GPU is left alone.
        """
        from lpwd.config.errors import ConfigError

        if not self.usable:
            raise ConfigError(
                "every GPU was lost more than once, see above; nvidia-smi and dmesg may say why;"
                " the same command goes on from here"
            )
        if slot not in self.usable:
            return None
        for index in self.waiting:
            if self.usable.keys() <= {slot} or self.lost_on.get(index, "") != slot:
                self.waiting.remove(index)
                return index
        return None

    def lost(self, index: int, slot: str | None, done: JobReturn) -> str:
        """What is to be said of a job that is tried again; "" if it was not lost, or is no more.

        A run that is lost twice has failed, and is held against no GPU.
        """
        error = done._return_value  # the property of that name raises it
        if not isinstance(error, Lost):
            if slot is not None and done.status == JobStatus.COMPLETED:
                self.strikes[slot] = 0
            return ""
        if index in self.lost_on:
            return ""
        self.lost_on[index] = slot
        self.waiting.appendleft(index)
        news = f"{error}; its run is tried again"
        if slot is not None:
            self.strikes[slot] += 1
            if self.strikes[slot] == STRIKES:
                self.usable.pop(slot, None)
                news += f"\nGPU {slot} failed twice: no more runs go to it"
        return news
