"""Faults by the hundred, and a soak: `make test-faults`, which puts what is measured into the docs.

`record` notes a figure for scripts/reliability.py, as "what was done: what was counted".
"""

import itertools
import random
import shutil
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import REPOSITORY
from faults import (
    HOW,
    ONE_RUN,
    SMALL,
    SWEEP,
    Rows,
    Warm,
    damage,
    environment,
    kill,
    kill_at_random,
    numbers_of,
    same_as,
    stage,
    trained,
    wait_until,
)

from lpwd.store.files import write_whole
from lpwd.store.store import Store
from lpwd.training.checkpoint import Checkpoint

pytestmark = pytest.mark.long

Record = Callable[[str, object], None]


@pytest.fixture
def record(record_property: Record) -> Record:
    return record_property


# -- killed ---------------------------------------------------------------------------------------

RANDOM_KILLS = 120


def test_random_kills(warm: Warm, whole: Path, tmp_path: Path, record: Record) -> None:
    """One sweep after another is killed again and again, until it ends like the whole one."""
    rng, stages, begun, finished = random.Random(0), Counter(), 0, 0
    for sweep in itertools.count():
        results = tmp_path / str(sweep) / "results"
        results.parent.mkdir()
        stages += kill_at_random(warm, results, rng, kills=RANDOM_KILLS)
        assert same_as(whole, results)
        begun, finished = begun + len(trained(results)), finished + len(set(trained(results)))
        if stages.total() >= RANDOM_KILLS:
            break
    what = "a sweep of 4 runs killed at random"
    record(f"{what}: SIGKILLs", stages.total())
    for at, count in sorted(stages.items()):
        record(f"{what}: of them {at}", count)
    record(f"{what}: sweeps that ended, all with the numbers of the whole one", sweep + 1)
    record(f"{what}: runs finished", finished)
    record(f"{what}: times that a run was begun or gone on with", begun)


def test_killed_before_every_single_change(warm: Warm, tmp_path: Path, record: Record) -> None:
    """A run's process ends just before its first change to a file, its second, … and its last."""
    results = tmp_path / "results"
    code, said = warm.run("-m", *ONE_RUN, results=results)
    assert code == 0, said
    expected, changes = numbers_of(results), int(said.rpartition("changes: ")[2])
    stages: Counter[str] = Counter()
    for die_at in range(changes):
        again = tmp_path / str(die_at) / "results"
        again.parent.mkdir()
        assert warm.run("-m", *ONE_RUN, results=again, die_at=die_at)[0] == -9
        stages[stage(again)] += 1
        code, said = warm.run("-m", *ONE_RUN, results=again)
        assert code == 0, said
        assert numbers_of(again) == expected
        assert not list(again.glob("smoke/work/*/*"))
    what = "one run killed before every single change to its files"
    record(f"{what}: SIGKILLs", changes)
    for at, count in sorted(stages.items()):
        record(f"{what}: of them {at}", count)


# -- rivals ---------------------------------------------------------------------------------------

RIVALS, RIVAL_KILLS = 3, 40


def test_rivals_are_killed_at_random(
    warm: Warm, whole: Path, tmp_path: Path, record: Record
) -> None:
    """Of three sweeps on one store one is killed and started again, until the store is whole."""
    rng, kills, stores, begun = random.Random(0), 0, 0, 0
    while kills < RIVAL_KILLS:
        results = tmp_path / str(stores) / "results"
        results.parent.mkdir()
        killed = fight(warm, results, rng)
        assert same_as(whole, results)
        begun_here = trained(results)
        assert len(begun_here) <= len(set(begun_here)) + killed  # twice only where one was killed
        kills, stores, begun = kills + killed, stores + 1, begun + len(begun_here)
    what = "three sweeps at once on one store, one after another killed"
    record(f"{what}: SIGKILLs", kills)
    record(f"{what}: stores filled, all with the numbers of the whole sweep", stores)
    record(f"{what}: runs stored", 4 * stores)
    record(f"{what}: times that a run was begun or gone on with", begun)


def fight(warm: Warm, results: Path, rng: random.Random) -> int:
    """Three sweeps until all of them end well; returns how many processes were killed."""
    killed = 0
    rivals = [warm.start(*SWEEP, results=results) for _ in range(RIVALS)]
    while rivals:
        time.sleep(rng.uniform(0.3, 1.5))
        victim = rivals.pop(rng.randrange(len(rivals)))
        kill(victim)
        code = warm.wait(victim)
        assert code in (0, -9), results.with_name("results.log").read_text()
        if code == -9:
            killed += 1
            rivals.append(warm.start(*SWEEP, results=results))
    return killed


# -- damaged --------------------------------------------------------------------------------------

DAMAGES = 120


