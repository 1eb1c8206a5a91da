"""Retrain stored runs and compare every number: can what is committed be had once more?

    recheck.again("mini", 10)   ten runs drawn at random; a row a run, with what differs

They are trained in a store of their own, results/<scale>/work/recheck/, which holds the draw until
all are compared: the same command goes on where it was stopped.

On one type of processor, with the same versions and number of threads, numbers come out the same
to the bit; the stored run's own device and versions are named beside a difference.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from lpwd.config.check import checked
from lpwd.config.compose import composer
from lpwd.config.errors import ConfigError
from lpwd.store import identity
from lpwd.store.files import results_dir, write_whole
from lpwd.store.frames import Results
from lpwd.store.identity import Settings
from lpwd.store.store import Store
from lpwd.sweep import workers

#: What a number depends on beside the settings.
MADE_WITH = ["device", "threads", "python", "torch", "timm", "lpwd"]
#: What differs from one training of the same run to the next.
VARIES = [*MADE_WITH, "commit", "finished", "seconds"]
#: The file that holds the hashes drawn until they are compared.
DRAWN = "drawn.txt"


def again(scale: str, count: int, run: str = "") -> pd.DataFrame:
    """Train `count` stored runs of a scale anew, in a store of their own, or the one named.

    Returns: a row a run with its hash, ``differs`` (the columns in which anything does, as text;
        empty where nothing does) and ``made_with`` (where device or versions are others now).

    Raises:
        ConfigError: there are no such runs, or configs/ describe them no longer.
    """
    store = Store(scale)
    stored = store.collect()
    folder = results_dir(scale) / "work" / "recheck"
    drawn = _resumed(folder, stored.runs, count, run)
    if drawn is None:
        drawn = _drawn(stored.runs, count, run, scale)
        shutil.rmtree(folder, ignore_errors=True)
        write_whole(folder / DRAWN, "\n".join(drawn["hash"]).encode())
    print(f"trained again: {' '.join(drawn['hash'])}", flush=True)
    _train(scale, [overrides_of(store.settings(run)) for run in drawn["hash"]], folder)
    anew = Store(scale, folder / scale).collect()
    if lost := set(drawn["hash"]) - set(anew.runs["hash"]):
        raise ConfigError(
            f"{', '.join(lost)}: another recheck cleared them away; run one at a time"
        )
    compared = pd.DataFrame([_compared(name, stored, anew) for name in drawn["hash"]])
    shutil.rmtree(folder)
    return compared


def _resumed(folder: Path, stored: pd.DataFrame, count: int, run: str) -> pd.DataFrame | None:
    """What an interrupted call had drawn, if it was asked for the same."""
    if not (folder / DRAWN).exists():
        return None
    drawn = stored[stored["hash"].isin((folder / DRAWN).read_text().split())]
    asked = len(drawn) == 1 and drawn["hash"].iloc[0].startswith(run) if run else True
    return drawn if asked and len(drawn) == (1 if run else min(count, len(stored))) else None


def _drawn(stored: pd.DataFrame, count: int, run: str, scale: str) -> pd.DataFrame:
    if run:
        stored, count = stored[stored["hash"].str.startswith(run)], 1
    if stored.empty:
        wanted = f"no run of scale {scale} begins with {run}" if run else f"{scale} has no runs yet"
        raise ConfigError(f"{wanted}; the stored ones are in results/{scale}/runs.csv")
    return stored.sample(min(count, len(stored)))


def overrides_of(settings: Settings) -> list[str]:
    """Overrides that compose a run of these settings; ConfigError where configs/ no longer can."""
    run = identity.run_id(settings)
    names = {key: settings[key]["name"] for key in ("scale", "data", "model", "optimizer")}
    overrides = [f"{key}={name}" for key, name in names.items()]
    overrides.append(f"decay={settings['decay']['method']}")
    if settings["model"]["weights"] == "scratch":
        overrides.append("model.pretrained=false")
    try:
        overrides += _differences(_settings(overrides), settings)
        found = identity.run_id(_settings(overrides))
    except ConfigError as error:
        raise ConfigError(f"{run}: configs/ no longer describe it: {error}") from None
    if found != run:
        weights = settings["model"]["weights"]
        raise ConfigError(
            f"{run}: configs/ no longer describe it, whatever keys are changed; were its weights"
            f" ({weights}) a file of your own?"
        )
    return overrides


def _settings(overrides: list[str]) -> Settings:
    return identity.settings(checked(composer().config(overrides)))


def _differences(usual: Settings, wanted: Settings) -> list[str]:
    """What to override so that the settings `usual` become those wanted."""
    old, new = ({**identity.YOUNGER, **_flat(settings)} for settings in (usual, wanted))
    given = ("protocol", "model.weights", "data.files")  # not keys of the config
    return [
        f"{key}={_spelled(value)}"
        for key, value in new.items()
        if key not in given and value != old.get(key)
    ]


def _flat(tree: Settings, prefix: str = "") -> Settings:
    """{dotted key: value}; the models' own arguments stay together."""
    flat: Settings = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        nested = isinstance(value, dict) and name != "model.kwargs"
        flat |= _flat(value, f"{name}.") if nested else {name: value}
    return flat


def _spelled(value: Any) -> str:
    """A value in Hydra's grammar."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_spelled(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return f"[{','.join(map(_spelled, value))}]"
    if isinstance(value, str):
        return "'" + value.replace("'", "\\'") + "'"
    return (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    )


def _train(scale: str, runs: list[list[str]], folder: Path) -> None:
    axes = [dict(override.split("=", 1) for override in overrides) for overrides in runs]
    grids = [{"axes": {key: f"{value}" for key, value in of_run.items()}} for of_run in axes]
    arguments = f"scale={scale}", f"hydra.sweeper.grids={_spelled(grids)}"
    if workers.run_sweep(*arguments, LPWD_RESULTS=str(folder)):
        raise ConfigError("not all of the runs could be trained again; see above")


def _compared(run: str, stored: Results, anew: Results) -> dict[str, str]:
    differs: list[str] = []
    made_with: list[str] = []
    for table, before, after in zip(stored._fields, stored, anew, strict=True):
        old = before[before["hash"] == run].reset_index(drop=True)
        new = after[after["hash"] == run].reset_index(drop=True)
        changed = _changed(old, new)
        if table == "runs":
            made_with = [f"{key}: {old[key][0]}" for key in changed if key in MADE_WITH]
        differs += [f"{table}.{key}" for key in changed if key not in VARIES]
    return {"hash": run, "differs": ", ".join(differs), "made_with": ", ".join(made_with)}


def _changed(old: pd.DataFrame, new: pd.DataFrame) -> list[str]:
    """The columns that are not the same, NaN for NaN and list for list."""
    if len(old) != len(new):
        return ["number of rows"]
    texts = [frame.map(lambda value: repr(_plain(value))) for frame in (old, new)]
    return [str(key) for key in old if not texts[0][key].equals(texts[1][key])]


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value
