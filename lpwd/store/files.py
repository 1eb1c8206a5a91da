"""Files that are whole or absent, and the folder that they go to."""

from __future__ import annotations

import hashlib
import os
import sys
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from lpwd.config.errors import CannotWrite, first_line, is_out_of_memory, writing
from lpwd.config.paths import ROOT, named

T = TypeVar("T")


def results_dir(scale: str) -> Path:
    """results/<scale>; the environment variable LPWD_RESULTS takes the place of results/."""
    own = os.environ.get("LPWD_RESULTS")
    return (named(own) if own else ROOT / "results") / scale


def write_whole(path: Path, content: bytes) -> None:
    """Write a temporary file, flush it and rename it: the file is whole, or as it was before."""
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with aside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
            flush_names(path.parent)
        finally:
            aside.unlink(missing_ok=True)


def flush_names(folder: Path) -> None:
    """Flush a folder's entries to disk, so that a rename survives a loss of power."""
    with suppress(OSError):  # some network file systems do not support it
        directory = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def set_aside(path: Path, why: str) -> None:
    """Rename a damaged file or folder to <name>.damaged-<n>, and print why."""
    n = next(n for n in range(1, 10**6) if not path.with_name(f"{path.name}.damaged-{n}").exists())
    target = path.with_name(f"{path.name}.damaged-{n}")
    try:
        with writing(target):
            path.rename(target)
    except CannotWrite:
        if path.exists():  # else another process has set it aside meanwhile
            raise
    print(f"{path}: {why}; set aside as {target.name}", file=sys.stderr)


#: What a Parquet file's metadata hold: its SHA-256, computed with zeros in this place.
MARK = b"lpwd seal, sha256: "
UNSEALED = MARK + b"0" * 64


def seal(content: bytes) -> bytes:
    """A file that holds UNSEALED, with its seal there: Parquet's own checksums spare its footer."""
    return content.replace(UNSEALED, MARK + _digest(content))


def check_seal(content: bytes) -> None:
    """Raise ValueError if a file is not what was sealed."""
    before, mark, after = content.rpartition(MARK)
    if not mark or _digest(before + UNSEALED + after[64:]) != after[:64]:
        raise ValueError("it is not what was written")


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def from_parquet(path: Path, take: Callable[[Any], T], **options: Any) -> T | None:
    """What `take` reads of a Parquet file, its seal verified; None without one.

    A damaged file is set aside. `take` gets a `pyarrow.parquet.ParquetFile`, opened with `options`.
    Its reads must not use threads: Arrow's can abort a process as it ends (apache/arrow#34314).
    """
    if not path.exists():
        return None
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = path.read_bytes()
    try:
        check_seal(content)
        return take(pq.ParquetFile(pa.BufferReader(content), **options))
    except Exception as error:  # pyarrow has no one error for a damaged file
        if is_out_of_memory(error):
            raise
        set_aside(path, f"cannot be read ({first_line(error)})")
        return None
