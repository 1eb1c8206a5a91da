"""The optimizer's step, a training step, and its memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

import lpwd
from lpwd.config.paths import ROOT
from lpwd.inputs import models
from scripts.bench.measure import DEVICE, Row, config, side_by_side

#: AdamW and SGD with their own decay: what a decay costs that torch fuses into its step.
FUSED = {"adam": torch.optim.AdamW, "sgdm": torch.optim.SGD}
STEP_MUST = {"adam": "≤ 1.35", "sgdm": "≤ 1.45"}


def bench_step() -> Iterator[Row]:
    """The step and its decay pass, wherever it runs, over ConvNeXt-T's weights.

    Both of a pair step the same weights: where these lie in memory shows in the seconds.
    """
    for name, fused in FUSED.items():
        for method in ("wd", "rwd", "pwd", "lpwd"):
            must = "≤ 1.05" if (method, name) == ("wd", "adam") else STEP_MUST[name]
            model, against = _with_gradients(), f"fused {fused.__name__}"
            pair = _step(model, method, name), _step(model, "torch", name)
            yield side_by_side("optimizer step", f"{name} {method}", against, must, *pair)
        if name == "adam":
            model = _with_gradients()
            pair = _step(model, "wd", name, profile="linear"), _step(model, "torch", name)
            yield side_by_side("optimizer step", "adam wd × linear", "fused AdamW", "≤ 1.20", *pair)
        pair = _step(_with_gradients(), "lpwd", name), _step(_with_gradients(), "pwd", name)
        yield side_by_side("optimizer step", f"{name} lpwd", f"{name} pwd", "≤ 1.05", *pair)


def _with_gradients() -> nn.Module:
    """ConvNeXt-T with gradients that stay."""
    model = _model("convnext_tiny")
    for p in model.parameters():
        p.grad = torch.randn_like(p) * 1e-3
    return model


def _model(name: str) -> nn.Module:
    model: Any = models.create(config(f"model={name}", "model.pretrained=false").model, 100)
    return model.to(DEVICE, memory_format=torch.channels_last)


def _step(
    model: nn.Module, method: str, name: str = "adam", profile: str | None = None
) -> Callable[[], Any]:
    """A step of the model by torch's own decay, or by ours with the pass before a forward."""
    momentum: Any = {"momentum": 0.9} if name == "sgdm" else {}
    own = {"weight_decay": 0.01} if method == "torch" else {}
    kind: Any = FUSED[name] if method == "torch" or name == "sgdm" else torch.optim.Adam
    optimizer = kind(model.parameters(), lr=1e-5, fused=True, **momentum, **own)
    if method == "torch":
        return optimizer.step
    decay = lpwd.WeightDecay(optimizer, model, method, 0.01, profile=profile)

    def step() -> None:
        decay.before_forward()
        optimizer.step()

    return step


# -- a training step ------------------------------------------------------------------------------


def bench_training() -> Iterator[Row]:
    """A whole training step with LPWD, against the same loop with torch's AdamW."""
    cases = [("convnext_micro", 64, 60), ("swin_micro", 64, 60), ("convnext_tiny", 512, 4)]
    for model, batch, turns in cases:
        pair = _training_step(model, batch, "lpwd"), _training_step(model, batch, "torch")
        case = f"{model}, batch {batch}"
        yield side_by_side("training step", case, "AdamW", "≤ 1.02", *pair, turns)


def _training_step(name: str, batch: int, method: str) -> Callable[[], Any]:
    torch.manual_seed(0)
    x = torch.randn(batch, 3, 32, 32, device=DEVICE).to(memory_format=torch.channels_last)
    y = torch.zeros(batch, dtype=torch.long, device=DEVICE)
    model = _model(name)
    step = _step(model, method)

    def training_step() -> None:
        F.cross_entropy(model(x), y).backward()
        step()
        model.zero_grad()

    return training_step


# -- memory ---------------------------------------------------------------------------------------

MEMORY = {
    "convnext_micro": (64, 256, 1024),
    "swin_micro": (64, 256, 1024),
    "convnext_tiny": (64, 256, 512),
}


def bench_memory() -> Iterator[Row]:
    """The peak memory of a training process by model and batch, each in a process of its own."""
    for model, batches in MEMORY.items():
        for batch in batches:
            code = f"from scripts.bench import steps; print(steps.peak({model!r}, {batch}))"
            command = [sys.executable, "-c", code]
            done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
            yield Row("peak memory", f"GB, {model}, batch {batch}", "–", float(done.stdout))


def peak(model: str, batch: int) -> float:
    """GB that three steps with LPWD took at most, imports included; on a GPU, the GPU's.

    Not getrusage's maximum: a child process begins with its parent's.
    """
    torch.set_num_threads(1)
    step = _training_step(model, batch, "lpwd")
    for _ in range(3):
        step()
    if DEVICE.type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    lines = Path("/proc/self/status").read_text().splitlines()
    kilobytes = next(line.split()[1] for line in lines if line.startswith("VmHWM"))
    return int(kilobytes) * 1024 / 1e9
