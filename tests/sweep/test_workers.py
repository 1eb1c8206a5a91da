"""The processes that train a sweep's runs: what their errors cost, and their ends."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from conftest import REPOSITORY
from faults import SMALL, SWEEP, checkpoints, environment, same_as, wait_until


def test_errors_reach_the_sweep_whatever_they_are() -> None:
    from hydra.core.utils import JobReturn, JobStatus

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
    for child in psutil.Process(sweep.pid).children():
        if any("multiprocessing.spawn" in word for word in child.cmdline()):
            child.kill()
    _, errors = sweep.communicate(timeout=300)
    assert sweep.returncode == 0, errors
    assert "a worker died with exit code -9" in errors
    assert "its run is tried again" in errors
    assert same_as(whole, results)


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
