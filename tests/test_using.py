"""docs/using.md: every block of code on it runs, and decays once a step."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import REPOSITORY
from torch import distributed
from torch.optim.optimizer import register_optimizer_step_post_hook

import lpwd

PAGE = (REPOSITORY / "docs" / "using.md").read_text()
SETUP, *BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
FRAMEWORKS = ("lightning", "transformers", "accelerate", "timm")
#: What trains the model of a block that only attaches a decay.
LOOP = """
for x, y in loader:
    F.cross_entropy(model(x), y).backward()
    optimizer.step()
    optimizer.zero_grad()
"""
torch.set_num_threads(1)


def title(block: str) -> str:
    """The heading that it stands under."""
    return re.findall(r"^#+ (.+)$", PAGE[: PAGE.index(block)], re.MULTILINE)[-1]


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """Steps of optimizers, and decays."""
    counts = {"steps": 0, "decays": 0}
    decay: Any = lpwd.WeightDecay._decay

    def counted(self: Any, done: Any, groups: Any) -> None:
        counts["decays"] += 1
        decay(self, done, groups)

    def stepped(*args: Any) -> None:
        counts["steps"] += 1

    monkeypatch.setattr(lpwd.WeightDecay, "_decay", counted)
    hook = register_optimizer_step_post_hook(stepped)
    yield counts
    hook.remove()


@pytest.fixture
def _a_world_of_one(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What torchrun sets for one process."""
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_PORT", "0")
    yield
    if distributed.is_initialized():
        distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("_a_world_of_one")
@pytest.mark.parametrize("block", BLOCKS, ids=title)
def test_a_block_runs(
    block: str,
    counts: dict[str, int],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in FRAMEWORKS:
        if f"from {name}" in block or f"import {name}" in block:
            pytest.importorskip(name, reason="pip install 'lpwd[examples]'")
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names: dict[str, Any] = {"__name__": "block"}
    exec(SETUP, names)
    exec(block, names)
    if "print(" in block:
        assert f"```text\n{capsys.readouterr().out}```" in PAGE
    if not counts["steps"]:
        exec(LOOP, names)
    assert counts["decays"] == counts["steps"] > 0
    net = names["model"].eval()
    with torch.no_grad():
        logits = getattr(net, "net", net)(names["digits"].tensors[0])
    assert (logits.argmax(1) == names["labels"]).float().mean() > 0.6
