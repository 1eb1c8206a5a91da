"""Hydra's own submitit and Ray launchers, held to what the local launcher promises.

Their plugins run the jobs. What is added: a lost job fails alone and the sweep goes on, a job whose
time is up leaves its checkpoint, nothing is written outside of results/, and a plugin that is not
installed is told in one line.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

#: Variables that begin so reach Ray's workers, wherever they are.
PASSED_ON = ("LPWD_", "HF_", "WANDB_", "NO_ALBUMENTATIONS_UPDATE")
#: Of these, the ones that name folders.
FOLDERS = ("LPWD_RESULTS", "LPWD_DATA", "LPWD_CACHE", "HF_HOME")

#: submitit_local: how often a run may be longer than its time.
MAX_LOCAL_TIMEOUTS = 5


class ClusterLauncher(Launcher):
    """What the launchers below share; their keys are those of Hydra's plugins."""

    #: Of pyproject.toml: what the plugin is installed with.
    extra = ""

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config
        self.load_plugin()

    def load_plugin(self) -> None:
        raise NotImplementedError

    def module(self, name: str) -> Any:
        from lpwd.errors import ConfigError

        try:
            return import_module(f"hydra_plugins.{name}")
        except ImportError as error:
            raise ConfigError(
                f"this hydra/launcher needs a plugin that is not installed ({error}):"
                f" pip install -e '.[experiments,{self.extra}]' -c constraints.txt"
            ) from None


# -- submitit: Slurm, and its rehearsal on this machine -------------------------------------------


class SubmititSlurmLauncher(ClusterLauncher):
    """One job array for a sweep."""

    cluster, extra = "slurm", "slurm"

    def __init__(self, submitit_folder: str, max_num_timeout: int, **parameters: Any) -> None:
        self.folder, self.max_num_timeout = submitit_folder, max_num_timeout
        self.parameters = {
            key: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
            for key, value in parameters.items()
        }

    def load_plugin(self) -> None:
        launchers = self.module("hydra_submitit_launcher.submitit_launcher")
        self.plugin = getattr(launchers, f"{self.cluster.title()}Launcher")()
        self.plugin.setup(
            hydra_context=self.hydra_context, task_function=self.task_function, config=self.config
        )

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> list[JobReturn]:
        setup_globals()
        state = Singleton.get_state()
        arguments = [
            (list(overrides), "hydra.sweep.dir", number, str(number), state)
            for number, overrides in enumerate(job_overrides, initial_job_idx)
        ]
        return list(self.submit(self.executor(), LeavesCheckpoint(self.plugin), arguments))

    def submit(self, executor: Any, job: LeavesCheckpoint, arguments: list[Any]) -> Any:
        jobs = executor.map_array(job, *zip(*arguments, strict=True))
        print(f"submitted to Slurm: {jobs[0].job_id} … {jobs[-1].job_id}", flush=True)
        for submitted in _progress(jobs, self.config):
            yield _returned(submitted.result)

    def executor(self) -> Any:
        import submitit  # pyright: ignore[reportMissingImports]

        from lpwd.errors import ConfigError
        from lpwd.runs import results_dir

        folder = self.folder or results_dir(self.config.scale.name).absolute() / "submitit" / "%j"
        shared = self.module("hydra_submitit_launcher.config").BaseQueueConf.__annotations__
        parameters = {
            key if key in shared else f"{self.cluster}_{key}": value
            for key, value in self.parameters.items()
        }
        try:
            limit = {f"{self.cluster}_max_num_timeout": self.max_num_timeout}
            executor = submitit.AutoExecutor(folder, cluster=self.cluster, **limit)
            executor.update_parameters(**parameters)
        except (RuntimeError, ValueError, NameError) as error:  # no srun; a wrong parameter
            raise ConfigError(f"hydra/launcher=submitit_{self.cluster}: {error}") from None
        return executor


class SubmititLocalLauncher(SubmititSlurmLauncher):
    """Processes of this machine, as many at once as the local launcher would have."""

    cluster = "local"

    def __init__(self, submitit_folder: str, **parameters: Any) -> None:
        super().__init__(submitit_folder, MAX_LOCAL_TIMEOUTS, **parameters)

    def submit(self, executor: Any, job: LeavesCheckpoint, arguments: list[Any]) -> Any:
        from hydra_plugins.lpwd.launcher import worker_slots

        def wait_for(of: tuple[Any, ...]) -> JobReturn:
            return _returned(executor.submit(job, *of).result)

        pool = ThreadPoolExecutor(len(worker_slots(self.config.machine)))
        try:
            done = pool.map(wait_for, arguments)
            yield from _progress(done, self.config, len(arguments))
        finally:
            pool.shutdown(cancel_futures=True)  # after Ctrl-C no other job is started


