"""Where the images come from: parquet files, python pickles, class folders, or the hub."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """What a data set is called, and what must arrive."""

    name: str
    title: str
    classes: int
    side: int  # pixels of the stored images; larger ones are averaged down to SIDE
    counts: dict[str, int]  # images of each split
    homes: tuple[str, ...]  # names that its folder under the root may have
    labels: str  # the labels' column (parquet); + "s": their key (pickle)
    repo: str  # on the Hugging Face hub
    hub_files: dict[str, str]  # split → file there
    pickles: str = ""  # torchvision's folder
    batches: dict[str, tuple[str, ...]] | None = None  # split → the pickles there
    aliases: dict[str, tuple[str, ...]] | None = None  # split → its other names

    def names(self, split: str) -> tuple[str, ...]:
        return (split, *(self.aliases or {}).get(split, ()))


SOURCES = {
    source.name: source
    for source in (
        Source(
            name="cifar10",
            title="CIFAR-10",
            classes=10,
            side=32,
            counts={"train": 50_000, "test": 10_000},
            homes=("cifar10",),
            labels="label",
            repo="uoft-cs/cifar10",
            hub_files={s: f"plain_text/{s}-00000-of-00001.parquet" for s in ("train", "test")},
            pickles="cifar-10-batches-py",
            batches={
                "train": tuple(f"data_batch_{i}" for i in range(1, 6)),
                "test": ("test_batch",),
            },
        ),
        Source(
            name="cifar100",
            title="CIFAR-100",
            classes=100,
            side=32,
            counts={"train": 50_000, "test": 10_000},
            homes=("cifar100",),
            labels="fine_label",
            repo="uoft-cs/cifar100",
            hub_files={s: f"cifar100/{s}-00000-of-00001.parquet" for s in ("train", "test")},
            pickles="cifar-100-python",
            batches={"train": ("train",), "test": ("test",)},
        ),
        Source(
            name="tiny_imagenet",
            title="Tiny-ImageNet-200",
            classes=200,
            side=64,
            counts={"train": 100_000, "val": 10_000},
            homes=("tiny_imagenet", "tiny-imagenet", "tiny-imagenet-200"),
            labels="label",
            repo="zh-plus/tiny-imagenet",
            hub_files={
                "train": "data/train-00000-of-00001-1359597a978bc4fa.parquet",
                "val": "data/valid-00000-of-00001-70d52db3c749a935.parquet",
            },
            aliases={"val": ("valid", "validation")},
        ),
    )
}
