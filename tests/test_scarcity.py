"""No room, no permission, no memory: what is stored stays, and the sweep goes on later."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import REPOSITORY
from faults import SMALL, SWEEP, Warm, numbers_of, same_as

from lpwd.store import store


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
    """Of two runs, one takes more than 700 MB, the other less than 400: there are 550."""
    sweep = ["-m", *SMALL, "scale.images.train=1600", "scale.batch_size=1600,16"]
    sweep += ["scale.epochs=1", "decay=lpwd", "model=convnext_micro48"]
    code, said = warm.run(*sweep, results=results, spare=550_000_000)
    assert code == 1, said
    assert "1 failed: out of memory: train fewer runs at once (machine.runs" in said
    assert len(list(results.glob("smoke/work/*/failure.txt"))) == 1
    assert store.load("smoke").runs["batch_size"].tolist() == [16]
    assert warm.run(*sweep, results=results)[0] == 0
    assert sorted(store.load("smoke").runs["batch_size"]) == [16, 1600]
    assert not list(results.glob("smoke/work/*/*"))
