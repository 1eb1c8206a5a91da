"""Where the images come from: parquet files, python pickles, class folders, or the hub."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from lpwd import hub
from lpwd.data.images import SIDE, Images
from lpwd.errors import ConfigError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}


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


@dataclass(frozen=True)
class Layout:
    """One data set as it was found: which files hold each split, and how they are read."""

    kind: str
    files: dict[str, tuple[Path, ...]]  # split → files (parquet, pickles) or one folder
    read: Callable[[Source, tuple[Path, ...]], Images]

    def stamp(self) -> list[list[Any]]:
        """What changes when the files do: path, size and time of each file or class folder."""
        paths = [path for files in self.files.values() for path in files]
        folders = [sub for path in paths if path.is_dir() for sub in sorted(path.iterdir())]
        stats = [(path, path.stat()) for path in (*paths, *folders)]
        return [
            [str(path.resolve()), 0 if path.is_dir() else stat.st_size, stat.st_mtime_ns]
            for path, stat in stats
        ]


def find(source: Source, root: Path) -> Layout | None:
    """The data set under `root`: as parquet, else pickles, else class folders; None if absent.

    Raises:
        ConfigError: a layout was begun but a split of it is missing.
    """
    homes = [root / home for home in source.homes] + [root]
    for kind, look, read in (
        ("parquet", _parquet_files, read_parquet),
        ("pickles", _pickle_files, read_pickles),
        ("folders", _class_folder, read_folders),
    ):
        for home in homes:
            files = {split: look(source, home, split) for split in source.counts}
            if all(files.values()):
                return Layout(kind, files, read)
            begun = [str(path) for found in files.values() for path in found]
            if begun and kind != "folders":
                missing = next(split for split, found in files.items() if not found)
                raise ConfigError(
                    f"{source.title}: {home} holds {Path(begun[0]).name} but no {missing} images;"
                    f" fetch the rest, or move it away"
                )
    return None


def download(source: Source, root: Path) -> Layout:
    """The parquet files from the Hugging Face hub, kept in the hub's own cache.

    Raises:
        ConfigError: they cannot be had; says what to put where instead.
    """
    try:
        files = {
            split: (hub.fetch(source.repo, file, "dataset"),)
            for split, file in source.hub_files.items()
        }
    except hub.HubError as error:
        raise ConfigError(_how_to_get(source, root, error)) from None
    return Layout("parquet", files, read_parquet)


def _how_to_get(source: Source, root: Path, error: Exception) -> str:
    home, (first, second) = root / source.homes[0], source.counts
    pickles = (
        f"(2) python pickles as torchvision writes them, {root / source.pickles}/"
        f" (torchvision.datasets.{source.title.replace('-', '')}({str(root)!r}, download=True));"
        if source.pickles
        else f"(2) the original archive, extracted to {root / source.homes[-1]};"
    )
    return (
        f"{source.title} is not under data.root={root} and cannot be downloaded: {error}."
        f" Put one of these there:"
        f" (1) parquet, {home}/{first}-*.parquet and {second}-*.parquet"
        f" (hf download {source.repo} --repo-type dataset --local-dir {home});"
        f" {pickles} (3) class folders of images, {home}/{first}/<class>/*.png and"
        f" {home}/{second}/<class>/*.png. Or set data.root (or LPWD_DATA) to where they are."
    )


def read(source: Source, layout: Layout, split: str) -> Images:
    """One split, decoded and checked.

    Raises:
        ConfigError: a damaged file, an unknown column, a wrong size or count; names the file.
    """
    images = layout.read(source, layout.files[split])
    where = f"{source.title} {split} ({layout.files[split][0]})"
    check(where, images.labels, source.classes, source.counts[split])
    return images


def check(where: str, labels: np.ndarray, classes: int, count: int) -> None:
    """Raises ConfigError unless there are `count` images, equally many of each class."""
    if len(labels) != count:
        raise ConfigError(f"{where} holds {len(labels):,} images, not {count:,}; fetch it again")
    if labels.min() < 0 or labels.max() >= classes:
        raise ConfigError(f"{where} has labels {labels.min()}…{labels.max()}, not 0…{classes - 1}")
    share = np.bincount(labels, minlength=classes)
    if (share != count // classes).any():
        odd = int(np.argmax(share != count // classes))
        raise ConfigError(
            f"{where} holds {share[odd]:,} images of class {odd}, not {count // classes:,};"
            f" fetch it again"
        )


# -- parquet --------------------------------------------------------------------------------------


def _parquet_files(source: Source, home: Path, split: str) -> tuple[Path, ...]:
    hub_folder = Path(source.hub_files[split]).parts[0]
    for folder in dict.fromkeys((home, home / hub_folder, home / "data", home / "default")):
        for name in source.names(split):
            files = sorted(folder.glob(f"{name}-*.parquet")) or sorted(
                [*folder.glob(f"{name}.parquet"), *folder.glob(f"{name}/*.parquet")]
            )
            if files:
                return tuple(files)
    return ()


def read_parquet(source: Source, files: Iterable[Path]) -> Images:
    """Hugging Face's layout: a column of encoded images {bytes, path}, and one of labels."""
    parts = [_read_parquet(source, file) for file in files]
    pixels, labels = zip(*parts, strict=True)
    return Images(np.concatenate(pixels), np.concatenate(labels))


