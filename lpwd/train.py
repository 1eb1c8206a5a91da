"""Fine-tune one model with one decay; `-m` sweeps a grid. Every run is stored, and trained once.

    python -m lpwd.train scale=smoke decay=lpwd decay.rate=0.05 seed=0
    python -m lpwd.train -m scale=smoke decay=wd,lpwd decay.rate=0.1,0.01 seed=0,1,2
    python -m lpwd.train -m +experiment=table1 scale=paper

Everything random comes from (seed, epoch), so that a resumed run equals an uninterrupted one.
"""

from __future__ import annotations

import gc
import sys
import traceback
import warnings
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from lpwd.config.check import checked, command_line, keys, plain
from lpwd.config.errors import CannotWrite, ConfigError, is_out_of_memory, one_line_errors
from lpwd.config.paths import CONFIGS
from lpwd.inputs.check import check_inputs
from lpwd.store import identity
from lpwd.store.lock import RunLock
from lpwd.store.store import Store

OUT_OF_MEMORY = (
    "out of memory: train fewer runs at once (machine.runs, machine.runs_per_gpu), or a smaller"
    " scale.batch_size or scale.eval_batch_size; the same command goes on from the last checkpoint"
)


def run_once(cfg: DictConfig) -> str:
    """Train the run that `cfg` describes, unless it is stored or in training elsewhere.

    Returns a line on the outcome; its first word is the run's hash.
    """
    config = checked(plain(cfg))
    check_inputs(config)
    settings = identity.settings(config)
    run, store = identity.run_id(settings), Store(config["scale"]["name"])
    if store.has(run):
        return f"{describe(run, store.summary(run))}; stored already, another seed= trains anew"
    if config["wandb"]["mode"] != "disabled":
        from lpwd.training import wandb_log

        wandb_log.check(config["wandb"]["mode"], config["wandb"]["project"])
    with RunLock(store.work(run)) as lock:
        if not lock.mine:
            return f"{run} is in training elsewhere ({lock.holder})"
        if store.has(run):
            return f"{run} was stored meanwhile"
        try:
            _train(OmegaConf.create(config), store, run, settings)
        except ConfigError:
            raise
        except Exception as error:
            with suppress(CannotWrite):  # the first error is the one to report
                store.fail(run, settings, traceback.format_exc())
            if is_out_of_memory(error):
                raise ConfigError(OUT_OF_MEMORY) from error
            raise
    return f"{describe(run, store.summary(run))}; stored in {store.runs / run}"


def _train(cfg: DictConfig, store: Store, run: str, settings: identity.Settings) -> None:
    # Late, since torch takes two seconds to import: a stored run or wrong input does without.
    from lpwd.training import loop, record

    store.save(record.finish(loop.train(cfg, store, run), run, settings))


def describe(run: str, summary: Mapping[Any, Any]) -> str:
    """A run's accuracies (%) and its device in one line."""
    if summary["status"] == "diverged":
        return f"{run} diverged at epoch {summary['diverged_epoch']:.0f}"
    k = int(summary["best_k"])  # a row of runs.csv has all numbers as floats
    many = f"± {summary['best_std']:.2f}, mean of the best {k} epochs"
    return (
        f"{run} test top-1 {summary['best_mean']:.2f} ({'of the best epoch' if k == 1 else many}),"
        f" last {summary['final_top1']:.2f}, on {summary['device']}"
    )


def task(cfg: DictConfig) -> str:
    """What Hydra calls, once a run, in this process or in a launcher's."""
    if HydraConfig.get().mode != RunMode.RUN:
        return run_of_a_sweep(cfg)
    with one_line_errors():
        outcome = run_once(cfg)
    print(outcome)
    return outcome


def run_of_a_sweep(cfg: DictConfig) -> str:
    """A run whose errors the sweep prints, and which leaves no memory behind."""
    try:
        return run_once(cfg)
    except Exception as error:
        cause: BaseException | None = error
        while cause:  # the sweep keeps the error, whose frames would keep the model alive
            traceback.clear_frames(cause.__traceback__)
            cause = cause.__cause__ or cause.__context__
        raise
    finally:
        gc.collect()  # models are in reference cycles, which would pile up
        if torch := sys.modules.get("torch"):
            torch.cuda.empty_cache()  # to the card, for this worker's next run and its neighbours


def main() -> None:
    """The command line: Hydra's, with a user's errors in one line."""
    if not CONFIGS.is_dir():
        sys.exit("error: the experiments run from a clone of the repository: configs/ is not here")
    # Hydra warns that it validates our launcher configs against the plugins' schemas: as intended.
    warnings.filterwarnings("ignore", r"\s*'hydra/launcher/\w+' is validated against ConfigStore")
    with one_line_errors(keys()):
        sys.argv[1:] = command_line(sys.argv[1:])
        hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="train")(task)()


if __name__ == "__main__":
    # Imported by name, so that `task` is not pickled as __main__.task, unknown to other processes.
    from lpwd.train import main as command

    command()
