"""The lock on a run in training, so that several sweeps, on several machines, can share a store.

The lock is a file `claim-<k>` in the run's work folder, whose modification time is its heartbeat.
If its process dies, the heartbeat stops, and the first process to create `claim-<k+1>` takes over.
The lock saves double work only: that a run is *stored* once does not depend on it.

The machines' clocks may differ, so heartbeats are written and compared by the file system's clock.
"""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

from lpwd.config.errors import writing

HEARTBEAT_SECONDS = 10.0
#: A claim without a heartbeat for so long is dead.
SILENT_SECONDS = 60.0


class RunLock:
    """`with RunLock(folder) as lock: if lock.mine: …`; released when the block ends.

    `holder` names the process that has it instead. Raises CannotWrite where the folder cannot be
    written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mine = False
        self.holder = ""
        self._path = folder
        self._done = threading.Event()

    def __enter__(self) -> RunLock:
        with writing(self.folder):
            self._take()
        if self.mine:
            threading.Thread(target=self._beat, daemon=True).start()
        return self

    def _take(self) -> None:
        """Create the next claim, unless one is alive or another process is faster."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):  # not exist_ok: that fails if it then goes away
            self.folder.mkdir()
        number, newest = newest_claim(self.folder)
        if newest is not None and is_alive(newest):
            self.holder = _holder(newest)
            return
        self._path = self.folder / f"claim-{number + 1}"
        try:
            file = self._path.open("x")
        except FileExistsError:
            self.holder = _holder(self._path)
            return
        except FileNotFoundError:  # the last holder has just removed the folder
            return self._take()
        try:
            with file:
                file.write(_identity())
        except OSError:  # a full disk: an empty claim would lock the run for everybody
            self._path.unlink()
            raise
        # Between the look at an old claim and the new one, another process may have taken the lock.
        if rival := next((path for path in self._others() if is_alive(path)), None):
            self.holder = _holder(rival)
            self._path.unlink(missing_ok=True)
        else:
            self.mine = True

    def _others(self) -> list[Path]:
        return [path for path in _claims(self.folder).values() if path != self._path]

    def __exit__(self, *error: object) -> None:
        self._done.set()
        if not self.mine:
            return
        for path in self._others():
            if not is_alive(path):  # a living one took over from this process, held for dead
                path.unlink(missing_ok=True)
        if _read(self._path) == _identity():
            self._path.unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()  # fails, as it should, where a checkpoint or a failure is kept

    def _beat(self) -> None:
        while not self._done.wait(HEARTBEAT_SECONDS):
            try:
                os.utime(self._path)
            except FileNotFoundError:
                return  # taken over by another process; the store keeps the first run stored
            except OSError:
                continue  # a shared folder that is out of reach for a while


def newest_claim(folder: Path) -> tuple[int, Path | None]:
    """The highest number among a folder's claims, and its file; (0, None) without one."""
    claims = _claims(folder)
    number = max(claims, default=0)
    return number, claims.get(number)


def is_alive(path: Path) -> bool:
    """Does the claim's process live? On this machine that is known at once, else by heartbeat."""
    try:
        with path.open() as file:  # on shared folders a mere stat may return a cached, old time
            words, beat = file.read().split(), os.fstat(file.fileno()).st_mtime
    except (OSError, UnicodeDecodeError):
        return False
    if len(words) == 3 and words[2] == _process_space() and not _is_running(words[1]):
        return False
    return _now(path.parent) - beat < SILENT_SECONDS


def in_training(folder: Path) -> bool:
    """Does a living process hold the lock of this work folder?"""
    _, newest = newest_claim(folder)
    return newest is not None and is_alive(newest)


def _claims(folder: Path) -> dict[int, Path]:
    try:
        names = [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return {}
    numbers = [name.removeprefix("claim-") for name in names if name.startswith("claim-")]
    return {int(number): folder / f"claim-{number}" for number in numbers if number.isdecimal()}


def _identity() -> str:
    """This process, as its claims name it."""
    return f"{socket.gethostname()} {os.getpid()} {_process_space()}"


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def _holder(path: Path) -> str:
    """Host and process number of a claim, to be shown."""
    return " ".join(_read(path).split()[:2]) or "a process that has just begun or ended"


@cache
def _process_space() -> str:
    """Where process numbers are comparable: this boot of this machine, this container.

    The host's name is not enough: containers and cloned machines may share it.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink().name}"
    except OSError:
        return socket.gethostname()


def _is_running(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except PermissionError:
        return True
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1]
    except OSError:
        return True
    return state != "Z"  # a zombie has ended, but its parent has not read its exit code


def _now(folder: Path) -> float:
    """The time by the clock of the folder's file system; it may be a server's."""
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            return os.fstat(probe.fileno()).st_mtime
    except OSError:
        return time.time()
