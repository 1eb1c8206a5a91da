"""What is recorded of a run: its epochs, its summary, what it was made with."""

from __future__ import annotations

import math
import platform
from datetime import UTC, datetime
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn

import lpwd
from lpwd.config.machine import autocast, device_name
from lpwd.config.paths import ROOT
from lpwd.inputs.loaders import DeviceBatches
from lpwd.store import identity, run_file
from lpwd.store.summary import summarize
from lpwd.training.build import Training


@cache
def commit() -> str:
    """The repository's commit, with + where files differ from it; "unknown" without git."""
    import subprocess

    def git(*args: str) -> str:
        try:
            done = subprocess.run(["git", "-C", ROOT, *args], capture_output=True, text=True)
        except OSError:  # there is no such program
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    head = git("rev-parse", "--short=10", "HEAD")
    return head + "+" * bool(git("status", "--porcelain", "-uno")) if head else "unknown"


def epoch_row(t: Training) -> dict[str, Any]:
    """What is recorded of an epoch; accuracies in percent, NaN after a divergence."""
    nan = float("nan")
    images = min(t.loader.count, len(t.loader) * t.loader.batch_size)  # fewer with drop_last
    train_loss = float(t.loss_sum) / images
    row = {
        "epoch": t.epoch,
        "train_loss": train_loss,
        **dict.fromkeys(("test_top1", "test_a_top1", "test_b_top1", "heldout_top1"), nan),
        **dict.fromkeys(("r_op_share", "r_op_size"), nan),
        "r_op_share_layers": [],
        "r_op_size_layers": [],
        "weight_norm": weight_norm(t.model),
    }
    if t.opposing:
        rates = t.opposing.compute()
        t.opposing.reset()
        row.update(r_op_share=rates.share, r_op_size=rates.size)
        row.update(r_op_share_layers=rates.layer_share, r_op_size_layers=rates.layer_size)
    if math.isfinite(train_loss):
        test = correct(t, t.test)
        row.update(test_top1=percent(test))
        row.update(test_a_top1=percent(test[0::2]), test_b_top1=percent(test[1::2]))
        if len(t.heldout):
            row.update(heldout_top1=percent(correct(t, t.heldout)))
    return row


@torch.inference_mode()
def correct(t: Training, batches: DeviceBatches, limit: int | None = None) -> np.ndarray:
    """Which of the (first `limit`) images are classified correctly: bool [N]."""
    t.forward.eval()
    hits = []
    precision = autocast(t.cfg, t.device)
    for x, y in batches.first(limit):
        with precision:
            hits.append(t.forward(x).argmax(1) == y)
    return torch.cat(hits).cpu().numpy()


def percent(hits: np.ndarray) -> float:
    return 100.0 * float(hits.mean())


def weight_norm(model: nn.Module) -> float:
    """‖θ‖₂ over all parameters."""
    norms = torch._foreach_norm([p.detach() for p in model.parameters()])
    return float(torch.linalg.vector_norm(torch.stack(list(norms))))


@torch.no_grad()
def zero_shot(t: Training, steps: int = 100) -> list[float]:
    """Test top-1 while the trained weights decay to 0 without training, s = 0…steps (Eq. 12)."""
    parameters = [p.detach() for p in t.model.parameters()]
    weights = torch._foreach_clone(parameters)
    curve = []
    for s in range(steps + 1):
        decayed = torch._foreach_sub(weights, torch._foreach_mul(weights, s / steps))
        torch._foreach_copy_(parameters, decayed)
        curve.append(percent(correct(t, t.test, t.cfg.scale.zero_shot_images)))
    torch._foreach_copy_(parameters, weights)
    return curve


def finish(t: Training, run: str, settings: identity.Settings) -> run_file.Record:
    """The record of a trained run, as the store keeps it."""
    pretrained, last = t.cfg.model.pretrained, t.rows[-1]
    named = isinstance(pretrained, bool)
    summary = {
        "pretrained": str(pretrained).lower() if named else settings["model"]["weights"],
        "train_images": t.loader.count,
        "status": "diverged" if t.diverged else "done",
        "diverged_epoch": last["epoch"] if t.diverged else None,
        "steps": len(t.rows) * len(t.loader),
        **summarize(t.rows, t.cfg.scale.epochs),
        "seconds": sum(row["seconds"] for row in t.rows),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        **versions(t),
    }
    wants_curve = t.cfg.decay.method == "baseline" and not t.diverged
    return {
        "hash": run,
        "settings": settings,
        "summary": summary,
        "epochs": t.rows,
        "zero_shot": zero_shot(t) if wants_curve else [],
    }


def versions(t: Training) -> dict[str, Any]:
    """What the numbers were computed with."""
    import timm

    on_gpu, machine = t.device.type == "cuda", t.cfg.machine
    return {
        "device": device_name(t.device),
        "threads": t.cfg.machine.threads,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "timm": timm.__version__,
        "lpwd": lpwd.__version__,
        "commit": commit(),
        # In run.json alone: younger than stored runs.
        "cuda": torch.version.cuda if on_gpu else None,
        "cudnn": _cudnn_version() if on_gpu else None,
        **{key: machine[key] for key in ("deterministic", "compile", "channels_last")},
    }


def _cudnn_version() -> int | None:
    try:
        return torch.backends.cudnn.version()
    except RuntimeError:  # of another version than torch was built with: no reason to lose a run
        return None
