"""Hydra's own submitit and Ray launchers, held to what the local launcher promises.

Their plugins run the jobs. What is added: a lost job fails alone and the sweep goes on, a job whose
time is up leaves its checkpoint, nothing is written outside of results/, and a plugin that is not
installed is told in one line.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


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
        from lpwd.config.errors import ConfigError

        try:
            return import_module(f"hydra_plugins.{name}")
        except ImportError as error:
            raise ConfigError(
                f"this hydra/launcher needs a plugin that is not installed ({error}):"
                f" pip install -e '.[experiments,{self.extra}]' -c constraints.txt"
            ) from None


def returned(result: Callable[[], JobReturn]) -> JobReturn:
    """A job's result; of one that was killed or lost, a failure like any other."""
    from lpwd.config.errors import first_line
    from lpwd.sweep.workers import failed

    try:
        return result()
    except Exception as error:
        return failed(RuntimeError(f"the job was lost: {first_line(error)}"))


def progress(jobs: Any, config: DictConfig, total: int | None = None) -> Any:
    from tqdm import tqdm

    return tqdm(jobs, total=total, unit="run", desc=config.scale.name, mininterval=1)
