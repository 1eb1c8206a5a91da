"""Random wrong values, at every config key and at `WeightDecay`: one line that names the fault.

`make test-faults` draws many more of them.
"""

import math
import string
from collections.abc import Callable
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
import torch
from faults import Warm
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from small import METHODS, assert_same, mlp, weights

import lpwd
from lpwd.config import check, compose
from lpwd.config.errors import ConfigError
from lpwd.config.schema import LARGEST
from lpwd.decay.methods import EXCLUDE, LAYERS, NORMALIZE, PROFILES


def bare(hint: Any) -> Any:
    """A type without its bounds."""
    if get_origin(hint) is Annotated:
        return bare(get_args(hint)[0])
    arguments = [bare(argument) for argument in get_args(hint)]
    if get_origin(hint) is list:
        return list[arguments[0]]
    return Union[tuple(arguments)] if NoneType in arguments else hint  # noqa: UP007


HINTS: dict[str, Any] = {key: bare(hint) for key, hint in check.fields().items()}

# -- values ---------------------------------------------------------------------------------------


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


#: What stands for true and false in YAML, and for nothing.
WORDS = {"true", "false", "yes", "no", "on", "off", "y", "n", "t", "f", "null", "0", "1", ""}
LETTERS = string.ascii_letters + string.digits + " .,:;-_/=+*?!'\"()[]{}<>|&%$@#~^\\ηλß漢"
texts = st.text(LETTERS, min_size=1, max_size=12).filter(
    lambda text: not is_number(text) and text.strip().lower() not in WORDS and "${" not in text
)
whole = st.integers(-(2**70), 2**70)
reals = st.floats() | st.sampled_from([math.nan, math.inf, -math.inf, 1e308, -1e-300])
lists = st.lists(texts | whole | st.none(), max_size=3)
dicts = st.dictionaries(st.text(string.ascii_lowercase, min_size=1, max_size=5), whole, max_size=2)

#: Of keys whose texts are names of something: no random text is one.
NAMES = {
    *("scale.name", "data.name", "model.name", "optimizer.name", "optimizer.schedule"),
    *("decay.method", "decay.profile", "decay.normalize", "decay.layers", "decay.exclude"),
    "decay.towards",
    *("scale.precision", "scale.loader", "wandb.mode", "machine.device"),
    *("model.arch", "model.weights"),
}
#: The bounds of numbers; others begin at 0 and end where runs.csv and torch's do.
AT_LEAST = {
    **dict.fromkeys(("data.classes", "scale.images.test"), 2),
    **dict.fromkeys(("scale.images.train", "scale.epochs", "scale.batch_size"), 1),
    **dict.fromkeys(("scale.eval_batch_size", "scale.zero_shot_images", "scale.r_op_every"), 1),
    **dict.fromkeys(("machine.threads", "machine.runs", "machine.runs_per_gpu"), 1),
}
AT_MOST = {"machine.threads": 1024, "machine.loader_workers": 256, "machine.runs_per_gpu": 64}


def wrong_values(key: str) -> st.SearchStrategy[Any]:
    """Values of other types than a key's, beyond its bounds, or not among its names."""
    hint = HINTS[key]
    if key == "model.pretrained":
        return texts | whole | reals | lists | dicts | st.none()
    kinds = set(get_args(hint)) if NoneType in get_args(hint) else {hint}
    wrong: list[st.SearchStrategy[Any]] = [] if NoneType in kinds else [st.none()]
    if int in kinds:
        least, most = AT_LEAST.get(key, 0), AT_MOST.get(key, LARGEST)
        wrong += [whole.filter(lambda n: not least <= n <= most), texts, lists, dicts]
        wrong += [st.integers(1, 9).map(str), st.booleans()]
        wrong += [reals.filter(lambda x: not x.is_integer())]
    elif float in kinds:
        least = AT_LEAST.get(key, 0)
        wrong += [reals.filter(lambda x: not (math.isfinite(x) and x >= least))]
        wrong += [texts, lists, dicts, st.integers(1, 9).map(str), st.booleans()]
    elif bool in kinds:
        wrong += [texts, lists, dicts, reals, whole, st.sampled_from(sorted(WORDS))]
    elif str in kinds:
        wrong += [lists, dicts, *([texts] if key in NAMES else [])]
    elif list[str] in kinds:
        wrong += [texts, whole, dicts]  # of scale.grid: what is in it is a sweep's business
        wrong += [st.lists(texts, min_size=1, max_size=3)] if key in NAMES else []
    elif list[float] in kinds:
        wrong += [texts, whole, dicts, st.lists(texts, min_size=1, max_size=3)]
    elif list[Any] in kinds:
        wrong += [texts, whole, st.lists(texts | whole, min_size=1, max_size=3)]
    else:  # keys and values
        wrong += [texts, whole, lists]
    return st.one_of(wrong)


