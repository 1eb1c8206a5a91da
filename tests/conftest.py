"""What several test files share."""

import os
import signal
from pathlib import Path

import pytest

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
