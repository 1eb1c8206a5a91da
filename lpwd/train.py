"""Fine-tune one model with one decay; `-m` sweeps a grid. Every run is stored, and trained once.

    python -m lpwd.train scale=smoke decay=lpwd decay.rate=0.05 seed=0
    python -m lpwd.train -m scale=smoke decay=wd,lpwd decay.rate=0.1,0.01 seed=0,1,2
    python -m lpwd.train -m +experiment=table1 scale=paper

Everything random comes from (seed, epoch), so that a resumed run equals an uninterrupted one.
"""

from __future__ import annotations

import gc
import math
import platform
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import hydra
import numpy as np
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

import lpwd
from lpwd import data, mirror, models, runs, stats
from lpwd.checkpoint import Checkpoint
from lpwd.claim import Claim
from lpwd.config import CONFIGS, check, check_groups, keys
from lpwd.data.loaders import AlbumentationsLoader, DeviceLoader, build_augment, device_batches
from lpwd.errors import CannotWrite, ConfigError, is_out_of_memory, one_line_errors

if TYPE_CHECKING:
    from timm.scheduler.scheduler import Scheduler

# -- a run ----------------------------------------------------------------------------------------


@dataclass
class Training:
    """What a run is made of, and what its checkpoint holds."""

    cfg: DictConfig
    device: torch.device
    images: data.Dataset
    loader: DeviceLoader | AlbumentationsLoader
    model: nn.Module
    forward: nn.Module  # the model, compiled if machine.compile says so
    optimizer: torch.optim.Optimizer
    decay: lpwd.WeightDecay
    opposing: lpwd.OpposingRate | None
    schedule: Scheduler | None  # None: η is constant
    epoch: int = 1
    step: int = 0  # steps done in this epoch
    seconds: float = 0.0  # spent in this epoch
    loss_sum: Tensor = field(default_factory=lambda: torch.zeros(()))
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def diverged(self) -> bool:
        return bool(self.rows) and not math.isfinite(self.rows[-1]["train_loss"])

    def state_dict(self) -> dict[str, Any]:
        device_rng = torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict()["state"],  # its rates are the config's
            "decay": self.decay.state_dict(),
            "opposing": self.opposing.state_dict() if self.opposing else None,
            "position": (self.epoch, self.step, self.seconds),
            "loss_sum": self.loss_sum,
            "rows": self.rows,
            "rng": (torch.get_rng_state(), device_rng),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state["optimizer"], "param_groups": groups})
        if self.optimizer.state_dict()["param_groups"] != groups:
            raise ValueError("it brings its own rates, where the config's hold")
        self.decay.load_state_dict(state["decay"])
        if self.opposing:
            self.opposing.load_state_dict(state["opposing"])
        self.epoch, self.step, self.seconds = state["position"]
        self.loss_sum = state["loss_sum"].to(self.device)
        self.rows = state["rows"]
        host_rng, device_rng = state["rng"]
        torch.set_rng_state(host_rng.cpu())
        if device_rng is not None:
            torch.cuda.set_rng_state(device_rng.cpu(), self.device)


def prepare(cfg: DictConfig) -> Training:
    """Everything that is needed before the first step; wrong input ends here, in ConfigErrors."""
    device = choose_device(cfg.machine.device)
    torch.set_num_threads(cfg.machine.threads)
    set_precision(cfg.scale.precision)
    images = data.load(cfg.data, cfg.scale.images)
    loader = make_loader(cfg, images.train, device)
    torch.manual_seed(seed_of(cfg.seed, 0))  # the head's initial weights
    model = models.create(cfg.model, cfg.data.classes)
    layout = torch.channels_last if cfg.machine.channels_last else torch.contiguous_format
    model = cast(nn.Module, model.to(device, memory_format=layout))  # pyright: ignore
    forward = cast(nn.Module, torch.compile(model)) if cfg.machine.compile else model
    optimizer = make_optimizer(cfg, model)
    decay = make_decay(cfg, optimizer, forward)
    measured = decay.moment not in (None, "in the gradient")
    opposing = lpwd.OpposingRate(decay, cfg.scale.r_op_every) if measured else None
    schedule = make_schedule(cfg, optimizer, len(loader))
    parts = (device, images, loader, model, forward, optimizer, decay, opposing, schedule)
    return Training(cfg, *parts, loss_sum=torch.zeros((), device=device))


