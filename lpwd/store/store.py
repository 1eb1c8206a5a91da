"""The store where each run is kept once.

    results/<scale>/runs/<hash>/run.json   one finished run: settings, summary, epochs, zero-shot
    results/<scale>/work/<hash>/           checkpoint, lock and failure of a run that is not
    results/<scale>/runs.csv, epochs.parquet, zero_shot.parquet, settings.parquet
                                           collected from them, committed

A run with a row in runs.csv counts as stored everywhere, with or without its directory.
"""

from __future__ import annotations

import json
import shutil
import sys
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from filelock import FileLock

from lpwd.config.errors import CannotWrite, ConfigError, writing
from lpwd.store.files import flush_names, results_dir, set_aside, write_whole
from lpwd.store.frames import (
    EPOCH_COLUMNS,
    SETTINGS_COLUMNS,
    SORT_COLUMNS,
    ZERO_SHOT_COLUMNS,
    Results,
    of_records,
    only,
    read_parquet,
    read_rows,
    write_parquet,
    write_rows,
)
from lpwd.store.identity import Settings, as_text, run_id
from lpwd.store.run_file import Record, fault_of, is_hash, sealed

#: The collected files.
RUNS, EPOCHS, ZERO_SHOT, SETTINGS = FILES = (
    "runs.csv",
    "epochs.parquet",
    "zero_shot.parquet",
    "settings.parquet",
)


