"""Images with labels, and the order that their content alone gives them."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256
from typing import NamedTuple

import numpy as np


class Images(NamedTuple):
    """Square images and their classes; the pixels may be read-only, mapped from a file."""

    pixels: np.ndarray  # uint8 [N, side, side, 3]
    labels: np.ndarray  # int64 [N]

    @property
    def side(self) -> int:
        return self.pixels.shape[1]

    def part(self, start: int, stop: int) -> Images:
        """The images from `start` up to `stop`, without a copy."""
        return Images(self.pixels[start:stop], self.labels[start:stop])


class Dataset(NamedTuple):
    """What a run reads: to train on, to choose by, and to be measured on."""

    train: Images
    heldout: Images
    test: Images


def canonical(images: Images, proportional: bool = False) -> Images:
    """The same images in the order of (rank within their class by hash, hash, label).

    The hash is SHA-256 of the pixels; the label decides between equal images of two classes. So
    the order is the same in whichever layout the images came, and every prefix is class-balanced.

    Args:
        proportional: ranks count by the size of their class: every prefix then has the classes in
            the proportions of the whole. For classes of one size the order is the same.
    """
    labels = images.labels.tolist()
    keys = [(sha256(p.tobytes()).digest(), y) for p, y in zip(images.pixels, labels, strict=True)]
    by_hash = sorted(range(len(keys)), key=keys.__getitem__)
    sizes = Counter(labels)
    seen: Counter[int] = Counter()
    rank = np.empty(len(keys))
    for i in by_hash:
        label = labels[i]
        rank[i] = (seen[label] + 0.5) / sizes[label] if proportional else seen[label]
        seen[label] += 1
    order = sorted(by_hash, key=rank.__getitem__)
    return Images(images.pixels[order], images.labels[order])