class LeavesCheckpoint:
    """A job that ends with a checkpoint when its time is nearly up, and is queued again.

    submitit has Slurm send SIGUSR2 some time before the end. The run is then asked to stop as by
    SIGTERM (lpwd.train.Stop), and submitit's own handler queues the job again. After a SIGTERM
    alone, of `scancel`, it leaves the checkpoint as well, and is not queued.
    """

    def __init__(self, launcher: Callable[..., JobReturn]) -> None:
        self.launcher = launcher

    def __call__(self, *job: Any) -> JobReturn:
        queue_again: Any = signal.getsignal(signal.SIGUSR2)
        out_of_time = False

        def stop(signum: int, frame: Any) -> None:
            nonlocal out_of_time
            out_of_time = True
            signal.raise_signal(signal.SIGTERM)

        signal.signal(signal.SIGTERM, signal.default_int_handler)
        signal.signal(signal.SIGUSR2, stop)
        try:
            return self.launcher(*job)
        except KeyboardInterrupt:
            if out_of_time:
                queue_again(
                    signal.SIGUSR2, None
                )  # ends the process, or raises if it is once too often
            raise

    def checkpoint(self, *job: Any) -> Any:
        """What submitit queues again: the same job, which finds the run's checkpoint."""
        from submitit.helpers import DelayedSubmission  # pyright: ignore[reportMissingImports]

        return DelayedSubmission(self, *job)


# -- Ray ------------------------------------------------------------------------------------------


class RayLauncher(ClusterLauncher):
    """A Ray task a run: `machine.threads` processors, and 1/`machine.runs_per_gpu` of a GPU."""

    extra = "ray"

    def __init__(self, ray: DictConfig) -> None:
        self.init: Any = OmegaConf.to_container(ray.init)
        self.remote: Any = OmegaConf.to_container(ray.remote)

    def load_plugin(self) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when Ray is imported
        self.plugin = self.module("hydra_ray_launcher._launcher_util")

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> list[JobReturn]:
        import ray  # pyright: ignore[reportMissingImports]

        setup_globals()
        self.plugin.start_ray(OmegaConf.create(self._init()))
        remote, device = self._remote(ray.cluster_resources())
        runs = [
            self._submit([*overrides, *device], number, remote)
            for number, overrides in enumerate(job_overrides, initial_job_idx)
        ]
        return [_returned(lambda run=run: ray.get(run)) for run in _progress(runs, self.config)]

    def _init(self) -> dict[str, Any]:
        """Ray's own options, and this process's environment for the workers."""
        environment = {key: os.environ[key] for key in os.environ if key.startswith(PASSED_ON)}
        for key in FOLDERS:
            if key in environment:
                environment[key] = str(Path(environment[key]).absolute())
        return {**self.init, "runtime_env": {"env_vars": environment}}

    def _remote(self, cluster: dict[str, float]) -> tuple[DictConfig, list[str]]:
        """What each run takes of the cluster, and the override that puts it on a GPU."""
        machine = self.config.machine
        remote = {"num_cpus": machine.threads, **self.remote}
        if machine.device != "cpu" and cluster.get("GPU"):
            remote.setdefault("num_gpus", 1 / machine.runs_per_gpu)
        device = ["machine.device=cuda"] if remote.get("num_gpus") else []
        return OmegaConf.create(remote), device

    def _submit(self, overrides: list[str], number: int, remote: DictConfig) -> Any:
        job = self.hydra_context.config_loader.load_sweep_config(self.config, overrides)
        with open_dict(job):
            job.hydra.job.id = job.hydra.job.num = number
        return self.plugin.launch_job_on_ray(
            self.hydra_context, remote, job, self.task_function, Singleton.get_state()
        )


# -- both -----------------------------------------------------------------------------------------


def _returned(result: Callable[[], JobReturn]) -> JobReturn:
    """A job's result; of one that was killed or lost, a failure like any other."""
    try:
        return result()
    except Exception as error:
        lost = JobReturn()
        lost.status = JobStatus.FAILED
        lines = str(error).strip().splitlines() or [type(error).__name__]
        lost.return_value = RuntimeError(f"the job was lost: {lines[0]}")
        return lost


def _progress(jobs: Any, config: DictConfig, total: int | None = None) -> Any:
    from tqdm import tqdm

    return tqdm(jobs, total=total, unit="run", desc=config.scale.name, mininterval=1)
