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
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from lpwd.config.errors import CannotWrite, ConfigError, writing
from lpwd.store.files import flush_names, results_dir, set_aside, write_whole
from lpwd.store.identity import Settings, as_text, run_id
from lpwd.store.index import EPOCHS, RUNS, SETTINGS, ZERO_SHOT, Index, collected_row, index_of
from lpwd.store.lock import in_training
from lpwd.store.rows import SETTINGS_COLUMNS
from lpwd.store.run_file import Record, fault_of, is_hash, sealed

if TYPE_CHECKING:  # pandas takes long to import: a stored run is known without
    from lpwd.store.frames import Results


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
        return self._body(run) is not None or run in index_of(self.root).hashes

    def summary(self, run: str) -> dict[Any, Any]:
        """The summary of a stored run, from its directory or from its row."""
        if record := self.read(run):
            return record["summary"]
        return collected_row(self.root, run)

    def settings(self, run: str) -> Settings:
        """The settings of a stored run. Raises ConfigError if it is not stored, or has none."""
        body = self._body(run)
        if body is not None:
            return json.loads(body)["settings"]
        from lpwd.store.frames import read_parquet

        kept = read_parquet(self.root / SETTINGS, SETTINGS_COLUMNS).set_index("hash")["settings"]
        if run not in kept:
            raise ConfigError(
                f"{run}: no settings are kept of it in {self.root / SETTINGS}; `make forget"
                f" RUN={run}` drops it, and the next target that needs it trains it again"
            )
        return json.loads(kept[run])

    def forget(self, run: str) -> str:
        """Drop one run, stored or interrupted, so that it is trained from its start; its hash.

        `run` is the hash, or a beginning of it that no other run has. Raises ConfigError if there
        is no such run or more than one, or if it is in training.
        """
        if not run:
            raise ConfigError("which RUN? Name one, as in `make forget RUN=<hash>`")
        begun = {path.name for path in (self.root / "work").glob("*") if is_hash(path.name)}
        matches = sorted(name for name in self.stored() | begun if name.startswith(run))
        if len(matches) != 1:
            which = f" ({', '.join(matches[:10])}{', …' * (len(matches) > 10)})" * bool(matches)
            raise ConfigError(
                f"RUN={run}: {len(matches) or 'no'} runs of scale {self.scale} have that hash"
                f"{which}; the hashes are in {self.root / 'runs.csv'}"
            )
        (name,) = matches
        if in_training(self.work(name)):
            raise ConfigError(f"RUN={run}: {name} is in training; stop it first")
        for folder in filter(Path.exists, (self.runs / name, self.work(name))):
            with writing(folder):
                shutil.rmtree(folder)
        if name in index_of(self.root).hashes:
            self._drop({name})
        return name

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
        return self._whole() | index_of(self.root).hashes

    def collect(self) -> Results:
        """Bring the collected files up to date, and return what they hold."""
        import pandas as pd

        from lpwd.store.frames import Results, of_records

        whole = self._whole()
        if whole <= index_of(self.root).hashes:
            return self._results()
        with self._alone():
            names = sorted(whole - index_of(self.root).hashes)
            fresh = [record for name in names if (record := self.read(name)) is not None]
            pairs = zip(self._results(), of_records(fresh), strict=True)
            merged = Results(*(pd.concat(pair) for pair in pairs))
            self._write(merged, [record["settings"] for record in fresh])
            return self._results()

    def _whole(self) -> set[str]:
        """Runs with a whole directory; damaged ones are set aside, and with them their rows."""
        names = {path.name for path in self.runs.glob("*") if is_hash(path.name)}
        damaged = {name for name in names if self._body(name) is None}
        if damaged:
            self._drop(damaged)
        return names - damaged

    def _drop(self, names: set[str]) -> None:
        from lpwd.store.frames import only

        with self._alone():
            self._write(only(self._results(), index_of(self.root).hashes - names))

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

    def _results(self) -> Results:
        """What the collected files hold, read again only when one of them has changed."""
        return _read(self.root, index_of(self.root))

    def _write(self, results: Results, settings: Iterable[Settings] = ()) -> None:
        """Write the collected files; `settings` are added to those that are kept."""
        import pandas as pd

        from lpwd.store import frames

        runs = results.runs.sort_values(frames.SORT_COLUMNS, kind="stable").reset_index(drop=True)
        epochs = results.epochs.sort_values(["hash", "epoch"]).reset_index(drop=True)
        zero_shot = results.zero_shot.sort_values(["hash", "step"]).reset_index(drop=True)
        kept = frames.read_parquet(self.root / SETTINGS, SETTINGS_COLUMNS)
        texts = dict(zip(kept["hash"], kept["settings"], strict=True))
        texts |= {run_id(of_run): as_text(of_run) for of_run in settings}
        rows = sorted((run, texts[run]) for run in set(runs["hash"]) & texts.keys())
        # runs.csv last: a row of it whose epochs are missing would not count.
        columns = list(SETTINGS_COLUMNS)
        frames.write_parquet(self.root / SETTINGS, pd.DataFrame(rows, columns=columns))
        frames.write_parquet(self.root / EPOCHS, epochs)
        frames.write_parquet(self.root / ZERO_SHOT, zero_shot)
        frames.write_rows(self.root / RUNS, runs)


@lru_cache(maxsize=1)
def _read(root: Path, index: Index) -> Results:
    from lpwd.store import frames

    results = frames.Results(
        frames.read_rows(root / RUNS),
        frames.read_parquet(root / EPOCHS, frames.EPOCH_COLUMNS),
        frames.read_parquet(root / ZERO_SHOT, frames.ZERO_SHOT_COLUMNS),
    )
    return frames.only(results, index.hashes)


def load(scale: str) -> Results:
    """All stored runs of a scale as frames, collected first; empty frames where there are none."""
    return Store(scale).collect()
