"""Images from every layout: the same content, the same order; and what is said about bad files."""

import dataclasses
import io
import os
import pickle
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf
from PIL import Image

from lpwd.config.errors import ConfigError
from lpwd.inputs import cache, data, hub, locate, sources
from lpwd.inputs.images import Images, canonical

CLASSES = ["airplane", "bird", "cat"]
COUNTS = {"train": 24, "test": 12}
BATCHES = {"train": ("data_batch_1", "data_batch_2"), "test": ("test_batch",)}


@pytest.fixture
def small(monkeypatch, tmp_path):
    """CIFAR-10 with three classes and a few images, and a cache of its own."""
    source = dataclasses.replace(
        sources.SOURCES["cifar10"], classes=3, counts=COUNTS, batches=BATCHES
    )
    monkeypatch.setitem(sources.SOURCES, "cifar10", source)
    monkeypatch.setenv("LPWD_CACHE", str(tmp_path / "cache"))
    return source


def splits():
    rng = np.random.default_rng(0)
    for split, count in COUNTS.items():
        pixels = rng.integers(0, 256, (count, 32, 32, 3), np.uint8)
        pixels[3:5] = pixels[0]  # duplicates: of the same class (3) and of another (4)
        yield split, pixels, np.arange(count) % 3


def encoded(pixels, fmt="PNG"):
    blob = io.BytesIO()
    Image.fromarray(pixels).save(blob, fmt, lossless=True)
    return blob.getvalue()


def write_parquet(home, image="img", fmt="PNG", label="label", prefix=""):
    home.mkdir(parents=True, exist_ok=True)
    for split, pixels, labels in splits():
        order = np.random.default_rng(1).permutation(len(labels))
        images = [{"bytes": encoded(pixels[i], fmt), "path": f"{i}"} for i in order]
        table = pa.table({image: images, label: labels[order]})
        pq.write_table(table, home / f"{prefix}{split}-00000-of-00001.parquet")


def write_pickles(home, dump):
    home.mkdir(parents=True, exist_ok=True)
    for split, pixels, labels in splits():
        flat = pixels.transpose(0, 3, 1, 2).reshape(len(labels), -1)
        names = BATCHES[split]
        parts = (np.array_split(array, len(names)) for array in (flat, labels))
        for name, part, y in zip(names, *parts, strict=True):
            (home / name).write_bytes(dump({b"data": part, b"labels": y.tolist()}))


def write_folders(home, names=CLASSES):
    for split, pixels, labels in splits():
        for i, (image, label) in enumerate(zip(pixels, labels, strict=True)):
            folder = home / split / names[label]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{i}.png").write_bytes(encoded(image))


def python2(batch):
    """Pickled as Python 2 did the original archives: str keys, numpy 1 arrays."""
    array, labels = batch[b"data"], batch[b"labels"]
    raw = np.ascontiguousarray(array).tobytes()
    return b"".join(
        [
            b"\x80\x02}q\x01(U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n",
            b"K\x00\x85U\x01b\x87R(K\x01K" + bytes([len(array)]) + b"M\x00\x0c\x86",
            b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNN",
            b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T" + struct.pack("<i", len(raw)) + raw,
            b"tbU\x06labels](" + b"".join(b"K" + bytes([y]) for y in labels) + b"eu.",
        ]
    )


CLASSES = {"digits": 10, "cifar100": 100}


def load(root, name="cifar10", **images):
    wanted = {"train": None, "heldout": 0, "test": None, **images}
    cfg = {"name": name, "root": str(root), "classes": CLASSES.get(name, 3), "side": 32}
    return data.load(OmegaConf.create(cfg), OmegaConf.create(wanted))


def same(one, other):
    return all(
        np.array_equal(a.pixels, b.pixels) and np.array_equal(a.labels, b.labels)
        for a, b in zip(one, other, strict=True)
    )


