"""The trainer: epochs of steps, each epoch evaluated and recorded."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import torch
from omegaconf import DictConfig
from torch.nn import functional as F
from tqdm import tqdm

from lpwd.config.machine import autocast
from lpwd.inputs.seeds import seed_of
from lpwd.store.store import Store
from lpwd.training import wandb_log
from lpwd.training.build import Training, prepare
from lpwd.training.checkpoint import Checkpoint
from lpwd.training.record import epoch_row
from lpwd.training.stopping import Stopped, stop_signals


def train(cfg: DictConfig, store: Store, run: str) -> Training:
    """Train a run to its end, from its checkpoint if there is one; returns it with its epochs."""
    training = prepare(cfg)
    checkpoint = Checkpoint(store.work(run), cfg.machine.checkpoint_minutes)
    if not checkpoint.restore(training):
        training = prepare(cfg)
    epochs = tqdm(
        range(1, cfg.scale.epochs + 1),
        initial=training.epoch - 1,
        desc=f"{cfg.model.name} {cfg.optimizer.name} {cfg.decay.method}",
        unit="epoch",
        disable=bool(os.environ.get("TQDM_DISABLE")) or None,  # None: off where nobody watches
    )
    with stop_signals() as stop, wandb_log.open_run(training, store, run) as log, epochs:

        def save_if_stopped() -> None:
            if stop.requested:
                checkpoint.save(training)
                raise Stopped

        while training.epoch <= cfg.scale.epochs and not training.diverged:
            row = train_epoch(training, save_if_stopped)
            log(row)
            epochs.update()
            epochs.set_postfix(loss=row["train_loss"], top1=row["test_top1"])
            checkpoint.save_if_due(training)
    return training


def train_epoch(training: Training, between_steps: Callable[[], None]) -> dict[str, Any]:
    """One epoch and its evaluation: a row of the run's epochs. No sync before the epoch's end."""
    cfg, t = training.cfg, training
    start = time.perf_counter() - t.seconds
    if t.step == 0:
        torch.manual_seed(seed_of(cfg.seed, t.epoch))  # drop path
        t.loss_sum.zero_()
    t.forward.train()
    precision = autocast(cfg, t.device)
    for x, y in t.loader.epoch(t.epoch, start=t.step):
        if t.schedule:
            t.schedule.step_update((t.epoch - 1) * len(t.loader) + t.step)
        with precision:
            loss = F.cross_entropy(t.forward(x), y)
        loss.backward()
        t.optimizer.step()
        t.optimizer.zero_grad()
        t.loss_sum += loss.detach() * len(y)
        t.step += 1
        t.seconds = time.perf_counter() - start
        between_steps()
    row = epoch_row(t)
    row["seconds"] = time.perf_counter() - start
    t.rows.append(row)
    t.epoch, t.step, t.seconds = t.epoch + 1, 0, 0.0
    return row