def _read_parquet(source: Source, file: Path) -> Images:
    try:
        parquet = pq.ParquetFile(file)
        names = parquet.schema_arrow.names
        image = next((name for name in ("img", "image") if name in names), None)
        if image is None or source.labels not in names:
            raise ConfigError(
                f"{file} has columns {', '.join(names)}; {source.title} has img (or image) and"
                f" {source.labels}: put {source.title}'s own files there, or rename the columns"
            )
        # Arrow's threads now and then abort the process as it ends (apache/arrow#34314).
        table = parquet.read([image, source.labels], use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"{file} is damaged ({_first_line(error)}); fetch it again") from None
    column = table[image].combine_chunks()
    blobs = column.field("bytes") if pa.types.is_struct(column.type) else column
    labels = table[source.labels]
    if not pa.types.is_integer(labels.type) or labels.null_count or blobs.null_count:
        raise ConfigError(f"{file}: {image} or {source.labels} has gaps or a wrong type")
    pixels = _decode(
        source, ((f"{file}, row {row}", blob.as_py()) for row, blob in enumerate(blobs)), len(blobs)
    )
    return Images(pixels, labels.to_numpy().astype(np.int64))


# -- torchvision's python pickles -----------------------------------------------------------------


def _pickle_files(source: Source, home: Path, split: str) -> tuple[Path, ...]:
    if source.batches is None:
        return ()
    for folder in (home / source.pickles, home):
        files = tuple(folder / name for name in source.batches[split])
        if all(file.is_file() for file in files):
            return files
    return ()


def read_pickles(source: Source, files: Iterable[Path]) -> Images:
    """The python version of the original archives: ``data`` uint8 [N, 3072], channels first."""
    parts = [_read_pickle(source, file) for file in files]
    pixels, labels = zip(*parts, strict=True)
    return Images(np.concatenate(pixels), np.concatenate(labels))


def _read_pickle(source: Source, file: Path) -> Images:
    try:
        with file.open("rb") as stream:
            batch = _ArraysOnly(stream, encoding="latin1").load()
    except Exception as error:  # an unpickler may raise anything on damaged input
        raise ConfigError(f"{file} is not {source.title} ({_first_line(error)})") from None
    key = source.labels + "s"
    if not isinstance(batch, dict):
        raise ConfigError(f"{file} holds a {type(batch).__name__}, not {source.title}'s dict")
    batch = {k.decode() if isinstance(k, bytes) else k: value for k, value in batch.items()}
    if "data" not in batch or key not in batch:
        raise ConfigError(f"{file} has keys {', '.join(map(str, batch))}; wanted: data, {key}")
    data = np.asarray(batch["data"])
    size = 3 * source.side**2
    if data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != size:
        raise ConfigError(f"{file}: data is {data.dtype} {list(data.shape)}, not uint8 [N, {size}]")
    try:
        labels = np.asarray(batch[key], np.int64).reshape(len(data))
    except (TypeError, ValueError):
        raise ConfigError(f"{file}: {key} is not one whole number for each image") from None
    pixels = data.reshape(-1, 3, source.side, source.side).transpose(0, 2, 3, 1)
    return Images(np.ascontiguousarray(pixels), labels)


