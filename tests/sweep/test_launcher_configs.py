"""What each launcher's config says, without its plugin; `make test-launchers` runs them."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

from lpwd.config.compose import composed
from lpwd.config.paths import CONFIGS

#: launcher: (its extra in pyproject.toml, its plugin's module)
PLUGINS = {
    "submitit_local": ("slurm", "hydra_plugins.hydra_submitit_launcher"),
    "submitit_slurm": ("slurm", "hydra_plugins.hydra_submitit_launcher"),
    "ray": ("ray", "hydra_plugins.hydra_ray_launcher"),
}


def test_there_is_a_config_for_each_launcher() -> None:
    names = {path.stem for path in (CONFIGS / "hydra" / "launcher").glob("*.yaml")}
    assert names == {"local", *PLUGINS}


def test_a_slurm_job_takes_the_processors_that_a_run_uses() -> None:
    slurm = composed(["hydra/launcher=submitit_slurm", "machine.threads=4"]).hydra.launcher
    assert slurm.cpus_per_task == 4
    assert slurm.gpus_per_node == 1


@pytest.mark.parametrize("name", PLUGINS)
def test_a_plugin_that_is_not_installed_is_told_in_one_line(name: str, tmp_path: Path) -> None:
    extra, module = PLUGINS[name]
    if importlib.util.find_spec(module):
        pytest.skip(f"{module} is installed here")
    done = subprocess.run(
        [sys.executable, "-m", "lpwd.train", "-m", "scale=smoke", f"hydra/launcher={name}"],
        cwd=REPOSITORY,
        env={**os.environ, "LPWD_RESULTS": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert f"pip install -e '.[experiments,{extra}]' -c constraints.txt" in done.stderr
    assert not list(tmp_path.rglob("*"))
