"""What an answer without training costs, in processor time: it is the same on a busy machine."""

from __future__ import annotations

import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from resource import RUSAGE_CHILDREN, getrusage
from subprocess import run
from typing import Any

from lpwd.config.paths import ROOT
from lpwd.store import index
from lpwd.store.store import Store
from scripts.bench.measure import Row, folder_of_results
from scripts.bench.sweeps import fill

TRAIN = [sys.executable, "-m", "lpwd.train"]
STORED = ["scale=smoke", "decay=wd", "seed=1"]
COUNT = 10_000


def bench_latency() -> Iterator[Row]:
    """Commands that train nothing, and what a worker asks of a large store before each run."""
    with folder_of_results():
        store = Store("smoke")
        fill(store, COUNT)
        store.collect()
        yield _answer("make help", "≤ 0.1", ["make", "help"])
        yield _answer("--help", "≤ 1.2", [*TRAIN, "--help"])
        yield _answer("a wrong key", "≤ 1.2", [*TRAIN, "scale=smoke", "decay.ratee=1"])
        case = f"a run stored among {COUNT:,}"
        yield _answer(case, "≤ 1.2", [*TRAIN, *STORED])
        shutil.rmtree(store.runs)
        yield _answer(f"{case}, in the collected files alone", "≤ 1.2", [*TRAIN, *STORED])
        index.read_index.cache_clear()
        work = "is a run stored?"
        first = _own(lambda: store.has("0" * 12))
        yield Row(work, f"processor seconds, of {COUNT:,}: first", "–", first)
        later = _own(lambda: [store.has("0" * 12) for _ in range(100)]) / 100
        yield Row(work, f"processor seconds, of {COUNT:,}: then", "–", later, "≤ 0.05")


def _answer(case: str, must: str, command: list[str]) -> Row:
    times = [_of_command(command) for _ in range(5)]
    low, middle, high = statistics.quantiles(times, n=4)
    return Row("an answer", f"processor seconds, {case}", "–", middle, must, low, high, middle)


def _of_command(command: list[str]) -> float:
    before = getrusage(RUSAGE_CHILDREN)
    run(command, cwd=ROOT, capture_output=True)
    after = getrusage(RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _own(function: Callable[[], Any]) -> float:
    begun = time.process_time()
    function()
    return time.process_time() - begun