class Store:
    """The runs of one scale. Safe for several processes: a run is stored whole, and once."""

    def __init__(self, scale: str, root: Path | None = None) -> None:
        self.root = root or results_dir(scale)
        self.runs = self.root / "runs"
        self.scale = scale

    # One run ---------------------------------------------------------------------------------

    def save(self, record: Record) -> None:
        """Store a finished run; if another process was faster, its run stays."""
        run, work = record["hash"], self.work(record["hash"])
        aside = work / f".{uuid.uuid4().hex[:8]}"  # in work/: cleared if this process is killed
        if self._body(run) is None:
            try:
                write_whole(aside / "run.json", sealed(record))
                with writing(self.runs / run):
                    self.runs.mkdir(exist_ok=True)
                    aside.rename(self.runs / run)
                    flush_names(self.runs)
            except CannotWrite:
                if self._body(run) is None:
                    raise
        shutil.rmtree(work, ignore_errors=True)

    def tidy(self) -> None:
        """Remove work folders, left by killed processes, of runs that are stored."""
        stored = self.stored()
        for folder in (self.root / "work").glob("*"):
            if folder.name in stored:
                shutil.rmtree(folder, ignore_errors=True)

    def read(self, run: str) -> Record | None:
        """The stored run, or None. One that is damaged or of another version is set aside."""
        body = self._body(run)
        return None if body is None else json.loads(body)

    def _body(self, run: str) -> bytes | None:
        """The run's JSON, checksum verified but not parsed: quick."""
        folder = self.runs / run
        try:
            content = (folder / "run.json").read_bytes()
        except FileNotFoundError:
            if folder.exists():
                set_aside(folder, "holds no run.json")
            return None
        seal, _, body = content.partition(b"\n")
        if fault := fault_of(seal, body, run):
            set_aside(folder, fault)
            return None
        return body

    def has(self, run: str) -> bool:
        """Is the run stored, by its directory or by its row in the collected files?"""
        return self._body(run) is not None or run in self._collected().hashes

    def summary(self, run: str) -> dict[Any, Any]:
        """The summary of a stored run, from its directory or from its row."""
        if record := self.read(run):
            return record["summary"]
        runs = self._collected().results.runs
        return runs[runs["hash"] == run].iloc[0].to_dict()

    def settings(self, run: str) -> Settings:
        """The settings of a stored run. Raises ConfigError if it is not stored, or has none."""
        body = self._body(run)
        if body is not None:
            return json.loads(body)["settings"]
        kept = read_parquet(self.root / SETTINGS, SETTINGS_COLUMNS).set_index("hash")["settings"]
        if run not in kept:
            raise ConfigError(
                f"{run}: no settings are kept of it in {self.root / SETTINGS}; `make forget"
                f" RUN={run}` drops it, and the next target that needs it trains it again"
            )
        return json.loads(kept[run])

    def forget(self, run: str) -> str:
        """Drop one run, so that it is trained again; its hash. Raises ConfigError if there is none.

        `run` is the hash, or a beginning of it that no other run has.
        """
        if not run:
            raise ConfigError("which RUN? Name one, as in `make forget RUN=<hash>`")
        matches = [stored for stored in self.stored() if stored.startswith(run)]
        if len(matches) != 1:
            raise ConfigError(
                f"RUN={run}: {len(matches) or 'no'} runs of scale {self.scale} have that hash;"
                f" the hashes are in {self.root / 'runs.csv'}"
            )
        shutil.rmtree(self.runs / matches[0], ignore_errors=True)
        self._drop({matches[0]})
        return matches[0]

    def work(self, run: str) -> Path:
        """Where a run that is not finished keeps its checkpoint, lock and failure."""
        return self.root / "work" / run

    def fail(self, run: str, settings: Settings, trace: str) -> None:
        """Record why a run failed; a later success removes it."""
        text = json.dumps(settings, indent=1) + "\n\n" + trace
        write_whole(self.work(run) / "failure.txt", text.encode())

    def failures(self) -> dict[str, str]:
        """{hash: the last line of the traceback} of the runs that failed and were not mended."""
        files = sorted(self.root.glob("work/*/failure.txt"))
        return {
            file.parent.name: file.read_text("utf-8").strip().splitlines()[-1] for file in files
        }

    # All runs --------------------------------------------------------------------------------

    def stored(self) -> set[str]:
        """The hashes of all runs that need not be trained again."""
        return self._whole() | self._collected().hashes

    def collect(self) -> Results:
        """Bring the collected files up to date, and return what they hold."""
        whole, before = self._whole(), self._collected()
        if whole <= before.hashes:
            return before.results
        with self._alone():
            before = self._collected()
            names = sorted(whole - before.hashes)
            fresh = [record for name in names if (record := self.read(name)) is not None]
            pairs = zip(before.results, of_records(fresh), strict=True)
            merged = (new if old.empty else pd.concat([old, new]) for old, new in pairs)
            self._write(Results(*merged), [record["settings"] for record in fresh])
            return self._collected().results

    def _whole(self) -> set[str]:
        """Runs with a whole directory; damaged ones are set aside, and with them their rows."""
        names = {path.name for path in self.runs.glob("*") if is_hash(path.name)}
        damaged = {name for name in names if self._body(name) is None}
        if damaged:
            self._drop(damaged)
        return names - damaged

    def _drop(self, names: set[str]) -> None:
        with self._alone():
            kept = self._collected().hashes - names
            self._write(only(self._collected().results, kept))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """A lock: one process at a time changes the collected files."""
        lock = FileLock(self.root / "work" / ".lock")
        with writing(self.root):
            (self.root / "work").mkdir(parents=True, exist_ok=True)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _collected(self) -> Collected:
        """What the collected files hold, read again only when one of them has changed."""
        stamp = tuple(map(_stamp, (self.root / name for name in FILES)))
        known = _READ.get(self.root)
        if known is None or known.stamp != stamp:
            known = _READ[self.root] = self._read(stamp)
        return known

    def _read(self, stamp: tuple[Any, ...]) -> Collected:
        """The collected runs; those whose rows cannot be trusted are left out.

        A process killed between writing two of the files leaves runs that are not in all of them:
        these do not count either, and are collected again from their directories.
        """
        runs = read_rows(self.root / RUNS)
        epochs = read_parquet(self.root / EPOCHS, EPOCH_COLUMNS)
        zero_shot = read_parquet(self.root / ZERO_SHOT, ZERO_SHOT_COLUMNS)
        with_curve = runs.loc[(runs["method"] == "baseline") & (runs["status"] == "done"), "hash"]
        halves = set(runs["hash"]) ^ set(epochs["hash"])
        halves |= set(with_curve) - set(zero_shot["hash"])
        if lost := [run for run in halves if not (self.runs / run).exists()]:
            print(
                f"{self.root}: {len(lost)} runs are not in all of runs.csv, epochs.parquet and"
                " zero_shot.parquet and do not count as stored; restore the files with git, or"
                " train them again",
                file=sys.stderr,
            )
        kept = frozenset(runs["hash"]) - halves
        results = Results(runs, epochs, zero_shot)
        return Collected(stamp, only(results, kept) if halves else results, kept)

    def _write(self, results: Results, settings: Iterable[Settings] = ()) -> None:
        """Write the collected files; `settings` are added to those that are kept."""
        order = [name for name in SORT_COLUMNS if name in results.runs]
        runs = results.runs.sort_values(order, kind="stable").reset_index(drop=True)
        epochs = results.epochs.sort_values(["hash", "epoch"]).reset_index(drop=True)
        zero_shot = results.zero_shot.sort_values(["hash", "step"]).reset_index(drop=True)
        kept = read_parquet(self.root / SETTINGS, SETTINGS_COLUMNS)
        texts = dict(zip(kept["hash"], kept["settings"], strict=True))
        texts |= {run_id(of_run): as_text(of_run) for of_run in settings}
        rows = sorted((run, texts[run]) for run in set(runs["hash"]) & texts.keys())
        # runs.csv last: a row of it whose epochs are missing would not count.
        write_parquet(self.root / SETTINGS, pd.DataFrame(rows, columns=list(SETTINGS_COLUMNS)))
        write_parquet(self.root / EPOCHS, epochs)
        write_parquet(self.root / ZERO_SHOT, zero_shot)
        write_rows(self.root / RUNS, runs)


class Collected(NamedTuple):
    """What the collected files hold, and their stamps when they were read."""

    stamp: tuple[Any, ...]
    results: Results
    hashes: frozenset[str]


#: {folder of a scale: what was read there last}: a worker reads it once, not before every run.
_READ: dict[Path, Collected] = {}


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Inode, time (ns) and size (bytes): another file, or a changed one, has another stamp."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def load(scale: str) -> Results:
    """All stored runs of a scale as frames, collected first; empty frames where there are none."""
    return Store(scale).collect()
