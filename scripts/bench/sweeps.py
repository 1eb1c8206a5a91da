"""Starting runs, sweeps of them, and a store of thousands."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

import pandas as pd

from lpwd.config.check import plain
from lpwd.config.paths import ROOT
from lpwd.store import identity, run_file, store
from lpwd.store.store import Store
from lpwd.sweep import cost, plan
from lpwd.training import build, loop, record
from scripts.bench.measure import (
    DATA,
    SHORT,
    Row,
    config,
    folder_of_results,
    median_seconds,
    seconds,
)


def bench_start() -> Iterator[Row]:
    """Starting a run on cached images, after imports: until the first batch could be trained on."""
    cfg = config("scale=mini", f"data={DATA}", *(SHORT if DATA == "digits" else []))
    build.prepare(cfg)
    times = [seconds(lambda: next(iter(build.prepare(cfg).loader.epoch(1)))) for _ in range(10)]
    low, middle, high = statistics.quantiles(times, n=4)
    case = f"seconds, {DATA}"
    yield Row("starting a run", case, "–", middle, "≤ 0.3", low, high, middle, turns=10)


SWEEP = ["decay=wd,rwd,pwd,lpwd", "optimizer.lr=1e-3,5e-4,1e-4", "seed=0,1,2,3,4"]  # 60 runs
FRESH = 6  # of them, each in a process of its own


def bench_sweep() -> Iterator[Row]:
    """60 smoke runs by two workers, against their own seconds and against a process for each."""
    with folder_of_results():
        settings = identity.settings(plain(config("scale=smoke", "decay=wd")))
        estimate = 60 * cost.seconds_of(settings, "smoke", store.load("smoke").runs) / 2
        begun = time.time()
        wall = seconds(
            lambda: _python("-m", "lpwd.train", "-m", "scale=smoke", "machine.runs=2", *SWEEP)
        )
        stored = store.load("smoke").runs
        own = float(stored["seconds"].sum()) / 2
        first, last = _first_start_and_last_end(stored)
    with folder_of_results():
        alone = seconds(_fresh_processes) * len(stored) / FRESH
    runs, span = f"{len(stored)} smoke runs", "from its first run to its last"
    against, fresh = "their training seconds ÷ 2", f"a process for each ({FRESH} measured)"
    yield Row("a sweep", runs, against, wall / own, "≤ 1.10", ours=wall)
    yield Row("a sweep", span, against, (last - first) / own)
    yield Row("a sweep", "seconds until its first run trains", "–", first - begun)
    for name in ("torch", "lpwd.train", "timm"):
        imported = median_seconds(lambda name=name: _python("-c", f"import {name}"), turns=5)
        yield Row("a sweep", f"seconds to start Python and import {name}", "–", imported)
    yield Row("a sweep", runs, fresh, alone / wall, "≥ 3", ours=wall, theirs=alone)
    yield Row("`make plan`'s estimate", "that sweep", "the time it took", estimate / wall, "≥ 0.8")
    yield Row("`make plan`'s estimate", "that sweep", span, estimate / (last - first))


def _python(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, capture_output=True)


def _first_start_and_last_end(stored: pd.DataFrame) -> tuple[float, float]:
    """When the first run of a store began to train, and when the last was stored."""
    folder = Store("smoke").runs
    ends = [(folder / name / "run.json").stat().st_mtime for name in stored["hash"]]
    return min(end - s for end, s in zip(ends, stored["seconds"], strict=True)), max(ends)


def _fresh_processes() -> None:
    """FRESH runs, two at a time, each in a new process."""
    commands = [
        [sys.executable, "-m", "lpwd.train", "scale=smoke", "decay=lpwd", f"seed={seed}"]
        for seed in range(FRESH)
    ]
    for pair in zip(commands[::2], commands[1::2], strict=True):
        for process in [subprocess.Popen(c, cwd=ROOT, stdout=subprocess.DEVNULL) for c in pair]:
            process.wait()


def bench_store() -> Iterator[Row]:
    """Collecting and planning with 10,000 stored runs, against 1,000."""
    times = {}
    for count in (1_000, 10_000):
        with folder_of_results():
            fill(Store("smoke"), count)
            times[count], again = (seconds(lambda: plan.table("smoke")) for _ in range(2))
        yield Row("collecting and planning", f"seconds, {count:,} new runs", "–", times[count])
        must = "≤ 5" if count == 10_000 else ""
        yield Row("planning", f"seconds, {count:,} collected runs", "–", again, must)
    ratio = times[10_000] / times[1_000]
    yield Row("collecting and planning", "10,000 runs", "1,000 runs", ratio, "≤ 10")


def fill(store: Store, count: int) -> None:
    """A store of `count` runs that differ in their seeds."""
    cfg = config("scale=smoke", "decay=wd")
    settings, t = identity.settings(plain(cfg)), build.prepare(cfg)
    loop.train_epoch(t, lambda: None)
    stored = record.finish(t, "", settings)
    for seed in range(1, count + 1):
        stored["settings"] = settings | {"seed": seed}
        stored["hash"] = identity.run_id(stored["settings"])
        folder = store.runs / stored["hash"]
        folder.mkdir(parents=True)
        (folder / "run.json").write_bytes(run_file.sealed(stored))
