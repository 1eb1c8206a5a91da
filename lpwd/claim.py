"""Claims: which process trains a run, so that several sweeps can share one store.

A claim is a file `claim-<k>` whose time of change is its heartbeat. A process that dies leaves a
claim that goes silent; whoever then creates `claim-<k+1>` first has taken it over. Claims only
keep runs from being trained twice: that a run is *stored* once does not depend on them.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

HEARTBEAT_SECONDS = 10.0
#: A claim that was silent for so long belongs to nobody (clocks of machines may differ a little).
SILENT_SECONDS = 60.0


class Claim:
    """`with Claim(folder) as claim: if claim.mine: …`; gone when the block ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mine = False
        self.holder = ""
        self._path = folder
        self._done = threading.Event()

    def __enter__(self) -> Claim:
        self.folder.mkdir(parents=True, exist_ok=True)
        number, newest = newest_claim(self.folder)
        if newest is not None and is_alive(newest):
            self.holder = _read(newest)
            return self
        self._path = self.folder / f"claim-{number + 1}"
        try:
            handle = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            self.holder = _read(self._path)
            return self
        with os.fdopen(handle, "w") as file:
            file.write(f"{socket.gethostname()} {os.getpid()}")
        self.mine = True
        threading.Thread(target=self._beat, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        if not self.mine:
            return
        for path in self.folder.glob("claim-*"):
            path.unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()  # unless a checkpoint or a failure is kept

    def _beat(self) -> None:
        while not self._done.wait(HEARTBEAT_SECONDS):
            try:
                os.utime(self._path)
            except OSError:
                return  # taken away: the store sees to it that nothing is stored twice


def newest_claim(folder: Path) -> tuple[int, Path | None]:
    """The highest number among a folder's claims, and its file; (0, None) without one."""
    numbers = [int(path.name.removeprefix("claim-")) for path in folder.glob("claim-*")]
    number = max(numbers, default=0)
    return number, folder / f"claim-{number}" if numbers else None


def is_alive(path: Path) -> bool:
    """Is this claim's heart beating? A process of this host that has ended is known at once."""
    try:
        silent = time.time() - path.stat().st_mtime
        host, _, pid = _read(path).partition(" ")
    except OSError:
        return False
    ended = host == socket.gethostname() and pid.isdigit() and not _is_running(int(pid))
    return not ended and silent < SILENT_SECONDS


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
