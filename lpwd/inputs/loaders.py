"""Shuffled, augmented, normalized batches: made on the device, or by albumentations in workers.

Everything drawn at random comes from (seed, epoch), so that a resumed run sees the same batches,
on a CPU as on a GPU and with any number of workers.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from lpwd.config.errors import ConfigError
from lpwd.inputs.augment import PREFIX, Transform
from lpwd.inputs.images import Images
from lpwd.inputs.seeds import generator

Batch = tuple[Tensor, Tensor]  # float [B, 3, side, side] normalized, int64 [B]; on the device


class Loader(ABC):
    """What both loaders share: the order of the images, and how batches are cut from it."""

    def __init__(
        self,
        images: Images,
        *,
        batch_size: int,
        augment: Sequence[Transform],
        mean: Sequence[float],
        std: Sequence[float],
        device: torch.device | str,
        seed: int,
        channels_last: bool = True,
        drop_last: bool = False,
    ) -> None:
        self.count, self.batch_size, self.seed = len(images.labels), batch_size, seed
        self.device = torch.device(device)
        self.normalize = Normalize(mean, std, images.side, self.device, channels_last)
        self.steps = (math.floor if drop_last else math.ceil)(self.count / batch_size)
        if self.steps == 0:
            raise ConfigError(
                f"scale.batch_size={batch_size} is more than the {self.count:,} training images;"
                f" use a smaller batch"
            )

    def __len__(self) -> int:
        """Steps an epoch."""
        return self.steps

    @abstractmethod
    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from number `start` on, in the epoch's own order."""

    def _order(self, epoch: int) -> Tensor:
        return torch.randperm(self.count, generator=generator(self.seed, epoch, 0))

    def _cut(self, batch: int) -> slice:
        return slice(batch * self.batch_size, (batch + 1) * self.batch_size)


class DeviceLoader(Loader):
    """Keeps the uint8 images, and their flipped copies, on the device and gathers batches there.

    The draws of a whole epoch are made on the CPU and moved once: nothing in an epoch waits for
    the device. See `Loader` for the arguments.

    Raises:
        ConfigError: a transform without a twin here, or more in a batch than there are images.
    """

    AXES: ClassVar[dict[str, int]] = {"VerticalFlip": 1, "HorizontalFlip": 2}

    def __init__(self, images: Images, *, augment: Sequence[Transform], **common: Any) -> None:
        super().__init__(images, augment=augment, **common)
        self.flips = [_flip(transform, self.AXES) for transform in augment]
        if len({axis for axis, _ in self.flips}) < len(self.flips):
            raise ConfigError(
                "data.augment names a flip twice; leave one out, or use scale.loader=albumentations"
            )
        self.pixels = _to(self.device, images.pixels)
        self.labels = _to(self.device, images.labels)
        for axis, _ in self.flips:  # each doubles the copies: the flipped follow the unflipped
            self.pixels = torch.cat([self.pixels, self.pixels.flip(axis)])

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        order = self._order(epoch)
        copy = sum(flip.long() << i for i, flip in enumerate(self.draw_flips(epoch)))
        views, order = (order + copy * self.count).to(self.device), order.to(self.device)
        for batch in range(start, self.steps):
            cut = self._cut(batch)
            pixels = self.pixels.index_select(0, views[cut])
            yield self.normalize(pixels), self.labels.index_select(0, order[cut])

    def draw_flips(self, epoch: int) -> list[Tensor]:
        """For each transform, which images it flips, in the epoch's order: bool [N]."""
        draws = generator(self.seed, epoch, 1)
        return [torch.rand(self.count, generator=draws) < p for _, p in self.flips]


def _flip(transform: Transform, axes: Mapping[str, int]) -> tuple[int, float]:
    p = transform.kwargs.get("p", 0.5)
    if transform.name not in axes or transform.kwargs.keys() - {"p"}:
        raise ConfigError(
            f"data.augment: {PREFIX}{transform.name} with {dict(transform.kwargs)} has no twin on"
            f" the device ({', '.join(axes)} with p have one); use scale.loader=albumentations"
        )
    if isinstance(p, bool) or not isinstance(p, int | float) or not 0 <= p <= 1:
        raise ConfigError(f"data.augment: {PREFIX}{transform.name}: p={p} is not within 0…1")
    return axes[transform.name], float(p)


class DeviceBatches:
    """The images in their own order, kept on the device and normalized batch by batch."""

    def __init__(
        self,
        images: Images,
        *,
        batch_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        device: torch.device | str,
        channels_last: bool = True,
    ) -> None:
        device = torch.device(device)
        self.batch_size = batch_size
        self.normalize = Normalize(mean, std, images.side, device, channels_last)
        self.pixels, self.labels = _to(device, images.pixels), _to(device, images.labels)

    def __len__(self) -> int:
        """Images, not batches."""
        return len(self.labels)

    def __iter__(self) -> Iterator[Batch]:
        return self.first(None)

    def first(self, count: int | None) -> Iterator[Batch]:
        """Batches of the first `count` images; None: of all."""
        pixels = self.pixels[:count].split(self.batch_size)
        labels = self.labels[:count].split(self.batch_size)
        return ((self.normalize(x), y) for x, y in zip(pixels, labels, strict=True))


class Normalize:
    """uint8 [B, side, side, 3] → float [B, 3, side, side], (pixels / 255 - mean) / std."""

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        side: int,
        device: torch.device,
        channels_last: bool,
    ) -> None:
        wide = torch.tensor([list(mean), list(std)], dtype=torch.float64).repeat(1, side)
        self.scale = (1 / (255 * wide[1])).float().to(device)
        self.shift = (-wide[0] / wide[1]).float().to(device)
        self.side, self.channels_last = side, channels_last

    def __call__(self, pixels: Tensor) -> Tensor:
        # A whole row of pixels at once: several times faster than three channels at once.
        rows = pixels.flatten(2).float().mul_(self.scale).add_(self.shift)
        images = rows.unflatten(2, (self.side, 3)).permute(0, 3, 1, 2)  # so it is channels_last
        return images if self.channels_last else images.contiguous()


def _to(device: torch.device, array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(array)).to(device)