@pytest.mark.parametrize("name", ["runs.csv", "epochs.parquet", "zero_shot.parquet", "run.json"])
def test_random_damage_to_stored_runs(
    whole: Path, results: Path, record: Record, name: str
) -> None:
    """Whatever the damage, the rows are collected anew, or the run counts as not stored."""
    shutil.copytree(whole, results)
    expected, rng = numbers_of(results), random.Random(name)
    run = next(iter(sorted((results / "smoke" / "runs").iterdir())))
    kept = (run / "run.json").read_bytes()
    for how in rng.choices(HOW, k=DAMAGES):
        damage(run / name if name == "run.json" else results / "smoke" / name, how, rng)
        if name == "run.json":
            assert run.name not in Store("smoke").stored()
            write_whole(run / name, kept)
        assert numbers_of(results) == expected
    record(f"damage at random, each noticed and mended: to {name}", DAMAGES)


def test_random_damage_to_checkpoints(tmp_path: Path, record: Record) -> None:
    rng, checkpoint = random.Random(0), Checkpoint(tmp_path, 0)
    for how in rng.choices(HOW, k=DAMAGES):
        checkpoint.save(Rows())
        damage(checkpoint.path, how, rng)
        assert not checkpoint.restore(Rows())
        assert not checkpoint.path.exists()
    assert len(list(tmp_path.glob("checkpoint.pt.damaged-*"))) == DAMAGES
    record("damage at random, each noticed and mended: to checkpoint.pt", DAMAGES)


# -- the soak -------------------------------------------------------------------------------------

SOAK_RUNS = 1000
TINY = [*SMALL, "scale.epochs=1", "scale.images.train=32", "machine.checkpoint_minutes=5"]
#: What a worker may hold more after 900 runs: a run that left its model behind would cost 3 MB.
MORE_BYTES, MORE_HANDLES = 48_000_000, 3


def test_soak(tmp_path: Path, record: Record) -> None:
    """A thousand runs in one sweep, by the real command and its own workers."""
    results, log = tmp_path / "results", tmp_path / "soak.log"
    command = [sys.executable, "-m", "lpwd.train", "-m", *TINY, "decay=lpwd", "machine.runs=2"]
    with log.open("w") as output:
        sweep = psutil.Popen(
            [*command, f"seed=range({SOAK_RUNS})"],
            cwd=REPOSITORY,
            env=environment(results),
            stdout=output,
            stderr=output,
        )
        hundreds = range(100, SOAK_RUNS, 100)
        seen = [held(sweep) for count in hundreds if reached(results, count, sweep)]
        assert sweep.wait(600) == 0, log.read_text()[-2000:]
    assert len(seen) == len(hundreds)
    finished = sorted(path.stat().st_mtime for path in stored_runs(results))
    assert len(finished) == SOAK_RUNS
    first, last = seen[0], seen[-1]
    what = f"a soak of {SOAK_RUNS:,} runs by two workers"
    for name, (before, after) in {key: (first[key], last[key]) for key in first}.items():
        unit, divisor = ("MB", 1e6) if name.endswith("memory") else ("", 1)
        figures = f"{before / divisor:.0f} → {after / divisor:.0f} {unit}".strip()
        record(f"{what}: {name}, after {hundreds[0]} and {hundreds[-1]} runs", figures)
    gaps = [later - earlier for earlier, later in itertools.pairwise(finished)]
    for name, part in (("first", gaps[:100]), ("last", gaps[-100:])):
        record(f"{what}: seconds a run, {name} hundred", f"{statistics.mean(part):.2f}")
    for name in first:
        more = MORE_BYTES if name.endswith("memory") else MORE_HANDLES
        assert last[name] <= first[name] + more, seen


def reached(results: Path, count: int, sweep: psutil.Popen) -> bool:
    """Wait until so many runs are stored; False if the sweep has ended."""
    wait_until(lambda: sweep.poll() is not None or len(stored_runs(results)) >= count, 3600)
    return sweep.poll() is None


def stored_runs(results: Path) -> list[Path]:
    return list(results.glob("smoke/runs/*/run.json"))


def held(sweep: psutil.Popen) -> dict[str, int]:
    """What the sweep and its workers hold at most, looked at for a few runs' time."""
    looks = []
    for _ in range(40):
        looks.append(look(sweep))
        time.sleep(0.1)
    return {key: max(seen[key] for seen in looks) for key in looks[0]}


def look(sweep: psutil.Popen) -> dict[str, int]:
    workers = [worker for server in sweep.children() for worker in server.children()]
    return {
        "the larger worker's memory": max(p.memory_full_info().uss for p in workers),
        "the sweep's own memory": sweep.memory_full_info().uss,
        "a worker's open files": most(workers, psutil.Process.num_fds),
        "a worker's threads": most(workers, psutil.Process.num_threads),
        "the sweep's open files": sweep.num_fds(),
        "the sweep's threads": sweep.num_threads(),
        "processes": 1 + len(sweep.children(recursive=True)),
    }


def most(processes: Sequence[Any], count: Callable[[Any], int]) -> int:
    return max(count(process) for process in processes)
