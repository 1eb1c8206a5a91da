"""Images from every layout: the same content in the same order."""

import dataclasses
import pickle
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_sets import (
    encoded,
    load,
    pairs,
    python2,
    same,
    splits,
    write_folders,
    write_parquet,
    write_pickles,
)

from lpwd.config.errors import ConfigError
from lpwd.inputs import cache, data, sources
from lpwd.inputs.images import Images, canonical


def test_digits_are_scikit_learns_and_are_read_without_it() -> None:
    from PIL import Image
    from sklearn.datasets import load_digits

    code = (
        "import sys; from lpwd.inputs import data; data.digits(); print('sklearn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
    images, (greys, labels) = data.digits(), load_digits(return_X_y=True)
    assert images.labels.tolist() == np.asarray(labels).tolist()
    last = np.asarray(greys)[-1].reshape(8, 8)
    small = Image.fromarray(np.round(last * 255 / 16).astype(np.uint8))
    grey = np.asarray(small.resize((32, 32), Image.Resampling.BICUBIC))
    assert (images.pixels[-1] == grey[..., None]).all()


def test_every_layout_gives_the_same_images_in_the_same_order(small, tmp_path):
    write_parquet(tmp_path / "a")
    write_parquet(tmp_path / "b" / "cifar10" / "plain_text", image="image", fmt="WEBP")
    write_parquet(tmp_path / "c" / "cifar10" / "data")
    write_pickles(tmp_path / "d" / "cifar-10-batches-py", python2)
    write_pickles(tmp_path / "e" / "cifar10", pickle.dumps)
    write_pickles(tmp_path / "f", lambda batch: pickle.dumps(batch, protocol=2))
    write_folders(tmp_path / "g" / "cifar10")
    write_folders(tmp_path / "h", names=["0", "1", "2"])
    first = load(tmp_path / "a")
    assert first.train.pixels.shape == (24, 32, 32, 3)
    assert first.train.pixels.dtype == np.uint8
    assert first.train.labels.dtype == np.int64
    wanted = [pair for _, pixels, labels in splits() for pair in pairs(pixels, labels)]
    assert sorted(wanted) == sorted(pair for part in first for pair in pairs(*part))
    for other in "bcdefgh":
        assert same(first, load(tmp_path / other)), other


def test_the_real_cifar100_is_the_same_from_parquet_pickles_and_folders(
    real_data, tmp_path, monkeypatch
):
    """The first images of each class of the whole set, written in torchvision's format, as PNG."""
    source = sources.SOURCES["cifar100"]
    whole = load(real_data, "cifar100")
    assert len(whole.train.labels) == 50_000
    assert len(whole.test.labels) == 10_000
    part = {"train": whole.train.part(0, 1000), "test": whole.test.part(0, 500)}
    counts = {split: len(images.labels) for split, images in part.items()}
    monkeypatch.setitem(sources.SOURCES, "cifar100", dataclasses.replace(source, counts=counts))
    monkeypatch.setenv("LPWD_CACHE", str(tmp_path / "cache"))
    for split, images in part.items():
        order = np.random.default_rng(2).permutation(len(images.labels))
        pixels, labels = images.pixels[order], images.labels[order]
        (tmp_path / "a" / source.pickles).mkdir(parents=True, exist_ok=True)
        flat = pixels.transpose(0, 3, 1, 2).reshape(len(labels), -1)
        batch = {b"data": flat, b"fine_labels": labels.tolist(), b"coarse_labels": []}
        (tmp_path / "a" / source.pickles / split).write_bytes(pickle.dumps(batch))
        for i, (image, label) in enumerate(zip(pixels, labels, strict=True)):
            folder = tmp_path / "b" / "cifar100" / split / f"class {label:02}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{i}.png").write_bytes(encoded(image))
    pickled, foldered = load(tmp_path / "a", "cifar100"), load(tmp_path / "b", "cifar100")
    assert same(pickled, foldered)
    # A subset in canonical order keeps its order: what the whole set's first images were.
    assert same(pickled, (part["train"], whole.train.part(0, 0), part["test"]))


