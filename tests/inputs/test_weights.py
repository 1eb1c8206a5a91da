"""Weights that do not fit, are damaged or are not there; and what identifies them."""

import pickle

import pytest
import safetensors.torch
import torch
from faults import Hostile
from omegaconf import OmegaConf
from small import model_config as config

from lpwd.config.errors import ConfigError
from lpwd.config.paths import ROOT
from lpwd.inputs import models, weights


@pytest.fixture
def micro_state():
    return models.create(config("convnext_micro"), 10).state_dict()


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"stages.1.blocks.0.mlp.fc1.bias": None}, r"lacks stages\.1\.blocks\.0\.mlp\.fc1\.bias:"),
        ({"stem.9.weight": torch.zeros(3)}, r"has a surplus stem\.9\.weight:"),
        ({"stem.0.bias": torch.zeros(3)}, r"misfits in stem\.0\.bias:"),
        ({"stem.0.bias": None, "stem.0.weight": None}, r"lacks stem\.0\.bias and 1 more:"),
    ],
)
def test_anything_missing_or_surplus_is_named(tmp_path, micro_state, change, fault):
    state = {name: t for name, t in {**micro_state, **change}.items() if t is not None}
    file = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(state, file)
    with pytest.raises(ConfigError, match=fault):
        models.create(config("convnext_micro", pretrained=str(file)), 10)


@pytest.mark.parametrize(
    ("name", "other", "fault"),
    [
        ("convnext_micro", "swin_micro", "does not hold weights of this model"),
        ("swin_micro", "convnext_micro", "it is of another model"),
        ("convnext_micro32", "convnext_micro", "it is of another model"),
    ],
)
def test_weights_of_another_model(name, other, fault):
    with pytest.raises(ConfigError, match=rf"weights/{other}\.safetensors .*{fault}"):
        models.create(config(name, pretrained=f"weights/{other}.safetensors"), 10)


def test_damaged_and_hostile_files(tmp_path, micro_state):
    damaged = tmp_path / "weights.safetensors"
    damaged.write_bytes(safetensors.torch.save(micro_state)[:-100])
    hostile = tmp_path / "weights.pth"
    hostile.write_bytes(pickle.dumps({"model": Hostile(tmp_path / "owned")}))
    for file in (damaged, hostile):
        with pytest.raises(ConfigError, match=f"{file} does not hold weights of this model"):
            models.create(config("convnext_micro", pretrained=str(file)), 10)
    assert not (tmp_path / "owned").exists()


def copied(tmp_path, hubs):
    """Weights of the repository with their checksum in a file beside them, or as their name."""
    ours = ROOT / "weights" / "convnext_micro.safetensors"
    checksum = ours.with_suffix(".sha256")
    if hubs:  # in the hub's cache a file is a link, its target named by its checksum
        file = tmp_path / checksum.read_text().split()[0]
        file.write_bytes(ours.read_bytes())
        (tmp_path / "model.safetensors").symlink_to(file)
        return file, tmp_path / "model.safetensors"
    file = tmp_path / ours.name
    file.write_bytes(ours.read_bytes())
    file.with_suffix(".sha256").write_bytes(checksum.read_bytes())
    return file, file


@pytest.mark.parametrize("hubs", [False, True])
def test_one_flipped_bit_in_weights_is_noticed(tmp_path, hubs):
    file, named = copied(tmp_path, hubs)
    models.create(config("convnext_micro", pretrained=str(named)), 10)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1  # amid the tensors: the file's own format does not notice
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"{file} is damaged \(its checksum differs\); re"):
        models.create(config("convnext_micro", pretrained=str(named)), 10)


def test_a_file_that_is_not_there():
    with pytest.raises(ConfigError, match=r"there is no weights file nowhere\.pth; give its path"):
        models.create(config("convnext_micro", pretrained="nowhere.pth"), 10)


def test_weights_id(tmp_path):
    assert weights.weights_id(config("convnext_tiny")) == "convnext_tiny.fb_in22k"
    assert weights.weights_id(config("convnext_tiny", pretrained=False)) == "scratch"
    assert weights.weights_id(config("convnext_micro", pretrained=False)) == "scratch"
    file = tmp_path / "weights.pth"
    file.write_bytes(b"some")
    first = weights.weights_id(config("convnext_micro", pretrained=str(file)))
    assert first == "sha256:a6b46dd0d1ae5e86"
    file.write_bytes(b"other")
    assert weights.weights_id(config("convnext_micro", pretrained=str(file))) != first
    plain = OmegaConf.to_container(config("convnext_micro", pretrained=str(file)))
    assert weights.weights_id(plain) == weights.weights_id(
        config("convnext_tiny", pretrained=str(file))
    )
