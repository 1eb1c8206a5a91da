"""An optional mirror of every run in Weights & Biases; results/ stays the source.

Whatever becomes of the mirror, the run goes on: a server that cannot be reached, or does not answer
in time, is given up with one line, and the run is mirrored offline, for `wandb sync`.
"""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from omegaconf import OmegaConf

from lpwd.config.errors import ConfigError, first_line
from lpwd.decay.layers import layer_index
from lpwd.decay.weight_decay import WeightDecay
from lpwd.store import frames, identity
from lpwd.store.store import Store
from lpwd.store.summary import summarize
from lpwd.training.build import Training

Row = dict[str, Any]

#: Seconds until a server that does not accept, or does not answer, is given up.
REACH_SECONDS, INIT_SECONDS = 5, 15
#: Seconds that the end of a run waits for its upload; the rest is kept for `wandb sync`.
FINISH_SECONDS = 30


def check() -> None:
    """Raise ConfigError if there is no key for wandb.mode=online to go by."""
    os.environ["WANDB_MODE"] = "online"  # what the config says, whatever the shell says
    _quiet()
    import wandb

    if not wandb.login(prompt=False, verify=False):
        raise ConfigError(
            "wandb.mode=online needs a key: run `wandb login`, or use wandb.mode=offline"
        )


def _quiet() -> None:
    os.environ.setdefault("WANDB_SILENT", "true")


@contextmanager
def open_run(training: Training, store: Store, run: str) -> Iterator[Callable[[Row], None]]:
    """A function that mirrors one epoch's row.

    The mirrored run is closed with the block, so that the runs of one process stay apart. That of
    a resumed run begins with the epochs there are, and so is whole in itself.
    """
    if training.cfg.wandb.mode == "disabled":
        yield lambda row: None
        return
    mirrored = _Guarded(_init(training, store, run))

    def log(row: Row) -> None:
        mirrored(lambda run: run.log(_flat(row), step=row["epoch"]))

    # Of these, runs.csv holds the mean; wandb's summary would be the last epoch's value.
    for name in ("r_op_share", "r_op_size"):
        mirrored(lambda run, name=name: run.define_metric(name, summary="none"))
    for row in training.rows:
        log(row)
    try:
        yield log
    except BaseException:
        mirrored(lambda run: run.finish(exit_code=1))
        raise
    last = training.rows[-1]
    summary = {
        **summarize(training.rows, training.cfg.scale.epochs),
        "final_top1": last["test_top1"],
        "final_loss": last["train_loss"],
    }
    mirrored(lambda run: run.summary.update(summary))
    mirrored(lambda run: run.finish(exit_code=0))


def _init(training: Training, store: Store, run: str) -> Any:
    """wandb's run; an offline one where the server is not to be had, None where neither is."""
    _quiet()
    import wandb

    wanted = training.cfg.wandb
    settings = wandb.Settings(init_timeout=INIT_SECONDS, finish_timeout=FINISH_SECONDS)
    options: dict[str, Any] = {
        "project": wanted.project,
        "group": wanted.group or training.cfg.get("experiment"),
        "name": run,
        "id": run,
        "dir": str(store.root),
        "config": config(training, run),
        "settings": settings,
    }
    try:
        if wanted.mode == "online":
            _reach(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai")
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
    whole: Any = OmegaConf.to_container(training.cfg, resolve=True)
    settings = frames.row_of_settings(identity.settings(cast(dict[str, Any], whole)))
    return {"hash": run, **settings, "lambda": layer_rates(training.decay), "config": whole}


def layer_rates(decay: WeightDecay) -> dict[str, float]:
    """{layer: λ_i}, shallow to deep; the largest of a layer, where some of it is not decayed."""
    index = layer_index(decay.model, decay.layers)
    rates = dict.fromkeys(range(1, decay.layer_count + 1), 0.0)
    for name, rate in decay.rates.items():
        rates[index[name]] = max(rates[index[name]], rate)
    return {f"{layer:02d}": rate for layer, rate in rates.items()}


class _Guarded:
    """A wandb run that is let go, with one line, as soon as it gives trouble."""

    def __init__(self, run: Any) -> None:
        self.run = run

    def __call__(self, action: Callable[[Any], Any]) -> None:
        if self.run is None:
            return
        try:
            action(self.run)
        except Exception as error:
            _say(f"{first_line(error)}; run {self.run.id} is mirrored no further")
            self.run = None


def _flat(row: Row) -> Row:
    """A row of epochs.parquet; of its lists, one value a layer."""
    flat = {key: value for key, value in row.items() if not isinstance(value, list)}
    for key, values in row.items():
        if isinstance(values, list):
            flat |= {f"{key}/{layer:02d}": value for layer, value in enumerate(values, 1)}
    return flat


def _reach(url: str) -> None:
    """Raise OSError within REACH_SECONDS if nothing answers there; proxies are honoured."""
    try:
        urllib.request.urlopen(url, timeout=REACH_SECONDS).close()
    except urllib.error.HTTPError:
        return  # an answer like any other
    except (OSError, ValueError) as error:
        raise OSError(f"{url} cannot be reached ({getattr(error, 'reason', error)})") from None


def _say(text: str) -> None:
    print(f"wandb: {text}", file=sys.stderr, flush=True)
