"""Epochs of the trainer against bare and usual loops, their shares, R_op, images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from lpwd.inputs.images import Images
from lpwd.inputs.loaders import DeviceBatches
from lpwd.training import loop, record
from lpwd.training.build import Training
from scripts.bench.measure import DEVICE, Row, median_seconds, side_by_side, training

MODELS = ("convnext_micro", "swin_micro")
USUAL = "DataLoader, 2 workers, albumentations"


def bench_epoch() -> Iterator[Row]:
    """An epoch of the trainer, evaluation included, against a bare loop and a usual one."""
    for name in MODELS:
        model = f"model={name}"
        ours = _epoch(training(model, "decay=lpwd"))
        bare = _adamw_epoch(training(model, "decay=baseline"), _in_memory, fused=True)
        t = training(model, "decay=baseline", "machine.channels_last=false")
        usual = _adamw_epoch(t, _usual, fused=False)
        case = f"{name}, decay lpwd"
        yield side_by_side("epoch", case, "bare loop, AdamW", "≤ 1.05", ours, bare, 12)
        yield side_by_side("epoch", case, USUAL, "≥ 1.3", ours, usual, 8, speed=True)
        # What a trainer could reach whose own work took no time at all.
        case = f"{name}, bare loop, AdamW"
        yield side_by_side("epoch", case, USUAL, "", bare, usual, 8, speed=True)


def bench_shares() -> Iterator[Row]:
    """What an epoch of the trainer is spent on: its parts timed alone, the rest is the model's."""
    for model in MODELS:
        t = training(f"model={model}", "decay=lpwd")
        _epoch(t)()
        whole = median_seconds(_epoch(t))
        x, y = next(iter(t.loader.epoch(t.epoch)))
        F.cross_entropy(t.model(x), y).backward()  # gradients for the optimizer
        shares = {name: median_seconds(part) / whole for name, part in _parts(t).items()}
        shares["forward and backward"] = 1 - sum(shares.values())
        for name, share in shares.items():
            yield Row("share of an epoch", f"{model}: {name}", "–", share, ours=share * whole)


def _parts(t: Training) -> dict[str, Callable[[], Any]]:
    def step() -> None:
        t.decay.before_forward()
        t.optimizer.step()

    return {
        "batches": lambda: [None for _ in t.loader.epoch(t.epoch)],
        "decay and optimizer": lambda: [step() for _ in range(len(t.loader))],
        "evaluation": lambda: [record.correct(t, s) for s in (t.test, t.heldout)],
    }


def bench_r_op() -> Iterator[Row]:
    """The trainer's epoch with R_op measured on its default steps, against none measured."""
    for model in MODELS:
        with_r_op, without = (training(f"model={model}", "decay=wd") for _ in range(2))
        assert without.opposing is not None
        without.opposing.remove()
        without.opposing = None
        pair = _epoch(with_r_op), _epoch(without)
        case = f"{model}, every {with_r_op.cfg.scale.r_op_every} steps"
        yield side_by_side("R_op measured", case, "the same epoch without", "≤ 1.03", *pair, 12)


def bench_loader() -> Iterator[Row]:
    """Images prepared a second: the device loader against albumentations in a DataLoader."""
    t = training("decay=baseline")
    usual = _usual(t, t.images.train)
    yield side_by_side(
        "images prepared",
        "device loader",
        USUAL,
        "≥ 10",
        lambda: [None for _ in t.loader.epoch(1)],
        lambda: [None for _ in usual()],
        turns=8,
        speed=True,
    )


def _epoch(t: Training) -> Callable[[], Any]:
    return lambda: loop.train_epoch(t, lambda: None)


# -- the same work in other loops -----------------------------------------------------------------

Batches = Callable[[], Iterable[tuple[Tensor, Tensor]]]


def _adamw_epoch(
    t: Training, batches_of: Callable[[Training, Images], Batches], fused: bool
) -> Callable[[], None]:
    """An epoch and its evaluation in a plain loop with torch's AdamW."""
    train, test, heldout = (
        batches_of(t, images) for images in (t.images.train, t.images.test, t.images.heldout)
    )
    model = t.model
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, weight_decay=0.02, fused=fused)

    def epoch() -> None:
        model.train()
        total = torch.zeros((), device=DEVICE)
        for x, y in train():
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            total += loss.detach() * len(y)
        float(total)
        model.eval()
        with torch.inference_mode():
            for batches in (test, heldout):
                hits = [model(x).argmax(1) == y for x, y in batches()]
                float(torch.cat(hits).float().mean())

    return epoch


def _size(t: Training, images: Images) -> int:
    return t.cfg.scale.batch_size if images is t.images.train else t.cfg.scale.eval_batch_size


def _in_memory(t: Training, images: Images) -> Batches:
    """Tensors that are ready on the device."""
    norm = {"mean": t.cfg.data.mean, "std": t.cfg.data.std}
    made = DeviceBatches(images, batch_size=_size(t, images), device=t.device, **norm)
    ready = [(x.clone(memory_format=torch.channels_last), y) for x, y in made]
    return lambda: ready


def _usual(t: Training, images: Images) -> Batches:
    """A DataLoader with workers."""
    train_set = images is t.images.train
    loader = DataLoader(
        UsualDataset(images, t.cfg.data, train_set),
        batch_size=_size(t, images),
        shuffle=train_set,
        num_workers=2,
        persistent_workers=True,
        pin_memory=DEVICE.type == "cuda",
    )
    return lambda: ((x.to(DEVICE), y.to(DEVICE)) for x, y in loader)


class UsualDataset(Dataset):
    """Images as a usual PyTorch project reads them: one at a time, through albumentations."""

    def __init__(self, images: Images, cfg: DictConfig, train_set: bool) -> None:
        import albumentations

        normalize = albumentations.Normalize(mean=cfg.mean, std=cfg.std)
        flip = [albumentations.HorizontalFlip(p=0.5)] if train_set else []
        chain = [*flip, normalize, albumentations.ToTensorV2()]
        self.images, self.transform = images, albumentations.Compose(chain)

    def __len__(self) -> int:
        return len(self.images.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.transform(image=np.asarray(self.images.pixels[index]))["image"]
        return image, int(self.images.labels[index])
