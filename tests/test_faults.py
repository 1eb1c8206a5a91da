"""What befalls a sweep of days: kills, rivals, damaged files, full disks, little memory.

The quick part; `make test-faults` runs the long one (test_faults_long.py) as well.
"""

import os
import random
import re
import shutil
import subprocess
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import REPOSITORY
from faults import (
    HOW,
    ONE_RUN,
    SMALL,
    SWEEP,
    Rows,
    Warm,
    checkpoints,
    damage,
    kill,
    kill_at_random,
    log,
    numbers_of,
    same_as,
    trained,
    wait_until,
)

from lpwd.analysis.main_grid import MainGrid, as_printed
from lpwd.store import identity, lock, store
from lpwd.store.files import write_whole
from lpwd.store.frames import Results
from lpwd.store.lock import RunLock
from lpwd.store.store import Store
from lpwd.training.checkpoint import Checkpoint

# -- killed ---------------------------------------------------------------------------------------


def test_a_sweep_that_is_killed_and_started_again_ends_the_same(
    warm: Warm, whole: Path, results: Path
) -> None:
    assert kill_at_random(warm, results, random.Random(1), kills=4)
    code, said = warm.run(*SWEEP, results=results)
    assert code == 0, said
    assert same_as(whole, results)


@pytest.mark.parametrize("share", [0.3, 0.8])
def test_killed_before_a_change_to_its_files(
    warm: Warm, whole: Path, results: Path, share: float
) -> None:
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
    assert warm.run(*SWEEP, "seed=0,1", results=results)[0] == 0
    assert not list(results.glob("smoke/work/*/*"))


# -- rivals ---------------------------------------------------------------------------------------


def test_sweeps_at_once_train_every_run_once(warm: Warm, whole: Path, results: Path) -> None:
    pids = [warm.start(*SWEEP, results=results) for _ in range(3)]
    assert [warm.wait(pid) for pid in pids] == [0, 0, 0]
    assert set(Counter(trained(results)).values()) == {1}
    assert same_as(whole, results)


def foreign_claim(work: Path) -> Path:
    """A claim of another machine, whose heart beats just now."""
    work.mkdir(parents=True, exist_ok=True)
    path = work / "claim-1"
    path.write_text("elsewhere.example 123 another-boot/pid:[1]")
    return path


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


def test_a_claim_of_this_host_name_but_another_machine_is_respected(tmp_path: Path) -> None:
    import socket

    tmp_path.joinpath("claim-1").write_text(f"{socket.gethostname()} 4000000 another-boot/pid:[1]")
    with RunLock(tmp_path) as mine:
        assert not mine.mine


def test_clocks_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign_claim(tmp_path)
    for wrong in (-1e6, 1e6):
        monkeypatch.setattr(time, "time", lambda wrong=wrong: wrong)
        assert lock.in_training(tmp_path)


def test_who_was_held_for_dead_leaves_the_new_claim(tmp_path: Path) -> None:
    """A process that was stopped for minutes goes on: its run is another's by now."""
    (tmp_path / "checkpoint.pt").write_bytes(b"x")
    with RunLock(tmp_path) as slow:
        assert slow.mine
        newer = tmp_path / "claim-2"
        newer.write_text("elsewhere.example 123 another-boot/pid:[1]")
    assert newer.exists()
    assert not (tmp_path / "claim-1").exists()


def test_a_killed_process_that_nobody_has_reaped_is_dead(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        RunLock(tmp_path).__enter__()
        os._exit(9)
    assert wait_until(lambda: not lock.in_training(tmp_path) and any(tmp_path.iterdir()), 10)
    os.waitpid(pid, 0)


def test_many_processes_never_hold_one_claim_together(tmp_path: Path) -> None:
    """Claims are taken and given back as fast as can be; the folder comes and goes with them."""
    held, pids = tmp_path / "held", []
    for _ in range(6):
        pids.append(os.fork())
        if pids[-1] == 0:
            os._exit(_claim_often(tmp_path / "work" / "run", held))
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0] * 6


