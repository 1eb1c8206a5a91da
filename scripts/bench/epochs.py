"""Epochs of the trainer against bare and usual loops, their shares, R_op, images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn import functional as F

from lpwd.inputs import data
from lpwd.inputs.loaders import DeviceBatches
from lpwd.training import loop, record
from scripts.bench.measure import DEVICE, Row, median_seconds, side_by_side, training


def bench_epoch() -> Iterator[Row]:
    """An epoch of the trainer, evaluation included, against a bare loop and a usual one."""
    for model in ("convnext_micro", "swin_micro"):
        mine = training(f"model={model}", "decay=lpwd")
        ours = _epoch(mine)
        bare = _bare_epoch(training(f"model={model}", "decay=baseline"))
        case = f"{model}, decay lpwd"
        yield side_by_side("epoch", case, "bare loop, AdamW", "≤ 1.05", ours, bare, 12)
        as_usual = ["decay=baseline", "machine.channels_last=false"]
        usual = _usual_epoch(training(f"model={model}", *as_usual))
        against = "DataLoader, 2 workers, albumentations"
        yield side_by_side("epoch", case, against, "≥ 1.3", ours, usual, 8, speed=True)
        # What a trainer could reach whose own work took no time at all.
        yield side_by_side(
            "epoch", f"{model}, bare loop, AdamW", against, "", bare, usual, 8, speed=True
        )


def bench_shares() -> Iterator[Row]:
    """What an epoch of the trainer is spent on: its parts timed alone, the rest is the model's."""
    for model in ("convnext_micro", "swin_micro"):
        t = training(f"model={model}", "decay=lpwd")
        _epoch(t)()
        whole = median_seconds(_epoch(t))
        x, y = next(iter(t.loader.epoch(t.epoch)))
        F.cross_entropy(t.model(x), y).backward()  # gradients for the optimizer
        shares = {name: median_seconds(part) / whole for name, part in _parts(t).items()}
        shares["forward and backward"] = 1 - sum(shares.values())
        for name, share in shares.items():
            yield Row("share of an epoch", f"{model}: {name}", "–", share, "", ours=share * whole)


def _parts(t: loop.Training) -> dict[str, Callable[[], Any]]:
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
    for model in ("convnext_micro", "swin_micro"):
        with_r_op = training(f"model={model}", "decay=wd")
        without = training(f"model={model}", "decay=wd")
        assert without.opposing is not None
        without.opposing.remove()
        without.opposing = None
        pair = _epoch(with_r_op), _epoch(without)
        case = f"{model}, every {with_r_op.cfg.scale.r_op_every} steps"
        yield side_by_side("R_op measured", case, "the same epoch without", "≤ 1.03", *pair, 12)


def _epoch(t: loop.Training) -> Callable[[], Any]:
    return lambda: loop.train_epoch(t, lambda: None)


def _batches(t: loop.Training, images: data.Images, size: int) -> list[tuple[Tensor, Tensor]]:
    made = DeviceBatches(
        images, batch_size=size, mean=t.cfg.data.mean, std=t.cfg.data.std, device=t.device
    )
    return [(x.clone(memory_format=torch.channels_last), y) for x, y in made]


def _bare_epoch(t: loop.Training) -> Callable[[], Any]:
    """The same work on tensors that are ready in memory, with torch's AdamW."""
    scale = t.cfg.scale
    training_set = _batches(t, t.images.train, scale.batch_size)
    test_sets = [_batches(t, s, scale.eval_batch_size) for s in (t.images.test, t.images.heldout)]
    optimizer = torch.optim.AdamW(t.model.parameters(), lr=5e-4, weight_decay=0.02, fused=True)

    def epoch() -> None:
        _train_on(t.model, optimizer, training_set)
        for batches in test_sets:
            _evaluate_on(t.model, batches)

    return epoch


def _train_on(model: nn.Module, optimizer: torch.optim.Optimizer, batches: Any) -> float:
    model.train()
    total = torch.zeros((), device=DEVICE)
    for x, y in batches:
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        total += loss.detach() * len(y)
    return float(total)


@torch.inference_mode()
def _evaluate_on(model: nn.Module, batches: Any) -> float:
    model.eval()
    return float(torch.cat([model(x).argmax(1) == y for x, y in batches]).float().mean())


class Usual(torch.utils.data.Dataset):
    """Images as a usual PyTorch project reads them: one at a time, through albumentations."""

    def __init__(self, images: data.Images, cfg: DictConfig, train_set: bool) -> None:
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


def _usual_loader(t: loop.Training, images: data.Images, train_set: bool) -> Any:
    scale = t.cfg.scale
    size = scale.batch_size if train_set else scale.eval_batch_size
    return torch.utils.data.DataLoader(
        Usual(images, t.cfg.data, train_set),
        batch_size=size,
        shuffle=train_set,
        num_workers=2,
        persistent_workers=True,
        pin_memory=DEVICE.type == "cuda",
    )


def _usual_epoch(t: loop.Training) -> Callable[[], Any]:
    loader = _usual_loader(t, t.images.train, True)
    test_sets = [_usual_loader(t, s, False) for s in (t.images.test, t.images.heldout)]
    optimizer = torch.optim.AdamW(t.model.parameters(), lr=5e-4, weight_decay=0.02)

    def moved(batches: Any) -> Iterator[tuple[Tensor, Tensor]]:
        return ((x.to(DEVICE), y.to(DEVICE)) for x, y in batches)

    def epoch() -> None:
        _train_on(t.model, optimizer, moved(loader))
        for batches in test_sets:
            _evaluate_on(t.model, moved(batches))

    return epoch


# -- images ---------------------------------------------------------------------------------------


def bench_loader() -> Iterator[Row]:
    """Images prepared a second: the device loader against albumentations in a DataLoader."""
    t = training("decay=baseline")
    usual = _usual_loader(t, t.images.train, True)
    epochs = iter(range(10**9))

    def ours() -> None:
        for _ in t.loader.epoch(next(epochs)):
            pass

    def theirs() -> None:
        for _ in usual:
            pass

    against = "DataLoader, 2 workers, albumentations"
    yield side_by_side(
        "images prepared", "device loader", against, "≥ 10", ours, theirs, 8, speed=True
    )
