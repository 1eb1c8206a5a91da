"""An optional mirror of every run in Weights & Biases; results/ stays the source."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lpwd.errors import ConfigError
from lpwd.runs import Store

#: An unreachable server is given up after so long, and the run goes on offline.
TIMEOUT_SECONDS = 15


@contextmanager
def open_run(cfg: DictConfig, store: Store, run: str) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A function that mirrors one epoch's row; the run is closed with the block, so that the runs
    of one process stay apart."""
    if cfg.wandb.mode == "disabled":
        yield lambda row: None
        return
    import wandb
    from wandb.errors import CommError, UsageError

    if cfg.wandb.mode == "online" and not wandb.api.api_key:
        raise ConfigError("wandb.mode=online needs a key: run `wandb login`, or use offline")
    os.environ.setdefault("WANDB_SILENT", "true")
    options: dict[str, Any] = {
        "project": cfg.wandb.project,
        "group": cfg.wandb.group or cfg.get("experiment"),
        "name": run,
        "id": run,
        "dir": str(store.root),
        "config": OmegaConf.to_container(cfg, resolve=True),
        "settings": wandb.Settings(init_timeout=TIMEOUT_SECONDS),
        "resume": "allow",
    }
    try:
        mirrored = wandb.init(mode=cfg.wandb.mode, **options)
    except (CommError, UsageError, TimeoutError) as error:
        print(f"wandb: {error}; this run is mirrored offline", file=sys.stderr)
        mirrored = wandb.init(mode="offline", **{**options, "resume": None})

    def log(row: dict[str, Any]) -> None:
        mirrored.log({k: v for k, v in row.items() if not isinstance(v, list)}, step=row["epoch"])

    try:
        yield log
    except BaseException:
        mirrored.finish(exit_code=1)
        raise
    mirrored.finish()