def _claim_often(folder: Path, held: Path) -> int:
    try:
        for _ in range(150):
            with RunLock(folder) as mine:
                if mine.mine:
                    os.close(os.open(held, os.O_CREAT | os.O_EXCL))  # fails if another holds it
                    held.unlink()
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


# -- damaged --------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("how", HOW)
def test_a_damaged_checkpoint_is_set_aside_and_the_run_starts_anew(
    warm: Warm, results: Path, how: str
) -> None:
    assert warm.run(*ONE_RUN, results=results)[0] == 0
    expected, cut = numbers_of(results), results.with_name("cut")
    pid = warm.start(*ONE_RUN, results=cut)
    assert wait_until(lambda: checkpoints(cut))
    kill(pid)
    assert warm.wait(pid) == -9
    damage(checkpoints(cut)[0], how, random.Random(how))
    code, said = warm.run(*ONE_RUN, results=cut)
    assert code == 0, said
    assert "checkpoint.pt: is damaged (its checksum differs), the run starts anew" in said
    assert "set aside as checkpoint.pt.damaged-1" in said
    assert numbers_of(cut) == expected


def test_a_checkpoint_is_written_at_most_so_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    checkpoint, training, seen = Checkpoint(tmp_path, minutes=5), Rows(), []
    for now in range(1000, 1000 + 61 * 60, 60):  # epochs of a minute, for an hour
        training.state = {"number": now}
        checkpoint.save_if_due(training)
        if checkpoint.path.exists():
            restored = Rows()
            assert checkpoint.restore(restored)
            seen.append(restored.state["number"])
    assert sorted(set(seen)) == [1000 + 300 * n for n in range(1, 13)]


def test_a_new_checkpoint_is_on_the_disk_before_the_old_one_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, training, flushed, replaced = Checkpoint(tmp_path, 0), Rows(), [], []
    checkpoint.save(training)
    before, fsync, replace = checkpoint.path.read_bytes(), os.fsync, Path.replace

    def noting_fsync(file: int) -> None:
        flushed.append(str(Path(f"/proc/self/fd/{file}").readlink()))
        fsync(file)

    def noting_replace(aside: Path, path: Path) -> None:
        replaced.append(path)
        assert path.read_bytes() == before
        assert flushed == [str(aside)]
        replace(aside, path)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(Path, "replace", noting_replace)
    training.state = {"number": 2}
    checkpoint.save(training)
    assert replaced == [checkpoint.path]
    assert flushed[1:] == [str(tmp_path)]  # the folder: the renaming itself
    assert checkpoint.restore(training)
    assert checkpoint.path.read_bytes() != before


class Hostile:
    """Pickled, it is a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


def test_a_hostile_checkpoint_runs_nothing_and_is_set_aside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its checksum is right: whoever can write it can compute it."""
    training, checkpoint = Rows(), Checkpoint(tmp_path, 0)
    training.state = {"number": Hostile(f"touch {tmp_path / 'owned'}")}
    checkpoint.save(training)
    assert not checkpoint.restore(training)
    assert not (tmp_path / "owned").exists()
    assert "does not fit this run" in capsys.readouterr().err
    assert (tmp_path / "checkpoint.pt.damaged-1").exists()


def test_a_checkpoint_of_another_run_is_set_aside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training, checkpoint = Rows(), Checkpoint(tmp_path, 0)
    training.state = {"other": 2}
    checkpoint.save(training)
    assert not checkpoint.restore(Rows())
    assert "does not fit this run" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["checkpoint_path", "pretrained_cfg_overlay"])
def test_a_config_cannot_load_a_hostile_file_through_the_models_arguments(
    warm: Warm, results: Path, tmp_path: Path, key: str
) -> None:
    file, owned = tmp_path / "weights.pth", tmp_path / "owned"
    torch.save({"state_dict": Hostile(f"touch {owned}")}, file)
    value = file if key == "checkpoint_path" else f"{{file: {file}}}"
    code, said = warm.run(
        *ONE_RUN, "model.pretrained=false", f"+model.kwargs.{key}={value}", results=results
    )
    assert not owned.exists()
    if key == "checkpoint_path":
        assert code == 2
        assert "model.kwargs do not fit" in said