def pairs(pixels, labels):
    return [(p.tobytes(), int(y)) for p, y in zip(pixels, labels, strict=True)]


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


def test_an_unknown_data_set_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"data.name=mnist is unknown; known are .*cifar10"):
        load(tmp_path, "mnist")


# -- what arrives is checked ----------------------------------------------------------------------


def test_wrong_counts_are_named(small, tmp_path):
    write_folders(tmp_path / "cifar10")
    victim = next((tmp_path / "cifar10" / "train" / "cat").iterdir())
    victim.rename(tmp_path / "cifar10" / "train" / "bird" / "moved.png")
    with pytest.raises(ConfigError, match=r"train \(.*/cifar10/train\) holds 9 images of class 1"):
        load(tmp_path)
    (tmp_path / "cifar10" / "train" / "bird" / "moved.png").unlink()
    with pytest.raises(ConfigError, match="holds 23 images, not 24"):
        load(tmp_path)


def test_damaged_files_are_named(small, tmp_path):
    write_folders(tmp_path / "a")
    bad = next((tmp_path / "a" / "test" / "bird").iterdir())
    bad.write_bytes(bad.read_bytes()[:100])
    with pytest.raises(ConfigError, match=f"{bad}: damaged"):
        load(tmp_path / "a")
    bad.write_bytes(encoded(np.zeros((32, 31, 3), np.uint8)))
    with pytest.raises(ConfigError, match="31×32 pixels, not 32×32"):
        load(tmp_path / "a")
    write_parquet(tmp_path / "b")
    bad = tmp_path / "b" / "test-00000-of-00001.parquet"
    bad.write_bytes(bad.read_bytes()[:-200])
    with pytest.raises(ConfigError, match=f"{bad} is damaged"):
        load(tmp_path / "b")
    write_pickles(tmp_path / "c", lambda batch: pickle.dumps(batch)[:-50])
    with pytest.raises(ConfigError, match="data_batch_1 is not CIFAR-10"):
        load(tmp_path / "c")


def test_unknown_columns_and_keys_are_named(small, tmp_path):
    write_parquet(tmp_path / "a", label="fine_label")
    with pytest.raises(ConfigError, match="has columns img, fine_label; CIFAR-10 has img"):
        load(tmp_path / "a")
    write_pickles(tmp_path / "b", lambda batch: pickle.dumps({"data": batch[b"data"]}))
    with pytest.raises(ConfigError, match="has keys data; wanted: data, labels"):
        load(tmp_path / "b")


def test_a_missing_split_is_named(small, tmp_path):
    write_parquet(tmp_path)
    (tmp_path / "test-00000-of-00001.parquet").unlink()
    with pytest.raises(ConfigError, match=r"train-00000-of-00001\.parquet but no test images"):
        load(tmp_path)


class Hostile:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def test_a_hostile_pickle_runs_nothing(small, tmp_path):
    target = tmp_path / "owned"
    write_pickles(tmp_path / "a", lambda batch: pickle.dumps({**batch, b"x": Hostile(target)}))
    with pytest.raises(ConfigError, match=r"refused to load posix\.mkdir"):
        load(tmp_path / "a")
    assert not target.exists()


# -- the cache ------------------------------------------------------------------------------------


def test_the_cache_is_read_again_without_decoding(small, tmp_path, monkeypatch):
    write_parquet(tmp_path / "a")
    first = load(tmp_path / "a")
    monkeypatch.setattr(locate, "read", None)  # decoding again would fail
    assert same(first, load(tmp_path / "a"))
    assert isinstance(first.train.pixels, np.memmap)
    assert not first.train.pixels.flags.writeable


def test_of_runs_started_at_once_one_decodes(small, tmp_path, monkeypatch):
    write_parquet(tmp_path / "a")
    reads, read = [], locate.read
    monkeypatch.setattr(locate, "read", lambda *args: reads.append(args[2]) or read(*args))
    with ThreadPoolExecutor(4) as pool:
        loaded = list(pool.map(load, [tmp_path / "a"] * 4))
    assert all(same(loaded[0], other) for other in loaded)
    assert sorted(reads) == ["test", "train"]


