"""Checkpoints: how often and how safely they are written, and which are refused."""

import os
import time
from pathlib import Path

import pytest
from faults import Hostile, Rows

from lpwd.training.checkpoint import Checkpoint


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


def test_a_hostile_checkpoint_runs_nothing_and_is_set_aside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its checksum is right: whoever can write it can compute it."""
    training, checkpoint = Rows(), Checkpoint(tmp_path, 0)
    training.state = {"number": Hostile(tmp_path / "owned")}
    checkpoint.save(training)
    assert not checkpoint.restore(training)
    assert not (tmp_path / "owned").exists()
    assert "does not fit this run" in capsys.readouterr().err
    assert (tmp_path / "checkpoint.pt.damaged-1").exists()