@pytest.mark.parametrize(
    "target",
    [
        *("os.system", "albumentations.os.system", "albumentations.__import__", "albumentations."),
        *("albumentations", "albumentations.core.serialization.from_dict", "builtins.eval"),
        *("albumentations.from_dict", "albumentations.load", "torch.load"),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("loader", ["device", "albumentations"])
def test_a_config_names_classes_of_albumentations_alone(
    target: str, nested: bool, loader: str
) -> None:
    from lpwd.config.errors import ConfigError
    from lpwd.inputs.augment import build_augment

    entry: dict[str, Any] = {"_target_": target, "command": "true"}
    if nested:
        entry = {"_target_": "albumentations.OneOf", "transforms": [entry]}
    with pytest.raises(ConfigError, match=r"data\.augment: "):
        _ = [transform.build() for transform in build_augment([entry])]


# -- no room, no permission, no memory ------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file system of four megabytes of memory: less than a checkpoint."""
    folder = tmp_path / "results"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "lpwd-test", str(folder)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here (this takes the superuser)")
    monkeypatch.setenv("LPWD_RESULTS", str(folder))
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path, leave: int) -> Path:
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    (disk / "ballast").write_bytes(bytes(free - leave))
    return disk / "ballast"


def test_no_room_for_checkpoints_costs_no_run(warm: Warm, whole: Path, small_disk: Path) -> None:
    code, said = warm.run(*SWEEP, results=small_disk)
    assert code == 0, said
    assert re.search(r"no checkpoint: cannot write .*checkpoint\.pt: No space left on device", said)
    assert same_as(whole, small_disk)


@pytest.mark.parametrize("leave", [0, 12_000])
def test_a_full_disk_keeps_what_is_stored_and_the_sweep_goes_on_later(
    warm: Warm, whole: Path, small_disk: Path, leave: int
) -> None:
    """With no byte left no run starts; with a few, it can neither be stored nor collected."""
    results = small_disk
    assert warm.run(*SWEEP, "decay=baseline", results=results)[0] == 0
    before = numbers_of(results)
    ballast = fill(small_disk, leave)
    code, said = warm.run(*SWEEP, results=results)
    assert code in (1, 2)
    assert "No space left on device; free room" in said
    assert "Traceback" not in said
    assert numbers_of(results)["runs"][:1] == before["runs"][:1]
    ballast.unlink()
    code, said = warm.run(*SWEEP, results=results)
    assert code == 0, said
    assert numbers_of(results) == numbers_of(whole)


def test_a_read_only_folder(warm: Warm, whole: Path, small_disk: Path) -> None:
    results = small_disk
    shutil.copytree(whole, results, dirs_exist_ok=True)
    remount = ["mount", "-o", "remount,ro", str(small_disk)]
    if subprocess.run(remount, capture_output=True).returncode:
        pytest.skip("a file system cannot be made read-only here")
    code, said = warm.run(*SWEEP, results=results)
    assert code == 0, said  # all is stored
    code, said = warm.run(*SWEEP, "seed=1", results=results)
    assert code == 1
    assert "Read-only file system; free room or allow writing there" in said
    assert "Traceback" not in said
    code, said = warm.run(*SMALL, "seed=1", results=results)
    assert code == 2
    assert said.startswith("error: cannot write")
    assert len(said.splitlines()) == 2, said  # and the count of changes
    assert numbers_of(results) == numbers_of(whole)


@pytest.fixture
def public(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Results that another user may reach: tests of permissions say nothing of a superuser."""
    readable = all(path.stat().st_mode & 0o005 == 0o005 for path in REPOSITORY.parents)
    if os.geteuid() == 0 and not readable:
        pytest.skip("the superuser may do everything, and another user cannot read this clone")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        results = Path(folder) / "results"
        results.mkdir()
        monkeypatch.setenv("LPWD_RESULTS", str(results))
        yield results
        results.chmod(0o777)


def test_without_permission_to_write(warm: Warm, public: Path) -> None:
    public.chmod(0o555)
    code, said = warm.run(*SMALL, results=public, nobody=True)
    assert code == 2, said
    assert said.startswith(f"error: cannot write {public}")
    assert "Permission denied; free room or allow writing there" in said
    code, said = warm.run("-m", *SMALL, "seed=0,1", results=public, nobody=True)
    assert code == 1, said
    assert "error: 2 of 2 runs failed; the same command tries them again" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("name", ["", "smoke/runs.csv", "smoke/epochs.parquet", "run.json"])
def test_without_permission_to_read(warm: Warm, whole: Path, public: Path, name: str) -> None:
    """What cannot be read is not held for damaged."""
    shutil.copytree(whole, public, dirs_exist_ok=True)
    closed = next(public.rglob("run.json")) if name == "run.json" else public / name
    for folder in public.rglob("*/"):
        folder.chmod(0o777)
    mode = closed.stat().st_mode
    closed.chmod(0)
    code, said = warm.run(*SWEEP, results=public, nobody=True)
    assert code == 2, said
    assert said.startswith(f"error: no permission for {closed}"), said
    assert "; allow it there, or name another folder (LPWD_RESULTS" in said
    closed.chmod(mode)
    assert numbers_of(public) == numbers_of(whole)
    assert not list(public.rglob("*.damaged-*"))


def test_without_memory_the_run_says_so_and_the_sweep_goes_on(warm: Warm, results: Path) -> None:
    """Of two runs, one takes more than 600 MB, the other less than 350: there are 450."""
    sweep = ["-m", *SMALL, "scale.images.train=1600", "scale.batch_size=1600,16"]
    sweep += ["scale.epochs=1", "decay=lpwd"]
    code, said = warm.run(*sweep, results=results, spare=450_000_000)
    assert code == 1, said
    assert "1 failed: out of memory: train fewer runs at once (machine.runs" in said
    assert len(list(results.glob("smoke/work/*/failure.txt"))) == 1
    assert store.load("smoke").runs["batch_size"].tolist() == [16]
    assert warm.run(*sweep, results=results)[0] == 0
    assert sorted(store.load("smoke").runs["batch_size"]) == [16, 1600]
    assert not list(results.glob("smoke/work/*/*"))


@pytest.mark.parametrize("rate", ["1e9", "0.1"])
def test_a_failed_run_leaves_no_memory_with_its_error(
    results: Path, monkeypatch: pytest.MonkeyPatch, rate: str
) -> None:
    """The sweep keeps the error to its end: of wrong rates, or of a lack of memory."""
    import weakref

    from lpwd import train
    from lpwd.config import compose
    from lpwd.inputs import models
    from lpwd.training import loop

    made, whole = [], models.create

    def noting(*args: Any) -> torch.nn.Module:
        model = whole(*args)
        made.append(weakref.ref(model))
        return model

    def no_memory(*args: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(models, "create", noting)
    monkeypatch.setattr(loop, "train_epoch", no_memory)
    cfg = compose.composed([*SMALL, "decay=wd", f"decay.rate={rate}"])
    with pytest.raises(train.ConfigError) as caught:
        train.run_of_a_sweep(cfg)
    assert ("ηλ_i" if rate == "1e9" else "out of memory") in str(caught.value)
    assert [model() for model in made] == [None]


# -- diverged -------------------------------------------------------------------------------------


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
    main = MainGrid(as_printed(known, "smoke"), scale_config("smoke"))
    assert "diverged" in tables.show("table1", main)


# -- workers --------------------------------------------------------------------------------------


def test_errors_reach_the_sweep_whatever_they_are() -> None:
    from hydra.core.utils import JobReturn, JobStatus

    from lpwd.sweep.workers import _portable

    class Unpicklable(Exception):
        def __init__(self, one: str, *, other: str) -> None:
            super().__init__(one)

    done = JobReturn()
    done.status = JobStatus.FAILED
    done.return_value = Unpicklable("what happened", other="x")
    error = _portable(done)._return_value
    assert type(error) is RuntimeError
    assert "what happened" in str(error)


def test_a_worker_that_is_killed_costs_its_run_nothing(whole: Path, results: Path) -> None:
    """The real command, with its own launcher: one worker is killed, the sweep ends well."""
    import sys

    import psutil
    from faults import environment

    command = [sys.executable, "-m", "lpwd.train", *SWEEP, "machine.runs=1"]
    sweep = subprocess.Popen(
        command, cwd=REPOSITORY, env=environment(results), stderr=subprocess.PIPE, text=True
    )
    assert wait_until(lambda: checkpoints(results))
    for child in psutil.Process(sweep.pid).children():
        if any("multiprocessing.spawn" in word for word in child.cmdline()):
            child.kill()
    _, errors = sweep.communicate(timeout=300)
    assert sweep.returncode == 0, errors
    assert "a worker died with exit code -9" in errors
    assert "its run is tried again" in errors
    assert same_as(whole, results)


# -- cached images --------------------------------------------------------------------------------


def test_damaged_caches_are_rebuilt_wherever_the_damage_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every byte of the headers, and some of the rest: the same images, or a message."""
    from lpwd.inputs import cache, locate, sources
    from lpwd.inputs.images import Images

    source = sources.SOURCES["cifar10"]
    rng = np.random.default_rng(0)
    made = {
        split: Images(rng.integers(0, 256, (20, 32, 32, 3), np.uint8), np.arange(20) % 10)
        for split in source.counts
    }
    layout = locate.Layout("parquet", {}, lambda *_: made["train"])
    monkeypatch.setattr(locate, "find", lambda *_: layout)
    monkeypatch.setattr(locate, "read", lambda _, __, split: made[split])
    monkeypatch.setenv("LPWD_CACHE", str(tmp_path))
    expected = cache.load(source, tmp_path)
    folder = cache.cache_dir(tmp_path) / "cifar10"
    draw = random.Random(0)
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        places = [*range(0, min(len(content), 128), 3), *draw.choices(range(len(content)), k=9)]
        torn = [b"", content[:1], content[:60], content[:-1]]
        for i in places:
            torn.append(content[:i] + bytes([content[i] ^ 1 << i % 8]) + content[i + 1 :])
        for damaged in torn:
            path.write_bytes(damaged)
            again = cache.load(source, tmp_path)
            for split, images in expected.items():
                assert np.array_equal(again[split].pixels, images.pixels)
                assert np.array_equal(again[split].labels, images.labels)


def test_a_pickle_names_nothing_but_arrays(tmp_path: Path) -> None:
    import pickle

    from lpwd.config.errors import ConfigError
    from lpwd.inputs import readers, sources

    names = ["os.system", "builtins.eval", "builtins.getattr", "numpy.load", "numpy.ndarray.tofile"]
    names += ["subprocess.Popen", "numpy.core.multiarray.fromfile", "torch.load", "_codecs.decode"]
    for name in names:
        module, _, attribute = name.rpartition(".")
        opcodes = b"c%s\n%s\n(S'x'\ntR." % (module.encode(), attribute.encode())
        file = tmp_path / "data_batch_1"
        file.write_bytes(opcodes)
        with pytest.raises(ConfigError, match="refused to load"):
            readers._read_pickle(sources.SOURCES["cifar10"], file)
    assert pickle.loads(b"I1\n.") == 1  # the opcodes are a pickle's


def test_frames_are_compared_in_earnest(whole: Path) -> None:
    """The comparison that the tests above rest on notices one changed digit."""
    numbers = numbers_of(whole)
    assert len(numbers) == 3 + 4
    assert isinstance(pd.DataFrame(numbers["epochs"]), pd.DataFrame)
    assert len(numbers["epochs"]) == 4 * 5
    run = next(name for name in numbers if len(name) == 12)
    numbers[run]["epochs"][-1]["train_loss"] *= 1 + 1e-15
    assert numbers != numbers_of(whole)
