"""A sweep composes each of its runs as Hydra composes a run alone."""

from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from lpwd.config.check import checked, plain
from lpwd.config.compose import composed, composer
from lpwd.config.errors import ConfigError
from lpwd.config.paths import CONFIGS
from lpwd.store import identity
from lpwd.sweep.grids import Expander, Grid
from lpwd.training import build

SMOKE = ["scale=smoke"]


def by_hydra(overrides: list[str]) -> Any:
    """What a run alone gets; None where it is refused."""
    try:
        return plain(composed(overrides))
    except Exception:  # Hydra's and OmegaConf's many kinds
        return None


def by_composer(overrides: list[str]) -> Any:
    try:
        return composer().config(overrides)
    except ConfigError:
        return None


VALUES = st.sampled_from(
    [
        *("decay.rate=0.1", "decay.rate=1e-3", "decay.rate=null", "decay.rate=abc", "seed=3"),
        *("decay.rate=${optimizer.lr_factor}", "decay.rate=${decay.rate_factor}", "seed='3'"),
        *("optimizer.lr=${oc.env:NOWHERE,0.5}", "scale.epochs=${seed}", "experiment=${data.name}"),
        *("model.kwargs={depths:[1,1,1,1]}", "model.kwargs={}", "model.kwargs.depths=[2,2,2,2]"),
        *("model.kwargs.depths.0=2", "+model.kwargs.drop_path_rate=0.1", "data.augment=[]"),
        *("data.augment.0.p=0.25", "data.augment.1.p=0.25", "data.augment=${decay.exclude}"),
        *("decay.exclude=[norm]", "decay.exclude=norm", "~experiment", "~decay.rate", "+new=1"),
        *("scale.base.adam={lr:1}", "scale.base.adam.lr=2", "scale.grid.lr_factors=[2,1]"),
        *("optimizer.momentum=0.5", "optimizer.betas=[0,0.5]", "decay.ratee=1", "scale=null"),
        *("experiment='a b'", 'experiment="x=y"', "data.root='/a (b)/~c'", "wandb.group=''"),
        *("scale.images={train:10}", "scale.images.train=10", "machine.compile=true"),
        *("data.mean=[1,2,3]", "data.mean.2=0.5", "++decay.rate=2", "++scale.new=2"),
    ]
)
GROUPS = st.sampled_from(
    ["decay=wd", "decay=l2", "optimizer=sgdm", "optimizer=adam", "model=swin_micro", "data=cifar10"]
)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.lists(GROUPS, max_size=2, unique_by=lambda g: g[:5]), st.lists(VALUES, max_size=3))
def test_any_overrides(groups: list[str], values: list[str]) -> None:
    overrides = [*SMOKE, *groups, *values]
    assert by_composer(overrides) == by_hydra(overrides)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.permutations([*SMOKE, "decay=wd", "decay.rate=1", "seed=2", "decay.rate=0.5"]))
def test_any_order(overrides: list[str]) -> None:
    assert by_composer(overrides) == by_hydra(overrides)


def jobs(*arguments: str) -> list[Any]:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()  # it knows the names that a pattern means
        return list(Expander(composer(), [*SMOKE, *arguments], loader).plain(Grid()))


def test_a_value_that_follows_another_is_that_of_each_run() -> None:
    found = jobs("decay=wd", "decay.rate=${optimizer.lr_factor}", "optimizer.lr_factor=0.1,0.5")
    assert [job.settings["decay"]["rate"] for job in found] == [0.1, 0.5]


def test_a_dictionary_is_merged_into_the_configs() -> None:
    (job,) = jobs("model.kwargs={depths:[1,1,1,1]}")
    assert job.settings["model"]["kwargs"] == {"depths": [1, 1, 1, 1], "dims": [24, 48, 96, 192]}


def test_both_optimizers_and_a_key_of_one() -> None:
    with pytest.raises(ConfigError, match=r"optimizer\.momentum is no key of the chosen optimizer"):
        jobs("optimizer=adam,sgdm", "optimizer.momentum=0.9,0.5")


def test_an_item_of_a_list() -> None:
    found = jobs("data.augment.0.p=0.25,0.75")
    assert [job.settings["data"]["augment"][0]["p"] for job in found] == [0.25, 0.75]


def test_names_by_a_pattern() -> None:
    found = jobs("decay=glob(*wd)")
    assert sorted(job.settings["decay"]["method"] for job in found) == [
        "cwd",
        "lpwd",
        "pwd",
        "rwd",
        "wd",
    ]


@pytest.mark.parametrize(
    "overrides",
    [
        ["decay=wd", "decay.rate=0.3", "optimizer.lr=2e-3"],
        ["decay=lpwd", "decay.rate_factor=3", "optimizer.lr_factor=0.1", "optimizer=sgdm"],
        ["decay=pwd", "decay.profile=reversed", "decay.normalize=params", "decay.layers=tensor"],
        ["decay=rwd", "decay.coupled=false", "decay.exclude=[norm,bias]", "decay.rate=0.01"],
        ["decay=l2", "decay.rate=1e-4", "optimizer.betas=[0,0.5]"],
        ["decay=wd", "scale=scratch", "data=digits", "scale.images.heldout=10"],
    ],
)
def test_what_is_hashed_is_what_is_trained(overrides: list[str]) -> None:
    """The settings of a run's identity, held against what its optimizer and decay really got."""
    short = ["scale.images.train=64", "scale.images.heldout=10", "scale.images.test=20"]
    overrides = [*SMOKE, *short, *overrides, *short]
    config = checked(composer().config(overrides))
    hashed = identity.settings(config)
    training = build.prepare(OmegaConf.create(config))
    (group,) = training.optimizer.param_groups
    optimizer, decay = hashed["optimizer"], hashed["decay"]
    assert group["lr"] == optimizer["lr"]
    if optimizer["name"] == "adam":
        assert list(group["betas"]) == optimizer["betas"]
    assert (training.schedule is not None) == (optimizer.get("schedule") == "cosine")
    made = training.decay
    for key in ("rate", "profile", "normalize"):
        assert getattr(made, key) == decay[key]
    assert (made.method, made.layers) == (decay["method"], decay["layers"])
    assert sorted(made.exclude) == decay["exclude"]
    assert made.coupled == decay["coupled"] or made.method == "l2"
