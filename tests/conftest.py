"""What several test files share."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

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


# -- committed results ----------------------------------------------------------------------------


def committed(path: str, folder: Path) -> Path:
    """A file as it was committed last: a grid that is under way may have changed it since."""
    done = subprocess.run(["git", "show", f"HEAD:{path}"], cwd=REPOSITORY, capture_output=True)
    if done.returncode:
        pytest.skip("not a clone of the repository")
    copy = folder / Path(path).name
    copy.write_bytes(done.stdout)
    return copy


@pytest.fixture(scope="session")
def mains(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """{scale: MainGrid}: what is committed of each scale that pages tell of."""
    from lpwd.analysis.main_grid import MainGrid
    from lpwd.config.compose import scale_config
    from lpwd.draw.pages import PAGES
    from lpwd.store.store import Store

    found = {}
    for scale in PAGES:
        folder = tmp_path_factory.mktemp(scale)
        for name in ("runs.csv", "epochs.parquet", "zero_shot.parquet"):
            committed(f"results/{scale}/{name}", folder)
        found[scale] = MainGrid(Store(scale, folder).collect(), scale_config(scale))
    return found


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


# -- data and models (data_sets.py) ---------------------------------------------------------------


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """CIFAR-10 with three classes and a few images, and a cache of its own."""
    import data_sets

    from lpwd.inputs import sources

    monkeypatch.setitem(sources.SOURCES, "cifar10", data_sets.SMALL)
    monkeypatch.setenv("LPWD_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The hub's cache, empty, without a network."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


@pytest.fixture(scope="session")
def in22k(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Files in the format of the real ImageNet-21k weights: 21,841 classes, tables for 224 px."""
    import safetensors.torch
    import timm
    import torch
    from small import model_config

    @cache
    def write(name: str) -> Path:
        torch.manual_seed(0)
        kwargs = {} if name.startswith("convnext") else {"img_size": 224}
        net = timm.create_model(model_config(name).arch, num_classes=21841, **kwargs)
        path = tmp_path_factory.mktemp("weights") / f"{name}.safetensors"
        safetensors.torch.save_file(net.state_dict(), path, {"format": "pt"})
        return path

    return write
