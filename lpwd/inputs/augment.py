"""`data.augment`: albumentations' transforms by their names, made where they are used."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from lpwd.config.errors import ConfigError, first_line

if TYPE_CHECKING:
    import numpy as np

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
        kwargs = dict(self.kwargs)
        if "transforms" in kwargs:
            kwargs["transforms"] = [t.build() for t in build_augment(kwargs["transforms"])]
        try:
            with warnings.catch_warnings():  # albumentations only warns of unknown arguments
                warnings.filterwarnings("error", message="Argument", category=UserWarning)
                return cls(**kwargs)
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
        kwargs = {str(key): v for key, v in plain.items()} if isinstance(plain, dict) else {}
        target = str(kwargs.pop("_target_", plain))
        name = target.removeprefix(PREFIX)
        if name == target or not name.isidentifier():
            raise ConfigError(
                f"data.augment: {target} is not one of albumentations' transforms, as"
                f" _target_: albumentations.HorizontalFlip is"
            )
        transforms.append(Transform(name, kwargs))
    return transforms


# -- what transforms make of the images -----------------------------------------------------------

States = dict[tuple[str, tuple[int, ...]], "np.ndarray"]  # (type, shape) → an image of these
DRAWS = 8  # of a transform's random parameters, such as a crop's size


def check_outcomes(transforms: Iterable[Transform], image: np.ndarray) -> None:
    """Hold that images keep their size and type, whichever of the transforms act.

    One that acts with p < 1 may leave a single trial as it was, so each is made to act.

    Raises:
        ConfigError: they may change; or a transform does not take such images.
    """
    states = _states([image])
    for transform in transforms:
        states = _after(transform.build(), states)
    for dtype, shape in states.keys() - _states([image]).keys():
        raise ConfigError(
            f"data.augment makes {dtype} {list(shape)} of the images; they must stay"
            f" {image.dtype} {list(image.shape)} (the loader normalizes them)"
        )


def _states(images: Iterable[np.ndarray]) -> States:
    return {(str(image.dtype), image.shape): image for image in images}


def _after(transform: Any, states: States) -> States:
    """What may become of images in these states."""
    if transform.p <= 0:
        return states
    acted = _acted(transform, states)
    return acted if transform.p >= 1 else states | acted


def _acted(transform: Any, states: States) -> States:
    """What may become of them when the transform acts."""
    albumentations = import_albumentations()
    if isinstance(transform, albumentations.SomeOf):  # several, in any order
        for _ in transform.transforms:
            states = states | _one_of(transform.transforms, states)
        return states
    if isinstance(transform, albumentations.OneOf | albumentations.OneOrOther):
        return _one_of(transform.transforms, states)
    if isinstance(transform, albumentations.Sequential | albumentations.Compose):
        for inner in transform.transforms:
            states = _after(inner, states)
        return states
    try:
        drawn = [
            transform(force_apply=True, image=image)["image"]
            for image in states.values()
            for _ in range(DRAWS)
        ]
    except Exception as error:  # each transform says in its own way what it does not take
        name = type(transform).__name__
        raise ConfigError(f"data.augment: {PREFIX}{name}: {first_line(error)}") from None
    return _states(drawn)


def _one_of(transforms: Iterable[Any], states: States) -> States:
    return {key: image for one in transforms for key, image in _acted(one, states).items()}


def import_albumentations() -> Any:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else it asks the network for news
    import albumentations

    return albumentations
