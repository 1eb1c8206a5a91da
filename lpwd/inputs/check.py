"""What a run reads, held against what is there: before any work, and without reading it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from omegaconf import OmegaConf

from lpwd.config.errors import ConfigError
from lpwd.config.paths import CONFIGS, named, names_in
from lpwd.inputs.augment import build_augment
from lpwd.inputs.weights import check_arch, check_weights


def check_inputs(config: Mapping[str, Any]) -> None:
    """Raise ConfigError for a transform, a folder or an arch that is not there."""
    data = config["data"]
    build_augment(data["augment"])
    # A folder that somebody named must be there; the default one may be made by a download.
    if data["name"] != "digits" and data["root"] != "data" and not _is_folder(str(data["root"])):
        raise ConfigError(
            f"data.root={data['root']} (or LPWD_DATA) does not exist; name the folder that holds"
            " the data, or leave it out to download them (docs/data.md)"
        )
    if config["model"]["arch"] not in _archs():  # timm takes seconds to import
        check_arch(config["model"]["arch"])


def lacking(configs: Iterable[Mapping[str, Any]]) -> list[str]:
    """The data and weights that these runs lack, each once and in one line.

    Files are looked for, not decoded; what can be downloaded is not missing. torch is not
    imported, timm only for its own weights.
    """
    faults: dict[str, None] = {}
    known: list[Any] = []
    for config in configs:
        for check, section in ((check_images, config["data"]), (check_weights, config["model"])):
            if section in known:
                continue
            known.append(section)
            try:
                check(section)
            except ConfigError as error:
                faults.setdefault(str(error))
    return list(faults)


def check_images(data: Mapping[str, Any]) -> bool:
    """Are a data set's files here? False: they are on the hub, and it answers.

    Raises:
        ConfigError: neither.
    """
    from lpwd.inputs import locate, sources  # pyarrow takes a while to import
    from lpwd.inputs.cache import is_cached

    if data["name"] == "digits":
        return True
    source, root = sources.of(data["name"]), named(data["root"])
    layout = locate.find(source, root)
    if layout:
        layout.stamp()
    elif not is_cached(source, root):
        locate.check_download(source, root)
        return False
    return True


@cache
def _archs() -> set[str]:
    """The archs that configs/model/ names: those are there."""
    return {OmegaConf.load(CONFIGS / "model" / f"{name}.yaml").arch for name in names_in("model")}


def _is_folder(name: str) -> bool:
    """Is there such a folder? What cannot be a folder's name is none."""
    try:
        return named(name).is_dir()
    except (OSError, ConfigError):
        return False
