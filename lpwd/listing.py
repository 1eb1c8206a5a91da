"""Layers and rates of a model, parameter by parameter: what a decay will do before it does it.

    python -m lpwd.listing model=convnext_tiny
    python -m lpwd.listing model=swin_tiny optimizer=sgdm decay.normalize=params --by-layer

The keys are those of a run: scale, model, optimizer, decay.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pandas as pd
from omegaconf import DictConfig

import lpwd
from lpwd.config.check import check, keys, without_hydra
from lpwd.config.errors import ConfigError, one_line_errors
from lpwd.config.paths import CONFIGS

BY_LAYER = "--by-layer"


def listing(cfg: DictConfig) -> pd.DataFrame:
    """One row per parameter: parameter, shape, weights, layer, rate (λ_i), step (ηλ_i).

    Sorted from shallow to deep layers.
    `cfg` is a composed config; its pretrained weights are not needed. `frame.attrs` holds n, the
    number of layers, η, and the mean of λ_i over weights (mean) and over layers (layer_mean).
    Raises ConfigError for what a run would refuse, too.
    """
    return by_parameter(attached(cfg))


def attached(cfg: DictConfig) -> lpwd.WeightDecay:
    """The decay of a run with this config, on its model and optimizer."""
    from lpwd.inputs import models
    from lpwd.inputs.check import check_inputs
    from lpwd.training.build import make_decay, make_optimizer

    cfg = check(cfg)
    check_inputs(cfg)
    model = models.create(cfg.model, cfg.data.classes)
    return make_decay(cfg, make_optimizer(cfg, model), model)


def by_parameter(decay: lpwd.WeightDecay) -> pd.DataFrame:
    lr = decay.optimizer.param_groups[0]["lr"]
    index, rates = lpwd.layer_index(decay.model, decay.layers), decay.rates
    rows = [
        {
            "parameter": name,
            "shape": "×".join(map(str, p.shape)),
            "weights": p.numel(),
            "layer": index[name],
            "rate": rates[name],
            "step": (lr if decay.coupled else 1.0) * rates[name],
        }
        for name, p in decay.model.named_parameters()
    ]
    frame = pd.DataFrame(rows).sort_values("layer", kind="stable").reset_index(drop=True)
    mean = (frame["weights"] * frame["rate"]).sum() / frame["weights"].sum()
    layer_mean = frame.groupby("layer")["rate"].max().mean()
    frame.attrs.update(n=decay.layer_count, lr=lr, mean=float(mean), layer_mean=float(layer_mean))
    return frame


def show(decay: lpwd.WeightDecay, by_layer: bool) -> str:
    """A line for each parameter or layer, and the totals."""
    frame = by_parameter(decay)
    n, lr, mean, layer_mean = (frame.attrs[key] for key in ("n", "lr", "mean", "layer_mean"))
    text = frame.assign(
        layer=[f"{layer} of {n}" for layer in frame["layer"]],
        rate=frame["rate"].map("{:.4g}".format),
        step=frame["step"].map("{:.3g}".format),
        weights=frame["weights"].map("{:,}".format),
    ).rename(columns={"rate": "λ_i", "step": "ηλ_i"})
    totals = (
        f"{frame['weights'].sum():,} weights in {n} layers; η = {lr:g};"
        f" the mean of λ_i over weights is {mean:.4g}, over layers {layer_mean:.4g}"
    )
    return f"{decay.table() if by_layer else text.to_string(index=False)}\n{totals}"


def main(arguments: Sequence[str] | None = None) -> None:
    from lpwd.config import compose

    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return
    overrides = [argument for argument in arguments if argument != BY_LAYER]
    with one_line_errors(keys()):
        if not CONFIGS.is_dir():
            raise ConfigError("configs/ is not here: run this from a clone of the repository")
        cfg = without_hydra(compose.composed([*overrides, "model.pretrained=false"]))
        decay = attached(cfg)
    print(f"{cfg.model.name}, {cfg.optimizer.name}, {cfg.decay.method}")
    print(show(decay, by_layer=BY_LAYER in arguments))


if __name__ == "__main__":
    main()
