"""Seeds of everything drawn at random."""

from __future__ import annotations

import numpy as np
import torch


def seed_of(*numbers: int) -> int:
    """One seed made of several numbers, such as a run's seed and the epoch."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def generator(*numbers: int) -> torch.Generator:
    """A generator on the CPU, seeded by several numbers."""
    return torch.Generator().manual_seed(seed_of(*numbers))