def train(cfg: DictConfig, store: runs.Store, run: str) -> Training:
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
        disable=None,  # off where nobody watches
    )
    with stop_signals() as stop, mirror.open_run(training, store, run) as log, epochs:
        while training.epoch <= cfg.scale.epochs and not training.diverged:
            row = train_epoch(training, lambda: save_and_stop(stop, checkpoint, training))
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


def epoch_row(t: Training) -> dict[str, Any]:
    """What is recorded of an epoch; accuracies in percent. A diverged one is not evaluated."""
    nan = float("nan")
    images = min(t.loader.count, len(t.loader) * t.loader.batch_size)  # fewer with drop_last
    train_loss = float(t.loss_sum) / images
    row = {
        "epoch": t.epoch,
        "train_loss": train_loss,
        **dict.fromkeys(("test_top1", "test_a_top1", "test_b_top1", "heldout_top1"), nan),
        **dict.fromkeys(("r_op_share", "r_op_size"), nan),
        "r_op_share_layers": [],
        "r_op_size_layers": [],
        "weight_norm": weight_norm(t.model),
    }
    if t.opposing:
        rates = t.opposing.compute()
        t.opposing.reset()
        row.update(r_op_share=rates.share, r_op_size=rates.size)
        row.update(r_op_share_layers=rates.layer_share, r_op_size_layers=rates.layer_size)
    if math.isfinite(train_loss):
        test = correct(t, t.images.test)
        row.update(test_top1=percent(test))
        row.update(test_a_top1=percent(test[0::2]), test_b_top1=percent(test[1::2]))
        if len(t.images.heldout.labels):
            row.update(heldout_top1=percent(correct(t, t.images.heldout)))
    return row


@torch.inference_mode()
def correct(t: Training, images: data.Images, limit: int | None = None) -> np.ndarray:
    """Which of the (first `limit`) images the model classifies rightly: bool [N]."""
    t.forward.eval()
    hits = []
    batches = device_batches(
        data.Images(images.pixels[:limit], images.labels[:limit]),
        batch_size=t.cfg.scale.eval_batch_size,
        mean=t.cfg.data.mean,
        std=t.cfg.data.std,
        device=t.device,
        channels_last=t.cfg.machine.channels_last,
    )
    precision = autocast(t.cfg, t.device)
    for x, y in batches:
        with precision:
            hits.append(t.forward(x).argmax(1) == y)
    return torch.cat(hits).cpu().numpy()


def percent(hits: np.ndarray) -> float:
    return 100.0 * float(hits.mean())


def weight_norm(model: nn.Module) -> float:
    """‖θ‖₂ over all parameters."""
    norms = torch._foreach_norm([p.detach() for p in model.parameters()])
    return float(torch.linalg.vector_norm(torch.stack(list(norms))))


@torch.no_grad()
def zero_shot(t: Training, steps: int = 100) -> list[float]:
    """Test top-1 while the trained weights decay to 0 without training, s = 0…steps (Eq. 12)."""
    weights = [p.detach().clone() for p in t.model.parameters()]
    curve = []
    for s in range(steps + 1):
        for p, theta_0 in zip(t.model.parameters(), weights, strict=True):
            p.copy_(theta_0 - s / steps * theta_0)
        curve.append(percent(correct(t, t.images.test, t.cfg.scale.zero_shot_images)))
    for p, theta_0 in zip(t.model.parameters(), weights, strict=True):
        p.copy_(theta_0)
    return curve


