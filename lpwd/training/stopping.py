"""Ctrl-C and SIGTERM: the run leaves a checkpoint and ends."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Stopped(KeyboardInterrupt):
    """The run was asked to stop and has saved its checkpoint."""


class Stop:
    """Set by the first SIGINT or SIGTERM; a SIGINT after that interrupts at once."""

    requested = False

    def __call__(self, signum: int, frame: Any) -> None:
        if self.requested and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Within the block, signals set the Stop that it yields."""
    stop = Stop()
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
