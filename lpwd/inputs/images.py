"""Images with labels, and the order that their content alone gives them."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256
from typing import NamedTuple

import numpy as np

SIDE = 32  # pixels of every image given to a model


class Images(NamedTuple):
    """Images and their classes; the pixels may be read-only, mapped from a file."""

    pixels: np.ndarray  # uint8 [N, 32, 32, 3]
    labels: np.ndarray  # int64 [N]

    def part(self, start: int, stop: int) -> Images:
        """The images from `start` up to `stop`, without a copy."""
        return Images(self.pixels[start:stop], self.labels[start:stop])


class Dataset(NamedTuple):
    """What a run reads: to train on, to choose by, and to be measured on."""

    train: Images
    heldout: Images
    test: Images


def canonical(images: Images) -> Images:
    """The same images in the order of (rank within their class by hash, hash, label).

    The hash is SHA-256 of the pixels; the label decides between equal images of two classes. So
    the order is the same in whichever layout the images came, and every prefix is class-balanced.
    """
    labels = images.labels.tolist()
    keys = [(sha256(p.tobytes()).digest(), y) for p, y in zip(images.pixels, labels, strict=True)]
    by_hash = sorted(range(len(keys)), key=keys.__getitem__)
    seen: Counter[int] = Counter()
    rank = np.empty(len(keys), np.int64)
    for i in by_hash:
        rank[i] = seen[labels[i]]
        seen[labels[i]] += 1
    order = sorted(by_hash, key=rank.__getitem__)
    return Images(images.pixels[order], images.labels[order])
