"""Ray: a task a run, on this machine or on a cluster."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, setup_globals
from omegaconf import DictConfig, OmegaConf, open_dict

from hydra_plugins.lpwd.cluster import ClusterLauncher, progress, returned
from lpwd.config.paths import named

#: Variables that begin so reach Ray's workers, wherever they are.
PASSED_ON = ("LPWD_", "HF_", "WANDB_", "NO_ALBUMENTATIONS_UPDATE")
#: Of these, the ones that name folders.
FOLDERS = ("LPWD_RESULTS", "LPWD_DATA", "LPWD_CACHE", "HF_HOME")


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

        ray: Any = ray

        setup_globals()
        self.plugin.start_ray(OmegaConf.create(self._init()))
        remote, device = self._remote(ray.cluster_resources())
        runs = [
            self._submit([*overrides, *device], number, remote)
            for number, overrides in enumerate(job_overrides, initial_job_idx)
        ]
        return [returned(lambda run=run: ray.get(run)) for run in progress(runs, self.config)]

    def _init(self) -> dict[str, Any]:
        """Ray's own options, and this process's environment for the workers."""
        environment = {key: os.environ[key] for key in os.environ if key.startswith(PASSED_ON)}
        for key in FOLDERS:
            if key in environment:
                environment[key] = str(named(environment[key]))
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