def finish(t: Training, run: str, settings: runs.Settings) -> runs.Record:
    """The record of a trained run, as the store keeps it."""
    pretrained, last = t.cfg.model.pretrained, t.rows[-1]
    named = isinstance(pretrained, bool)
    summary = {
        "pretrained": str(pretrained).lower() if named else settings["model"]["weights"],
        "train_images": len(t.images.train.labels),
        "status": "diverged" if t.diverged else "done",
        "diverged_epoch": last["epoch"] if t.diverged else None,
        "steps": len(t.rows) * len(t.loader),
        **stats.summarize(t.rows, t.cfg.scale.epochs),
        "final_top1": last["test_top1"],
        "final_loss": last["train_loss"],
        "weight_norm": last["weight_norm"],
        "seconds": sum(row["seconds"] for row in t.rows),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        **versions(t),
    }
    wants_curve = t.cfg.decay.method == "baseline" and not t.diverged
    return {
        "hash": run,
        "settings": settings,
        "summary": summary,
        "epochs": t.rows,
        "zero_shot": zero_shot(t) if wants_curve else [],
    }


def versions(t: Training) -> dict[str, Any]:
    """What the numbers were computed with."""
    import timm

    on_gpu = t.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(t.device) if on_gpu else cpu_name(),
        "threads": t.cfg.machine.threads,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "timm": timm.__version__,
        "lpwd": lpwd.__version__,
        "commit": runs.commit(),
    }


# -- its parts ------------------------------------------------------------------------------------


def seed_of(seed: int, epoch: int) -> int:
    """A generator's seed for one epoch; epoch 0 is the head's initialization."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])


def choose_device(name: str) -> torch.device:
    """machine.device as a torch device; raises ConfigError if it is not here."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        raise ConfigError(f"machine.device={name} is not on this machine; use auto") from None
    return device


def set_precision(precision: str) -> None:
    """fp32 in full, or with tf32 matrix products; bf16 is `autocast`'s."""
    tf32 = precision != "fp32"
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32


def autocast(cfg: DictConfig, device: torch.device) -> AbstractContextManager[Any]:
    """For any number of `with` blocks, one after another; costs nothing where it does nothing."""
    if cfg.scale.precision != "bf16":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def make_loader(
    cfg: DictConfig, images: data.Images, device: torch.device
) -> DeviceLoader | AlbumentationsLoader:
    common = {
        "batch_size": cfg.scale.batch_size,
        "augment": build_augment(cfg.data.augment),
        "mean": cfg.data.mean,
        "std": cfg.data.std,
        "device": device,
        "seed": cfg.seed,
        "channels_last": cfg.machine.channels_last,
        "drop_last": cfg.scale.drop_last,
    }
    if cfg.scale.loader == "device":
        return DeviceLoader(images, **common)
    return AlbumentationsLoader(images, **common, workers=cfg.machine.loader_workers)


def make_optimizer(cfg: DictConfig, model: nn.Module) -> torch.optim.Optimizer:
    """Adam or SGD with momentum, fused, without a decay of their own."""
    optimizer, base = cfg.optimizer, cfg.scale.base[cfg.optimizer.name]
    lr = base.lr * optimizer.lr_factor if optimizer.lr is None else optimizer.lr
    lr = runs.canonical_number(lr)
    if optimizer.name == "adam":
        return torch.optim.Adam(
            model.parameters(), lr=lr, betas=tuple(optimizer.betas), eps=optimizer.eps, fused=True
        )
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=optimizer.momentum, fused=True)


def make_schedule(
    cfg: DictConfig, optimizer: torch.optim.Optimizer, steps: int
) -> Scheduler | None:
    """η over the steps of a run, from the step's number alone: a resumed run needs no state.

    cosine: η/2 · (1 + cos πt/T) at step t of T (Loshchilov & Hutter 2016, without restarts).
    """
    if cfg.optimizer.schedule == "constant":
        return None
    from timm.scheduler.cosine_lr import CosineLRScheduler

    return CosineLRScheduler(optimizer, t_initial=cfg.scale.epochs * steps, t_in_epochs=False)


def make_decay(
    cfg: DictConfig, optimizer: torch.optim.Optimizer, model: nn.Module
) -> lpwd.WeightDecay:
    decay, base = cfg.decay, cfg.scale.base[cfg.optimizer.name]
    rate = base.rate * decay.rate_factor if decay.rate is None else decay.rate
    try:
        return lpwd.WeightDecay(
            optimizer,
            model,
            decay.method,
            runs.canonical_number(rate),
            profile=decay.profile,
            normalize=decay.normalize,
            layers=decay.layers,
            coupled=decay.coupled,
            exclude=decay.exclude,
        )
    except ValueError as error:
        raise ConfigError(f"decay.rate, optimizer.lr: {error}") from None


