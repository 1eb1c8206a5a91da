"""What is recorded of a run beside its numbers."""

from pathlib import Path

import pytest

from lpwd.training.record import commit


def test_without_git_the_commit_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit.__wrapped__() == "unknown"
