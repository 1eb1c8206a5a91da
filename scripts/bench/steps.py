"""The optimizer's step, a training step, and its memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import lpwd
from lpwd.config.paths import ROOT
from lpwd.inputs import models
from scripts.bench.measure import DEVICE, Row, config, side_by_side

# -- the optimizer's step -------------------------------------------------------------------------

#: AdamW and SGD with their own decay: what a decay costs that torch fuses into its step.
FUSED = {"adam": torch.optim.AdamW, "sgdm": torch.optim.SGD}
STEP_MUST = {"adam": "≤ 1.35", "sgdm": "≤ 1.45"}


def bench_step() -> Iterator[Row]:
    """The step and its decay pass, wherever it runs, over ConvNeXt-T's weights.

    Both of a pair step the same weights: where these lie in memory shows in the seconds.
    """
    for name in FUSED:
        against = f"fused {FUSED[name].__name__}"
        for method in ("wd", "rwd", "pwd", "lpwd"):
            must = "≤ 1.05" if (method, name) == ("wd", "adam") else STEP_MUST[name]
            model = _with_gradients()
            pair = _step(model, method, name), _step(model, "torch", name)
            yield side_by_side("optimizer step", f"{name} {method}", against, must, *pair)
        pair = _step(_with_gradients(), "lpwd", name), _step(_with_gradients(), "pwd", name)
        yield side_by_side("optimizer step", f"{name} lpwd", f"{name} pwd", "≤ 1.05", *pair)


def _with_gradients() -> nn.Module:
    """ConvNeXt-T with gradients that stay."""
    model = models.create(config("model=convnext_tiny", "model.pretrained=false").model, 100)
    model = cast(nn.Module, model.to(DEVICE, memory_format=torch.channels_last))  # pyright: ignore
    for p in model.parameters():
        p.grad = torch.randn_like(p) * 1e-3
    return model


def _step(model: nn.Module, method: str, name: str) -> Callable[[], Any]:
    """A step of the model by torch's own decay, or by ours."""
    momentum: Any = {"momentum": 0.9} if name == "sgdm" else {}
    own = {"weight_decay": 0.01} if method == "torch" else {}
    kind: Any = FUSED[name] if method == "torch" or name == "sgdm" else torch.optim.Adam
    optimizer = kind(model.parameters(), lr=1e-5, fused=True, **momentum, **own)
    if method == "torch":
        return optimizer.step
    decay = lpwd.WeightDecay(optimizer, model, method, 0.01)

    def step() -> None:
        decay.before_forward()
        optimizer.step()

    return step


# -- a training step, an epoch --------------------------------------------------------------------


def bench_training() -> Iterator[Row]:
    """A whole training step with LPWD, against the same loop with torch's AdamW."""
    cases = [("convnext_micro", 64, 60), ("swin_micro", 64, 60), ("convnext_tiny", 512, 4)]
    for model, batch, turns in cases:
        x, y = torch.randn(batch, 3, 32, 32, device=DEVICE), torch.zeros(batch, device=DEVICE)
        x, y = x.to(memory_format=torch.channels_last), y.long()
        ours, theirs = (training_loop(model, x, y, method) for method in ("lpwd", "torch"))
        case = f"{model}, batch {batch}"
        yield side_by_side("training step", case, "AdamW", "≤ 1.02", ours, theirs, turns)


def training_loop(name: str, x: Tensor, y: Tensor, method: str) -> Callable[[], Any]:
    torch.manual_seed(0)
    model = models.create(config(f"model={name}", "model.pretrained=false").model, 100)
    model = cast(nn.Module, model.to(DEVICE, memory_format=torch.channels_last))  # pyright: ignore
    kind = torch.optim.AdamW if method == "torch" else torch.optim.Adam
    own: Any = {"weight_decay": 0.01} if method == "torch" else {}
    optimizer = kind(model.parameters(), lr=1e-4, fused=True, **own)
    if method != "torch":
        lpwd.WeightDecay(optimizer, model, method, 0.01)

    def step() -> None:
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


# -- memory ---------------------------------------------------------------------------------------

MEMORY = [
    *[("convnext_micro", batch) for batch in (64, 256, 1024)],
    *[("swin_micro", batch) for batch in (64, 256, 1024)],
    *[("convnext_tiny", batch) for batch in (64, 256, 512)],
]


def bench_memory() -> Iterator[Row]:
    """The peak memory of a training process by model and batch, each in a process of its own."""
    for model, batch in MEMORY:
        command = [sys.executable, "-m", "scripts.bench", "--peak", model, str(batch)]
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        yield Row("peak memory", f"GB, {model}, batch {batch}", "–", float(done.stdout), "")


def peak(model: str, batch: int) -> float:
    """GB that three steps with LPWD took at most, imports included; on a GPU, the GPU's.

    Not getrusage's maximum: a child process begins with its parent's.
    """
    x = torch.randn(batch, 3, 32, 32, device=DEVICE).to(memory_format=torch.channels_last)
    step = training_loop(model, x, torch.zeros(batch, dtype=torch.long, device=DEVICE), "lpwd")
    for _ in range(3):
        step()
    if DEVICE.type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    lines = Path("/proc/self/status").read_text().splitlines()
    kilobytes = next(line.split()[1] for line in lines if line.startswith("VmHWM"))
    return int(kilobytes) * 1024 / 1e9
