"""Pretrain a micro model on Tiny-ImageNet-200 at 32×32 and export its weights in half precision.

python scripts/pretrain.py model=convnext_micro

AdamW, warm-up and cosine, label smoothing, shifted crops and flips; configs/pretrain.yaml holds the
numbers. Stopped at any time, the same command goes on from the last whole epoch.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import hydra
import pandas as pd
import safetensors.torch
import timm.optim
import torch
import torch.nn.functional as F
from omegaconf import DictConfig, OmegaConf
from timm.scheduler.cosine_lr import CosineLRScheduler
from torch import Tensor, nn

from lpwd.config.errors import ConfigError, one_line_errors
from lpwd.config.machine import choose_device
from lpwd.config.paths import named
from lpwd.inputs import cache, models, sources
from lpwd.inputs.loaders import DeviceBatches
from lpwd.inputs.seeds import generator
from lpwd.store.files import write_whole
from lpwd.training import record
from lpwd.training.checkpoint import Checkpoint

RECIPE = (
    "epochs",
    "batch_size",
    "lr",
    "warmup_epochs",
    "weight_decay",
    "label_smoothing",
    "shift",
    "seed",
)


def main(cfg: DictConfig) -> None:
    """Train to the end, from the checkpoint if there is one; then export and measure."""
    torch.set_num_threads(cfg.threads)
    device = choose_device(cfg.device)
    splits = cache.load(sources.SOURCES[cfg.data.name], named(cfg.data.root))
    norm = {"mean": cfg.data.mean, "std": cfg.data.std, "device": device}
    train, val = (DeviceBatches(splits[s], batch_size=500, **norm) for s in ("train", "val"))

    made = partial(Trainer, cfg, device, steps_per_epoch=len(train) // cfg.batch_size)
    trainer, checkpoint = made(), Checkpoint(Path(cfg.work) / cfg.model.name, minutes=0)
    if not checkpoint.restore(trainer):
        trainer = made()
    for epoch in range(len(trainer.rows) + 1, cfg.epochs + 1):
        start = time.perf_counter()
        loss = trainer.epoch(epoch, train)
        row = {"epoch": epoch, "lr": trainer.lr, "train_loss": loss}
        row["val_top1"] = top1(trainer.model, val)
        row["seconds"] = time.perf_counter() - start
        trainer.rows.append(row)
        checkpoint.save(trainer)
        print(json.dumps({key: float(f"{value:.5g}") for key, value in row.items()}), flush=True)
    path = export(cfg, trainer, val)
    print(f"wrote {path}")


class Trainer:
    """The model, its optimizer, schedule and log: what a checkpoint holds between epochs."""

    def __init__(self, cfg: DictConfig, device: torch.device, steps_per_epoch: int) -> None:
        self.cfg = cfg
        self.steps_per_epoch = steps_per_epoch
        torch.manual_seed(cfg.seed)
        scratch = cfg.model.copy()
        scratch.pretrained = False
        self.model = models.create(scratch, cfg.data.classes).to(
            device, memory_format=torch.channels_last
        )  # pyright: ignore
        self.optimizer = timm.optim.create_optimizer_v2(
            self.model, "adamw", lr=cfg.lr, weight_decay=cfg.weight_decay, fused=True
        )
        self.schedule = CosineLRScheduler(
            self.optimizer,
            t_initial=cfg.epochs * steps_per_epoch,
            warmup_t=round(cfg.warmup_epochs * steps_per_epoch),
            warmup_lr_init=0.01 * cfg.lr,
            t_in_epochs=False,
        )
        self.rows: list[dict[str, float]] = []
        self.commit = record.commit()

    @property
    def lr(self) -> float:
        return self.optimizer.param_groups[0]["lr"]

    def epoch(self, epoch: int, images: DeviceBatches) -> float:
        """One pass over the training images; returns the mean loss."""
        cfg, total = self.cfg, torch.zeros((), device=images.pixels.device)
        self.model.train()
        batches = augmented(images.pixels, images.labels, cfg, epoch)
        for step, (views, y) in enumerate(batches, (epoch - 1) * self.steps_per_epoch):
            self.schedule.step_update(step)
            logits = self.model(images.normalize(views))
            loss = F.cross_entropy(logits, y, label_smoothing=cfg.label_smoothing)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total += loss.detach()
        return float(total) / self.steps_per_epoch

    def state_dict(self) -> dict[str, Any]:
        return {
            "recipe": recipe(self.cfg),
            "rows": self.rows,
            "commit": self.commit,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rng": torch.get_rng_state(),  # drop path draws from it
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["recipe"] != recipe(self.cfg):
            raise ConfigError(
                f"the checkpoint in {self.cfg.work} was made with another recipe; remove it, or set"
                " work=<elsewhere>"
            )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"])
        self.rows, self.commit = state["rows"], state["commit"]


def recipe(cfg: DictConfig) -> dict[str, Any]:
    """What decides the weights, beside the data."""
    model = OmegaConf.to_container(cfg.model, resolve=True)
    assert isinstance(model, dict)
    return {"arch": model["arch"], "kwargs": model["kwargs"], **{key: cfg[key] for key in RECIPE}}


def augmented(
    pixels: Tensor, labels: Tensor, cfg: DictConfig, epoch: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """The epoch's shuffled uint8 batches, each image shifted by up to `shift` and maybe flipped.

    All draws come from a generator of (seed, epoch), so a resumed run sees the same images.
    """
    draws = generator(cfg.seed, epoch)
    count, side = len(labels), pixels.shape[1]
    order = torch.randperm(count, generator=draws).to(pixels.device)
    shifts = torch.randint(-cfg.shift, cfg.shift + 1, (2, count, 1), generator=draws)
    grid = torch.arange(side)
    rows, columns = (grid + shifts).clamp(0, side - 1)  # [N, 32] each; edges are repeated
    flip = torch.rand(count, 1, generator=draws) < 0.5
    columns = torch.where(flip, columns.flip(1), columns).to(pixels.device)
    rows = rows.to(pixels.device)
    for batch in range(count // cfg.batch_size):
        part = slice(batch * cfg.batch_size, (batch + 1) * cfg.batch_size)
        chosen = order[part]
        views = pixels[chosen[:, None, None], rows[part, :, None], columns[part, None, :]]
        yield views, labels[chosen]


@torch.inference_mode()
def top1(model: nn.Module, images: DeviceBatches) -> float:
    """Percent of the images that the model classifies rightly."""
    model.eval()
    return 100 * float(sum((model(x).argmax(1) == y).sum() for x, y in images)) / len(images)


def export(cfg: DictConfig, trainer: Trainer, val: DeviceBatches) -> Path:
    """Write the weights as float16 with what they are, and the log; measured as written."""
    half = {
        name: tensor.half().contiguous() if tensor.is_floating_point() else tensor
        for name, tensor in trainer.model.state_dict().items()
    }
    trainer.model.load_state_dict(half)
    accuracy = top1(trainer.model, val)
    metadata = {
        "model": cfg.model.name,
        "recipe": json.dumps(recipe(cfg)),
        "data": "Tiny-ImageNet-200 at 32×32",
        "epochs": str(cfg.epochs),
        "val_top1": f"{accuracy:.2f}",
        "commit": trainer.commit,
        "versions": f"torch {torch.__version__}, timm {timm.__version__}",
    }
    out = Path(cfg.out) / f"{cfg.model.name}.safetensors"
    log = pd.DataFrame(trainer.rows).to_csv(index=False, float_format="%.6g")
    content = safetensors.torch.save(half, metadata)
    checksum = f"{hashlib.sha256(content).hexdigest()}  {out.name}\n"  # read by inputs/weights.py
    write_whole(out.with_suffix(".csv"), log.encode())
    write_whole(out.with_suffix(".sha256"), checksum.encode())
    write_whole(out, content)
    return out


if __name__ == "__main__":
    with one_line_errors():
        hydra.main(version_base="1.3", config_path="../configs", config_name="pretrain")(main)()
