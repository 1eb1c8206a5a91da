"""Pretraining: stopped and resumed it gives the same weights, and they load where they are used."""

import dataclasses
import hashlib
import importlib.util
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors
import safetensors.torch
import torch
from hydra import compose, initialize_config_dir
from PIL import Image

from lpwd.config.errors import ConfigError
from lpwd.inputs import models, sources

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def pretrain():
    spec = importlib.util.spec_from_file_location("pretrain", ROOT / "scripts" / "pretrain.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def config(monkeypatch, tmp_path):
    """The real command's config, on two bright and dark classes of a few images."""
    counts = {"train": 64, "val": 20}
    source = dataclasses.replace(sources.SOURCES["tiny_imagenet"], classes=2, counts=counts)
    monkeypatch.setitem(sources.SOURCES, "tiny_imagenet", source)
    monkeypatch.setenv("LPWD_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for split, count in counts.items():
        for i in range(count):
            folder = tmp_path / "data" / "tiny_imagenet" / split / f"n{i % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 128, (64, 64, 3), np.uint8) + np.uint8(127 * (i % 2))
            Image.fromarray(pixels).save(folder / f"{i}.png")

    def composed(name, *changes):
        overrides = [
            "model.kwargs={depths: [1, 1, 1, 1], dims: [8, 8, 16, 16]}",
            f"data.root={tmp_path / 'data'}",
            f"work={tmp_path / name}",
            f"out={tmp_path / name}",
            *("data.classes=2", "epochs=3", "batch_size=16", "lr=1e-2", "device=cpu"),
        ]
        with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
            return compose("pretrain", overrides=[*overrides, *changes])

    return composed


def test_stopped_and_resumed_gives_the_same_weights(pretrain, config, tmp_path, monkeypatch):
    pretrain.main(config("whole"))
    whole = tmp_path / "whole" / "convnext_micro.safetensors"
    with safetensors.safe_open(whole, "pt") as file:
        metadata = file.metadata()
    assert float(metadata["val_top1"]) == 100
    assert json.loads(metadata["recipe"])["epochs"] == 3
    assert metadata["commit"]
    log = pd.read_csv(whole.with_suffix(".csv"))
    assert list(log) == ["epoch", "lr", "train_loss", "val_top1", "seconds"]
    assert log.epoch.tolist() == [1, 2, 3]
    assert log.train_loss.is_monotonic_decreasing
    digest = hashlib.sha256(whole.read_bytes()).hexdigest()
    assert whole.with_suffix(".sha256").read_text() == f"{digest}  {whole.name}\n"

    saves = pretrain.Checkpoint.save

    def stopped(checkpoint, trainer):
        if len(trainer.rows) == 2:
            raise KeyboardInterrupt
        saves(checkpoint, trainer)

    with monkeypatch.context() as patch:
        patch.setattr(pretrain.Checkpoint, "save", stopped)
        with pytest.raises(KeyboardInterrupt):
            pretrain.main(config("resumed"))
    pretrain.main(config("resumed"))
    resumed = tmp_path / "resumed" / "convnext_micro.safetensors"
    one, other = (safetensors.torch.load_file(path) for path in (whole, resumed))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert all(tensor.dtype == torch.float16 for tensor in one.values())

    with pytest.raises(ConfigError, match="made with another recipe; remove it"):
        pretrain.main(config("resumed", "lr=1e-3"))

    model = config("whole", f"model.pretrained={whole}").model
    loaded = models.create(model, 7).state_dict()
    assert loaded["head.fc.weight"].shape == (7, 16)
    assert all(tensor.dtype == torch.float32 for tensor in loaded.values())
    name = "stages.2.blocks.0.mlp.fc1.weight"
    assert torch.equal(loaded[name], one[name].float())


def test_views_are_the_image_shifted_and_flipped(pretrain, config):
    cfg = config("views", "batch_size=4")
    pixels = torch.arange(8 * 32 * 32 * 3).reshape(8, 32, 32, 3)
    labels = torch.arange(8)
    batches = list(pretrain.augmented(pixels, labels, cfg, 1))
    assert sorted(torch.cat([y for _, y in batches]).tolist()) == list(range(8))
    for views, y in batches:
        for view, label in zip(views, y, strict=True):
            columns = (view[16, :, 0] - pixels[label, 16, 0, 0]) // 3
            rows = (view[:, 16, 0] - view[16, 16, 0]) // 96
            steps = {int(step) for step in columns.diff()}
            assert steps in ({0, 1}, {1}, {0, -1}, {-1})  # from left to right or flipped
            assert {int(step) for step in rows.diff()} <= {0, 1}
            assert (columns.diff() == 0).sum() <= 4
    again = list(pretrain.augmented(pixels, labels, cfg, 1))
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(batches, again, strict=True))