def test_a_damaged_cache_is_set_aside_and_rebuilt(small, tmp_path, capsys):
    write_parquet(tmp_path / "a")
    first = [Images(*map(np.array, part)) for part in load(tmp_path / "a")]
    folder = cache.cache_dir(tmp_path / "a")
    for name in ("train-pixels.npy", "test-labels.npy", "index.json"):
        file = folder / "cifar10" / name
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
        capsys.readouterr()
        assert same(first, load(tmp_path / "a"))
        assert f"{folder / 'cifar10'} is damaged" in capsys.readouterr().err
        assert (folder / "cifar10.damaged" / name).read_bytes() == content
        (folder / "cifar10" / "test-pixels.npy").unlink()
        assert same(first, load(tmp_path / "a"))


def test_other_files_under_the_root_are_decoded_anew(small, tmp_path):
    write_parquet(tmp_path / "a")
    load(tmp_path / "a")
    (tmp_path / "a" / "test-00000-of-00001.parquet").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="damaged"):
        load(tmp_path / "a")
    write_parquet(tmp_path / "a", fmt="WEBP")
    assert len(load(tmp_path / "a").test.labels) == 12


def test_a_read_only_root_is_cached_elsewhere(monkeypatch, tmp_path):
    monkeypatch.delenv("LPWD_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    root = tmp_path / "root"
    assert cache.cache_dir(root) == root / ".lpwd"
    root.mkdir()
    root.chmod(0o555)
    assert cache.cache_dir(root).is_relative_to(tmp_path / "home" / ".cache" / "lpwd")
    monkeypatch.setenv("LPWD_CACHE", str(tmp_path / "own"))
    assert cache.cache_dir(root).is_relative_to(tmp_path / "own")


# -- the hub --------------------------------------------------------------------------------------


def test_without_data_and_network_one_message_names_the_three_layouts(small, tmp_path):
    """In a process of its own: the hub's client reads its environment when it is imported."""
    lines = "from test_data_sources import load; import sys; load(sys.argv[1], 'cifar100')"
    for setting, why in (
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "http://127.0.0.1:9 cannot be reached"),
        ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"),
    ):
        path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
        online = {**os.environ, "HF_HUB_OFFLINE": "0"}
        env = {**online, **setting, "HF_HOME": str(tmp_path), "PYTHONPATH": path}
        done = subprocess.run(
            [sys.executable, "-c", lines, str(tmp_path)],
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
        )
        message = done.stderr.splitlines()[-1]
        assert message.startswith(
            "lpwd.config.errors.ConfigError: CIFAR-100 is not under data.root="
        )
        for part in (
            why,
            "parquet",
            f"{tmp_path}/cifar100/train-*.parquet",
            "hf download uoft-cs/cifar100",
            f"{tmp_path}/cifar-100-python/",
            "torchvision.datasets.CIFAR100(",
            f"{tmp_path}/cifar100/train/<class>/*.png",
        ):
            assert part in message


def test_the_hubs_files_are_used_when_nothing_is_there(small, tmp_path, monkeypatch):
    write_parquet(tmp_path / "hub")
    asked = []

    def fetch(repo, filename, repo_type):
        asked.append((repo, filename, repo_type))
        return tmp_path / "hub" / Path(filename).name

    monkeypatch.setattr(hub, "fetch", fetch)
    first = load(tmp_path / "empty")
    assert ("uoft-cs/cifar10", "plain_text/train-00000-of-00001.parquet", "dataset") in asked
    assert same(first, load(tmp_path / "hub"))
    assert same(first, load(tmp_path / "empty"))
    assert len(asked) == 2  # the second time the cache is enough


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
