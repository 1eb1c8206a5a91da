"""What befalls a sweep of days: kills, rivals, damaged files, runs that diverge.

The quick part; `make test-faults` runs the long one (test_faults_long.py) as well.
"""

import os
import random
import shutil
import time
from collections import Counter
from pathlib import Path

import pytest
from faults import (
    HOW,
    ONE_RUN,
    SWEEP,
    Warm,
    damage,
    foreign_claim,
    kill_at_random,
    log,
    numbers_of,
    same_as,
    trained,
    wait_until,
)

from lpwd.analysis.main_grid import MainGrid
from lpwd.store import identity, lock, store
from lpwd.store.files import write_whole
from lpwd.store.frames import Results
from lpwd.store.store import Store


def test_a_sweep_that_is_killed_and_started_again_ends_the_same(
    warm: Warm, whole: Path, results: Path
) -> None:
    assert kill_at_random(warm, results, random.Random(1), kills=4)
    code, said = warm.run(*SWEEP, results=results)
    assert code == 0, said
    assert same_as(whole, results)


@pytest.mark.parametrize("share", [0.3, 0.8])
def test_killed_before_a_change_to_its_files(warm: Warm, results: Path, share: float) -> None:
    """The long part does this for every single change; here they are a few."""
    code, said = warm.run("-m", *ONE_RUN, results=results)
    assert code == 0
    expected = numbers_of(results)
    changes = int(said.rpartition("changes: ")[2])
    again = results.with_name("again")
    assert warm.run("-m", *ONE_RUN, results=again, die_at=int(share * changes))[0] == -9
    code, said = warm.run("-m", *ONE_RUN, results=again)
    assert code == 0, said
    assert numbers_of(again) == expected


def test_killed_between_two_collected_files(
    warm: Warm, whole: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Epochs of runs that runs.csv does not know yet are not kept twice."""
    shutil.copytree(whole, results)
    store, expected = Store("smoke"), numbers_of(whole)
    (store.root / "runs.csv").unlink()
    assert numbers_of(results) == expected
    shutil.copytree(store.root, results / "before")
    first = expected["runs"][0][0]
    store.forget(first)
    shutil.copytree(results / "before" / "runs" / first, store.runs / first)
    shutil.copy(results / "before" / "epochs.parquet", store.root)
    assert numbers_of(results) == expected


def test_a_stored_runs_leftovers_are_cleared_away(warm: Warm, whole: Path, results: Path) -> None:
    """A process killed just after it stored its run has left a claim and a checkpoint."""
    shutil.copytree(whole, results)
    work = next((results / "smoke" / "runs").iterdir()).name
    for name in ("checkpoint.pt", "claim-1"):
        write_whole(results / "smoke" / "work" / work / name, b"left")
    one_more = [*SWEEP, "decay=baseline", "model=convnext_micro", "seed=0,1"]
    assert warm.run(*one_more, results=results)[0] == 0
    assert not list(results.glob("smoke/work/*/*"))


def test_sweeps_at_once_train_every_run_once(warm: Warm, whole: Path, results: Path) -> None:
    pids = [warm.start(*SWEEP, results=results) for _ in range(3)]
    assert [warm.wait(pid) for pid in pids] == [0, 0, 0]
    assert set(Counter(trained(results)).values()) == {1}
    assert same_as(whole, results)


def test_a_run_of_another_machine_is_waited_for_and_taken_over(
    warm: Warm, whole: Path, results: Path
) -> None:
    run = next((whole / "smoke" / "runs").iterdir()).name
    foreign = foreign_claim(results / "smoke" / "work" / run)
    sweep = warm.start(*SWEEP, results=results)

    def waits_while_its_heart_beats() -> bool:
        os.utime(foreign)
        said = log(results).read_text() if log(results).exists() else ""
        return "1 runs left, all in training elsewhere: waiting for them" in said

    assert wait_until(waits_while_its_heart_beats)
    assert run not in trained(results)
    os.utime(foreign, (time.time() - lock.SILENT_SECONDS - 1,) * 2)
    assert warm.wait(sweep) == 0, log(results).read_text()
    assert trained(results)[-1] == run
    assert same_as(whole, results)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("name", ["runs.csv", "epochs.parquet", "zero_shot.parquet"])
def test_damaged_collected_files_are_rebuilt(
    whole: Path, results: Path, name: str, how: str
) -> None:
    shutil.copytree(whole, results)
    expected = numbers_of(results)
    rng = random.Random(f"{name} {how}")
    for _ in range(1 if how == "empty" else 12):
        damage(results / "smoke" / name, how, rng)
        assert numbers_of(results) == expected


@pytest.mark.parametrize("how", HOW)
def test_a_damaged_run_is_set_aside_and_trained_again(
    warm: Warm, whole: Path, results: Path, how: str
) -> None:
    shutil.copytree(whole, results)
    run = next((results / "smoke" / "runs").iterdir())
    damage(run / "run.json", how, random.Random(how))
    code, said = warm.run(*SWEEP, results=results)
    assert code == 0, said
    assert trained(results) == [run.name]
    assert f"set aside as {run.name}.damaged-1" in said
    assert same_as(whole, results)


def test_a_diverged_run_ends_early_and_is_counted_as_such(warm: Warm, results: Path) -> None:
    from lpwd.config.compose import scale_config
    from lpwd.draw import tables

    sweep = ["-m", "scale=smoke", "decay=baseline", "optimizer=sgdm", "optimizer.lr_factor=10"]
    sweep += ["scale.base.sgdm.lr=1e30", "scale.images.train=32", "scale.images.test=20"]
    sweep += ["scale.batch_size=8"]
    code, said = warm.run(*sweep, results=results)
    assert code == 0, said
    stored = store.load("smoke")
    assert stored.runs["status"].tolist() == ["diverged"]
    assert stored.runs["diverged_epoch"].tolist() == [1]
    assert stored.runs[["best_mean", "heldout_mean", "final_top1"]].isna().all(axis=None)
    assert stored.epochs["epoch"].tolist() == [1]
    assert stored.epochs["test_top1"].isna().all()
    assert "diverged at epoch 1" in warm.run(*sweep[1:], "seed=1", results=results)[1]
    # As the table would have it, were these the settings of its column.
    at_grid = stored.runs.assign(lr=scale_config("smoke").base.sgdm.lr * 10)
    names = at_grid[["data", "model", "optimizer"]].iloc[0]
    setting = identity.default_setting("smoke", *names)
    known = Results(at_grid.assign(setting=setting), stored.epochs, stored.zero_shot)
    main = MainGrid(known, scale_config("smoke"))
    assert "diverged" in tables.show("table1", main)


def test_frames_are_compared_in_earnest(whole: Path) -> None:
    """The comparison that the tests above rest on notices one changed digit."""
    numbers = numbers_of(whole)
    assert len(numbers) == 3 + 4
    assert len(numbers["epochs"]) == 4 * 5
    run = next(name for name in numbers if len(name) == 12)
    numbers[run]["epochs"][-1]["train_loss"] *= 1 + 1e-15
    assert numbers != numbers_of(whole)
