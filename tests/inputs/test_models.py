"""Models from the committed weights, from full-size files, and from scratch."""

from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from small import holds
from small import model_config as config
from timm.layers import resize_rel_pos_bias_table

import lpwd
from lpwd.config.compose import scale_config
from lpwd.config.errors import ConfigError
from lpwd.config.paths import ROOT
from lpwd.inputs import data, models, weights
from lpwd.inputs.loaders import DeviceBatches

MICRO = sorted(path.stem for path in (ROOT / "weights").glob("*.safetensors"))
FULL = ("convnext_tiny", "swin_tiny")


# -- the committed weights ------------------------------------------------------------------------


@pytest.mark.parametrize("name", MICRO)
def test_the_committed_weights_load(name):
    model = config(name)
    with safetensors.safe_open(ROOT / model.weights, "pt") as file:
        metadata = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    assert all(tensor.dtype == torch.float16 for tensor in tensors.values())
    assert metadata["model"] == name
    assert float(metadata["val_top1"]) > 24
    net = models.create(model, 100)
    assert all(tensor.dtype == torch.float32 for tensor in net.state_dict().values())
    assert holds(net, {key: tensor.float() for key, tensor in tensors.items()})
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 100)
    assert weights.weights_id(model).startswith("sha256:")
    assert (ROOT / model.weights).with_suffix(".sha256").exists()


def test_the_committed_weights_are_those_of_the_configs():
    """One for each micro model, and 20 MB in all at the most."""
    files = list((ROOT / "weights").glob("*.safetensors"))
    micro = [OmegaConf.load(path) for path in (ROOT / "configs" / "model").glob("*micro*.yaml")]
    assert {file.name for file in files} == {Path(model.weights).name for model in micro}
    assert sum(file.stat().st_size for file in files) < 20e6


@pytest.mark.parametrize("scale", ["mini", "scratch"])
def test_the_tables_micro_models_have_under_a_million_weights(scale):
    """As the README says of them."""
    for name in scale_config(scale).grid.models:
        net = models.create(config(name, pretrained=False), 100)
        assert sum(p.numel() for p in net.parameters()) < 1e6


def test_the_head_is_drawn_from_torchs_seed():
    heads = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        heads.append(models.create(config("convnext_micro"), 10).head.fc.weight)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


# -- full-size weights in the real format ---------------------------------------------------------


@pytest.mark.parametrize("name", FULL)
def test_full_size_weights(in22k, name):
    file = in22k(name)
    net = models.create(config(name, pretrained=str(file)), 100)
    state = safetensors.torch.load_file(file)
    assert state["head.fc.weight"].shape[0] == 21841
    assert net.head.fc.weight.shape[0] == 100
    tables = [key for key in state if key.endswith("relative_position_bias_table")]
    resized = [k for k in tables if net.state_dict()[k].shape != state[k].shape]
    assert len(resized) == (0 if name.startswith("convnext") else 10)  # all windows but stage 1's
    for key in resized:
        window = net.get_submodule(key.rpartition(".")[0]).window_size
        state[key] = resize_rel_pos_bias_table(state[key], window, net.state_dict()[key].shape)
    assert holds(net, state)


@pytest.mark.parametrize("method", ["baseline", "l2", "wd", "rwd", "pwd", "lpwd"])
@pytest.mark.parametrize("name", FULL)
def test_real_steps_of_full_size_models_on_real_images(in22k, real_data, name, method):
    cfg = {"name": "cifar100", "root": str(real_data), "classes": 100, "side": 32}
    cfg = OmegaConf.create(cfg)
    wanted = OmegaConf.create({"train": 16, "heldout": 0, "test": 1})
    images = data.load(cfg, wanted).train
    norm = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    ((x, y),) = DeviceBatches(images, batch_size=16, device="cpu", **norm)
    torch.manual_seed(0)
    net = models.create(config(name, pretrained=str(in22k(name)), kwargs=kwargs(name)), 100)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)
    decay = lpwd.WeightDecay(optimizer, net, method=method, rate=0.01)
    losses = []
    for _ in range(4):
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    decay.remove()
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] - 0.3


def kwargs(name):
    """The loss of four steps falls surely only without drop path."""
    return {**config(name).kwargs, "drop_path_rate": 0.0}


def test_pth_files_and_the_original_names(tmp_path):
    """Facebook's own ConvNeXt checkpoints: {"model": …} with other names for the same tensors."""
    reference = models.create(config("convnext_micro"), 10)
    renamed = {}
    for name, tensor in reference.state_dict().items():
        for new, old in (
            ("stem.", "downsample_layers.0."),
            ("head.norm.", "norm."),
            ("head.fc.", "head."),
            ("conv_dw", "dwconv"),
            ("mlp.fc", "pwconv"),
            (".blocks.", "."),
        ):
            name = name.replace(new, old)
        if ".downsample." in name:
            stage, rest = name.removeprefix("stages.").split(".downsample.")
            name = f"downsample_layers.{stage}.{rest}"
        renamed[name] = tensor
    torch.save({"model": renamed}, tmp_path / "weights.pth")
    net = models.create(config("convnext_micro", pretrained=str(tmp_path / "weights.pth")), 10)
    assert holds(net, reference.state_dict())


@pytest.mark.parametrize(
    ("arch", "fault"),
    [
        ("convnext_tini", "did you mean 'convnext_tiny'"),
        ("convnext_tiny.fb_in22", r"did you mean 'convnext_tiny\.fb_in22k"),
    ],
)
def test_unknown_names_suggest_the_nearest(arch, fault):
    for use in (lambda model: models.create(model, 10), weights.weights_id):
        with pytest.raises(ConfigError, match=f"model.arch={arch} is unknown; {fault}"):
            use(config("convnext_tiny", arch=arch))


def test_arguments_that_the_model_does_not_have():
    model = config("convnext_micro", kwargs={"widths": [1]}, pretrained=False)
    with pytest.raises(ConfigError, match=r"model\.kwargs do not fit convnext_tiny: .*widths"):
        models.create(model, 10)
