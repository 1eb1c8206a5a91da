"""The cache of decoded images: read again, rebuilt when files change or it is damaged."""

import os
import random
import resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from data_sets import encoded, load, same, write_folders, write_parquet

from lpwd.config.errors import ConfigError
from lpwd.inputs import cache, locate, sources
from lpwd.inputs.images import Images


def test_the_cache_is_read_again_without_decoding(small, tmp_path, monkeypatch):
    write_parquet(tmp_path / "a")
    first = load(tmp_path / "a")
    monkeypatch.setattr(locate, "read", None)  # decoding again would fail
    assert same(first, load(tmp_path / "a"))
    assert isinstance(first.train.pixels, np.memmap)
    assert not first.train.pixels.flags.writeable


def test_of_runs_started_at_once_one_decodes(small, tmp_path, monkeypatch):
    write_parquet(tmp_path / "a")
    reads, read = [], locate.read
    monkeypatch.setattr(locate, "read", lambda *args: reads.append(args[2]) or read(*args))
    with ThreadPoolExecutor(4) as pool:
        loaded = list(pool.map(load, [tmp_path / "a"] * 4))
    assert all(same(loaded[0], other) for other in loaded)
    assert sorted(reads) == ["test", "train"]


def test_a_damaged_cache_is_set_aside_and_rebuilt(small, tmp_path, capsys):
    write_parquet(tmp_path / "a")
    first = [Images(*map(np.array, part)) for part in load(tmp_path / "a")]
    folder = cache.cache_dir(tmp_path / "a")
    for name in ("train-pixels.npy", "test-labels.npy", "index.json"):
        file = folder / "cifar10" / name
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
        capsys.readouterr()
        assert same(first, load(tmp_path / "a"))
        assert f"{folder / 'cifar10'} is damaged" in capsys.readouterr().err
        assert (folder / "cifar10.damaged" / name).read_bytes() == content
        (folder / "cifar10" / "test-pixels.npy").unlink()
        assert same(first, load(tmp_path / "a"))


def test_other_files_under_the_root_are_decoded_anew(small, tmp_path):
    write_parquet(tmp_path / "a")
    load(tmp_path / "a")
    (tmp_path / "a" / "test-00000-of-00001.parquet").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="damaged"):
        load(tmp_path / "a")
    write_parquet(tmp_path / "a", fmt="WEBP")
    assert len(load(tmp_path / "a").test.labels) == 12


def test_a_read_only_root_is_cached_elsewhere(monkeypatch, tmp_path):
    monkeypatch.delenv("LPWD_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    root = tmp_path / "root"
    assert cache.cache_dir(root) == root / ".lpwd"
    root.mkdir()
    root.chmod(0o555)
    assert cache.cache_dir(root).is_relative_to(tmp_path / "home" / ".cache" / "lpwd")
    monkeypatch.setenv("LPWD_CACHE", str(tmp_path / "own"))
    assert cache.cache_dir(root).is_relative_to(tmp_path / "own")


def test_damaged_caches_are_rebuilt_wherever_the_damage_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every byte of the headers, and some of the rest: the same images, or a message."""
    source = sources.SOURCES["cifar10"]
    rng = np.random.default_rng(0)
    made = {
        split: Images(rng.integers(0, 256, (20, 32, 32, 3), np.uint8), np.arange(20) % 10)
        for split in source.counts
    }
    layout = locate.Layout("parquet", {}, lambda *_: made["train"])
    monkeypatch.setattr(locate, "find", lambda *_: layout)
    monkeypatch.setattr(locate, "read", lambda _, __, split: made[split])
    monkeypatch.setenv("LPWD_CACHE", str(tmp_path))
    expected = cache.load(source, tmp_path)
    folder = cache.cache_dir(tmp_path) / "cifar10"
    draw = random.Random(0)
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        places = [*range(0, min(len(content), 128), 3), *draw.choices(range(len(content)), k=9)]
        torn = [b"", content[:1], content[:60], content[:-1]]
        for i in places:
            torn.append(content[:i] + bytes([content[i] ^ 1 << i % 8]) + content[i + 1 :])
        for damaged in torn:
            path.write_bytes(damaged)
            again = cache.load(source, tmp_path)
            for split, images in expected.items():
                assert np.array_equal(again[split].pixels, images.pixels)
                assert np.array_equal(again[split].labels, images.labels)


@pytest.mark.parametrize("where", ["cat", "cat/images", "cat/images/deeper"])
def test_an_image_rewritten_or_added_at_any_depth_is_decoded_anew(small, tmp_path, where):
    """Neither changes the time of the class's folder."""
    write_folders(tmp_path)
    folder = tmp_path / "train" / where
    folder.mkdir(parents=True, exist_ok=True)
    moved = next((tmp_path / "train" / "cat").glob("*.png")).rename(folder / "moved.png")
    times = [(path, path.stat()) for path in (folder, *folder.parents)]
    before = {p.tobytes() for p in load(tmp_path).train.pixels}
    new = np.full((32, 32, 3), 7, np.uint8)
    moved.write_bytes(encoded(new))
    (folder / "added.png").write_bytes(moved.read_bytes())
    for path, stat in times:
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(ConfigError, match="holds 25 images, not 24"):
        load(tmp_path)
    (folder / "added.png").unlink()
    after = {p.tobytes() for p in load(tmp_path).train.pixels}
    assert after - before == {new.tobytes()}
    assert len(before - after) == 1


def test_hidden_files_and_circles_of_links_are_passed_over(small, tmp_path):
    write_folders(tmp_path)
    first = load(tmp_path)
    folder = tmp_path / "train" / "cat"
    (folder / "._0.png").write_bytes(b"a Finder's")
    (folder / "circle").symlink_to(tmp_path / "train" / "cat")
    assert same(first, load(tmp_path))


def test_a_cache_that_cannot_be_written_ends_in_one_line(small, tmp_path, monkeypatch):
    write_parquet(tmp_path / "a")
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("LPWD_CACHE", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match=r"CIFAR-10 cannot be kept in .*; set LPWD_CACHE to anot"):
        load(tmp_path / "a")


def test_a_full_disk_ends_in_one_line(small, tmp_path):
    """A file may hold 50 kB here, and 24 images take 74 kB."""
    write_parquet(tmp_path / "a")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(ConfigError, match=r"CIFAR-10 cannot be kept in .*; set LPWD_CACHE"):
            load(tmp_path / "a")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(load(tmp_path / "a").train.labels) == 24
