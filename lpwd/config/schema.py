"""Every config key with its type, bounds and choices, as pydantic models.

They are strict: OmegaConf reads "no" as false and 1.0 as 1, but a run would not mean that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from lpwd.config.paths import names_in
from lpwd.decay.checks import did_you_mean
from lpwd.decay.methods import EXCLUDE, LAYERS, METHODS, NORMALIZE, PROFILES

#: Other whole numbers end where runs.csv's and torch's do.
LARGEST = 2**31 - 1

#: What weights may decay towards, but for zero.
TOWARDS = ("pretrained",)


def _digits(value: Any) -> Any:
    """A name made of digits reaches us as a number."""
    return str(value) if type(value) is int else value


def _one_of(names: Sequence[str], value: str) -> str:
    if value not in names:
        raise PydanticCustomError("choice", "{hint}", {"hint": did_you_mean(value, names)})
    return value


def one_of(names: Iterable[str]) -> AfterValidator:
    return AfterValidator(partial(_one_of, tuple(names)))


def _falling(values: list[float]) -> list[float]:
    if values != sorted(values, reverse=True):
        raise PydanticCustomError("order", "not falling")
    return values


def whole(least: int, most: int = LARGEST) -> Any:
    return Field(ge=least, le=most)


Name = Annotated[str, BeforeValidator(_digits)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Rate = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Beta = Annotated[float, Field(ge=0, lt=1)]
#: The first is the grid's strongest, in configs/experiment/ as in figures and claims.
Factors = Annotated[list[Rate], AfterValidator(_falling)]
Three = Field(min_length=3, max_length=3)


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Data(Section):
    name: Annotated[str, one_of(names_in("data"))]
    root: Name
    classes: Annotated[int, whole(2)]
    side: Annotated[int, whole(1, 4096)]  # pixels
    augment: list[Any]
    mean: Annotated[list[Number], Three]
    std: Annotated[list[Positive], Three]


class Model(Section):
    # Tables compare a run with the config of its model's name.
    name: Annotated[str, one_of(names_in("model"))]
    arch: str
    kwargs: dict[str, Any]
    pretrained: bool | Name
    weights: Name | None


class Optimizer(Section):
    name: Annotated[str, one_of(("adam", "sgdm"))]
    lr: Rate | None
    lr_factor: Rate
    schedule: Annotated[str, one_of(("constant", "cosine"))]
    betas: Annotated[list[Beta], Field(min_length=2, max_length=2)] | None = None
    eps: Rate | None = None
    momentum: Rate | None = None


class Decay(Section):
    method: Annotated[str, one_of(METHODS)]
    rate: Rate | None
    rate_factor: Rate
    profile: Annotated[str, one_of(PROFILES)] | None
    normalize: Annotated[str, one_of(NORMALIZE)]
    layers: Annotated[str, one_of(LAYERS)]
    coupled: bool
    towards: Annotated[str, one_of(TOWARDS)] | None
    exclude: list[Annotated[str, one_of(EXCLUDE)]]


class Images(Section):
    train: Annotated[int, whole(1)] | None
    heldout: Annotated[int, whole(0)]
    test: Annotated[int, whole(2)] | None  # two halves


class Base(Section):
    """η_base and λ_base of an optimizer; l2: L2's own λ_base where it is another."""

    lr: Rate
    rate: Rate
    l2: Rate | None = None


class Grid(Section):
    """What tables and figures range over; each value is checked in the run that it makes."""

    datasets: list[Any]
    models: list[Any]
    series: list[Any]
    optimizers: list[Any]
    lr_factors: Factors
    rate_factors: Factors
    control_lr_factors: Factors
    most_seeds: Annotated[int, whole(1)] | None


class Scale(Section):
    name: Annotated[str, one_of(names_in("scale"))]
    images: Images
    epochs: Annotated[int, whole(1)]
    batch_size: Annotated[int, whole(1)]
    drop_last: bool
    eval_batch_size: Annotated[int, whole(1)]
    zero_shot_images: Annotated[int, whole(1)] | None
    precision: Annotated[str, one_of(("fp32", "tf32", "bf16"))]
    loader: Annotated[str, one_of(("device", "albumentations"))]
    r_op_every: Annotated[int, whole(1)]
    base: dict[str, Base]
    grid: Grid


class Machine(Section):
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d{1,3})?)$")]
    threads: Annotated[int, whole(1, 1024)]
    channels_last: bool
    deterministic: bool
    compile: bool | Literal["graphs"]
    loader_workers: Annotated[int, whole(0, 256)]
    runs: Annotated[int, whole(1)] | None
    runs_per_gpu: Annotated[int, whole(1, 64)]
    checkpoint_minutes: Rate


class Wandb(Section):
    mode: Annotated[str, one_of(("disabled", "offline", "online"))]
    project: Name
    group: Name | None


class Config(Section):
    data: Data
    model: Model
    optimizer: Optimizer
    decay: Decay
    scale: Scale
    machine: Machine
    wandb: Wandb
    seed: Annotated[int, whole(0)]
    experiment: Name | None


#: What each optimizer cannot do without.
OPTIMIZER_KEYS = {"adam": ("betas", "eps"), "sgdm": ("momentum",)}
