"""Measured figures in a page of docs/: between two markers, with the machine they are of."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch

from lpwd import runs, train


def fill(page: Path, name: str, body: str) -> None:
    """Put `body` between <!-- name --> and <!-- /name -->."""
    text, start, end = page.read_text(), f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, _, rest = text.partition(start)
    after = rest.partition(end)[2]
    runs.write_whole(page, f"{before}{start}{body}\n{end}{after}".encode())


def machine(device: torch.device) -> str:
    """What the figures were measured on."""
    name = torch.cuda.get_device_name() if device.type == "cuda" else train.cpu_name()
    cores = len(os.sched_getaffinity(0))
    return (
        f"{name}, {cores} cores, one thread a process; Python {platform.python_version()},"
        f" torch {torch.__version__.partition('+')[0]}"
    )
