"""The collected files' columns, and the rows of runs.csv as text, each with a check value.

Without pandas, which takes too long to import.
"""

from __future__ import annotations

import csv
import hashlib
import io
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from lpwd.config.errors import first_line
from lpwd.store.files import set_aside
from lpwd.store.identity import Settings, setting_id
from lpwd.store.run_file import Record

T = TypeVar("T")

#: Settings and summary of a run, in the order of runs.csv.
RUN_COLUMNS: dict[str, str] = {
    "hash": "str",
    "data": "str",
    "model": "str",
    "optimizer": "str",
    "method": "str",
    "profile": "str",
    "normalize": "str",
    "layers": "str",
    "coupled": "bool",
    "exclude": "str",
    "towards": "str",
    "lr": "float64",
    "rate": "float64",
    "seed": "int64",
    "pretrained": "str",
    "setting": "str",
    "epochs": "int64",
    "batch_size": "int64",
    "train_images": "int64",
    "status": "str",
    "diverged_epoch": "float64",
    "steps": "int64",
    "best_k": "int64",
    "best_mean": "float64",
    "best_std": "float64",
    "heldout_mean": "float64",
    "final_top1": "float64",
    "final_loss": "float64",
    "r_op_share": "float64",
    "r_op_size": "float64",
    "weight_norm": "float64",
    "seconds": "float64",
    "device": "str",
    "threads": "int64",
    "python": "str",
    "torch": "str",
    "timm": "str",
    "lpwd": "str",
    "commit": "str",
    "finished": "str",
}

EPOCH_COLUMNS: dict[str, str] = {
    "hash": "str",
    "epoch": "int64",
    "train_loss": "float64",
    "test_top1": "float64",
    "test_a_top1": "float64",
    "test_b_top1": "float64",
    "heldout_top1": "float64",
    "r_op_share": "float64",
    "r_op_size": "float64",
    "weight_norm": "float64",
    "seconds": "float64",
    "r_op_share_layers": "object",
    "r_op_size_layers": "object",
}

ZERO_SHOT_COLUMNS: dict[str, str] = {"hash": "str", "step": "int64", "test_top1": "float64"}

#: The settings as the JSON that the hash is of.
SETTINGS_COLUMNS: dict[str, str] = {"hash": "str", "settings": "str"}

#: Columns that files of before them lack, with the value that their runs had.
YOUNGER_COLUMNS = {"towards": ""}


def row(record: Record) -> dict[str, Any]:
    """A run as a row of runs.csv."""
    values = {"hash": record["hash"]} | row_of_settings(record["settings"]) | record["summary"]
    return {name: values[name] for name in RUN_COLUMNS}


def row_of_settings(settings: Settings) -> dict[str, Any]:
    """The columns of runs.csv that the settings fill."""
    decay, scale = settings["decay"], settings["scale"]
    return {
        "data": settings["data"]["name"],
        "model": settings["model"]["name"],
        "optimizer": settings["optimizer"]["name"],
        "method": decay["method"],
        "profile": decay.get("profile", "uniform"),
        "normalize": decay.get("normalize", "none"),
        "layers": decay.get("layers", "block"),
        "coupled": decay.get("coupled", True),
        "exclude": ",".join(decay.get("exclude", ())),
        "towards": decay.get("towards") or "",
        "lr": settings["optimizer"]["lr"],
        "rate": decay.get("rate"),
        "seed": settings["seed"],
        "setting": setting_id(settings),
        "epochs": scale["epochs"],
        "batch_size": scale["batch_size"],
    }


def check_value(row: Iterable[str]) -> str:
    """The last column: by it an edited row is noticed."""
    return hashlib.sha256("\x1f".join(row).encode()).hexdigest()[:8]


def sound_rows(path: Path, take: Callable[[list[str]], T], name_edited: bool = False) -> list[T]:
    """What `take` makes of each row's values, in the order of RUN_COLUMNS.

    Edited rows are left out, and named if asked for; a damaged file is set aside.
    """
    if not path.exists():
        return []
    content = path.read_bytes()  # outside the try: a file without permission is not damaged
    try:
        taken, edited = _taken(content.decode(), take)
    except (ValueError, csv.Error) as error:  # it is empty, binary, torn or of another version
        set_aside(path, f"cannot be read ({first_line(error)})")
        return []
    for name in edited if name_edited else ():
        print(f"{path}: the row of run {name} was edited and does not count", file=sys.stderr)
    return taken


def _taken(text: str, take: Callable[[list[str]], T]) -> tuple[list[T], list[str]]:
    """The sound rows, and the first values of the edited ones; ValueError for a damaged text."""
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    columns = next(rows, [])
    lacking = [name for name in YOUNGER_COLUMNS if name not in columns]
    if columns != [*(name for name in RUN_COLUMNS if name not in lacking), "check"]:
        raise ValueError("it has other columns than this version writes")
    added = [(list(RUN_COLUMNS).index(name), YOUNGER_COLUMNS[name]) for name in lacking]
    taken, edited = [], []
    for row in filter(None, rows):
        if len(row) > len(columns):
            raise ValueError(f"line {rows.line_num} has too many values")
        values, check = row[:-1], row[-1]
        if check != check_value(values):
            edited.append(row[0])
            continue
        for at, value in added:
            values.insert(at, value)
        taken.append(take(values))
    return taken, edited
