"""Ray, really run on this machine: `make test-launchers`."""

import os
import signal
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from small_sweep import FAILING, LONG, SWEEP, claimant, interrupt, numbers, stamps, start, sweep

pytest.importorskip("hydra_plugins.hydra_ray_launcher", reason="run by make test-launchers")


def test_ray_trains_what_the_local_launcher_does_and_once(tmp_path: Path) -> None:
    local, ray = tmp_path / "local", tmp_path / "ray"
    assert sweep("local", *SWEEP, results=local).returncode == 0
    done = sweep("ray", *SWEEP, results=ray)
    assert done.returncode == 0, done.stderr
    assert len(numbers(ray)) == 3
    assert numbers(ray) == numbers(local)
    before = stamps(ray)
    assert "3 runs at scale smoke: 3 stored" in sweep("ray", *SWEEP, results=ray).stdout
    assert stamps(ray) == before


def test_a_failing_run_is_told_and_the_sweep_goes_on(tmp_path: Path) -> None:
    done = sweep("ray", *FAILING, results=tmp_path)
    assert done.returncode == 1
    assert len(numbers(tmp_path)) == 1
    assert "decay.rate=9999" in done.stderr
    assert "1 of 2 runs failed" in done.stderr.splitlines()[-1]


def test_a_killed_worker_and_an_interrupted_sweep_change_no_number(tmp_path: Path) -> None:
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    assert sweep("local", *LONG, results=whole).returncode == 0
    process = start("ray", *LONG, results=resumed)
    killed = claimant(resumed)
    os.kill(killed, signal.SIGKILL)  # Ray starts the run again, which goes on
    claimant(resumed, other_than=killed)
    interrupt(process)
    assert process.returncode == 130
    assert not numbers(resumed)
    done = sweep("ray", *LONG, results=resumed)
    assert done.returncode == 0, done.stderr
    assert numbers(resumed) == numbers(whole)


@pytest.mark.parametrize(
    ("machine", "cluster", "takes", "device"),
    [
        ({"runs_per_gpu": 4}, {"CPU": 8, "GPU": 2}, {"num_cpus": 2, "num_gpus": 0.25}, "cuda"),
        ({"runs_per_gpu": 4}, {"CPU": 8}, {"num_cpus": 2}, None),
        ({"device": "cpu"}, {"CPU": 8, "GPU": 2}, {"num_cpus": 2}, None),
    ],
)
def test_several_runs_share_a_gpu(
    machine: dict, cluster: dict, takes: dict, device: str | None
) -> None:
    from hydra_plugins.lpwd.ray import RayLauncher

    launcher = RayLauncher(OmegaConf.create({"init": {}, "remote": {}}))
    machine = {"device": "auto", "threads": 2, "runs_per_gpu": 1, **machine}
    launcher.config = OmegaConf.create({"machine": machine})
    remote, overrides = launcher._remote(cluster)
    assert remote == takes
    assert overrides == ([f"machine.device={device}"] if device else [])
