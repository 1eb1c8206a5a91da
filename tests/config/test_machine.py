"""Devices: which GPUs a sweep has, and that the CPU is not taken in silence."""

import os
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from lpwd.config import machine
from lpwd.config.errors import ConfigError
from lpwd.sweep.workers import described, worker_slots


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Play a number of visible GPUs, as torch counts them under CUDA_VISIBLE_DEVICES."""

    def play(count: int, visible: str | None = None) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "GPU")
        if visible is None:
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        else:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    return play


def config(scale: str = "smoke", **own: Any) -> Any:
    usual = {"device": "auto", "threads": 1, "runs": None, "runs_per_gpu": 1}
    return OmegaConf.create({"machine": {**usual, **own}, "scale": {"name": scale}})


@pytest.mark.parametrize(
    ("visible", "count", "slots"),
    [
        (None, 2, ["0", "1"]),
        ("0,9", 1, ["0"]),  # CUDA stops at the first that is not there
        ("0,-1,1", 1, ["0"]),
        ("3, 1", 2, ["3", "1"]),
        ("GPU-aa,GPU-bb", 2, ["GPU-aa", "GPU-bb"]),
        ("MIG-aa,MIG-bb", 1, ["MIG-aa", "MIG-bb"]),  # a process sees only its first slice
        ("MIG-aa,9,MIG-bb", 1, ["MIG-aa"]),
    ],
)
def test_a_worker_for_each_visible_gpu(
    gpus: Any, visible: str | None, count: int, slots: list[str]
) -> None:
    gpus(count, visible)
    assert worker_slots(config()) == worker_slots(config("paper", device="cuda")) == slots
    assert worker_slots(config(runs_per_gpu=2)) == slots * 2
    assert worker_slots(config(runs=1)) == slots[:1]
    assert worker_slots(config(device="cuda:0")) == slots[:1]


@pytest.mark.parametrize("visible", ["", "-1", "0,0"])
def test_no_visible_gpu_is_the_cpu_but_not_at_paper_scale(gpus: Any, visible: str) -> None:
    gpus(0, visible)
    cores = len(os.sched_getaffinity(0))
    assert worker_slots(config()) == [None] * cores
    assert worker_slots(config("paper", device="cpu")) == [None] * cores
    for asked in (config("paper"), config(device="cuda"), config(device="cuda:7")):
        with pytest.raises(ConfigError) as caught:
            worker_slots(asked)
        said = str(caught.value)
        assert "wants a GPU, and none can be used: " in said
        assert f"CUDA_VISIBLE_DEVICES={visible!r}" in said
        assert said.endswith("give machine.device=cpu if it is meant")


def test_a_gpu_that_is_not_there(gpus: Any) -> None:
    gpus(2)
    with pytest.raises(ConfigError, match=r"cuda:7 is not on .* are cuda:0, cuda:1; use auto"):
        worker_slots(config(device="cuda:7"))
    assert worker_slots(config(device="cuda:1")) == ["1"]
    assert machine.choose_device("auto") == torch.device("cuda")
    assert machine.choose_device("cuda:1") == torch.device("cuda:1")


def test_a_sweep_says_where_it_trains_and_what_it_cannot_do_at_once(gpus: Any) -> None:
    gpus(2)
    cfg = config(runs=8, runs_per_gpu=2)
    said = described(cfg, worker_slots(cfg))
    assert said == "on 2 x GPU, 4 at once, not machine.runs=8 (raise machine.runs_per_gpu for more)"
    cfg = config(device="cpu", runs=999)
    said, cores = described(cfg, worker_slots(cfg)), len(os.sched_getaffinity(0))
    wanted = f"(no GPU), {cores} at once, not machine.runs=999 (lower machine.threads for more)"
    assert said == f"on {machine.cpu_name()} {wanted}"
