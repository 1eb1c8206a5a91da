"""The processes that train a sweep's runs: what their errors cost, and their ends."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from conftest import REPOSITORY
from faults import SMALL, SWEEP, checkpoints, environment, same_as, wait_until
from hydra.core.utils import JobReturn, JobStatus

from hydra_plugins.lpwd.local import Queue
from lpwd.config.errors import ConfigError
from lpwd.sweep.workers import Lost, failed


def test_errors_reach_the_sweep_whatever_they_are() -> None:
    from lpwd.sweep.workers import _portable

    class Unpicklable(Exception):
        def __init__(self, one: str, *, other: str) -> None:
            super().__init__(one)

    done = JobReturn()
    done.status = JobStatus.FAILED
    done.return_value = Unpicklable("what happened", other="x")
    error = _portable(done)._return_value
    assert type(error) is RuntimeError
    assert "what happened" in str(error)


def test_a_worker_that_is_killed_costs_its_run_nothing(whole: Path, results: Path) -> None:
    """The real command, with its own launcher: one worker is killed, the sweep ends well."""

    command = [sys.executable, "-m", "lpwd.train", *SWEEP, "machine.runs=1"]
    sweep = subprocess.Popen(
        command, cwd=REPOSITORY, env=environment(results), stderr=subprocess.PIPE, text=True
    )
    assert wait_until(lambda: checkpoints(results))
    for server in psutil.Process(sweep.pid).children():
        for worker in server.children():  # of the process that workers are forked from
            worker.kill()
    _, errors = sweep.communicate(timeout=300)
    assert sweep.returncode == 0, errors
    assert "a worker died with exit code -9" in errors
    assert "its run is tried again" in errors
    assert same_as(whole, results)


def test_a_terminal_shows_one_bar_and_no_line_is_too_long(results: Path) -> None:
    """Workers share the sweep's terminal: bars of their own would be drawn over each other."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    runs = [*SMALL, "decay=wd,lpwd", "seed=0,1", "machine.runs=2"]
    sweep = subprocess.Popen(
        [sys.executable, "-m", "lpwd.train", "-m", *runs],
        cwd=REPOSITORY,
        env=environment(results),
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # the end of a terminal
        while read := os.read(ours, 1 << 16):
            shown += read
    os.close(ours)
    text = shown.decode()
    assert sweep.wait() == 0, text
    lines = [re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", line) for line in re.split(r"[\r\n]+", text)]
    assert {line.partition(":")[0] for line in lines if "%|" in line} == {"smoke"}
    assert max(len(line) for line in lines if str(results) not in line) <= 80


def lost() -> Any:
    return failed(Lost("GPU failed"))


def completed() -> Any:
    done = JobReturn()
    done.status = JobStatus.COMPLETED
    return done


def test_a_run_that_a_gpu_lost_goes_to_another_one() -> None:
    queue = Queue(4, ["0", "1"])
    assert (queue.next("0"), queue.next("1")) == (0, 1)
    assert queue.lost(1, "1", lost()) == "GPU failed; its run is tried again"
    assert queue.next("1") == 2  # not run 1, which waits for the other
    assert queue.next("0") == 1
    assert queue.lost(2, "1", lost()).endswith("GPU 1 failed twice: no more runs go to it")
    assert queue.next("1") is None
    assert queue.next("0") == 2
    assert queue.next("0") == 3


def test_a_gpu_that_finishes_runs_is_kept_and_a_run_lost_twice_has_failed() -> None:
    queue = Queue(5, ["0"])
    for index in range(3):
        assert queue.next("0") == index
        assert "tried again" in queue.lost(index, "0", lost())
        assert queue.next("0") == index  # there is no other GPU
        assert queue.lost(index, "0", completed()) == ""
    assert queue.next("0") == 3
    queue.lost(3, "0", lost())
    queue.next("0")
    assert queue.lost(3, "0", lost()) == ""  # the run's own fault: no second strike
    assert queue.next("0") == 4
    queue.lost(4, "0", lost())
    with pytest.raises(ConfigError, match="every GPU was lost more than once"):
        queue.next("0")


def test_a_lost_processor_is_never_given_up() -> None:
    queue = Queue(3, [None, None])
    for index in range(3):
        assert queue.next(None) == index
        assert "tried again" in queue.lost(index, None, lost())
        assert queue.next(None) == index


@pytest.mark.parametrize("rate", ["1e9", "0.1"])
def test_a_failed_run_leaves_no_memory_with_its_error(
    results: Path, monkeypatch: pytest.MonkeyPatch, rate: str
) -> None:
    """The sweep keeps the error to its end: of wrong rates, or of a lack of memory."""
    import weakref

    from lpwd import train
    from lpwd.config import compose
    from lpwd.inputs import models
    from lpwd.training import loop

    made, whole = [], models.create

    def noting(*args: Any) -> torch.nn.Module:
        model = whole(*args)
        made.append(weakref.ref(model))
        return model

    def no_memory(*args: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(models, "create", noting)
    monkeypatch.setattr(loop, "train_epoch", no_memory)
    cfg = compose.composed([*SMALL, "decay=wd", f"decay.rate={rate}"])
    with pytest.raises(train.ConfigError) as caught:
        train.run_of_a_sweep(cfg)
    assert ("ηλ_i" if rate == "1e9" else "out of memory") in str(caught.value)
    assert [model() for model in made] == [None]


def test_what_workers_are_forked_with_asks_no_driver_for_a_gpu() -> None:
    """A driver that was asked before a fork cannot be asked after it."""
    code = (
        "import ctypes, sys\n"
        "asked = []\n"
        "sys.addaudithook(lambda event, args: event == 'ctypes.dlsym' and asked.append(args[1]))\n"
        "import torch\n"
        "for name in dir(torch._C):\n"
        "    if name in ('_cuda_init', '_cuda_getDeviceCount', '_cuda_isInBadFork'):\n"
        "        setattr(torch._C, name, lambda name=name: asked.append(name) or 0)\n"
        "import lpwd.sweep.preload\n"
        "print([name for name in asked if str(name).startswith(('_cuda', 'cu', 'nvml'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
