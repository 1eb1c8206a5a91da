"""Where a data set is: parquet, pickles or class folders under the root, or the hub."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lpwd.config.errors import ConfigError
from lpwd.inputs import hub
from lpwd.inputs.images import Images
from lpwd.inputs.readers import read_folders, read_parquet, read_pickles
from lpwd.inputs.sources import Source


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


# -- torchvision's python pickles -----------------------------------------------------------------


def _pickle_files(source: Source, home: Path, split: str) -> tuple[Path, ...]:
    if source.batches is None:
        return ()
    for folder in (home / source.pickles, home):
        files = tuple(folder / name for name in source.batches[split])
        if all(file.is_file() for file in files):
            return files
    return ()


# -- class folders --------------------------------------------------------------------------------


def _class_folder(source: Source, home: Path, split: str) -> tuple[Path, ...]:
    folders = [home / name for name in source.names(split) if (home / name).is_dir()]
    return tuple(folder for folder in folders if any(path.is_dir() for path in folder.iterdir()))[
        :1
    ]
