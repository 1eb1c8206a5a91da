"""TODO lpwd.store.identity."""

from __future__ import annotations

import hashlib
import json
import math
from functools import cache
from typing import Any, cast

from omegaconf import OmegaConf

from lpwd.config.compose import scale_config
from lpwd.config.paths import CONFIGS
from lpwd.config.rates import canonical_number
from lpwd.decay.rates import METHODS

#: Raise it when the same settings come to mean another training: older runs are not used then.
PROTOCOL = 1

Settings = dict[str, Any]


# -- identity -------------------------------------------------------------------------------------


def settings(config: dict[str, Any]) -> Settings:
    """All that decides a run's numbers, in canonical form, from a composed config.

    Left out: machine, wandb, experiment, paths, the scale's grid. Rates are resolved (factors
    times the scale's base), numbers rounded to 12 digits, Baseline has no λ, and lpwd is the same
    as pwd with the linear profile.
    """
    from lpwd.inputs.models import weights_id

    optimizer, decay, scale = dict(config["optimizer"]), config["decay"], dict(config["scale"])
    base = scale.pop("base")[optimizer["name"]]
    scale.pop("grid")
    model = config["model"]
    lr_factor = optimizer.pop("lr_factor")
    if optimizer["schedule"] == "constant":  # younger than the first stored runs
        optimizer.pop("schedule")
    if optimizer["lr"] is None:
        optimizer["lr"] = base["lr"] * lr_factor
    data = {key: value for key, value in config["data"].items() if key != "root"}
    return _canonical(
        {
            "protocol": PROTOCOL,
            "data": data,
            "model": {
                "name": model["name"],
                "arch": model["arch"],
                "kwargs": model["kwargs"],
                "weights": weights_id(model),
            },
            "optimizer": optimizer,
            "decay": _canonical_decay(decay, base["rate"]),
            "scale": scale,
            "seed": config["seed"],
        }
    )


def _canonical_decay(decay: dict[str, Any], base_rate: float) -> dict[str, Any]:
    if decay["method"] == "baseline":
        return {"method": "baseline"}
    moment, default_profile = METHODS[decay["method"]]
    profile = decay["profile"] or default_profile
    method = next(name for name, (when, _) in METHODS.items() if when == moment)
    if (method, profile) == ("pwd", "linear"):
        method = "lpwd"
    rate = decay["rate"]
    return {
        "method": method,
        "rate": base_rate * decay["rate_factor"] if rate is None else rate,
        "profile": profile,
        "normalize": decay["normalize"],
        "layers": decay["layers"],
        "coupled": decay["coupled"] or method == "l2",  # l2 has no η to leave out
        "exclude": sorted(set(decay["exclude"])),
    }


def _canonical(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {str(key): _canonical(tree[key]) for key in sorted(tree)}
    if isinstance(tree, list | tuple):
        return [_canonical(item) for item in tree]
    if isinstance(tree, float) and math.isfinite(tree):
        return canonical_number(tree)
    return tree


def run_id(settings: Settings) -> str:
    """The run's name: 12 hexadecimal digits of the hash of its settings."""
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def setting_id(settings: Settings) -> str:
    """Hash of what the runs of one column of a table share: all but η, the decay and the seed."""
    optimizer = {key: value for key, value in settings["optimizer"].items() if key != "lr"}
    shared = {key: settings[key] for key in ("protocol", "data", "model", "scale")}
    return run_id({**shared, "optimizer": optimizer})[:8]


@cache
def default_setting(scale: str, data: str, model: str, optimizer: str, pretrained: bool) -> str:
    """`setting_id` of the runs that configs/ describes now, without changes from anyone's keys."""

    def group(kind: str, name: str) -> dict[str, Any]:
        node: Any = OmegaConf.load(CONFIGS / kind / f"{name}.yaml")
        node.pop("root", None)
        return cast(dict[str, Any], OmegaConf.to_container(node, resolve=True))

    config = {
        "data": group("data", data),
        "model": {**group("model", model), "pretrained": pretrained},
        "optimizer": group("optimizer", optimizer),
        "decay": {"method": "baseline"},
        "scale": OmegaConf.to_container(scale_config(scale), resolve=True),
        "seed": 0,
    }
    return setting_id(settings(config))
