"""submitit: job arrays on Slurm, and its rehearsal on this machine."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, setup_globals
from omegaconf import OmegaConf

from hydra_plugins.lpwd.cluster import ClusterLauncher, progress, returned

#: submitit_local: how often a run may be longer than its time.
MAX_LOCAL_TIMEOUTS = 5


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
        for submitted in progress(jobs, self.config):
            yield returned(submitted.result)

    def executor(self) -> Any:
        import submitit  # pyright: ignore[reportMissingImports]

        from lpwd.config.errors import ConfigError
        from lpwd.store.files import results_dir

        folder = self.folder or results_dir(self.config.scale.name) / "submitit" / "%j"
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
        from lpwd.sweep.workers import worker_slots

        def wait_for(of: tuple[Any, ...]) -> JobReturn:
            return returned(executor.submit(job, *of).result)

        pool = ThreadPoolExecutor(len(worker_slots(self.config)))
        try:
            done = pool.map(wait_for, arguments)
            yield from progress(done, self.config, len(arguments))
        finally:
            pool.shutdown(cancel_futures=True)  # after Ctrl-C no other job is started


class LeavesCheckpoint:
    """A job that ends with a checkpoint when its time is nearly up, and is queued again.

    submitit has Slurm send SIGUSR2 some time before the end. The run is then asked to stop as by
    SIGTERM (lpwd.training.stopping.Stop), and submitit's own handler queues the job again. After a
    SIGTERM alone, of `scancel`, it leaves the checkpoint as well, and is not queued.
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