def test_prefixes_are_balanced_and_duplicates_ordered_by_label():
    _, pixels, labels = next(splits())
    images = canonical(Images(pixels, labels))
    for stop in range(3, 25, 3):
        assert np.ptp(np.bincount(images.labels[:stop], minlength=3)) == 0
    shuffled = np.random.default_rng(3).permutation(24)
    again = canonical(Images(pixels[shuffled], labels[shuffled]))
    assert same([images], [again])


def test_the_parts_follow_each_other_and_do_not_overlap(small, tmp_path):
    write_parquet(tmp_path)
    whole = load(tmp_path).train
    parts = load(tmp_path, train=9, heldout=6, test=5)
    assert same([parts.train, parts.heldout], [whole.part(0, 9), whole.part(9, 15)])
    assert len(parts.test.labels) == 5
    assert len(load(tmp_path, heldout=6).train.labels) == 18
    for wrong in ({"train": 20, "heldout": 6}, {"test": 13}, {"train": -1}, {"train": 2.5}):
        with pytest.raises(ConfigError, match=f"scale.images.{next(iter(wrong))}="):
            load(tmp_path, **wrong)


def test_digits_are_one_pool(tmp_path):
    parts = load(tmp_path, "digits", train=1000, heldout=300, test=497)
    assert [len(part.labels) for part in parts] == [1000, 300, 497]
    assert len({p.tobytes() for part in parts for p in part.pixels}) == 1797
    assert np.ptp(np.bincount(parts.test.labels)) <= 1
    assert parts.train.pixels.shape == (1000, 32, 32, 3)
    assert parts.train.pixels.max() == 255
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConfigError, match=r"scale\.images\.train=1, but there are 0…0 left for it"):
        load(tmp_path, "digits", train=1, test=1797)


def test_an_unknown_data_set_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"data.name=mnist is unknown; known are .*cifar10"):
        load(tmp_path, "mnist")


# -- Tiny-ImageNet --------------------------------------------------------------------------------


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    counts = {"train": 6, "val": 4}
    source = dataclasses.replace(sources.SOURCES["tiny_imagenet"], classes=2, counts=counts)
    monkeypatch.setenv("LPWD_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(4)
    pixels = {s: rng.integers(0, 256, (n, 64, 64, 3), np.uint8) for s, n in counts.items()}
    return source, pixels


def test_tiny_imagenet_from_its_archive_and_from_parquet(tiny, tmp_path):
    source, pixels = tiny
    home = tmp_path / "a" / "tiny-imagenet-200"
    for i, image in enumerate(pixels["train"]):
        folder = home / "train" / f"n{i % 2}" / "images"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"n{i % 2}_{i}.png").write_bytes(encoded(image))
    (home / "val" / "images").mkdir(parents=True)
    rows = [f"val_{i}.png\tn{i % 2}\t0\t0\t62\t62\n" for i in range(4)]
    (home / "val" / "val_annotations.txt").write_text("".join(rows))
    for i, image in enumerate(pixels["val"]):
        (home / "val" / "images" / f"val_{i}.png").write_bytes(encoded(image))
    (tmp_path / "b" / "tiny_imagenet" / "data").mkdir(parents=True)
    for split, name in (("train", "train-0-1"), ("val", "valid-0-1")):
        images = [{"bytes": encoded(p), "path": None} for p in pixels[split]]
        table = pa.table({"image": images, "label": [i % 2 for i in range(len(images))]})
        pq.write_table(table, tmp_path / "b" / "tiny_imagenet" / "data" / f"{name}.parquet")
    one, other = (cache.load(source, tmp_path / folder) for folder in "ab")
    assert same(one.values(), other.values())
    means = pixels["train"].reshape(6, 32, 2, 32, 2, 3).mean((2, 4))
    held = {p.tobytes() for p in one["train"].pixels}
    assert held == {np.floor(m + 0.5).astype(np.uint8).tobytes() for m in means}
