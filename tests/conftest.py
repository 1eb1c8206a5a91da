"""What several test files share."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults import SWEEP, Warm

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
# A shell script's background jobs ignore Ctrl-C, and so would the commands that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of the real CIFAR-100: $LPWD_DATA, or shared/data beside the repository."""
    roots = [Path(os.environ.get("LPWD_DATA", "data")), REPOSITORY.parent / "shared" / "data"]
    for root in roots:
        if list(root.glob("cifar100/**/train-*.parquet")):
            return root
    pytest.skip("the real CIFAR-100 is not here: set LPWD_DATA to the folder of cifar100/*.parquet")


# -- faults (faults.py) ---------------------------------------------------------------------------


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    warm = Warm()
    yield warm
    warm.close()


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "results"
    monkeypatch.setenv("LPWD_RESULTS", str(folder))
    return folder


@pytest.fixture(scope="session")
def whole(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of the sweep that nothing befell."""
    folder = tmp_path_factory.mktemp("whole") / "results"
    code, said = warm.run(*SWEEP, results=folder)
    assert code == 0, said
    return folder
