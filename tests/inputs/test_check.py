"""What a run lacks is found before it starts, in a line for each thing."""

from pathlib import Path
from typing import Any

import pytest
from data_sets import load, write_folders, write_parquet
from small import model_config

from lpwd.config.paths import ROOT
from lpwd.inputs import cache, locate
from lpwd.inputs.check import lacking

READ = locate.read


def config(root: Path, data: str = "cifar10", **model: Any) -> dict[str, Any]:
    name = model.pop("name", "convnext_micro")
    return {"data": {"name": data, "root": str(root)}, "model": model_config(name, **model)}


def missing(*configs: dict[str, Any]) -> list[str]:
    return lacking(configs)


@pytest.fixture(autouse=True)
def nothing_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locate, "read", None)


def test_nothing_is_missing(small: None, offline: Path, tmp_path: Path) -> None:
    assert missing(config(tmp_path, "digits")) == []
    write_parquet(tmp_path / "a")
    write_folders(tmp_path / "b")
    assert missing(config(tmp_path / "a")) == missing(config(tmp_path / "b")) == []
    assert missing(config(tmp_path / "a", name="convnext_tiny", pretrained=False)) == []


def test_what_is_cached_needs_no_files(small: None, offline: Path, tmp_path: Path) -> None:
    folder = cache.cache_dir(tmp_path / "a") / "cifar10"
    write_parquet(tmp_path / "a")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(locate, "read", READ)
        load(tmp_path / "a")
    for file in (tmp_path / "a").glob("*.parquet"):
        file.unlink()
    assert missing(config(tmp_path / "a")) == []
    (folder / "index.json").unlink()
    assert len(missing(config(tmp_path / "a"))) == 1


def test_data_and_weights_are_named_in_a_line_each(
    small: None, offline: Path, tmp_path: Path
) -> None:
    data, weights = missing(*[config(tmp_path, name="convnext_tiny")] * 880)
    assert data.startswith(f"CIFAR-10 is not under data.root={tmp_path} and cannot be downloaded")
    assert "the weights of convnext_tiny.fb_in22k are not cached" in weights
    (tmp_path / "none.pth").symlink_to("/nowhere")
    (line,) = missing(config(tmp_path, "digits", pretrained=str(tmp_path / "none.pth")))
    assert line.startswith(f"there is no weights file {tmp_path}/none.pth; give its path")
    assert not any("\n" in text for text in (data, weights, line))


def test_damaged_weights_and_links_to_nowhere(small: None, offline: Path, tmp_path: Path) -> None:
    ours = ROOT / "weights" / "convnext_micro.safetensors"
    file = tmp_path / ours.name
    file.write_bytes(ours.read_bytes()[:-1])
    file.with_suffix(".sha256").write_bytes(ours.with_suffix(".sha256").read_bytes())
    (line,) = missing(config(tmp_path, "digits", pretrained=str(file)))
    assert line.startswith(f"{file} is damaged")
    write_folders(tmp_path / "a")
    link = tmp_path / "a" / "train" / "cat" / "link.png"
    link.symlink_to("/nowhere")
    (line,) = missing(config(tmp_path / "a"))
    assert line.startswith(f"{link} is a link to /nowhere")
