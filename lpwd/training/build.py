"""Everything that a run needs before its first step."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

import lpwd
from lpwd.config.errors import ConfigError
from lpwd.config.machine import choose_device, set_determinism, set_precision
from lpwd.config.rates import rates_of
from lpwd.decay.layers import unwrap
from lpwd.inputs import data, models
from lpwd.inputs.albumentations_loader import AlbumentationsLoader
from lpwd.inputs.augment import build_augment
from lpwd.inputs.loaders import DeviceBatches, DeviceLoader
from lpwd.inputs.seeds import seed_of

if TYPE_CHECKING:
    from timm.scheduler.scheduler import Scheduler


@dataclass
class Training:
    """What a run is made of, and what its checkpoint holds."""

    cfg: DictConfig
    device: torch.device
    images: data.Dataset
    loader: DeviceLoader | AlbumentationsLoader
    test: DeviceBatches
    heldout: DeviceBatches
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


def prepare(cfg: DictConfig, images: data.Dataset | None = None) -> Training:
    """Everything that is needed before the first step; wrong input ends here, in ConfigErrors.

    images: to train on in place of the config's own.
    """
    device = choose_device(cfg.machine.device, cfg.scale.name)
    torch.set_num_threads(cfg.machine.threads)
    set_precision(cfg.scale.precision)
    set_determinism(cfg.machine.deterministic, device)
    images = images or data.load(cfg.data, cfg.scale.images)
    loader = make_loader(cfg, images.train, device)
    torch.manual_seed(seed_of(cfg.seed, 0))  # the head's initial weights; epochs count from 1
    model = models.create(cfg.model, cfg.data.classes)
    models.check_side(model, cfg.data.side)
    layout = torch.channels_last if cfg.machine.channels_last else torch.contiguous_format
    model = cast(nn.Module, model.to(device, memory_format=layout))  # pyright: ignore
    forward = compiled(model, cfg.machine.compile)
    optimizer = make_optimizer(cfg, model)
    decay = make_decay(cfg, optimizer, forward)
    # R_op is of penalties towards zero.
    measured = decay.moment not in (None, "in the gradient") and not decay.towards
    batches = {"batch_size": cfg.scale.eval_batch_size, **_as_input(cfg, device)}
    return Training(
        cfg=cfg,
        device=device,
        images=images,
        loader=loader,
        test=DeviceBatches(images.test, **batches),
        heldout=DeviceBatches(images.heldout, **batches),
        model=model,
        forward=forward,
        optimizer=optimizer,
        decay=decay,
        opposing=lpwd.OpposingRate(decay, cfg.scale.r_op_every) if measured else None,
        schedule=make_schedule(cfg, optimizer, len(loader)),
        loss_sum=torch.zeros((), device=device),
    )


def compiled(model: nn.Module, how: bool | str) -> nn.Module:
    """The model as machine.compile says: itself, or by torch.compile; graphs: and CUDA graphs.

    The whole model is compiled, once for each size of batch, or torch raises: a part, or the third
    model of a process, would otherwise run uncompiled and nobody would know.
    """
    if not how:
        return model
    torch.compiler.reset()  # the process's earlier models count, too, against the limit
    mode = "reduce-overhead" if how == "graphs" else None
    return cast(nn.Module, torch.compile(model, fullgraph=True, dynamic=False, mode=mode))


def _as_input(cfg: DictConfig, device: torch.device) -> dict[str, Any]:
    """How pixels become a model's input."""
    return {
        "mean": cfg.data.mean,
        "std": cfg.data.std,
        "device": device,
        "channels_last": cfg.machine.channels_last,
    }


def make_loader(
    cfg: DictConfig, images: data.Images, device: torch.device
) -> DeviceLoader | AlbumentationsLoader:
    common = {
        "batch_size": cfg.scale.batch_size,
        "augment": build_augment(cfg.data.augment),
        "seed": cfg.seed,
        "drop_last": cfg.scale.drop_last,
        **_as_input(cfg, device),
    }
    if cfg.scale.loader == "device":
        return DeviceLoader(images, **common)
    return AlbumentationsLoader(images, **common, workers=cfg.machine.loader_workers)


def make_optimizer(cfg: DictConfig, model: nn.Module) -> torch.optim.Optimizer:
    """Adam or SGD with momentum, fused, without a decay of their own."""
    optimizer, params, lr = cfg.optimizer, model.parameters(), rates_of(cfg).lr
    if optimizer.name == "adam":
        betas = tuple(optimizer.betas)
        return torch.optim.Adam(params, lr=lr, betas=betas, eps=optimizer.eps, fused=True)
    return torch.optim.SGD(params, lr=lr, momentum=optimizer.momentum, fused=True)


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
    """The run's decay on `model`, which holds its initial weights.

    Raises ConfigError for rates that would flip the signs of weights.
    """
    decay = cfg.decay
    net = unwrap(model)
    towards = models.without_head(net, net.state_dict()) if decay.towards == "pretrained" else None
    try:
        return lpwd.WeightDecay(
            optimizer,
            model,
            decay.method,
            rates_of(cfg).rate,
            profile=decay.profile,
            normalize=decay.normalize,
            layers=decay.layers,
            coupled=decay.coupled,
            exclude=decay.exclude,
            towards=towards,
        )
    except ValueError as error:
        raise ConfigError(f"decay.rate, optimizer.lr: {error}") from None
