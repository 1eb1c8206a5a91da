"""TODO lpwd.config.compose."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from lpwd.config.errors import reworded
from lpwd.config.paths import CONFIGS, SCALES
from lpwd.decay.checks import check_choice


def without_hydra(cfg: DictConfig) -> DictConfig:
    return OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])


def scale_config(name: str) -> DictConfig:
    """The `scale` node of configs/scale/<name>.yaml; raises ConfigError for an unknown scale."""
    reworded(check_choice, "scale", name, SCALES)
    return OmegaConf.load(CONFIGS / "scale" / f"{name}.yaml").scale


def composed(arguments: Sequence[str], *hydra_overrides: str) -> DictConfig:
    """The config of some overrides with its hydra node, outside of a Hydra application."""
    with _hydra():
        return compose("train", [*arguments, *hydra_overrides], return_hydra_config=True)


# -- Hydra ----------------------------------------------------------------------------------------


class _hydra:
    """Hydra initialized on configs/ for a `with` block; a running application's own is kept."""

    def __enter__(self) -> None:
        self.ours = not GlobalHydra.instance().is_initialized()
        if self.ours:
            initialize_config_dir(str(CONFIGS), version_base="1.3")

    def __exit__(self, *error: object) -> None:
        if self.ours:
            GlobalHydra.instance().clear()


def _compose(overrides: list[str]) -> DictConfig:
    with _hydra():
        return compose("train", overrides)


def _groups() -> list[str]:
    return [path.name for path in Path(CONFIGS).iterdir() if path.is_dir()]
