"""Which file a model's weights come from, and what they are called.

Without torch; timm takes two seconds to import, and is left to those who need it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from lpwd.config.errors import ConfigError
from lpwd.config.paths import ROOT
from lpwd.decay.checks import did_you_mean
from lpwd.inputs import hub


@cache
def check_arch(arch: str) -> None:
    """Raises ConfigError, with the nearest names, if timm has no such model or no such weights."""
    import timm

    name, _, tag = arch.partition(".")
    if not timm.is_model(name):
        raise ConfigError(f"model.arch={arch} is unknown{did_you_mean(name, timm.list_models())}")
    tags = timm.list_pretrained(f"{name}.*")
    if tag and arch not in tags:
        raise ConfigError(f"model.arch={arch} is unknown{did_you_mean(arch, tags)}")


def weights_file(model: Mapping[str, Any]) -> Path | None:
    """The local file of the weights that `model.pretrained` asks for; None: from scratch.

    ``true`` means the file `model.weights`, or where that is null timm's weights for the arch,
    from the hub's cache or the hub.

    Raises:
        ConfigError: there is no such file, or it cannot be downloaded.
    """
    return _find(model, hub.fetch)


def check_weights(model: Mapping[str, Any]) -> Path | None:
    """The file of a model's weights; None if there is none yet, but the hub has it, or none at all.

    Raises:
        ConfigError: it is damaged, or neither here nor to be downloaded.
    """
    file = _find(model, hub.check)
    if file is not None:
        check_intact(file)
    return file


def _find(model: Mapping[str, Any], get: Callable[[str, str], Path | None]) -> Path | None:
    local = _local_weights(model)
    if local is not None:
        return _resolve(local)
    if model["pretrained"] is False:
        return None
    import timm

    arch = model["arch"]
    cfg = timm.get_pretrained_cfg(arch)
    if cfg is None or not cfg.hf_hub_id:
        raise ConfigError(f"timm has no weights for {arch}; use model.pretrained=false or a file")
    try:
        return get(cfg.hf_hub_id, "model.safetensors")
    except hub.HubError as error:
        raise ConfigError(
            f"the weights of {weights_id(model)} are not cached and cannot be downloaded: {error}."
            f" Download them where there is a network (hf download {cfg.hf_hub_id}"
            f" model.safetensors) and copy the cache (HF_HOME) or set model.pretrained=<the file>;"
            f" or train from scratch with model.pretrained=false"
        ) from None


def weights_id(model: Mapping[str, Any]) -> str:
    """What the initial weights are: ``scratch``, timm's name of them, or the file's hash.

    Raises:
        ConfigError: the file is not there.
    """
    local = _local_weights(model)
    if local is not None:
        return f"sha256:{_digest(_resolve(local))[:16]}"
    if model["pretrained"] is False:
        return "scratch"
    import timm

    check_arch(model["arch"])
    cfg = timm.get_pretrained_cfg(model["arch"])
    return f"{cfg.architecture}.{cfg.tag}" if cfg and cfg.tag else model["arch"]


def _local_weights(model: Mapping[str, Any]) -> str | None:
    if isinstance(model["pretrained"], bool):
        return model["weights"] if model["pretrained"] else None
    return str(model["pretrained"])


def _resolve(name: str) -> Path:
    with suppress(OSError, RuntimeError):  # what cannot be a file's name is none
        path = Path(name).expanduser()
        for candidate in (path, ROOT / path):
            if candidate.is_file():
                return candidate.absolute()  # a link keeps its name: its ending is the format's
    raise ConfigError(
        f"there is no weights file {name}; give its path as model.pretrained (or model.weights), or"
        f" use model.pretrained=false; scripts/pretrain.py makes those of the micro models"
    )


def check_intact(file: Path) -> None:
    """Raise ConfigError for a changed file, where its SHA-256 is known: bits may flip on any disk.

    It is beside the file (<name>.sha256, as sha256sum writes it), or is the name of the file
    that the hub's cache links to.
    """
    beside, own_name = file.with_suffix(".sha256"), file.resolve().name
    if beside.is_file():
        known, mend = beside.read_text().partition(" ")[0], "restore it with git, or remove both"
    elif re.fullmatch(r"[0-9a-f]{64}", own_name):
        known, mend = own_name, "remove it, and the next run downloads it again"
    else:
        return
    if _digest(file) != known:
        raise ConfigError(f"{file.resolve()} is damaged (its checksum differs); {mend}")


def _digest(file: Path) -> str:
    """SHA-256 of a file's content, read once for as long as the file is the same."""
    stat = file.stat()
    return _digest_of(file, stat.st_mtime_ns, stat.st_size)


@lru_cache
def _digest_of(file: Path, mtime_ns: int, size: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
