"""`data.augment`: names and arguments, and what the transforms make of the images when they act."""

from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from lpwd.config.errors import ConfigError
from lpwd.inputs.augment import build_augment, check_outcomes

IMAGE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)


def one(name: str, **kwargs: Any) -> dict[str, Any]:
    return {"_target_": f"albumentations.{name}", **kwargs}


def check(*transforms: dict[str, Any]) -> None:
    check_outcomes(build_augment(OmegaConf.create(list(transforms))), IMAGE)


@pytest.mark.parametrize(
    ("transform", "fault"),
    [
        ({"_target_": "HorizontalFlip"}, "HorizontalFlip is not one of albumentations' transforms"),
        (one("HorizontalFlop"), r"albumentations\.HorizontalFlop is not a transform"),
        (one("compose"), r"albumentations\.compose is not a transform"),
        (one("HorizontalFlip", p=2), r"albumentations\.HorizontalFlip: "),
        (one("HorizontalFlip", border=1), r"albumentations\.HorizontalFlip: .*border"),
        (one("RandomCrop", height=40, width=40, p=0.01), r"albumentations\.RandomCrop: .*40"),
    ],
)
def test_names_and_arguments_that_albumentations_does_not_have(
    transform: dict[str, Any], fault: str
) -> None:
    with pytest.raises(ConfigError, match=rf"data\.augment: {fault}"):
        check(transform)


CROP = one("CenterCrop", height=28, width=28)
PAD = one("PadIfNeeded", min_height=32, min_width=32)


@pytest.mark.parametrize(
    ("transforms", "fault"),
    [
        ([{**CROP, "p": 1.0}], r"uint8 \[28, 28, 3\]"),
        ([one("Normalize", p=1.0)], r"float32 \[32, 32, 3\]"),
        # Those that act seldom: a single trial would most likely miss it.
        ([one("ToFloat", p=0.001)], r"float32 \[32, 32, 3\]"),
        ([one("RandomScale", p=0.001)], r"uint8 \[\d+, \d+, 3\]"),
        ([{**CROP, "p": 0.5}, {**PAD, "p": 0.5}], r"uint8 \[28, 28, 3\]"),
        ([one("OneOf", p=0.1, transforms=[one("Blur"), CROP])], r"uint8 \[28, 28, 3\]"),
        ([one("SomeOf", n=1, transforms=[one("Blur"), one("ToFloat")])], r"float32"),
        ([one("Sequential", p=0.1, transforms=[one("Blur"), CROP])], r"uint8 \[28, 28, 3\]"),
    ],
)
def test_images_must_keep_their_size_and_type(transforms: list[dict[str, Any]], fault: str) -> None:
    for _ in range(3):  # whatever is drawn
        with pytest.raises(ConfigError, match=f"data.augment makes {fault} .*must stay uint8"):
            check(*transforms)


@pytest.mark.parametrize(
    "transforms",
    [
        [one("ToFloat", p=0)],
        [one("HorizontalFlip"), one("RandomBrightnessContrast")],
        [{**CROP, "p": 0.5}, {**PAD, "p": 1.0}],
        [one("ToFloat", p=1.0), one("FromFloat", p=1.0)],
        [one("Sequential", p=0.1, transforms=[{**CROP, "p": 0.5}, {**PAD, "p": 1.0}])],
        [one("OneOf", transforms=[one("Blur"), one("VerticalFlip")])],
    ],
)
def test_what_is_undone_may_change_them(transforms: list[dict[str, Any]]) -> None:
    check(*transforms)
