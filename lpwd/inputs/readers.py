"""The three layouts of a data set, decoded: parquet, python pickles, class folders."""

from __future__ import annotations

import io
import math
import os
import pickle
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from lpwd.config.errors import ConfigError, first_line
from lpwd.inputs.images import Images
from lpwd.inputs.sources import Source

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}


def read_parquet(source: Source, files: Iterable[Path]) -> Images:
    """Hugging Face's layout: a column of encoded images {bytes, path}, and one of labels."""
    parts = [_read_parquet(source, file) for file in files]
    blobs = [blob for of_file, _ in parts for blob in of_file]
    return Images(_decode(source, blobs), np.concatenate([labels for _, labels in parts]))


def _read_parquet(source: Source, file: Path) -> tuple[list[tuple[str, bytes]], np.ndarray]:
    """The encoded images of a file, each with where it comes from, and their labels."""
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
        raise ConfigError(f"{file} is damaged ({first_line(error)}); fetch it again") from None
    column = table[image].combine_chunks()
    blobs = column.field("bytes") if pa.types.is_struct(column.type) else column
    labels = table[source.labels]
    if not pa.types.is_integer(labels.type) or labels.null_count or blobs.null_count:
        raise ConfigError(f"{file}: {image} or {source.labels} has gaps or a wrong type")
    rows = [(f"{file}, row {row}", blob.as_py()) for row, blob in enumerate(blobs)]
    return rows, labels.to_numpy().astype(np.int64)


def read_pickles(source: Source, files: Iterable[Path]) -> Images:
    """CIFAR's original archives for Python: ``data`` uint8 [N, 3072], channels first."""
    parts = [_read_pickle(source, file) for file in files]
    pixels, labels = zip(*parts, strict=True)
    return Images(np.concatenate(pixels), np.concatenate(labels))


def _read_pickle(source: Source, file: Path) -> Images:
    try:
        with file.open("rb") as stream:
            batch = _ArraysOnly(stream, encoding="latin1").load()
    except Exception as error:  # an unpickler may raise anything on damaged input
        raise ConfigError(f"{file} is not {source.title} ({first_line(error)})") from None
    key = source.labels + "s"
    if not isinstance(batch, dict):
        raise ConfigError(f"{file} holds a {type(batch).__name__}, not {source.title}'s dict")
    batch = {k.decode() if isinstance(k, bytes) else k: value for k, value in batch.items()}
    if "data" not in batch or key not in batch:
        raise ConfigError(f"{file} has keys {', '.join(map(str, batch))}; wanted: data, {key}")
    data = np.asarray(batch["data"])
    side = source.side or math.isqrt(data.shape[-1] // 3)
    size = 3 * side**2
    if data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != size:
        raise ConfigError(f"{file}: data is {data.dtype} {list(data.shape)}, not uint8 [N, {size}]")
    try:
        labels = np.asarray(batch[key], np.int64).reshape(len(data))
    except (TypeError, ValueError):
        raise ConfigError(f"{file}: {key} is not one whole number for each image") from None
    pixels = data.reshape(-1, 3, side, side).transpose(0, 2, 3, 1)
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


def read_folders(source: Source, folders: Iterable[Path], classes: Sequence[str]) -> Images:
    """``<split>/<class>/**/*.png``, the classes by number; or Tiny-ImageNet's annotated split."""
    (folder,) = folders
    labels = {name: label for label, name in enumerate(classes)}
    files = list(_labelled_files(folder))
    blobs = ((str(file), file.read_bytes()) for file, _ in files)
    return Images(_decode(source, blobs), np.array([labels[name] for _, name in files], np.int64))


def class_names(source: Source, folders: Iterable[Path]) -> list[str]:
    """The classes of all splits in the order of their numbers: alphabetical, or numeric.

    Raises:
        ConfigError: they are not as many as the data set has.
    """
    names = set().union(*(_names_in(folder) for folder in folders))
    if source.classes not in (None, len(names)):
        raise ConfigError(
            f"{', '.join(map(str, folders))}: {len(names)} classes; {source.title} has"
            f" {source.classes}"
        )
    return sorted(names, key=int if all(map(str.isdecimal, names)) else str.casefold)


ANNOTATIONS = "val_annotations.txt"  # of the original Tiny-ImageNet: file, class, …


def _names_in(folder: Path) -> set[str]:
    if (folder / ANNOTATIONS).is_file():
        return {name for _, name in _annotated(folder)}
    return {path.name for path in folder.iterdir() if path.is_dir() and path.name[0] != "."}


def _labelled_files(folder: Path) -> Iterator[tuple[Path, str]]:
    """Each image of a split with the name of its class."""
    if (folder / ANNOTATIONS).is_file():
        yield from _annotated(folder)
        return
    for name in sorted(_names_in(folder)):
        for file in map(Path, files_below(folder / name)):
            if file.suffix.lower() in SUFFIXES:
                yield file, name


def _annotated(folder: Path) -> list[tuple[Path, str]]:
    rows = [line.split("\t") for line in (folder / ANNOTATIONS).read_text("utf-8").splitlines()]
    if any(len(row) < 2 for row in rows):
        raise ConfigError(f"{folder / ANNOTATIONS} has lines without a file and its class")
    return [(folder / "images" / file, name) for file, name, *_ in rows]


def files_below(folder: Path) -> list[str]:
    """The files in a folder at any depth, through links, without hidden ones; in order."""
    found: list[str] = []
    above = {str(folder): {os.path.realpath(folder)}}
    for at, folders, names in os.walk(folder, followlinks=True):
        found += [f"{at}/{name}" for name in names if name[0] != "."]
        inner = {name: os.path.realpath(f"{at}/{name}") for name in folders if name[0] != "."}
        folders[:] = [name for name, real in inner.items() if real not in above[at]]  # no circles
        above |= {f"{at}/{name}": above[at] | {inner[name]} for name in folders}
    return sorted(found)


def _decode(source: Source, blobs: Iterable[tuple[str, bytes]]) -> np.ndarray:
    """Encoded images [(where they come from, bytes)] as uint8 [N, side, side, 3]."""
    side, pixels = source.side, []
    for where, blob in blobs:
        try:
            image = Image.open(io.BytesIO(blob)).convert("RGB")
        except Exception as error:  # a decoder may raise anything on damaged input
            raise ConfigError(f"{where}: damaged ({first_line(error)}); fetch it again") from None
        side = side or image.width
        if image.size != (side, side):
            raise ConfigError(
                f"{where}: {image.width}×{image.height} pixels, not {side}×{side}; all images of a"
                " data set must be square and of one size"
            )
        pixels.append(np.asarray(image.reduce(source.shrink)))
    return np.stack(pixels) if pixels else np.empty((0, 0, 0, 3), np.uint8)
