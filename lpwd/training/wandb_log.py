"""An optional mirror of every run in Weights & Biases; results/ stays the source.

Whatever becomes of the mirror, the run goes on: a server that does not answer in time is given up
with one line, and the run is mirrored offline, for `wandb sync`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from omegaconf import OmegaConf
from pydantic import ValidationError

from lpwd.config.errors import ConfigError, first_line
from lpwd.decay.layers import layer_index
from lpwd.decay.weight_decay import WeightDecay
from lpwd.store import identity
from lpwd.store.rows import row_of_settings
from lpwd.store.store import Store
from lpwd.store.summary import summarize
from lpwd.training.build import Training

Row = dict[str, Any]

#: Seconds until a server that does not answer is given up.
INIT_SECONDS = 15
#: Seconds that the end of a run waits for its upload; the rest is kept for `wandb sync`.
FINISH_SECONDS = 30


def check(mode: str, project: str) -> None:
    """Raise ConfigError for a key, a server's address or a project's name that wandb refuses."""
    wandb = _wandb()
    os.environ["WANDB_MODE"] = mode  # what the config says, whatever the shell says
    try:
        wandb.setup(wandb.Settings(project=project))
        ready = mode == "offline" or wandb.login(prompt=False, verify=False)
    except Exception as error:  # wandb has many
        raise ConfigError(f"wandb.mode={mode}: {_fault(error)}; mend it, or disable it") from None
    if not ready:
        raise ConfigError(
            "wandb.mode=online needs a key: run `wandb login`, or use wandb.mode=offline"
        )


def _fault(error: Exception) -> str:
    """An error's first line; of a setting's error, with the setting's name."""
    if not isinstance(error, ValidationError):
        return first_line(error).rstrip(".")
    fault = error.errors()[0]
    name, said = "_".join(map(str, fault["loc"])), fault["msg"].partition("\n")[0]
    return f"{name} (WANDB_{name.upper()}): {said}"


@contextmanager
def open_run(training: Training, store: Store, run: str) -> Iterator[Callable[[Row], None]]:
    """A function that mirrors one epoch's row.

    The mirrored run is closed with the block, so that the runs of one process stay apart. That of
    a resumed run begins with the epochs there are, and so is whole in itself.
    """
    if training.cfg.wandb.mode == "disabled":
        yield lambda row: None
        return
    mirrored = _start(training, store, run)

    def guarded(action: Callable[[Any], Any]) -> None:
        """Do something with wandb's run; let it go, with one line, as soon as it gives trouble."""
        nonlocal mirrored
        try:
            if mirrored:
                action(mirrored)
        except Exception as error:
            _say(f"{first_line(error)}; run {run} is mirrored no further")
            mirrored = None

    def log(row: Row) -> None:
        guarded(lambda it: it.log(_flat(row), step=row["epoch"]))

    exit_code = 1
    try:
        for name in ("r_op_share", "r_op_size"):  # runs.csv holds their means, not the last values
            guarded(lambda it, name=name: it.define_metric(name, summary="none"))
        for row in training.rows:
            log(row)
        yield log
        summary = summarize(training.rows, training.cfg.scale.epochs)
        guarded(lambda it: it.summary.update(summary))
        exit_code = 0
    finally:
        guarded(lambda it: it.finish(exit_code=exit_code))


def _wandb() -> Any:
    """The package, which takes long to import, and says nothing of its own."""
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    return wandb


def _start(training: Training, store: Store, run: str) -> Any:
    """wandb's run; an offline one where the server does not answer, None where neither works."""
    wandb, wanted = _wandb(), training.cfg.wandb
    options: dict[str, Any] = {
        "project": wanted.project,
        "group": wanted.group or training.cfg.get("experiment"),
        "name": run,
        "id": run,
        "dir": str(store.root),
        "config": config(training, run),
        "settings": wandb.Settings(init_timeout=INIT_SECONDS, finish_timeout=FINISH_SECONDS),
    }
    if wanted.mode == "online":
        try:
            return wandb.init(mode="online", resume="allow", **options)
        except Exception as error:  # wandb has many, and none is worth a run
            _say(f"{first_line(error)}; run {run} is mirrored offline, for `wandb sync`")
            wandb.teardown()  # or it would hold on to the run's name
    try:
        return wandb.init(mode="offline", **options)
    except Exception as error:
        _say(f"{first_line(error)}; run {run} is not mirrored")
        return None


def config(training: Training, run: str) -> dict[str, Any]:
    """The run's settings by their names in runs.csv, λ_i of each layer, and the whole config."""
    whole = cast(dict[str, Any], OmegaConf.to_container(training.cfg, resolve=True))
    settings = row_of_settings(identity.settings(whole))
    return {"hash": run, **settings, "lambda": layer_rates(training.decay), "config": whole}


def layer_rates(decay: WeightDecay) -> dict[str, float]:
    """{layer: λ_i}, shallow to deep; the largest of a layer, where some of it is not decayed."""
    index = layer_index(decay.model, decay.layers)
    rates = dict.fromkeys(range(1, decay.layer_count + 1), 0.0)
    for name, rate in decay.rates.items():
        rates[index[name]] = max(rates[index[name]], rate)
    return {f"{layer:02d}": rate for layer, rate in rates.items()}


def _flat(row: Row) -> Row:
    """A row of epochs.parquet; of its lists, one value a layer."""
    flat: Row = {}
    for key, value in row.items():
        if isinstance(value, list):
            flat |= {f"{key}/{layer:02d}": of_layer for layer, of_layer in enumerate(value, 1)}
        else:
            flat[key] = value
    return flat


def _say(text: str) -> None:
    print(f"wandb: {text}", file=sys.stderr, flush=True)
