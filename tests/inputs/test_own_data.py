"""A data set of one's own: folders or parquet, classes of unequal sizes, any size of image."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf
from PIL import Image
from sklearn.datasets import load_digits

from lpwd.config import compose
from lpwd.config.errors import ConfigError
from lpwd.inputs import data
from lpwd.store import identity
from lpwd.training import build, loop

#: Digits of three kinds, so many of each.
SIZES = {"zero": 60, "one": 20, "two": 40}
TEST = {"zero": 12, "one": 4, "two": 8}


def greys(side: int) -> dict[str, list[Image.Image]]:
    images, labels = load_digits(return_X_y=True)
    return {
        name: [
            Image.fromarray(np.uint8(grey.reshape(8, 8) * 15.9)).resize((side, side))
            for grey in images[labels == digit][: SIZES[name] + TEST[name]]
        ]
        for digit, name in enumerate(SIZES)
    }


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of `threes`, whose config would be configs/data/threes.yaml."""
    monkeypatch.setenv("LPWD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(data, "names_in", lambda group: ("threes",))
    return tmp_path / "data"


def write_folders(home: Path, side: int = 48, test: str = "test") -> None:
    for name, images in greys(side).items():
        for i, image in enumerate(images):
            folder = home / ("train" if i < SIZES[name] else test) / name / f"batch {i % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            image.save(folder / f"{i}.png")


def write_parquet(home: Path, side: int = 48) -> None:
    home.mkdir(parents=True)
    for split in ("train", "test"):
        blobs, labels = [], []
        for name, images in greys(side).items():
            chosen = images[: SIZES[name]] if split == "train" else images[SIZES[name] :]
            for image in chosen:
                image.save(blob := io.BytesIO(), "PNG")
                blobs.append({"bytes": blob.getvalue(), "path": None})
                labels.append(sorted(SIZES).index(name))
        table = pa.table({"image": blobs, "label": labels})
        pq.write_table(table, home / f"{split}-00000-of-00001.parquet")


def load(root: Path, heldout: int = 0, train: int | None = None, **changes: int) -> data.Dataset:
    cfg = {"name": "threes", "root": str(root), "classes": 3, "side": 48, **changes}
    images = {"train": train, "heldout": heldout, "test": None}
    return data.load(OmegaConf.create(cfg), OmegaConf.create(images))


def test_folders_and_parquet_give_the_same_images(root: Path) -> None:
    write_folders(root / "threes")
    folders = load(root)
    assert folders.train.pixels.shape == (120, 48, 48, 3)
    assert np.bincount(folders.train.labels).tolist() == [20, 40, 60]  # one, two, zero
    assert np.bincount(folders.test.labels).tolist() == [4, 8, 12]
    write_parquet(root.parent / "other" / "threes")
    parquet = load(root.parent / "other")
    for one, other in zip(folders, parquet, strict=True):
        assert np.array_equal(one.pixels, other.pixels)
        assert np.array_equal(one.labels, other.labels)
    write_folders(root.parent / "third" / "threes", test="val")
    assert len(load(root.parent / "third").test.labels) == 24


def test_files_in_the_root_itself_are_taken_where_it_has_the_data_sets_name(root: Path) -> None:
    write_folders(root / "threes")
    assert len(load(root / "threes").train.labels) == 120
    (root / "threes").rename(root / "others")
    with pytest.raises(ConfigError, match=r"threes is not under data\.root="):
        load(root / "others")


def test_every_part_has_the_classes_in_their_proportions(root: Path) -> None:
    """By equal numbers the last images, which are held out, would all be of the largest class."""
    write_folders(root / "threes")
    parts = load(root, heldout=30, train=60)
    assert np.bincount(parts.train.labels).tolist() == [10, 20, 30]
    assert np.bincount(parts.heldout.labels).tolist() == [5, 10, 15]


def test_sizes_are_read_only_where_nobody_declares_them(root: Path) -> None:
    write_folders(root / "threes")
    whole = OmegaConf.create({"train": None, "heldout": 30, "test": None})
    threes = {"name": "threes", "root": str(root), "classes": 3, "side": 48}
    assert data.sizes(OmegaConf.create(threes), whole) == (90, 54)
    nowhere = OmegaConf.create({"name": "cifar100", "root": "/nowhere"})
    assert data.sizes(nowhere, whole) == (49_970, 10_030)
    assert data.sizes(nowhere, OmegaConf.create({**whole, "train": 7, "test": 5})) == (7, 35)
    tiny = OmegaConf.create({"name": "tiny_imagenet", "root": "/nowhere"})  # its test split is val
    assert data.sizes(tiny, whole) == (99_970, 10_030)


def test_what_the_config_declares_is_checked(root: Path) -> None:
    write_folders(root / "threes")
    with pytest.raises(ConfigError, match=r"data\.classes=4: threes has 3; leave it out, or mend"):
        load(root, classes=4)
    with pytest.raises(ConfigError, match=r"data\.side=32: threes has 48; .*data/threes\.yaml"):
        load(root, side=32)


def test_a_class_that_only_the_test_images_have_keeps_the_others_numbers(root: Path) -> None:
    write_folders(root / "threes")
    (root / "threes" / "test" / "a first one").mkdir()
    with pytest.raises(ConfigError, match=r"threes has no training images of class 0"):
        load(root, classes=4)


def test_images_of_another_size_are_named(root: Path) -> None:
    write_folders(root / "threes")
    odd = root / "threes" / "train" / "two" / "odd.png"
    Image.new("RGB", (48, 40)).save(odd)
    with pytest.raises(ConfigError, match=f"{odd}: 48×40 pixels, not 48×48; all images of a data"):
        load(root)


def test_where_there_is_nothing_a_message_says_what_to_put_there(root: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(root)
    home = root / "threes"
    assert f"(1) parquet, {home}/train-*.parquet and test-*.parquet; (2) class f" in str(
        caught.value
    )


@pytest.mark.parametrize("loader", ["device", "albumentations"])
@pytest.mark.parametrize("model", ["convnext_micro", "swin_micro"])
def test_a_run_takes_the_size_of_its_images(root: Path, model: str, loader: str) -> None:
    write_folders(root / "threes")
    cfg = compose.composed(
        [
            *("scale=smoke", f"model={model}", "data.classes=3", "data.side=48"),
            *("scale.images.train=96", "scale.images.heldout=8", "scale.images.test=null"),
            *(f"data.root={root}", f"scale.loader={loader}", "machine.loader_workers=0"),
            "optimizer.lr=1e-3",
        ]
    )
    cfg.data.name = "threes"
    training = build.prepare(cfg)
    *_, row = [loop.train_epoch(training, lambda: None) for _ in range(3)]
    assert np.isfinite(row["train_loss"])
    assert row["test_top1"] > 50  # half of the test images are of one class


def test_a_model_that_cannot_take_the_images_is_refused(root: Path) -> None:
    write_folders(root / "threes", side=28)
    cfg = compose.composed(["scale=smoke", "data.classes=3", "data.side=28", f"data.root={root}"])
    cfg.data.name, cfg.scale.images = "threes", {"train": 96, "heldout": 0, "test": None}
    with pytest.raises(ConfigError, match=r"data\.side=28: the model cannot take images of 28×28"):
        build.prepare(cfg)


def test_other_images_of_the_same_name_are_other_runs(root: Path) -> None:
    """Else their results would be those that are stored."""

    def run(at: Path) -> str:
        identity._own_files.cache_clear()
        config = compose.composer().config(["scale=smoke", f"data.root={at}"])
        config["data"]["name"] = "threes"
        return identity.run_id(identity.settings(config))

    absent = run(root)
    write_folders(root / "threes")
    first = run(root)
    root.rename(root.with_name("moved"))
    assert run(root.with_name("moved")) == first != absent
    write_folders(root / "threes", side=40)
    assert run(root) != first
    write_parquet(root.with_name("parquet") / "threes")
    assert run(root.with_name("parquet")) not in (first, absent)
