"""`data.augment`: albumentations' transforms by their names, made where they are used."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import OmegaConf

from lpwd.config.errors import ConfigError, first_line

PREFIX = "albumentations."


@dataclass(frozen=True)
class Transform:
    """An albumentations class by its name, and its arguments; made only where it is used."""

    name: str
    kwargs: Mapping[str, Any]

    def build(self) -> Any:
        """The transform itself.

        Raises:
            ConfigError: albumentations has no such transform, or it refuses the arguments.
        """
        albumentations = import_albumentations()
        cls = getattr(albumentations, self.name, None)
        bases = (albumentations.BasicTransform, albumentations.BaseCompose)
        if not (isinstance(cls, type) and issubclass(cls, bases)):
            raise ConfigError(f"data.augment: {PREFIX}{self.name} is not a transform")
        nested = {
            key: [transform.build() for transform in build_augment(value)]
            if key == "transforms"
            else value
            for key, value in self.kwargs.items()
        }
        try:
            with warnings.catch_warnings():  # albumentations only warns of unknown arguments
                warnings.filterwarnings("error", message="Argument", category=UserWarning)
                return cls(**nested)
        except Exception as error:  # each transform checks its arguments in its own way
            fault = first_line(error)
            raise ConfigError(f"data.augment: {PREFIX}{self.name}: {fault}") from None


def build_augment(augment: Iterable[Any]) -> list[Transform]:
    """The transforms of ``cfg.data.augment``: ``_target_: albumentations.<Class>`` and arguments.

    albumentations takes seconds to import, so it is left until a loader needs it.

    Raises:
        ConfigError: another target than albumentations' classes.
    """
    transforms = []
    for entry in augment:
        plain = OmegaConf.to_container(entry) if OmegaConf.is_config(entry) else entry
        kwargs = (
            {str(key): value for key, value in plain.items()} if isinstance(plain, dict) else {}
        )
        target = str(kwargs.pop("_target_", plain))
        name = target.removeprefix(PREFIX)
        if name == target or not name.isidentifier():
            raise ConfigError(
                f"data.augment: {target} is not one of albumentations' transforms, as"
                f" _target_: albumentations.HorizontalFlip is"
            )
        transforms.append(Transform(name, kwargs))
    return transforms


def import_albumentations() -> Any:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else it asks the network for news
    import albumentations

    return albumentations
