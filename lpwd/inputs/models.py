"""timm models by their config, with or without pretrained weights."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from lpwd.config.errors import ConfigError, first_line, is_out_of_memory
from lpwd.inputs.weights import check_arch, check_intact, weights_file


def create(model: DictConfig, classes: int) -> nn.Module:
    """The model of a config (``configs/model``) with a new head for `classes`, in float32.

    The head is drawn anew whatever the weights, so seed torch's generator first. Swin's position
    tables are resized to its windows.

    Raises:
        ConfigError: the arch or its kwargs are unknown; the weights are not there, cannot be
            downloaded, or hold other tensors than the model's.
    """
    import timm

    check_arch(model.arch)
    kwargs: dict[str, Any] = OmegaConf.to_container(model.kwargs, resolve=True)  # pyright: ignore
    try:
        net = timm.create_model(model.arch, pretrained=False, num_classes=classes, **kwargs)
    except Exception as error:  # timm's models do not check what they are given
        if is_out_of_memory(error):
            raise
        fault = first_line(error)
        raise ConfigError(
            f"model.kwargs do not fit {model.arch}: {fault}; configs/model/ has some that do"
        ) from None
    file = weights_file(model)
    if file is not None:
        load_weights(net, file)
    return net


@torch.inference_mode()
def check_side(net: nn.Module, side: int) -> None:
    """Raise ConfigError for a new model that cannot take images of side × side pixels."""
    try:
        net.eval()(torch.zeros(1, 3, side, side))
    except Exception as error:  # each model says in its own way what it does not take
        if is_out_of_memory(error):
            raise
        raise ConfigError(
            f"data.side={side}: the model cannot take images of {side}×{side} pixels"
            f" ({first_line(error).rstrip('.')}); choose another model or other model.kwargs"
        ) from None
    finally:
        net.train()


def load_weights(net: nn.Module, file: Path) -> None:
    """Put the tensors of a .safetensors or .pth file into a timm model, all but its head's.

    timm itself stops checking once it replaces a head; here anything else missing or surplus is an
    error. Files are read as tensors only: nothing in them is run.

    Raises:
        ConfigError: the file is damaged, or its tensors are not the model's.
    """
    import timm

    check_intact(file)
    try:
        state = timm.models.load_state_dict(str(file))
        adapt = getattr(sys.modules[type(net).__module__], "checkpoint_filter_fn", None)
        state = adapt(state, net) if adapt else state
    except Exception as error:  # readers of damaged or foreign files raise anything
        if is_out_of_memory(error):
            raise
        fault = first_line(error)
        raise ConfigError(f"{file} does not hold weights of this model ({fault})") from None
    own, state = without_head(net, net.state_dict()), without_head(net, state)
    for names, fault in (
        (own.keys() - state.keys(), "lacks"),
        (state.keys() - own.keys(), "has a surplus"),
        ({n for n in own.keys() & state.keys() if own[n].shape != state[n].shape}, "misfits in"),
    ):
        if names:
            first = min(names)
            rest = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise ConfigError(f"{file} {fault} {first}{rest}: it is of another model")
    net.load_state_dict(state, strict=False)


def without_head(net: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a timm model's state that are not its classifier's."""
    heads = net.pretrained_cfg["classifier"]  # pyright: ignore
    heads = tuple(f"{head}." for head in ([heads] if isinstance(heads, str) else heads))
    return {name: tensor for name, tensor in state.items() if not name.startswith(heads)}
