"""The device, its precision, and what it is called."""

from __future__ import annotations

import os
import platform
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from lpwd.config.errors import ConfigError


def choose_device(name: str) -> torch.device:
    """machine.device as a torch device; raises ConfigError if it is not here."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        raise ConfigError(f"machine.device={name} is not on this machine; use auto") from None
    return device


def set_precision(precision: str) -> None:
    """fp32 in full, or with tf32 matrix products; bf16 is `autocast`'s."""
    tf32 = precision != "fp32"
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32


def autocast(cfg: DictConfig, device: torch.device) -> AbstractContextManager[Any]:
    """For any number of `with` blocks, one after another; costs nothing where it does nothing."""
    if cfg.scale.precision != "bf16":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def cpu_name() -> str:
    """The processor's model, as Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def machine(device: torch.device) -> str:
    """What the figures were measured on."""
    name = torch.cuda.get_device_name() if device.type == "cuda" else cpu_name()
    cores = len(os.sched_getaffinity(0))
    return (
        f"{name}, {cores} cores, one thread a process; Python {platform.python_version()},"
        f" torch {torch.__version__.partition('+')[0]}"
    )