def spelled(value: Any) -> str:
    """A value as Hydra's command line reads it."""
    if isinstance(value, str):
        quoted = value.replace("\\'", "\\\\'").replace("'", "\\'")
        return f"'{quoted}\\'" if quoted.endswith("\\") else f"'{quoted}'"
    if isinstance(value, list):
        return f"[{','.join(map(spelled, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{spelled(item)}" for key, item in value.items()) + "}"
    return "null" if value is None else str(value).lower()


@pytest.fixture
def draws(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Hold a test against so many values, the same ones at every call; how many is recorded."""

    def drawing(what: str, values: st.SearchStrategy[Any], count: int, test: Any) -> None:
        drawn = 0

        def counting(value: Any) -> None:
            nonlocal drawn
            drawn += 1
            test(value)

        chosen = settings(
            max_examples=count,
            deadline=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        chosen(given(values)(counting))()
        record_property(f"random wrong input, each refused with one line: {what}", drawn)

    return drawing


#: How many values a test draws; the second by `make test-faults`.
def examples(few: int, many: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("count", [few, pytest.param(many, marks=pytest.mark.long)])


# -- the command ----------------------------------------------------------------------------------

LEAVES = sorted(key for key in HINTS if not any(other.startswith(f"{key}.") for other in HINTS))


def refused(warm: Warm, results: Path, names: str, *arguments: str) -> None:
    """The command ends with one line that names `names`, and nothing is written."""
    code, said = warm.run(*arguments, results=results)
    said = said.removeprefix("scale smoke: putting the runs together\n")
    message, _, rest = said.partition("\n")
    assert code == 2, said
    assert message.startswith("error: "), said
    assert names in message, said
    assert rest == "changes: 0\n", said
    assert not results.exists()


@examples(few=1, many=8)
@pytest.mark.parametrize("key", LEAVES)
def test_a_wrong_value(warm: Warm, tmp_path: Path, key: str, count: int, draws: Any) -> None:
    def told(value: Any) -> None:
        refused(warm, tmp_path / "results", key, "scale=smoke", f"{key}={spelled(value)}")

    draws("values of config keys", wrong_values(key), count, told)


@pytest.mark.parametrize("text", ["no", "off", "'false'", "0", "1", "yes"])
def test_what_yaml_would_read_as_true_or_false(text: str) -> None:
    """Hydra reads a text or a number, and to a run most of these are true, whatever they say."""
    cfg = compose.composed(["scale=smoke", f"decay.coupled={text}"])
    with pytest.raises(ConfigError, match=r"decay\.coupled=.* must be true or false"):
        check.check(cfg)


@examples(few=8, many=80)
def test_a_wrong_value_amid_a_sweep(warm: Warm, tmp_path: Path, count: int, draws: Any) -> None:
    def told(drawn: tuple[str, Any]) -> None:
        key, value = drawn
        sweep = ["-m", "scale=smoke", "decay=wd,lpwd", f"{key}={spelled(value)}"]
        refused(warm, tmp_path / "results", key, *sweep)

    keys = st.sampled_from([key for key in LEAVES if key != "experiment"])
    draws(
        "values of config keys in a sweep",
        keys.flatmap(lambda key: st.tuples(st.just(key), wrong_values(key))),
        count,
        told,
    )


#: Of what an experiment's grids are made: key, and what the message names.
GRIDS = {
    "hydra.sweeper.seeds": "hydra.sweeper.seeds",
    "hydra.sweeper.most_seeds": "hydra.sweeper.most_seeds",
    "hydra.sweeper.grids": "hydra.sweeper.grids",
    "scale.grid.datasets": "data",
    "scale.grid.models": "model",
    "scale.grid.optimizers": "optimizer",
    "scale.grid.lr_factors": "lr_factor",
    "scale.grid.rate_factors": "rate_factor",
    "scale.grid.control_lr_factors": "scale.grid.control_lr_factors",
    "scale.grid.most_seeds": "scale.grid.most_seeds",
}


@examples(few=1, many=8)
@pytest.mark.parametrize("key", GRIDS)
def test_a_wrong_value_in_an_experiments_grid(
    warm: Warm, tmp_path: Path, key: str, count: int, draws: Any
) -> None:
    values = texts | reals.filter(lambda x: not x.is_integer()) | st.lists(texts, min_size=1)
    values |= st.just([]) if key.startswith("scale.grid") else st.just([3])
    if key.endswith("factors"):
        values |= st.just([1, 10])  # the largest is to be first

    def told(value: Any) -> None:
        arguments = ["-m", "scale=smoke", f"{key}={spelled(value)}"]
        if key != "hydra.sweeper.grids":
            arguments.append("+experiment=table1")
        refused(warm, tmp_path / "results", GRIDS[key], *arguments)

    draws("grids of an experiment", values, count, told)


@examples(few=6, many=100)
def test_a_key_that_is_taken_away(warm: Warm, tmp_path: Path, count: int, draws: Any) -> None:
    def told(key: str) -> None:
        refused(warm, tmp_path / "results", key, "scale=smoke", f"~{key}")

    draws("keys taken away", st.sampled_from(LEAVES), count, told)


@examples(few=6, many=80)
def test_what_is_no_override_at_all(warm: Warm, tmp_path: Path, count: int, draws: Any) -> None:
    def told(text: str) -> None:
        refused(warm, tmp_path / "results", "", "scale=smoke", text)

    draws(
        "texts that are no override",
        texts.filter(lambda text: not text.startswith("-")),
        count,
        told,
    )


# -- the library ----------------------------------------------------------------------------------

anything = texts | whole | reals | lists | dicts | st.none() | st.booleans() | st.binary()
no_numbers = texts | lists | dicts | st.none() | st.booleans() | st.complex_numbers()

WRONG: dict[str, st.SearchStrategy[Any]] = {
    "method": anything.filter(lambda value: not isinstance(value, str) or value not in METHODS),
    "rate": no_numbers | reals.filter(lambda x: not 0 <= x < math.inf) | st.just(10**400),
    "profile": anything.filter(lambda value: value is not None),
    "normalize": anything,
    "layers": anything | st.lists(st.lists(texts | whole)),
    "coupled": anything.filter(lambda value: not isinstance(value, bool)),
    "exclude": anything.filter(lambda value: value not in ([], {}, b"")),
    "model": anything,
    "optimizer": anything,
}
NAMED = {*METHODS, *PROFILES, *NORMALIZE, *LAYERS, *EXCLUDE}


@examples(few=40, many=400)
@pytest.mark.parametrize("argument", WRONG)
def test_a_wrong_argument_of_the_decay(argument: str, count: int, draws: Any) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = weights(model)

    def told(value: Any) -> None:
        right = {"optimizer": optimizer, "model": model, "method": "lpwd", "rate": 0.1}
        with pytest.raises(ValueError, match=argument) as caught:
            lpwd.WeightDecay(**{**right, argument: value})
        assert "\n" not in str(caught.value)
        assert not model._forward_pre_hooks
        assert not optimizer._optimizer_step_pre_hooks
        assert_same(weights(model), before)

    values = WRONG[argument].filter(lambda value: not isinstance(value, str) or value not in NAMED)
    draws("arguments of WeightDecay", values, count, told)
