"""A run's checkpoint: written aside, flushed, renamed, and refused where it is damaged."""

from __future__ import annotations

import hashlib
import io
import sys
import time
from pathlib import Path
from typing import Any, Protocol

import torch

from lpwd.config.errors import CannotWrite, ConfigError, first_line, is_out_of_memory
from lpwd.store.files import set_aside, write_whole


class Resumable(Protocol):
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Checkpoint:
    """The file `checkpoint.pt` in a run's work folder, written at most every `minutes`.

    Content: the SHA-256 (32 bytes) of what follows, then the state by `torch.save`. It is read
    with ``weights_only``, so that a hostile file cannot run code.
    """

    def __init__(self, folder: Path, minutes: float) -> None:
        self.path = folder / "checkpoint.pt"
        self.seconds = 60 * minutes
        self._last = time.monotonic()

    def save_if_due(self, training: Resumable) -> None:
        if time.monotonic() - self._last >= self.seconds:
            self.save(training)

    def save(self, training: Resumable) -> None:
        """Write the state; if it cannot be written, print why and go on without."""
        buffer = io.BytesIO()
        torch.save(training.state_dict(), buffer)
        content = buffer.getvalue()
        try:
            write_whole(self.path, hashlib.sha256(content).digest() + content)
        except CannotWrite as error:
            print(f"no checkpoint: {error}", file=sys.stderr)
        self._last = time.monotonic()

    def restore(self, training: Resumable) -> bool:
        """Load the checkpoint, if there is one, into `training`.

        Returns False for one that is damaged or does not fit this run: it is set aside, and
        `training`, which may hold half of it, must be prepared again. A ConfigError of `training`'s
        own is raised.
        """
        if not self.path.exists():
            return True
        content = self.path.read_bytes()
        digest, content = content[:32], content[32:]
        if hashlib.sha256(content).digest() != digest:
            set_aside(self.path, "is damaged (its checksum differs), the run starts anew")
            return False
        try:
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            training.load_state_dict(state)
        except ConfigError:
            raise
        except Exception as error:  # a foreign file, or another version's, can fail in any way
            if is_out_of_memory(error):
                raise
            fault = first_line(error)
            set_aside(self.path, f"does not fit this run ({fault}), which starts anew")
            return False
        return True
