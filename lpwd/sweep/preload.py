"""What every worker is forked with: torch, timm and the trainer, which take seconds to import.

Importing them asks no driver for a GPU: it would not survive the fork.
"""

import os

os.environ["TQDM_DISABLE"] = "1"  # read when tqdm is imported

import timm  # noqa: F401

import lpwd.training.loop  # noqa: F401
