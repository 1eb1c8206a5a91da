"""Models from every kind of weights, and what is said about weights that do not fit."""

import os
import pickle
import subprocess
import sys
import threading
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants
import pytest
import safetensors
import safetensors.torch
import timm
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from timm.layers import resize_rel_pos_bias_table

import lpwd
from lpwd.config.errors import ConfigError
from lpwd.inputs import data, models, weights
from lpwd.inputs.loaders import DeviceBatches

ROOT = Path(__file__).resolve().parents[2]
MICRO = sorted(path.stem for path in (ROOT / "weights").glob("*.safetensors"))
FULL = {
    "convnext_tiny": 384,
    "swin_tiny": 224,
}  # side of the weights' own images, for Swin's tables


def config(name, **changes):
    model = OmegaConf.load(ROOT / "configs" / "model" / f"{name}.yaml")
    return OmegaConf.create({"data": {"side": 32}, "model": OmegaConf.merge(model, changes)}).model


def same(model, state, *, but="head.fc"):
    return all(
        torch.equal(tensor, state[name])
        for name, tensor in model.state_dict().items()
        if not name.startswith(but)
    )


@pytest.fixture
def offline(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


@pytest.fixture(scope="session")
def in22k(tmp_path_factory):
    """Files in the format of the real ImageNet-21k weights: 21,841 classes, tables for 224 px."""

    @cache
    def write(name):
        torch.manual_seed(0)
        kwargs = {} if name.startswith("convnext") else {"img_size": 224}
        net = timm.create_model(config(name).arch, num_classes=21841, **kwargs)
        path = tmp_path_factory.mktemp("weights") / f"{name}.safetensors"
        safetensors.torch.save_file(net.state_dict(), path, {"format": "pt"})
        return path

    return write


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
    assert same(net, {key: tensor.float() for key, tensor in tensors.items()})
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 100)
    assert weights.weights_id(model).startswith("sha256:")


def test_the_committed_weights_are_those_of_the_configs():
    """One for each micro model, and 20 MB in all at the most."""
    files = list((ROOT / "weights").glob("*.safetensors"))
    micro = [OmegaConf.load(path) for path in (ROOT / "configs" / "model").glob("*micro*.yaml")]
    assert {file.name for file in files} == {Path(model.weights).name for model in micro}
    assert sum(file.stat().st_size for file in files) < 20e6


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
    assert same(net, state)


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
    assert same(net, reference.state_dict())


# -- weights that do not fit ----------------------------------------------------------------------


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


class Hostile:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


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
    """Weights of the repository with what tells their checksum: a file beside, or their name."""
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


@pytest.mark.parametrize("name", MICRO)
def test_the_repositorys_weights_are_whole(name):
    weights.check_intact(ROOT / "weights" / f"{name}.safetensors")
    assert (ROOT / "weights" / f"{name}.sha256").exists()


def test_a_file_that_is_not_there():
    with pytest.raises(ConfigError, match=r"there is no weights file nowhere\.pth; give its path"):
        models.create(config("convnext_micro", pretrained="nowhere.pth"), 10)


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


# -- the hub --------------------------------------------------------------------------------------


def test_the_hub_offline(offline):
    with pytest.raises(
        ConfigError, match=r"convnext_tiny\.fb_in22k are not cached .*HF_HUB_OFFLINE"
    ):
        models.create(config("convnext_tiny"), 10)


def test_the_hubs_cache_is_enough(offline, in22k):
    repo = offline / "models--timm--convnext_tiny.fb_in22k"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("abc")
    (repo / "snapshots" / "abc").mkdir(parents=True)
    (repo / "snapshots" / "abc" / "model.safetensors").symlink_to(in22k("convnext_tiny"))
    net = models.create(config("convnext_tiny"), 100)
    assert same(net, safetensors.torch.load_file(in22k("convnext_tiny")))


class Hub(BaseHTTPRequestHandler):
    """As much of the Hugging Face hub as a download asks for."""

    content = b"eight by"

    def do_HEAD(self):
        known = self.path in ("/", "/timm/model/resolve/main/model.safetensors")
        self.send_response(200 if known else 404)
        self.send_header("X-Repo-Commit", "a" * 40)
        self.send_header("ETag", '"etag"')
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()

    def do_GET(self):
        self.do_HEAD()
        self.wfile.write(self.content)

    def log_message(self, *_):
        pass


def test_a_download_from_the_endpoint_that_is_set(tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    lines = "from lpwd.inputs import hub;"
    lines += " print(hub.fetch('timm/model', 'model.safetensors').read_text())"
    address = f"http://127.0.0.1:{server.server_port}"
    path = os.pathsep.join([str(ROOT), *sys.path])
    online = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": address}
    env = {**online, "HF_HOME": str(tmp_path), "PYTHONPATH": path}

    def fetch(code):
        return subprocess.run(
            [sys.executable, "-c", code],
            env=env, capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    assert fetch(lines).stdout == "eight by\n"
    missing = fetch(lines.replace("model.safetensors", "other.bin")).stderr.splitlines()[-1]
    assert missing.startswith("lpwd.inputs.hub.HubError: timm/model/other.bin: ")
    server.shutdown()
    assert fetch(lines).stdout == "eight by\n"  # from the cache


# -- what identifies the weights ------------------------------------------------------------------


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
