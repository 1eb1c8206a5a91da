"""Images to train and measure on, in an order that depends on their content alone."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from lpwd.config.errors import ConfigError
from lpwd.inputs import cache, sources
from lpwd.inputs.images import SIDE, Dataset, Images, canonical

__all__ = ["Dataset", "Images", "load"]


def load(data: DictConfig, images: DictConfig) -> Dataset:
    """The images of a run, in canonical order (see `lpwd.data.images.canonical`).

    Of the training images the first `images.train` are trained on and the next `images.heldout`
    held out; of the test images the first `images.test` are used; null means all that there are.
    The digits are one pool of 1,797: first the test images, then train, then held out.

    Args:
        data: ``cfg.data``: name, root, classes.
        images: ``cfg.scale.images``: train, heldout, test.

    Raises:
        ConfigError: the data are not there or not what they should be, or there are too few.
    """
    if data.name == "digits":
        pool = canonical(digits())
        test = pool.part(0, _count("test", images.test, len(pool.labels)))
        rest = pool.part(len(test.labels), len(pool.labels))
    elif data.name in sources.SOURCES:
        splits = cache.load(sources.SOURCES[data.name], Path(data.root).expanduser())
        rest, test = splits["train"], splits["test"]
        test = test.part(0, _count("test", images.test, len(test.labels)))
    else:
        known = ", ".join(["digits", "cifar10", "cifar100"])
        raise ConfigError(f"data.name={data.name} is unknown; known are {known}")
    classes = int(rest.labels.max()) + 1
    if data.classes != classes:
        raise ConfigError(f"data.classes={data.classes}: {data.name} has {classes}; leave it out")
    total = len(rest.labels)
    heldout = _count("heldout", images.heldout or 0, total)
    train = _count("train", images.train, total - heldout)
    return Dataset(rest.part(0, train), rest.part(train, train + heldout), test)


def _count(part: str, wanted: int | None, available: int) -> int:
    if wanted is None:
        return available
    if not isinstance(wanted, int) or not 0 <= wanted <= available:
        raise ConfigError(
            f"scale.images.{part}={wanted}, but there are 0…{available:,} left for it"
        )
    return wanted


@functools.cache
def digits() -> Images:
    """scikit-learn's 1,797 digits: 8×8 greys of 0…16, drawn smoothly at 32×32 in RGB."""
    from PIL import Image
    from sklearn.datasets import load_digits

    greys, labels = load_digits(return_X_y=True)
    small = np.round(np.asarray(greys).reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    size = (SIDE, SIDE)
    large = [Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC) for grey in small]
    pixels = np.stack([np.asarray(grey) for grey in large])[..., None].repeat(3, axis=-1)
    return Images(pixels, np.asarray(labels, np.int64))
