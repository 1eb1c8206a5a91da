"""Data sets: what each is called, what must arrive, and where the Hugging Face hub has it.

Digits need none of this: they ship with scikit-learn. A data set of one's own needs an entry here
only if it is on the hub or has names of its own for columns or splits; else `own` describes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Source:
    """A data set of square images. What is None is counted, or taken from the first image."""

    name: str
    title: str
    homes: tuple[str, ...]  # names that its folder under the root may have
    counts: Mapping[str, int | None] = field(  # split → its images
        default_factory=lambda: {"train": None, "test": None}
    )
    classes: int | None = None
    balanced: bool = False  # as many images of each class
    side: int | None = None  # pixels of the stored images
    shrink: int = 1  # they are averaged down by this factor
    labels: str = "label"  # the labels' column (parquet); + "s": their key (pickle)
    repo: str = ""  # on the Hugging Face hub; "": not there
    hub_files: Mapping[str, str] = field(default_factory=dict)  # split → file there
    pickles: str = ""  # torchvision's folder
    batches: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # split → pickles there
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # split → other names

    def names(self, split: str) -> tuple[str, ...]:
        return (split, *self.aliases.get(split, ()))


def of(name: str) -> Source:
    """The data set of a name: one of SOURCES, else one's own."""
    return SOURCES.get(name) or own(name)


def own(name: str) -> Source:
    """Parquet files or class folders in <root>/<name>/, `train` and `test` (or a name of val)."""
    return Source(name, name, (name,), aliases={"test": ("val", "valid", "validation")})


def _cifar(classes: int, folder: str, **rest: Any) -> Source:
    """CIFAR-10 or CIFAR-100; `folder`: where the hub has its files."""
    name = f"cifar{classes}"
    return Source(
        name=name,
        title=f"CIFAR-{classes}",
        classes=classes,
        balanced=True,
        side=32,
        counts={"train": 50_000, "test": 10_000},
        homes=(name,),
        repo=f"uoft-cs/{name}",
        hub_files={s: f"{folder}/{s}-00000-of-00001.parquet" for s in ("train", "test")},
        **rest,
    )


SOURCES = {
    source.name: source
    for source in (
        _cifar(
            10,
            folder="plain_text",
            pickles="cifar-10-batches-py",
            batches={
                "train": tuple(f"data_batch_{i}" for i in range(1, 6)),
                "test": ("test_batch",),
            },
        ),
        _cifar(
            100,
            folder="cifar100",
            labels="fine_label",
            pickles="cifar-100-python",
            batches={"train": ("train",), "test": ("test",)},
        ),
        Source(
            name="tiny_imagenet",
            title="Tiny-ImageNet-200",
            classes=200,
            balanced=True,
            side=64,
            shrink=2,
            counts={"train": 100_000, "val": 10_000},
            homes=("tiny_imagenet", "tiny-imagenet", "tiny-imagenet-200"),
            repo="zh-plus/tiny-imagenet",
            hub_files={
                "train": "data/train-00000-of-00001-1359597a978bc4fa.parquet",
                "val": "data/valid-00000-of-00001-70d52db3c749a935.parquet",
            },
            aliases={"val": ("valid", "validation")},
        ),
    )
}
