"""The cache of decoded images."""

import random
from pathlib import Path

import numpy as np
import pytest


def test_damaged_caches_are_rebuilt_wherever_the_damage_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every byte of the headers, and some of the rest: the same images, or a message."""
    from lpwd.inputs import cache, locate, sources
    from lpwd.inputs.images import Images

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
