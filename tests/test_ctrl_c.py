"""Ctrl-C, as a terminal sends it: runs leave their checkpoints, and the same command goes on."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from conftest import REPOSITORY
from faults import checkpoints, environment, wait_until

LONG = ["scale.epochs=4000", "scale.images.train=64", "scale.images.test=40"]


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """`python -m` in a session of its own, of which nothing outlives the test."""
    processes: list[subprocess.Popen[str]] = []

    def started(*command: str) -> subprocess.Popen[str]:
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=REPOSITORY,
                env=environment(tmp_path),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
        return processes[-1]

    yield started
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_a_sweep_leaves_a_checkpoint_of_each_run(tmp_path: Path, start: Start) -> None:
    arguments = ["-m", "scale=smoke", "decay=lpwd", "seed=0,1", "machine.checkpoint_minutes=0"]
    sweep = start("lpwd.train", *arguments, *LONG)
    assert wait_until(lambda: len(checkpoints(tmp_path)) == 2)
    asked = time.time()
    sweep.send_signal(signal.SIGINT)  # to it alone: it passes it on
    _, errors = sweep.communicate(timeout=60)
    assert sweep.returncode == 130, errors
    left = checkpoints(tmp_path)
    assert len(left) == 2
    assert all(path.stat().st_mtime > asked for path in left)
    assert not list(tmp_path.glob("smoke/work/*/claim-*"))
    assert not list(tmp_path.glob("smoke/runs/*"))


def test_a_second_ctrl_c_ends_the_sweep_at_once(tmp_path: Path, start: Start) -> None:
    """The worker is stopped meanwhile, so that it could leave no checkpoint."""
    sweep = start("lpwd.train", "-m", "scale=smoke", "seed=0,1", "machine.runs=1", *LONG)
    assert wait_until(lambda: list(tmp_path.glob("smoke/work/*/claim-*")))
    servers = psutil.Process(sweep.pid).children()  # workers are forked from one of them
    (worker,) = [child for server in servers for child in server.children()]
    worker.suspend()
    sweep.send_signal(signal.SIGINT)
    said = iter(lambda: sweep.stderr.readline(), "")  # pyright: ignore
    assert any("Ctrl-C again: at once" in line for line in said)
    sweep.send_signal(signal.SIGINT)
    _, errors = sweep.communicate(timeout=60)
    assert sweep.returncode == 130, errors
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE


def test_make_lets_the_sweep_end_by_itself(tmp_path: Path, start: Start) -> None:
    make = start("lpwd.reproduce", "figure1", "--scale", "smoke")
    assert wait_until(lambda: list(tmp_path.glob("smoke/work/*/claim-*")))
    os.killpg(make.pid, signal.SIGINT)  # what a terminal does
    _, errors = make.communicate(timeout=60)
    assert make.returncode == 130, errors
    assert errors.count("stopped; the same command goes on from here") == 1
    assert "leaked" not in errors
