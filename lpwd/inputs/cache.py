"""The decoded images of a data set, kept as arrays and mapped into memory."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import sys
import tempfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from lpwd.config.errors import ConfigError, is_out_of_memory
from lpwd.config.paths import named
from lpwd.inputs import locate, sources
from lpwd.inputs.images import Images, canonical

FORMAT = 1  # raised when what is stored, or its order, changes


class Damaged(Exception):
    """A cache that is not what was written."""


def load(source: sources.Source, root: Path) -> dict[str, Images]:
    """Each split in canonical order, mapped read-only; decoded at the first call.

    The cache is checked by its checksums at every call (tens of milliseconds for CIFAR), rebuilt
    when any file of the data set changes, and set aside and rebuilt when it is damaged.

    Raises:
        ConfigError: the data are neither there nor to be had, or not what they should be.
    """
    cache = cache_dir(root) / source.name
    layout = locate.find(source, root)
    stamp = layout.stamp() if layout else None
    with suppress(Damaged):
        if splits := _read(cache, source, stamp):
            return splits
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(cache.with_suffix(".lock")):  # of several runs started at once, one decodes
            return _read_sound(cache, source, stamp) or _build(cache, source, root, layout, stamp)
    except OSError as error:
        raise ConfigError(
            f"{source.title} cannot be kept in {cache} ({error}); set LPWD_CACHE to another folder"
        ) from None


def is_cached(source: sources.Source, root: Path) -> bool:
    """Are the images kept here already, whether or not their files are still there?"""
    return (cache_dir(root) / source.name / "index.json").is_file()


def cache_dir(root: Path) -> Path:
    """``$LPWD_CACHE``, else ``<root>/.lpwd``, else (a read-only root) ``~/.cache/lpwd``."""
    own = f"{root.name}-{hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:8]}"
    if os.environ.get("LPWD_CACHE"):
        return named(os.environ["LPWD_CACHE"]) / own
    existing = next(path for path in (root, *root.absolute().parents) if path.is_dir())
    # The mode too: os.access lets the superuser write where the owner asked for nobody to.
    if os.access(existing, os.W_OK) and existing.stat().st_mode & stat.S_IWUSR:
        return root / ".lpwd"
    try:
        return Path.home() / ".cache" / "lpwd" / own
    except RuntimeError:
        raise ConfigError(
            f"{root} is read-only and there is no home folder: set LPWD_CACHE to a folder for the"
            " decoded images"
        ) from None


def _read_sound(
    cache: Path, source: sources.Source, stamp: list[Any] | None
) -> dict[str, Images] | None:
    """The cache if it is there and of these files; a damaged one is set aside."""
    try:
        return _read(cache, source, stamp)
    except Damaged as error:
        aside = cache.with_name(f"{cache.name}.damaged")
        print(f"{cache} is damaged ({error}): set aside as {aside.name}, rebuilt", file=sys.stderr)
        shutil.rmtree(aside, ignore_errors=True)
        cache.rename(aside)
        return None


def _read(cache: Path, source: sources.Source, stamp: list[Any] | None) -> dict[str, Images] | None:
    """The cache, checked; None if there is none of these files. Raises Damaged."""
    if not cache.is_dir():
        return None
    try:
        index = json.loads((cache / "index.json").read_text())
        if index["format"] != FORMAT or (stamp is not None and stamp != index["stamp"]):
            return None
        return {split: _read_split(cache, index["splits"], split) for split in source.counts}
    except PermissionError:  # it may well be sound
        raise
    except Exception as error:  # what numpy makes of a damaged header can be anything
        if is_out_of_memory(error):
            raise
        raise Damaged(str(error) or type(error).__name__) from None


def _read_split(cache: Path, checksums: dict[str, list[int]], split: str) -> Images:
    images = Images(
        np.load(cache / f"{split}-pixels.npy", mmap_mode="r"),
        np.load(cache / f"{split}-labels.npy"),
    )
    if [_checksum(array) for array in images] != checksums[split]:
        raise Damaged(f"the checksum of its {split} images is wrong")
    return images


def _checksum(array: np.ndarray) -> int:
    return zlib.crc32(memoryview(array).cast("B"))  # pyright: ignore[reportArgumentType]


def _build(
    cache: Path,
    source: sources.Source,
    root: Path,
    layout: locate.Layout | None,
    stamp: list[Any] | None,
) -> dict[str, Images]:
    """Decode every split aside, then put the whole in its place."""
    layout = layout or locate.download(source, root)
    print(f"decoding {source.title} from {layout.kind} into {cache} (once)", file=sys.stderr)
    aside = Path(tempfile.mkdtemp(prefix=f"{cache.name}.", dir=cache.parent))
    try:
        checksums = {}
        for split in source.counts:
            images = canonical(locate.read(source, layout, split), proportional=True)
            np.save(aside / f"{split}-pixels.npy", images.pixels)
            np.save(aside / f"{split}-labels.npy", images.labels)
            checksums[split] = [_checksum(array) for array in images]
        index = {"format": FORMAT, "stamp": stamp, "splits": checksums}
        (aside / "index.json").write_text(json.dumps(index))
        aside.chmod(0o755)
        if cache.exists():  # of other files, or of an older format
            cache.rename(aside / "old")
        aside.rename(cache)
        shutil.rmtree(cache / "old", ignore_errors=True)
        splits = _read(cache, source, stamp)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    assert splits is not None
    return splits
