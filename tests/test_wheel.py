"""What `pip install .` installs: the library alone."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import REPOSITORY
from hatchling.builders.wheel import WheelBuilder


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (built,) = WheelBuilder(str(REPOSITORY)).build(
        directory=str(tmp_path_factory.mktemp("wheel")), versions=["standard"]
    )
    return Path(built)


def test_it_holds_the_library_alone(wheel: Path) -> None:
    names = {Path(name).parts[:2] for name in zipfile.ZipFile(wheel).namelist()}
    folders = {name for name in names if not name[0].endswith(".dist-info")}
    assert folders == {("lpwd", "__init__.py"), ("lpwd", "decay")}


def test_it_works_by_itself(wheel: Path, tmp_path: Path) -> None:
    lines = (
        "import torch, lpwd; m = torch.nn.Linear(2, 2); o = torch.optim.SGD(m.parameters(), lr=1.)"
        "; d = lpwd.WeightDecay(o, m, 'lpwd', 0.5); m(torch.ones(1, 2)).sum().backward(); o.step()"
        "; print(lpwd.__file__)"
    )
    environment = {**os.environ, "PYTHONPATH": str(wheel)}
    command = [sys.executable, "-P", "-c", lines]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert str(wheel) in done.stdout, done.stderr
