"""Data and weights from the Hugging Face hub, its cache, or a message of how to get them."""

import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants
import pytest
import safetensors.torch
from data_sets import load, same, write_parquet
from small import holds
from small import model_config as config

from lpwd.config.errors import ConfigError
from lpwd.config.paths import ROOT
from lpwd.inputs import hub, models


@pytest.mark.parametrize(
    ("endpoint", "why"),
    [
        ("http://127.0.0.1:9", "http://127.0.0.1:9 cannot be reached"),
        ("hf-mirror.example", "HF_ENDPOINT=hf-mirror.example must begin with https://"),
        ("https://", "https:// cannot be reached"),
        (None, "HF_HUB_OFFLINE is set"),
    ],
)
def test_without_data_and_network_one_message_names_the_three_layouts(
    small, tmp_path, offline, monkeypatch, endpoint, why
):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", endpoint is None)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
    with pytest.raises(ConfigError, match=r"CIFAR-100 is not under data\.root=") as caught:
        load(tmp_path, "cifar100")
    assert "\n" not in str(caught.value)
    for part in (
        why,
        "parquet",
        f"{tmp_path}/cifar100/train-*.parquet",
        "hf download uoft-cs/cifar100",
        f"{tmp_path}/cifar-100-python/",
        "torchvision.datasets.CIFAR100(",
        f"{tmp_path}/cifar100/train/<class>/*.png",
    ):
        assert part in str(caught.value)


def test_the_hubs_files_are_used_when_nothing_is_there(small, tmp_path, monkeypatch):
    write_parquet(tmp_path / "hub")
    asked = []

    def fetch(repo, filename, repo_type):
        asked.append((repo, filename, repo_type))
        return tmp_path / "hub" / Path(filename).name

    monkeypatch.setattr(hub, "fetch", fetch)
    first = load(tmp_path / "empty")
    assert ("uoft-cs/cifar10", "plain_text/train-00000-of-00001.parquet", "dataset") in asked
    assert same(first, load(tmp_path / "hub"))
    assert same(first, load(tmp_path / "empty"))
    assert len(asked) == 2  # the second time the cache is enough


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
    assert holds(net, safetensors.torch.load_file(in22k("convnext_tiny")))


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