class _ArraysOnly(pickle.Unpickler):
    """Admits numpy arrays and python's plain containers; any other name is refused, not run."""

    ADMITTED: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        # What arrays of old and of new pickle protocols name: numpy's own private makers of them.
        ("numpy.core.multiarray", "_reconstruct"): np.empty(1).__reduce__()[0],
        ("numpy.core.numeric", "_frombuffer"): np.empty(1).__reduce_ex__(5)[0],
        ("_codecs", "encode"): lambda text, _: text.encode("latin1"),
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self.ADMITTED[module.replace("numpy._core.", "numpy.core."), name]
        except KeyError:
            raise pickle.UnpicklingError(f"refused to load {module}.{name}") from None


# -- class folders --------------------------------------------------------------------------------


def _class_folder(source: Source, home: Path, split: str) -> tuple[Path, ...]:
    folders = [home / name for name in source.names(split) if (home / name).is_dir()]
    return tuple(folder for folder in folders if any(path.is_dir() for path in folder.iterdir()))[
        :1
    ]


def read_folders(source: Source, folders: Iterable[Path]) -> Images:
    """``<split>/<class>/*.png`` (or …/<class>/images/); classes in alphabetical order.

    Also the original Tiny-ImageNet's ``val/val_annotations.txt``.
    """
    (folder,) = folders
    files = list(_labelled_files(source, folder))
    pixels = _decode(source, ((str(file), file.read_bytes()) for file, _ in files), len(files))
    return Images(pixels, np.array([label for _, label in files], np.int64))


def _labelled_files(source: Source, folder: Path) -> Iterator[tuple[Path, int]]:
    annotations = folder / "val_annotations.txt"
    if annotations.is_file():
        rows = [line.split("\t")[:2] for line in annotations.read_text().splitlines()]
        names = _class_order(source, folder, {name for _, name in rows})
        yield from ((folder / "images" / file, names[name]) for file, name in rows)
        return
    names = _class_order(source, folder, {path.name for path in folder.iterdir() if path.is_dir()})
    for name, label in names.items():
        inner = folder / name / "images"
        for file in sorted((inner if inner.is_dir() else folder / name).iterdir()):
            if file.suffix.lower() in SUFFIXES:
                yield file, label


def _class_order(source: Source, folder: Path, names: set[str]) -> dict[str, int]:
    """Class name → label: alphabetical, as in every layout of these data sets; or numbers."""
    if len(names) != source.classes:
        raise ConfigError(f"{folder} has {len(names)} classes; {source.title} {source.classes}")
    numbered = all(name.isdigit() for name in names)
    ordered = sorted(names, key=int if numbered else str.casefold)
    return {name: label for label, name in enumerate(ordered)}


# -- images ---------------------------------------------------------------------------------------


def _decode(source: Source, blobs: Iterable[tuple[str, bytes]], count: int) -> np.ndarray:
    """Encoded images [(where they come from, bytes)] as uint8 [N, 32, 32, 3]."""
    pixels = np.empty((count, SIDE, SIDE, 3), np.uint8)
    for i, (where, blob) in enumerate(blobs):
        try:
            image = Image.open(io.BytesIO(blob)).convert("RGB")
        except Exception as error:  # a decoder may raise anything on damaged input
            raise ConfigError(f"{where}: damaged ({_first_line(error)}); fetch it again") from None
        if image.size != (source.side, source.side):
            raise ConfigError(
                f"{where}: {image.width}×{image.height} pixels, not {source.side}×{source.side}"
            )
        pixels[i] = np.asarray(image.reduce(source.side // SIDE))
    return pixels


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
