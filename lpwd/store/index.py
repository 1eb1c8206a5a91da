"""Which runs the collected files hold: known without pandas, and read once while they stay.

A worker asks before each of its runs, and a single run must not wait for the frames of thousands.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from lpwd.store.files import from_parquet
from lpwd.store.rows import RUN_COLUMNS, sound_rows

#: The collected files.
RUNS, EPOCHS, ZERO_SHOT, SETTINGS = FILES = (
    "runs.csv",
    "epochs.parquet",
    "zero_shot.parquet",
    "settings.parquet",
)


class Index(NamedTuple):
    """The runs that count as collected, and the files' stamps when they were read."""

    stamp: tuple[Any, ...]
    hashes: frozenset[str]


def index_of(root: Path) -> Index:
    """The runs in a folder's collected files, read again only when one of them has changed."""
    return read_index(root, tuple(_stamp(root / name) for name in FILES))


@lru_cache(maxsize=2)
def read_index(root: Path, stamp: tuple[Any, ...]) -> Index:
    """The same, of files with these stamps."""
    return Index(stamp, _hashes(root))


def collected_row(root: Path, run: str) -> dict[str, Any]:
    """The row of a collected run; numbers as numbers, NaN where there is none."""
    found = sound_rows(root / RUNS, lambda row: row if row[0] == run else None)
    row = next(row for row in found if row)
    numbers = ("float64", "int64")
    return {
        name: float(text or "nan") if kind in numbers else text
        for (name, kind), text in zip(RUN_COLUMNS.items(), row, strict=True)
    }


def _hashes(root: Path) -> frozenset[str]:
    """The runs whose rows can be trusted.

    A process killed between writing two of the files leaves runs that are not in all of them:
    these do not count, and are collected again from their directories.
    """
    method, status = (list(RUN_COLUMNS).index(name) for name in ("method", "status"))

    def with_curve(row: list[str]) -> tuple[str, bool]:
        return row[0], (row[method], row[status]) == ("baseline", "done")

    rows = dict(sound_rows(root / RUNS, with_curve, name_edited=True))
    halves = rows.keys() ^ _hashes_in(root / EPOCHS)
    halves |= {run for run, curve in rows.items() if curve} - _hashes_in(root / ZERO_SHOT)
    if lost := [run for run in halves if not (root / "runs" / run).exists()]:
        print(
            f"{root}: {len(lost)} runs are not in all of runs.csv, epochs.parquet and"
            " zero_shot.parquet and do not count as stored; restore the files with git, or"
            " train them again",
            file=sys.stderr,
        )
    return frozenset(rows.keys() - halves)


def _hashes_in(path: Path) -> set[str]:
    """The runs in a Parquet file; a damaged one is set aside."""

    def hashes(file: Any) -> set[str]:
        return set(file.read(["hash"], use_threads=False)["hash"].unique().to_pylist())

    return from_parquet(path, hashes, read_dictionary=["hash"]) or set()


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Inode, time (ns) and size (bytes): another file, or a changed one, has another stamp."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
