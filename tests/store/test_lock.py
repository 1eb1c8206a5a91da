"""One process trains a run; a dead one's lock is taken over."""

import os
import subprocess
import sys
import time
from pathlib import Path

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
