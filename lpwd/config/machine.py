"""The device, its precision, and what it is called."""

from __future__ import annotations

import os
import platform
import warnings
from contextlib import AbstractContextManager, nullcontext
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from lpwd.config.errors import ConfigError, first_line, is_out_of_memory

#: A run of these takes a CPU weeks: `auto` means a GPU there.
GPU_SCALES = ("paper",)


def choose_device(name: str, scale: str = "") -> torch.device:
    """machine.device as a torch device; ``auto`` is the first GPU, else the CPU.

    Raises:
        ConfigError: it is not on this machine, or the scale wants a GPU and none can be used.
    """
    if name == "cpu":
        return torch.device("cpu")
    fault = no_gpu()
    if fault and name == "auto" and scale not in GPU_SCALES:
        return torch.device("cpu")
    if fault:
        asked = f"scale={scale}" if name == "auto" else f"machine.device={name}"
        raise ConfigError(
            f"{asked} wants a GPU, and none can be used: {fault}; mend that (docs/gpu-box.md), or"
            " give machine.device=cpu if it is meant"
        )
    device, count = torch.device("cuda" if name == "auto" else name), torch.cuda.device_count()
    if (device.index or 0) >= count:
        raise ConfigError(
            f"machine.device={name} is not on this machine: its GPUs are"
            f" {', '.join(f'cuda:{gpu}' for gpu in range(count))}; use auto"
        )
    return device


def no_gpu() -> str:
    """Why torch can use no GPU here, in torch's own words; "" if it can. Takes no GPU memory."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of what is said below
        if torch.cuda.is_available():
            return ""
        try:
            torch.cuda.init()
            fault = "no GPU is visible"
        except (RuntimeError, AssertionError) as error:
            fault = first_line(error).partition(". ")[0]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    hidden = "" if visible is None else f", CUDA_VISIBLE_DEVICES={visible!r}"
    return f"{fault} (torch {torch.__version__} for CUDA {torch.version.cuda}{hidden})"


def gpu_names() -> list[str]:
    """The GPUs of this process, each by the name by which a child sees it alone.

    As CUDA reads CUDA_VISIBLE_DEVICES: numbers or UUIDs, up to the first that is not there. It
    shows a process only the first MIG slice, but a child each may have one.
    """
    visible, count = os.environ.get("CUDA_VISIBLE_DEVICES"), torch.cuda.device_count()
    if visible is None:
        return [str(gpu) for gpu in range(count)]
    names = [name.strip() for name in visible.split(",")]
    if count and names[0].startswith("MIG-"):
        return list(dict.fromkeys(takewhile(lambda name: name.startswith("MIG-"), names)))
    return names[:count]


def gpu_fault() -> str:
    """Why this process's GPU no longer works; "" if it does, or is only full.

    After some errors (an illegal access, a GPU that fell off the bus) every later call of the
    process fails, too.
    """
    try:
        torch.zeros(1, device="cuda").item()
    except Exception as error:
        return "" if is_out_of_memory(error) else first_line(error)
    return ""


def device_name(device: torch.device) -> str:
    """What it is called: the GPU's own name, or the processor's."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()


def set_precision(precision: str) -> None:
    """fp32 in full, or with tf32 matrix products; bf16 is `autocast`'s."""
    tf32 = precision != "fp32"
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32


def set_determinism(deterministic: bool, device: torch.device) -> None:
    """On a GPU: kernels that give the same bits each time, or whatever is fastest; to be called
    before the first matrix product. A CPU's are deterministic as they are."""
    on_gpu = device.type == "cuda"
    if on_gpu and deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else cuBLAS is not
    torch.use_deterministic_algorithms(on_gpu and deterministic)
    # Or each new tensor would be filled, a launch each, to show who reads what nobody wrote.
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore
    torch.backends.cudnn.benchmark = on_gpu and not deterministic


def autocast(cfg: DictConfig, device: torch.device) -> AbstractContextManager[Any]:
    """For any number of `with` blocks, one after another; costs nothing where it does nothing."""
    if cfg.scale.precision != "bf16":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def cpu_name() -> str:
    """The processor's model, from /proc/cpuinfo."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def machine(device: torch.device) -> str:
    """What the figures were measured on."""
    cores, python = len(os.sched_getaffinity(0)), platform.python_version()
    return (
        f"{device_name(device)}, {cores} cores, one thread a process; Python {python},"
        f" torch {torch.__version__.partition('+')[0]}"
    )
