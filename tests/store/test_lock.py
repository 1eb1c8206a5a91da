"""One process trains a run; a dead one's lock is taken over."""

import os
import subprocess
import sys
import time
import traceback
from pathlib import Path

import pytest
from faults import foreign_claim, wait_until

from lpwd.store import lock
from lpwd.store.lock import RunLock


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    with RunLock(tmp_path / "run") as first:
        assert first.mine
        with RunLock(tmp_path / "run") as second:
            assert not second.mine
            assert str(os.getpid()) in second.holder
    with RunLock(tmp_path / "run") as third:
        assert third.mine
    assert not (tmp_path / "run").exists()


def test_a_dead_process_of_this_host_is_noticed_at_once(tmp_path: Path) -> None:
    code = (
        "import os, pathlib; from lpwd.store.lock import RunLock;"
        f" RunLock(pathlib.Path({str(tmp_path)!r})).__enter__(); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    number, newest = lock.newest_claim(tmp_path)
    assert number == 1
    assert newest is not None
    with RunLock(tmp_path) as mine:
        assert mine.mine
        assert lock.newest_claim(tmp_path)[0] == 2


def test_another_host_is_given_up_after_its_silence(tmp_path: Path) -> None:
    foreign = tmp_path / "claim-1"
    foreign.write_text("elsewhere.example 123")
    with RunLock(tmp_path) as mine:
        assert not mine.mine
        assert mine.holder == "elsewhere.example 123"
    past = time.time() - lock.SILENT_SECONDS - 1
    os.utime(foreign, (past, past))
    with RunLock(tmp_path) as mine:
        assert mine.mine


def test_a_work_folder_with_a_checkpoint_stays(tmp_path: Path) -> None:
    with RunLock(tmp_path / "run"):
        (tmp_path / "run" / "checkpoint.pt").write_bytes(b"x")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["checkpoint.pt"]


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