def cpu_name() -> str:
    """The processor's model, as Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


# -- stopping -------------------------------------------------------------------------------------


class Stopped(KeyboardInterrupt):
    """The run was asked to stop, and left its checkpoint."""


class Stop:
    """Set by the first SIGINT or SIGTERM; a SIGINT after that interrupts at once."""

    requested = False

    def __call__(self, signum: int, frame: Any) -> None:
        if self.requested and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True


@contextmanager
def stop_signals() -> Iterator[Stop]:
    stop = Stop()
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def save_and_stop(stop: Stop, checkpoint: Checkpoint, training: Training) -> None:
    if stop.requested:
        checkpoint.save(training)
        raise Stopped


# -- the command ----------------------------------------------------------------------------------

OUT_OF_MEMORY = (
    "out of memory: train fewer runs at once (machine.runs, machine.runs_per_gpu), or a smaller"
    " scale.batch_size or scale.eval_batch_size; the same command goes on from the last checkpoint"
)


def run_once(cfg: DictConfig) -> str:
    """Train the run that `cfg` describes unless it is stored or in training; say which it was."""
    check(cfg)
    mirror.check(cfg)
    container = OmegaConf.to_container(cfg, resolve=True)
    settings = runs.settings(cast(dict[str, Any], container))
    run, store = runs.run_id(settings), runs.Store(cfg.scale.name)
    if store.has(run):
        known = store.collect().runs.query("hash == @run").iloc[0].to_dict()
        return f"{describe(run, known)}; stored already, another seed= trains anew"
    with Claim(store.work(run)) as claim:
        if not claim.mine:
            return f"{run} is in training elsewhere ({claim.holder})"
        if store.has(run):
            return f"{run} was stored meanwhile"
        try:
            training = train(cfg, store, run)
            store.save(finish(training, run, settings))
        except ConfigError:
            raise
        except Exception as error:
            with suppress(CannotWrite):  # what went wrong is more worth telling
                store.fail(run, settings, traceback.format_exc())
            if is_out_of_memory(error):
                raise ConfigError(OUT_OF_MEMORY) from error
            raise
    record = store.read(run)
    assert record is not None
    return f"{describe(run, record['summary'])}; stored in {store.runs / run}"


def describe(run: str, summary: Mapping[Any, Any]) -> str:
    if summary["status"] == "diverged":
        return f"{run} diverged at epoch {summary['diverged_epoch']:.0f}"
    k = summary["best_k"]
    many = f"± {summary['best_std']:.2f}, mean of the best {k} epochs"
    return (
        f"{run} test top-1 {summary['best_mean']:.2f} ({'of the best epoch' if k == 1 else many}),"
        f" last {summary['final_top1']:.2f}"
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
    """A run whose errors are the sweep's to tell, and whose memory ends with it."""
    try:
        return run_once(cfg)
    except Exception as error:
        cause: BaseException | None = error
        while cause:  # the sweep keeps the error, which keeps its frames, which keep the model
            traceback.clear_frames(cause.__traceback__)
            cause = cause.__cause__ or cause.__context__
        raise
    finally:
        gc.collect()  # a model is held by cycles: left to themselves, they pile up


def main() -> None:
    """The command line: Hydra's, with errors of the user's told in one line."""
    if not CONFIGS.is_dir():
        sys.exit("error: the experiments run from a clone of the repository: configs/ is not here")
    # Our files of submitit's and Ray's launchers are meant to be held against their schemas.
    warnings.filterwarnings("ignore", r"\s*'hydra/launcher/\w+' is validated against ConfigStore")
    with one_line_errors(keys()):
        check_groups(sys.argv[1:])
        hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="train")(task)()


if __name__ == "__main__":
    # By its own name, so that launchers' processes find the task.
    from lpwd.train import main as command

    command()
