"""What runs need of this machine, looked at before any is trained: `make doctor`, every sweep."""

from __future__ import annotations

import ctypes
import os
import shutil
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig

from lpwd.config.compose import composed
from lpwd.config.errors import ConfigError, ConfigErrors, first_line, is_out_of_memory
from lpwd.inputs.check import check_images, lacking
from lpwd.inputs.weights import check_weights
from lpwd.store.files import results_dir, write_whole
from lpwd.sweep import cost
from lpwd.sweep.workers import worker_slots


class Finding(NamedTuple):
    """One thing that was looked at; `said` of a fault holds the mend."""

    fine: bool
    what: str
    said: str

    def __str__(self) -> str:
        return f"{'✓' if self.fine else '✗'} {self.what}: {self.said}"


def check_ready(cfg: DictConfig, configs: Sequence[Any], runs: int) -> None:
    """Raise ConfigErrors, a line a thing, for what `runs` runs of these configs lack here.

    Looked for are the device, the data, the weights, and room on disk.
    """
    if not configs:
        return
    faults, workers = [], 1
    try:
        workers = min(runs, len(worker_slots(cfg)))
    except ConfigError as error:
        faults.append(str(error))
    faults += lacking(configs)
    room = disk([config["model"] for config in configs], cfg, runs, workers)
    faults += [] if room.fine else [room.said]
    if faults:
        raise ConfigErrors(faults)


def examine(scale: str) -> Iterator[Finding]:
    """Everything but the disk, each as soon as it is known; nothing is trained or downloaded."""
    cfg = composed([f"scale={scale}"])
    yield from _devices(cfg)
    grid, slots = cfg.scale.grid, []
    with suppress(ConfigError):
        slots = worker_slots(cfg)
    has_gpu = bool(slots) and slots[0] is not None
    if has_gpu or not slots or cfg.machine.compile:
        yield _compiler()
    models = list(dict.fromkeys([*grid.models, *grid.series]))
    yield from _inputs(scale, grid.datasets, models)
    yield _found("results", partial(_writable, results_dir(scale)))
    for model in models if slots else ():
        yield _step(cost.config_of(scale, model))


def _devices(cfg: DictConfig) -> Iterator[Finding]:
    """Each GPU, with its memory; or the processor, where no GPU is needed."""
    import torch

    from lpwd.config.machine import choose_device, cpu_name

    try:
        device = choose_device(cfg.machine.device, cfg.scale.name)
    except ConfigError as error:
        yield Finding(False, "device", str(error))
        return
    if device.type == "cpu":
        cores = len(os.sched_getaffinity(0))
        yield Finding(True, "device", f"{cpu_name()}, {cores} cores; no GPU is used")
        return
    versions = f"driver for CUDA {_driver()}, torch {torch.__version__} for CUDA"
    yield Finding(True, "driver", f"{versions} {torch.version.cuda}")
    for gpu in range(torch.cuda.device_count()):
        try:
            torch.zeros(1, device=f"cuda:{gpu}").item()
            free, total = torch.cuda.mem_get_info(gpu)
        except RuntimeError as error:
            mend = "leave it out with CUDA_VISIBLE_DEVICES, or see nvidia-smi and dmesg"
            yield Finding(False, f"GPU {gpu}", f"{first_line(error)}; {mend}")
            continue
        said = f"{torch.cuda.get_device_name(gpu)}, {free / 1e9:.0f} of {total / 1e9:.0f} GB free"
        yield Finding(True, f"GPU {gpu}", said)


def _driver() -> str:
    """The newest CUDA that the driver knows, as 13.0."""
    number = ctypes.c_int()
    with suppress(OSError):
        ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(number))
    return f"{number.value // 1000}.{number.value % 1000 // 10}"


def _compiler() -> Finding:
    """Triton compiles its launchers in C, against Python's headers."""
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    if not compiler or not shutil.which(compiler):
        mend = "install gcc (apt-get install gcc): torch builds GPU kernels with it"
        return Finding(False, "compiler", f"there is none; {mend}")
    if not header.is_file():
        mend = "install python3-dev of this Python, or use a Python that has it"
        return Finding(False, "compiler", f"{header} is not there; {mend}")
    return Finding(True, "compiler", f"{compiler}, with Python's headers")


def _inputs(scale: str, datasets: Iterable[str], models: Iterable[str]) -> Iterator[Finding]:
    """The images, decoded once and kept for the runs; the weights, by their checksums."""
    for name in datasets:
        cfg = composed([f"scale={scale}", f"data={name}"])
        yield _found(name, partial(_images, cfg))
    for name in models:
        cfg = composed([f"scale={scale}", f"model={name}"])
        yield _found(f"weights of {name}", partial(_weights, cfg.model))


def _found(what: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(True, what, look())
    except ConfigError as error:
        return Finding(False, what, str(error))


def _images(cfg: DictConfig) -> str:
    from lpwd.inputs import data

    if not check_images(cfg.data):
        return "not here yet; the first run downloads them"
    images = data.load(cfg.data, cfg.scale.images)
    return f"{len(images.train.labels):,} images to train on, {len(images.test.labels):,} to test"


def _weights(model: DictConfig) -> str:
    file = check_weights(model)
    if model.pretrained is False:
        return "none, it trains from scratch"
    return "here" if file else "not here yet; the first run downloads them"


def check_writable(folder: Path) -> None:
    """Raise CannotWrite if the folder takes no files."""
    write_whole(folder / ".writable", b"")
    (folder / ".writable").unlink()


def _writable(folder: Path) -> str:
    check_writable(folder)
    return f"{folder} can be written"


def _step(cfg: DictConfig) -> Finding:
    """Some real steps of a model, as a run would make them."""
    scale, what = cfg.scale, f"step of {cfg.model.name}"
    try:
        found = cost.measured(cfg, anew=True)
    except Exception as error:  # whatever stops the first step would stop every run
        mend = "runs of it would end so, too"
        if is_out_of_memory(error):
            mend = "use a larger GPU, or a smaller scale.batch_size: then it is not the paper's run"
        return Finding(False, what, f"{first_line(error)}; {mend}")
    mode = "compiled" if cfg.machine.compile else "eager"
    said = f"{1e3 * found.step:.1f} ms for {scale.batch_size} images, {scale.precision}, {mode}"
    peak = f"; at most {found.peak / 1e9:.1f} GB on the GPU" if found.peak else ""
    return Finding(True, what, said + peak)


def disk(models: Iterable[Any], cfg: DictConfig, runs: int, workers: int) -> Finding:
    """Is there room for so many more runs of these models, so many at once?"""
    folder = results_dir(cfg.scale.name)
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    need, free = cost.disk_bytes(models, cfg, runs, workers), shutil.disk_usage(there).free
    said = f"{runs} runs, {workers} at once, need {need / 1e9:.2f} GB in {folder}"
    if free < need:
        mend = "free room, or name another folder with LPWD_RESULTS"
        return Finding(False, "disk", f"{said}, which has {free / 1e9:.2f} left; {mend}")
    return Finding(True, "disk", f"{said}; {free / 1e9:.0f} are free")
