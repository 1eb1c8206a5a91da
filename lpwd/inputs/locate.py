"""Where a data set is: parquet, pickles or class folders under the root, or the hub."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lpwd.config.errors import ConfigError
from lpwd.inputs import hub
from lpwd.inputs.images import Images
from lpwd.inputs.readers import class_names, files_below, read_folders, read_parquet, read_pickles
from lpwd.inputs.sources import Source

Reader = Callable[[Source, tuple[Path, ...]], Images]


@dataclass(frozen=True)
class Layout:
    """One data set as it was found: which files hold each split, and how they are read."""

    kind: str
    files: dict[str, tuple[Path, ...]]  # split → files (parquet, pickles) or one folder
    read: Reader

    def stamp(self) -> list[list[Any]]:
        """What changes when any file does: path, size and time, or a folder's digest of these.

        Raises:
            ConfigError: a file cannot be looked at, such as a link to nowhere.
        """
        return [_stamp(path) for files in self.files.values() for path in files]


def contents(source: Source, root: Path) -> str | None:
    """A digest of the names and sizes of a data set's files, wherever they are; None if absent.

    Raises:
        ConfigError: as `find` and `Layout.stamp`.
    """
    layout = find(source, root)
    if layout is None:
        return None
    found: list[tuple[str, str, int]] = []
    for split, paths in layout.files.items():
        for path in paths:
            files = files_below(path) if path.is_dir() else [str(path)]
            names = [os.path.relpath(file, path) for file in files]
            sizes = [_size_and_time(file)[0] for file in files]
            found += zip([split] * len(files), names, sizes, strict=True)
    return hashlib.sha256(repr(sorted(found)).encode()).hexdigest()[:12]


def _stamp(path: Path) -> list[Any]:
    if path.is_dir():
        files = [(file, *_size_and_time(file)) for file in files_below(path)]
        digest = hashlib.sha256(repr(files).encode()).hexdigest()
        return [str(path.resolve()), len(files), digest]
    return [str(path.resolve()), *_size_and_time(path)]


def _size_and_time(path: Path | str) -> tuple[int, int]:
    try:
        stat = os.stat(path)  # noqa: PTH116 (a Path for each of 50,000 files takes longer)
    except OSError as error:
        raise ConfigError(_unreadable(Path(path), error)) from None
    return stat.st_size, stat.st_mtime_ns


def _unreadable(path: Path, error: OSError) -> str:
    if path.is_symlink() and not path.exists():
        return f"{path} is a link to {path.readlink()}, which is not there; mend or remove it"
    return f"{path} cannot be read ({error.strerror or error})"


def find(source: Source, root: Path) -> Layout | None:
    """The data set under `root`: as parquet, else pickles, else class folders; None if absent.

    Raises:
        ConfigError: a layout was begun but a split of it is missing.
    """
    homes = [root / home for home in source.homes]
    if source.repo or root.name in source.homes:  # else what is there may be another's
        homes.append(root)
    for kind, look in (
        ("parquet", _parquet_files),
        ("pickles", _pickle_files),
        ("folders", _class_folder),
    ):
        for home in homes:
            files = {split: look(source, home, split) for split in source.counts}
            if all(files.values()):
                return Layout(kind, files, _reader(kind, source, files))
            begun = [str(path) for found in files.values() for path in found]
            if begun and not (kind == "folders" and home == root):  # root/train may be anyone's
                missing = next(split for split, found in files.items() if not found)
                raise ConfigError(
                    f"{source.title}: {home} holds {Path(begun[0]).name} but no {missing} images;"
                    f" fetch the rest, or move it away"
                )
    return None


def _reader(kind: str, source: Source, files: Mapping[str, tuple[Path, ...]]) -> Reader:
    if kind == "folders":  # the splits number their classes together
        folders = [folder for of_split in files.values() for folder in of_split]
        return partial(read_folders, classes=class_names(source, folders))
    return read_parquet if kind == "parquet" else read_pickles


def download(source: Source, root: Path) -> Layout:
    """The parquet files from the Hugging Face hub, kept in the hub's own cache.

    Raises:
        ConfigError: they cannot be had; says what to put where instead.
    """
    files = {split: (file,) for split, file in _from_hub(hub.fetch, source, root).items()}
    return Layout("parquet", files, read_parquet)


def check_download(source: Source, root: Path) -> None:
    """Raise ConfigError as `download` would, but without downloading."""
    _from_hub(hub.check, source, root)


def _from_hub(get: Callable[[str, str, str], Any], source: Source, root: Path) -> dict[str, Any]:
    try:
        if not source.repo:
            raise hub.HubError("it is not on the hub")
        return {split: get(source.repo, f, "dataset") for split, f in source.hub_files.items()}
    except hub.HubError as error:
        raise ConfigError(_how_to_get(source, root, error)) from None


def _how_to_get(source: Source, root: Path, error: Exception) -> str:
    home, (first, second) = root / source.homes[0], source.counts
    fetch = f" (hf download {source.repo} --repo-type dataset --local-dir {home})"
    ways = [f"parquet, {home}/{first}-*.parquet and {second}-*.parquet{fetch * bool(source.repo)}"]
    if source.pickles:
        of_torchvision = f"torchvision.datasets.{source.title.replace('-', '')}"
        ways.append(
            f"python pickles as torchvision writes them, {root / source.pickles}/"
            f" ({of_torchvision}({str(root)!r}, download=True))"
        )
    elif len(source.homes) > 1:
        ways.append(f"the original archive, extracted to {root / source.homes[-1]}")
    ways.append(
        f"class folders of images, {home}/{first}/<class>/*.png and {home}/{second}/<class>/*.png"
    )
    numbered = "; ".join(f"({i}) {way}" for i, way in enumerate(ways, 1))
    return (
        f"{source.title} is not under data.root={root} and cannot be downloaded: {error}."
        f" Put one of these there: {numbered}. Or set data.root (or LPWD_DATA) to where they are."
    )


def read(source: Source, layout: Layout, split: str) -> Images:
    """One split, decoded and checked.

    Raises:
        ConfigError: a damaged file, an unknown column, a wrong size or count; names the file.
    """
    files = layout.files[split]
    try:
        images = layout.read(source, files)
    except OSError as error:
        raise ConfigError(_unreadable(Path(error.filename or files[0]), error)) from None
    check(f"{source.title} {split} ({files[0]})", images.labels, source, split)
    return images


def check(where: str, labels: np.ndarray, source: Source, split: str) -> None:
    """Raise ConfigError unless a split has the images and classes that its source declares."""
    count, classes = source.counts[split], source.classes
    if len(labels) == 0 or count not in (None, len(labels)):
        wanted = "any" if count is None else f"{count:,}"
        raise ConfigError(f"{where} holds {len(labels):,} images, not {wanted}; fetch it again")
    if labels.min() < 0 or labels.max() >= (classes or np.inf):
        known = "0 upwards" if classes is None else f"0…{classes - 1}"
        raise ConfigError(f"{where} has labels {labels.min()}…{labels.max()}, not {known}")
    if source.balanced and classes and count:
        shares = np.bincount(labels, minlength=classes)
        if (shares != count // classes).any():
            odd = int(np.argmax(shares != count // classes))
            raise ConfigError(
                f"{where} holds {shares[odd]:,} images of class {odd}, not {count // classes:,};"
                " fetch it again"
            )


# -- parquet --------------------------------------------------------------------------------------


def _parquet_files(source: Source, home: Path, split: str) -> tuple[Path, ...]:
    of_hub = [home / Path(file).parent for file in source.hub_files.values()]
    for folder in dict.fromkeys((home, *of_hub, home / "data", home / "default")):
        for name in source.names(split):
            files = sorted(folder.glob(f"{name}-*.parquet")) or sorted(
                [*folder.glob(f"{name}.parquet"), *folder.glob(f"{name}/*.parquet")]
            )
            if files:
                return tuple(files)
    return ()


# -- torchvision's python pickles -----------------------------------------------------------------


def _pickle_files(source: Source, home: Path, split: str) -> tuple[Path, ...]:
    for folder in (home / source.pickles, home):
        files = tuple(folder / name for name in source.batches.get(split, ()))
        if files and all(file.is_file() for file in files):
            return files
    return ()


# -- class folders --------------------------------------------------------------------------------


def _class_folder(source: Source, home: Path, split: str) -> tuple[Path, ...]:
    for folder in (home / name for name in source.names(split)):
        if folder.is_dir() and any(path.is_dir() for path in folder.iterdir()):
            return (folder,)
    return ()
