"""A small CIFAR-10 of three classes, written in every layout; and what tests read it with."""

import dataclasses
import io
import pickle
import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from omegaconf import OmegaConf
from PIL import Image

from lpwd.inputs import data, sources

NAMES = ["airplane", "bird", "cat"]
COUNTS = {"train": 24, "test": 12}
BATCHES = {"train": ("data_batch_1", "data_batch_2"), "test": ("test_batch",)}
SMALL = dataclasses.replace(sources.SOURCES["cifar10"], classes=3, counts=COUNTS, batches=BATCHES)
CLASSES = {"digits": 10, "cifar100": 100}


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


def write_pickles(home, dump=pickle.dumps):
    home.mkdir(parents=True, exist_ok=True)
    for split, pixels, labels in splits():
        flat = pixels.transpose(0, 3, 1, 2).reshape(len(labels), -1)
        names = BATCHES[split]
        parts = (np.array_split(array, len(names)) for array in (flat, labels))
        for name, part, y in zip(names, *parts, strict=True):
            (home / name).write_bytes(dump({b"data": part, b"labels": y.tolist()}))


def write_folders(home, names=NAMES):
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
