"""Images to train and measure on, in an order that depends on their content alone."""

from __future__ import annotations

import functools
from importlib.metadata import distribution

import numpy as np
from omegaconf import DictConfig

from lpwd.config.errors import ConfigError
from lpwd.config.paths import named, names_in
from lpwd.inputs import cache, sources
from lpwd.inputs.images import Dataset, Images, canonical

__all__ = ["Dataset", "Images", "load", "sizes"]


def load(data: DictConfig, images: DictConfig) -> Dataset:
    """The images of a run, in canonical order (see `images.canonical`).

    Of the training images the first `images.train` are trained on and the next `images.heldout`
    held out; of the test images the first `images.test` are used; null means all that there are.
    The digits are one pool of 1,797: first the test images, then train, then held out.

    Args:
        data: ``cfg.data``: name, root, classes, side.
        images: ``cfg.scale.images``: train, heldout, test.

    Raises:
        ConfigError: the data are not there or not what they should be, or there are too few.
    """
    rest, test = _splits(data)
    _check_shape(data, rest, test)
    test = test.part(0, _count("test", images.test, len(test.labels)))
    if data.name == "digits":
        rest = rest.part(len(test.labels), len(rest.labels))
    total = len(rest.labels)
    heldout = _count("heldout", images.heldout or 0, total)
    train = _count("train", images.train, total - heldout)
    return Dataset(rest.part(0, train), rest.part(train, train + heldout), test)


def sizes(data: DictConfig, images: DictConfig) -> tuple[int, int]:
    """How many images a run trains on, and is measured on each epoch; arguments as of `load`.

    Nothing is read where the config, or the data set's source, says it all.
    """
    train, test = images.train, images.test
    declared = list(sources.of(data.name).counts.values())
    if None in (train, test) and None in declared:
        parts = load(data, images)
        return len(parts.train.labels), len(parts.heldout.labels) + len(parts.test.labels)
    of_train, of_test = declared
    train = of_train - images.heldout if train is None else train
    return train, images.heldout + (of_test if test is None else test)


def _splits(data: DictConfig) -> tuple[Images, Images]:
    """All training and all test images; of the digits both are the pool."""
    if data.name == "digits":
        pool = canonical(digits())
        return pool, pool
    known = {*sources.SOURCES, *names_in("data")}
    if data.name not in known:
        raise ConfigError(f"data.name={data.name} is unknown; known are {', '.join(sorted(known))}")
    train, test = cache.load(sources.of(data.name), named(data.root)).values()
    return train, test


def _check_shape(data: DictConfig, train: Images, test: Images) -> None:
    """Raise ConfigError unless there are images of each class, of the size that models get."""
    for key, found in (
        ("classes", int(max(train.labels.max(), test.labels.max())) + 1),
        ("side", train.side),
    ):
        if data[key] != found:
            raise ConfigError(
                f"data.{key}={data[key]}: {data.name} has {found}; leave it out, or mend"
                f" configs/data/{data.name}.yaml"
            )
    if test.side != train.side:
        raise ConfigError(
            f"{data.name}: test images of {test.side}×{test.side} pixels, training images of"
            f" {train.side}×{train.side}; all must be of one size"
        )
    if (empty := np.bincount(train.labels, minlength=data.classes) == 0).any():
        raise ConfigError(f"{data.name} has no training images of class {int(np.argmax(empty))}")


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

    # What load_digits reads; to import scikit-learn would take each worker a second.
    file = distribution("scikit-learn").locate_file("sklearn/datasets/data/digits.csv.gz")
    table = np.loadtxt(str(file), delimiter=",")
    greys, labels = table[:, :-1], table[:, -1]
    small = np.round(greys.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    large = [Image.fromarray(grey).resize((32, 32), Image.Resampling.BICUBIC) for grey in small]
    pixels = np.stack([np.asarray(grey) for grey in large])[..., None].repeat(3, axis=-1)
    return Images(pixels, labels.astype(np.int64))
