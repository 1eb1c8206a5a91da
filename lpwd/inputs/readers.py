"""The three layouts of a data set, decoded: parquet, python pickles, class folders."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from lpwd.config.errors import ConfigError, first_line
from lpwd.inputs.images import SIDE, Images
from lpwd.inputs.sources import Source

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}


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
        raise ConfigError(f"{file} is damaged ({first_line(error)}); fetch it again") from None
    column = table[image].combine_chunks()
    blobs = column.field("bytes") if pa.types.is_struct(column.type) else column
    labels = table[source.labels]
    if not pa.types.is_integer(labels.type) or labels.null_count or blobs.null_count:
        raise ConfigError(f"{file}: {image} or {source.labels} has gaps or a wrong type")
    pixels = _decode(
        source, ((f"{file}, row {row}", blob.as_py()) for row, blob in enumerate(blobs)), len(blobs)
    )
    return Images(pixels, labels.to_numpy().astype(np.int64))


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
        raise ConfigError(f"{file} is not {source.title} ({first_line(error)})") from None
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
            raise ConfigError(f"{where}: damaged ({first_line(error)}); fetch it again") from None
        if image.size != (source.side, source.side):
            raise ConfigError(
                f"{where}: {image.width}×{image.height} pixels, not {source.side}×{source.side}"
            )
        pixels[i] = np.asarray(image.reduce(source.side // SIDE))
    return pixels
