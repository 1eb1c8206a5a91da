"""Batches augmented image by image in worker processes, by any of albumentations' transforms."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from lpwd.inputs.augment import Transform, check_outcomes, import_albumentations
from lpwd.inputs.images import Images
from lpwd.inputs.loaders import Batch, Loader

#: What a worker is asked for: a batch by its seed (seed, epoch, batch) and its images' indices.
Asked = tuple[tuple[int, int, int], Tensor]


class AlbumentationsLoader(Loader):
    """Augments image by image with any of albumentations' transforms, in worker processes.

    Forked workers would all draw alike, epoch after epoch; here each batch seeds the transforms
    from (seed, epoch, batch), whichever worker makes it. The workers live over epochs.

    Args:
        workers: processes; 0: in this one. See `Loader` for the rest.

    Raises:
        ConfigError: a transform that albumentations does not have, or too large a batch.
    """

    def __init__(
        self, images: Images, *, augment: Sequence[Transform], workers: int, **common: Any
    ) -> None:
        super().__init__(images, augment=augment, **common)
        self._plan: list[Asked] = []
        self._loader = DataLoader(
            _Batches(images, augment),
            sampler=self._plan,  # read anew as each epoch begins
            batch_size=None,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator(),  # leaves torch's own stream to the model
        )

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        order = self._order(epoch)
        batches = range(start, self.steps)
        self._plan[:] = [((self.seed, epoch, batch), order[self._cut(batch)]) for batch in batches]
        for pixels, labels in self._loader:
            pixels, labels = (t.to(self.device, non_blocking=True) for t in (pixels, labels))
            yield self.normalize(pixels), labels


class _Batches(TorchDataset):
    """One item is one batch."""

    def __init__(self, images: Images, augment: Sequence[Transform]) -> None:
        self.images = images
        self.compose = import_albumentations().Compose([transform.build() for transform in augment])
        check_outcomes(augment, np.array(images.pixels[0]))

    def __getitem__(self, asked: Asked) -> tuple[Tensor, Tensor]:
        seed, indices = asked
        # One stream for all transforms: set_random_seed would give each the same draws.
        first, second = np.random.SeedSequence(seed).spawn(2)
        state = np.random.default_rng(first), random.Random(int(second.generate_state(1)[0]))
        self.compose.set_random_state(*state)
        pixels = [self.compose(image=self.images.pixels[i])["image"] for i in indices.tolist()]
        labels = np.asarray(self.images.labels[indices.numpy()])
        return torch.from_numpy(np.stack(pixels)), torch.from_numpy(labels)
