"""What every worker is forked with: torch, timm and the trainer, which take seconds to import.

Importing them asks no driver for a GPU: it would not survive the fork.
"""

# ruff: noqa: E402
import gc
import os
import sys

os.environ["TQDM_DISABLE"] = "1"  # the sweep has a bar of its own, and workers share its terminal

gc.disable()  # of what is imported nothing is garbage, and to look through it takes a second
sys.modules["wandb"] = None  # pyright: ignore # timm would import it, for a logger of its own

import timm  # noqa: F401

import lpwd.training.loop  # noqa: F401

del sys.modules["wandb"]
gc.freeze()  # what was imported stays: later collections need not look at it
gc.enable()
