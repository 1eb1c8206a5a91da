"""Stored runs trained again, and every number compared: can what is committed be had once more?

    recheck.again("mini", 10)   ten runs drawn at random; a row a run, with what differs

They are trained in a store of their own, results/<scale>/work/recheck/, which holds the draw until
all are compared: the same command goes on where it was stopped.

On one type of processor, with the same versions and number of threads, numbers come out the same
to the bit; the stored run's own device and versions are told beside a difference.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from lpwd.config.errors import ConfigError
from lpwd.store import store
from lpwd.store.files import results_dir, write_whole
from lpwd.store.frames import Results
from lpwd.store.store import Store
from lpwd.sweep import grids, plan, workers

#: What a number depends on beside the settings.
MADE_WITH = ["device", "threads", "python", "torch", "timm", "lpwd"]
#: What differs from one training of the same run to the next.
OF_THE_OCCASION = [*MADE_WITH, "commit", "finished", "seconds"]
#: The file that holds the hashes drawn until they are compared.
DRAWN = "drawn.txt"


def again(scale: str, count: int, run: str = "") -> pd.DataFrame:
    """Train `count` stored runs of a scale anew, in a store of their own, or the one named.

    Returns: a row a run with its hash, ``differs`` (the columns in which anything does, as text;
        empty where nothing does) and ``made_with`` (where device or versions are others now).

    Raises:
        ConfigError: there are no such runs, or configs/ describe them no longer.
    """
    stored = store.load(scale)
    folder = results_dir(scale) / "work" / "recheck"
    drawn = _resumed(folder, stored.runs, count, run)
    if drawn is None:
        drawn = _drawn(stored.runs, count, run, scale)
        shutil.rmtree(folder, ignore_errors=True)
        write_whole(folder / DRAWN, "\n".join(drawn["hash"]).encode())
    print(f"trained again: {' '.join(drawn['hash'])}", flush=True)
    _train(scale, [_grid(row, scale) for _, row in drawn.iterrows()], folder)
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
        raise ConfigError(f"{wanted}; the stored ones stand in results/{scale}/runs.csv")
    return stored.sample(min(count, len(stored)))


def _grid(row: pd.Series, scale: str) -> dict[str, Any]:
    """A grid (lpwd/sweeps.py) of this one run; refuses where configs/ have changed since."""
    axes = {
        **{key: row[key] for key in ("data", "model", "optimizer", "seed")},
        "decay": row["method"],
        "optimizer.lr": row["lr"],
        "model.pretrained": row["pretrained"],
    }
    if row["method"] != "baseline":
        axes |= {f"decay.{key}": row[key] for key in ("rate", "profile", "normalize", "layers")}
        axes |= {"decay.coupled": row["coupled"], "decay.exclude": f"[{row['exclude']}]"}
    job = next(plan.expander_of(scale).plain(grids.Grid(axes)))
    if job.run != row["hash"]:
        raise ConfigError(
            f"{row['hash']} is not what configs/ describe now: a setting that runs.csv does not"
            " show was changed for it, or configs/ were since"
        )
    return {"axes": axes}


def _train(scale: str, grids: list[dict[str, Any]], folder: Path) -> None:
    grammar = re.sub(r'"([\w.]+)":', r"\1:", json.dumps(grids, default=_plain))  # Hydra's
    arguments = f"scale={scale}", f"hydra.sweeper.grids={grammar}"
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
        differs += [f"{table}.{key}" for key in changed if key not in OF_THE_OCCASION]
    return {"hash": run, "differs": ", ".join(differs), "made_with": ", ".join(made_with)}


def _changed(old: pd.DataFrame, new: pd.DataFrame) -> list[str]:
    """The columns that are not the same, NaN for NaN and list for list."""
    if len(old) != len(new):
        return ["number of rows"]
    texts = [frame.map(lambda value: repr(_plain(value))) for frame in (old, new)]
    return [str(key) for key in old if not texts[0][key].equals(texts[1][key])]


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value
