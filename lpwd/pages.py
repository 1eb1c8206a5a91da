"""Blocks of Markdown pages that commands write: what stands between <!-- name --> and its end."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch

from lpwd import train
from lpwd.runs import write_whole


def fill(page: Path, name: str, text: str) -> None:
    """Replace what stands between ``<!-- name -->`` and ``<!-- /name -->`` in a page.

    Raises:
        ValueError: the page lacks one of the two marks.
    """
    start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, found, rest = page.read_text().partition(start)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"{page} has no block {start.strip()} … {end}")
    write_whole(page, f"{before}{start}{text.strip()}\n{end}{after}".encode())


def machine(device: torch.device) -> str:
    """What the figures were measured on."""
    name = torch.cuda.get_device_name() if device.type == "cuda" else train.cpu_name()
    cores = len(os.sched_getaffinity(0))
    return (
        f"{name}, {cores} cores, one thread a process; Python {platform.python_version()},"
        f" torch {torch.__version__.partition('+')[0]}"
    )
