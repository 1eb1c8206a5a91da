"""What a run is: the settings that decide its numbers, and the hash that is its name."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from functools import cache
from typing import Any

from lpwd.config.compose import composer
from lpwd.config.paths import named
from lpwd.config.rates import canonical_number, rates_of
from lpwd.decay.methods import METHODS
from lpwd.inputs import sources
from lpwd.inputs.weights import weights_id

#: Raise it when the same settings come to mean another training: older runs are not used then.
PROTOCOL = 1

#: Keys that are younger than stored runs, with the value that those had: left out at it.
YOUNGER = {"optimizer.schedule": "constant", "data.side": 32, "decay.towards": None}

Settings = dict[str, Any]


def settings(config: Mapping[str, Any]) -> Settings:
    """All that decides a run's numbers, in canonical form, from a composed config.

    Left out: machine, wandb, experiment, paths, the scale's grid and base. Rates are resolved
    (`config.rates.rates_of`), numbers rounded to 12 digits, Baseline has no λ, and lpwd is the same
    as pwd with the linear profile. A data set of one's own is known by its name and its files.
    """
    rates, model, scale = rates_of(config), config["model"], config["scale"]
    data = {key: value for key, value in config["data"].items() if key != "root"}
    data |= _own_files(data["name"], config["data"]["root"])
    optimizer = {key: value for key, value in config["optimizer"].items() if key != "lr_factor"}
    return _canonical(
        {
            "protocol": PROTOCOL,
            "data": _without_younger("data", data),
            "model": {
                "name": model["name"],
                "arch": model["arch"],
                "kwargs": model["kwargs"],
                "weights": weights_id(model),
            },
            "optimizer": _without_younger("optimizer", {**optimizer, "lr": rates.lr}),
            "decay": _without_younger("decay", _decay(config["decay"], rates.rate)),
            "scale": {key: scale[key] for key in scale if key not in ("base", "grid")},
            "seed": config["seed"],
        }
    )


@cache
def _own_files(name: str, root: str) -> dict[str, str]:
    """What tells two data sets of one's own apart that have the same name. Looked at once."""
    if name == "digits" or name in sources.SOURCES:
        return {}
    from lpwd.inputs import locate  # pyarrow takes a while to import

    found = locate.contents(sources.own(name), named(root))
    return {"files": found} if found else {}


def _without_younger(section: str, values: dict[str, Any]) -> dict[str, Any]:
    """Without the YOUNGER keys that have the value of runs from before them."""
    return {k: v for k, v in values.items() if YOUNGER.get(f"{section}.{k}", ...) != v}


def _decay(decay: Mapping[str, Any], rate: float) -> dict[str, Any]:
    """Under the method's own name; only lpwd is pwd × linear, said otherwise."""
    method = decay["method"]
    if method == "baseline":
        return {"method": method}
    profile = decay["profile"] or METHODS[method].profile
    if method == "lpwd":
        method = "pwd"
    return {
        "method": "lpwd" if (method, profile) == ("pwd", "linear") else method,
        "rate": rate,
        "profile": profile,
        "normalize": decay["normalize"],
        "layers": decay["layers"],
        "coupled": decay["coupled"] or method == "l2",  # l2 has no η to leave out
        "towards": decay["towards"],
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
    return hashlib.sha256(as_text(settings).encode()).hexdigest()[:12]


def as_text(settings: Settings) -> str:
    """Settings as the JSON that is hashed."""
    return json.dumps(settings, sort_keys=True, separators=(",", ":"))


def setting_id(settings: Settings) -> str:
    """Hash of what the runs of one column of a table share: all but η, the decay and the seed."""
    optimizer = {key: value for key, value in settings["optimizer"].items() if key != "lr"}
    shared = {key: settings[key] for key in ("protocol", "data", "model", "scale")}
    return run_id({**shared, "optimizer": optimizer})[:8]


@cache
def default_setting(
    scale: str, data: str, model: str, optimizer: str, scratch: bool = False
) -> str:
    """`setting_id` of a column's runs as configs/ describe them now; `scratch`: not pretrained."""
    overrides = [f"scale={scale}", f"data={data}", f"model={model}", f"optimizer={optimizer}"]
    overrides += ["decay=baseline", *["model.pretrained=false"] * scratch]
    return setting_id(settings(composer().config(overrides)))
