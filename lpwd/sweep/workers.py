"""The processes of this machine that train a sweep's runs, one run after another each."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import connection, forkserver, get_context, parent_process
from typing import Any

import cloudpickle
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from lpwd.config.compose import Composer


def run_sweep(*arguments: str, **environment: str) -> int:
    """``python -m lpwd.train -m`` with these arguments, in a process of its own; its exit status.

    Ctrl-C reaches that process, too. It lets its workers leave checkpoints, and says so: it is
    waited for, where `subprocess.run` would kill it, and its 130 ends this process as well.
    """
    command = [sys.executable, "-m", "lpwd.train", "-m", *arguments]
    process = subprocess.Popen(command, env={**os.environ, **environment})
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


def worker_slots(cfg: DictConfig) -> list[str | None]:
    """One entry a worker: the GPU it may see, or None for a processor.

    Raises:
        ConfigError: machine.device is not here.
    """
    from lpwd.config.machine import choose_device, gpu_names

    machine = cfg.machine
    device = choose_device(machine.device, cfg.scale.name)
    if device.type == "cuda":
        names = gpu_names()
        chosen = names if device.index is None else [names[device.index]]
        slots: list[str | None] = [*chosen] * machine.runs_per_gpu
    else:
        slots = [None] * max(1, len(os.sched_getaffinity(0)) // machine.threads)
    return slots[: machine.runs] if machine.runs else slots


def described(cfg: DictConfig, slots: Sequence[str | None]) -> str:
    """Where a sweep's runs are trained, and how many of them at once."""
    from lpwd.config.machine import choose_device, device_name

    device, many = choose_device(cfg.machine.device, cfg.scale.name), f"{len(slots)} at once"
    name, gpus = device_name(device), len(set(slots))
    where = f"{gpus} x {name}" if gpus > 1 else f"{name} (no GPU)" if slots[0] is None else name
    if (cfg.machine.runs or 0) > len(slots):
        more = "lower machine.threads" if slots[0] is None else "raise machine.runs_per_gpu"
        many += f", not machine.runs={cfg.machine.runs} ({more} for more)"
    return f"on {where}, {many}"


class Lost(RuntimeError):
    """A run's process or GPU is gone, by no fault of the run's own perhaps."""


def import_ahead() -> None:
    """Start the process that workers are forked from; it imports what they need meanwhile."""
    forkserver.set_forkserver_preload(["lpwd.sweep.preload"])
    forkserver.ensure_running()


class Worker:
    """A process that trains one run after another, and is replaced if it is lost."""

    def __init__(self, slot: str | None, context: bytes) -> None:
        self.slot, self.context = slot, context
        self.job: int | None = None
        self._spawn()

    def _spawn(self) -> None:
        import_ahead()
        forking = get_context("forkserver")
        self.connection, theirs = forking.Pipe()
        self.process = forking.Process(target=serve, args=(theirs, self.slot, self.context))
        self.process.start()
        theirs.close()

    def start(self, index: int, overrides: list[str], number: int) -> None:
        if self.connection.closed:  # it was lost
            self._spawn()
        self.job = index
        with suppress(BrokenPipeError):  # died in between: `finish` will find the pipe's end
            self.connection.send((overrides, number))

    def finish(self) -> tuple[int, JobReturn]:
        """The result of the job at hand, of which `wait_for` said that it is there."""
        index, self.job = self.job, None
        assert index is not None
        try:
            done = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            done = failed(
                Lost(
                    f"a worker died with exit code {self.process.exitcode} (-9 is often a lack of"
                    " memory: machine.runs makes fewer runs at once)"
                )
            )
        if isinstance(done._return_value, Lost):
            self.connection.close()
            self.stop()
        return index, done

    def ask_to_stop(self) -> None:
        self.connection.close()  # an idle worker ends when it reads the end
        if self.job is not None:
            self.process.terminate()

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        self.process.join(seconds)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def failed(error: Exception) -> JobReturn:
    done = JobReturn()
    done.status, done.return_value = JobStatus.FAILED, error
    return done


def stop_all(workers: Sequence[Worker]) -> None:
    """Let each run leave its checkpoint; if that is interrupted as well, end them at once."""
    try:
        for worker in workers:
            worker.ask_to_stop()
        for worker in workers:
            worker.stop()
    except KeyboardInterrupt:
        for worker in workers:
            worker.process.kill()
        raise


def wait_for(workers: Sequence[Worker]) -> list[Worker]:
    """The busy workers whose result, or end, is there; waits for the first."""
    busy = {worker.connection: worker for worker in workers if worker.job is not None}
    return [busy[ready] for ready in connection.wait(list(busy))]  # pyright: ignore


def serve(pipe: Any, slot: str | None, context: bytes) -> None:
    """A worker's life: a job's overrides in, its JobReturn out, until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the sweep's to handle
    if slot is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = slot  # read when CUDA is first used
    from tqdm import tqdm

    from lpwd.config.machine import gpu_fault

    tqdm.set_lock(threading.RLock())  # its own has a semaphore, which a killed process leaks
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
            done = _portable(_run(job, hydra_context, task_function))
        except KeyboardInterrupt:
            return  # asked to stop: the run left its checkpoint
        if slot is not None and done.status != JobStatus.COMPLETED and (fault := gpu_fault()):
            pipe.send(failed(Lost(f"GPU {slot} failed: {fault}")))
            os._exit(1)  # no later run could use it, and to clean up could hang
        pipe.send(done)


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
