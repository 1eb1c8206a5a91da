"""The processes of this machine that train a sweep's runs, one run after another each."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import connection, get_context, parent_process
from typing import Any

import cloudpickle
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from lpwd.config.compose import Composer
from lpwd.config.paths import ROOT


def run_sweep(*arguments: str, **environment: str) -> int:
    """``python -m lpwd.train -m`` with these arguments, in a process of its own; its exit status.

    Ctrl-C reaches that process, too. It lets its workers leave checkpoints, and says so: it is
    waited for, where `subprocess.run` would kill it, and its 130 ends this process as well.
    """
    command = [sys.executable, "-m", "lpwd.train", "-m", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment})
    while True:
        try:
            status = process.wait()
        except KeyboardInterrupt:
            continue
        if status == 130:
            sys.exit(status)
        return status


#: How long a worker may take to leave its checkpoint when the sweep is stopped.
STOP_SECONDS = 20


def worker_slots(machine: DictConfig) -> list[str | None]:
    """One entry a worker: the GPU it may see, or None for a processor."""
    import torch

    wants_gpu = machine.device == "auto" or machine.device.startswith("cuda")
    gpus = torch.cuda.device_count() if wants_gpu else 0
    if gpus:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = visible.split(",") if visible else [str(gpu) for gpu in range(gpus)]
        if machine.device.startswith("cuda:"):
            names = [names[int(machine.device.removeprefix("cuda:"))]]
        slots: list[str | None] = [*names] * machine.runs_per_gpu
    else:
        slots = [None] * max(1, len(os.sched_getaffinity(0)) // machine.threads)
    return slots[: machine.runs] if machine.runs and machine.runs < len(slots) else slots


class Worker:
    """A process that trains one run after another, and is replaced if it dies."""

    def __init__(self, slot: str | None, context: bytes) -> None:
        self.slot, self.context = slot, context
        self.job: int | None = None
        self.died = False
        self._spawn()

    def _spawn(self) -> None:
        spawn = get_context("spawn")  # CUDA and threads do not survive a fork
        self.connection, theirs = spawn.Pipe()
        self.process = spawn.Process(target=serve, args=(theirs, self.slot, self.context))
        self.process.start()
        theirs.close()

    def start(self, index: int, overrides: list[str], number: int) -> None:
        self.job, self.died = index, False
        with suppress(BrokenPipeError):  # died in between: `finish` will find the pipe's end
            self.connection.send((overrides, number))

    def finish(self) -> tuple[int, JobReturn]:
        """The result of the job at hand, of which `wait_for` said that it is there."""
        index, self.job = self.job, None
        assert index is not None
        try:
            return index, self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            self.died = True
            died = JobReturn()
            died.status = JobStatus.FAILED
            died.return_value = RuntimeError(
                f"a worker died with exit code {self.process.exitcode} (-9 is often a lack of"
                " memory: machine.runs makes fewer runs at once)"
            )
            self._spawn()
            return index, died

    def ask_to_stop(self) -> None:
        self.connection.close()  # an idle worker ends when it reads the end
        if self.job is not None:
            self.process.terminate()

    def stop(self) -> None:
        self.process.join(STOP_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def wait_for(workers: Sequence[Worker]) -> list[Worker]:
    """The busy workers whose result, or end, is there; waits for the first."""
    busy = {worker.connection: worker for worker in workers if worker.job is not None}
    return [busy[ready] for ready in connection.wait(list(busy))]  # pyright: ignore


def serve(pipe: Any, slot: str | None, context: bytes) -> None:
    """A worker's life: a job's overrides in, its JobReturn out, until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the sweep's to handle
    os.environ["TQDM_DISABLE"] = "1"
    if slot is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = slot
    threading.Thread(target=_end_with_parent, daemon=True).start()
    setup_globals()
    hydra_context, task_function, config, singletons = cloudpickle.loads(context)
    Singleton.set_state(singletons)
    composer = Composer.of_sweep(hydra_context.config_loader, config)
    while True:
        try:
            overrides, number = pipe.recv()
        except EOFError:
            return
        if slot is not None:
            overrides.append("machine.device=cuda")  # the only one this process sees
        try:
            job = _job_config(config, composer.config(overrides), number)
            pipe.send(_portable(_run(job, hydra_context, task_function)))
        except KeyboardInterrupt:
            return  # asked to stop: the run left its checkpoint
        if gc.get_freeze_count() == 0:
            gc.freeze()  # what was imported stays: later collections need not look at it


def _job_config(sweep: DictConfig, own: dict[str, Any], number: int) -> DictConfig:
    """The sweep's config with a job's own values: what Hydra would compose anew in 0.1 s."""
    job = copy.deepcopy(sweep)
    with open_dict(job):
        job.update(own)
        job.hydra.job.id = job.hydra.job.num = number
    return job


def _run(job: DictConfig, hydra_context: HydraContext, task_function: TaskFunction) -> JobReturn:
    HydraConfig.instance().set_config(job)
    return run_job(
        hydra_context=hydra_context,
        task_function=task_function,
        config=job,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
        configure_logging=False,
    )


def _portable(done: JobReturn) -> JobReturn:
    """The same for the sweep, which keeps it to its end: without the configs, and with an error
    that can be unpickled, as those of many classes cannot."""
    done.cfg = done.hydra_cfg = None
    error = done._return_value  # the property of that name raises it
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        done.return_value = RuntimeError(f"{type(error).__name__}: {error}")
    return done


def _end_with_parent() -> None:
    """A killed sweep leaves no worker behind."""
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)
