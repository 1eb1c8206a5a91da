"""A run's identity, and the store where each run is kept once.

    results/<scale>/runs/<hash>/run.json   one finished run: settings, summary, epochs, zero-shot
    results/<scale>/work/<hash>/           checkpoint, claim and failure of a run that is not
    results/<scale>/runs.csv, epochs.parquet, zero_shot.parquet   collected from them, committed

A run that stands in runs.csv counts as stored everywhere, with or without its directory.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import sys
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from filelock import FileLock
from omegaconf import OmegaConf

from lpwd.config import CONFIGS, ROOT, scale_config
from lpwd.decay import METHODS
from lpwd.errors import CannotWrite, ConfigError, is_out_of_memory, writing

#: Raise it when the same settings come to mean another training: older runs are not used then.
PROTOCOL = 1
#: The layout of run.json.
VERSION = 1

Settings = dict[str, Any]
Record = dict[str, Any]


class Results(NamedTuple):
    """What tables and figures read; the columns are listed in docs/results.md."""

    runs: pd.DataFrame
    epochs: pd.DataFrame
    zero_shot: pd.DataFrame


# -- identity -------------------------------------------------------------------------------------


def settings(config: dict[str, Any]) -> Settings:
    """All that decides a run's numbers, in canonical form, from a composed config.

    Left out: machine, wandb, experiment, paths, the scale's grid. Rates are resolved (factors
    times the scale's base), numbers rounded to 12 digits, Baseline has no λ, and lpwd is the same
    as pwd with the linear profile.
    """
    from lpwd.models import weights_id

    optimizer, decay, scale = dict(config["optimizer"]), config["decay"], dict(config["scale"])
    base = scale.pop("base")[optimizer["name"]]
    scale.pop("grid")
    model = config["model"]
    lr_factor = optimizer.pop("lr_factor")
    if optimizer["schedule"] == "constant":  # younger than the first stored runs
        optimizer.pop("schedule")
    if optimizer["lr"] is None:
        optimizer["lr"] = base["lr"] * lr_factor
    data = {key: value for key, value in config["data"].items() if key != "root"}
    return _canonical(
        {
            "protocol": PROTOCOL,
            "data": data,
            "model": {
                "name": model["name"],
                "arch": model["arch"],
                "kwargs": model["kwargs"],
                "weights": weights_id(model),
            },
            "optimizer": optimizer,
            "decay": _canonical_decay(decay, base["rate"]),
            "scale": scale,
            "seed": config["seed"],
        }
    )


def _canonical_decay(decay: dict[str, Any], base_rate: float) -> dict[str, Any]:
    if decay["method"] == "baseline":
        return {"method": "baseline"}
    moment, default_profile = METHODS[decay["method"]]
    profile = decay["profile"] or default_profile
    method = next(name for name, (when, _) in METHODS.items() if when == moment)
    if (method, profile) == ("pwd", "linear"):
        method = "lpwd"
    rate = decay["rate"]
    return {
        "method": method,
        "rate": base_rate * decay["rate_factor"] if rate is None else rate,
        "profile": profile,
        "normalize": decay["normalize"],
        "layers": decay["layers"],
        "coupled": decay["coupled"] or method == "l2",  # l2 has no η to leave out
        "exclude": sorted(set(decay["exclude"])),
    }


def canonical_number(value: float) -> int | float:
    """1e-3 and 0.001, 0.1·3 and 0.3, 1.0 and 1: one number each."""
    value = float(f"{value:.12g}")
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _canonical(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {str(key): _canonical(tree[key]) for key in sorted(tree)}
    if isinstance(tree, list | tuple):
        return [_canonical(item) for item in tree]
    if isinstance(tree, float) and math.isfinite(tree):
        return canonical_number(tree)
    return tree


def run_id(settings: Settings) -> str:
    """The run's name: 12 hexadecimal digits of the hash of its settings."""
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def setting_id(settings: Settings) -> str:
    """Hash of what the runs of one column of a table share: all but η, the decay and the seed."""
    optimizer = {key: value for key, value in settings["optimizer"].items() if key != "lr"}
    shared = {key: settings[key] for key in ("protocol", "data", "model", "scale")}
    return run_id({**shared, "optimizer": optimizer})[:8]


@cache
def default_setting(scale: str, data: str, model: str, optimizer: str, pretrained: bool) -> str:
    """`setting_id` of the runs that configs/ describes now, without changes from anyone's keys."""

    def group(kind: str, name: str) -> dict[str, Any]:
        node: Any = OmegaConf.load(CONFIGS / kind / f"{name}.yaml")
        node.pop("root", None)
        return cast(dict[str, Any], OmegaConf.to_container(node, resolve=True))

    config = {
        "data": group("data", data),
        "model": {**group("model", model), "pretrained": pretrained},
        "optimizer": group("optimizer", optimizer),
        "decay": {"method": "baseline"},
        "scale": OmegaConf.to_container(scale_config(scale), resolve=True),
        "seed": 0,
    }
    return setting_id(settings(config))


# -- files ----------------------------------------------------------------------------------------


def results_dir(scale: str) -> Path:
    """results/<scale>; the environment variable LPWD_RESULTS takes the place of results/."""
    return Path(os.environ.get("LPWD_RESULTS") or ROOT / "results") / scale


def write_whole(path: Path, content: bytes) -> None:
    """Write a file aside, flush it and rename it into place: it is whole or it is not there."""
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with aside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
            flush_names(path.parent)
        finally:
            aside.unlink(missing_ok=True)


def flush_names(folder: Path) -> None:
    """Have a renaming reach the disk, so that it outlives a loss of power too."""
    with suppress(OSError):  # some shared folders refuse; there the server sees to it
        directory = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def set_aside(path: Path, why: str) -> None:
    """Rename what cannot be trusted to <name>.damaged-<n>, and say so."""
    n = next(n for n in range(1, 10**6) if not path.with_name(f"{path.name}.damaged-{n}").exists())
    target = path.with_name(f"{path.name}.damaged-{n}")
    try:
        with writing(target):
            path.rename(target)
    except CannotWrite:
        if path.exists():  # else another process has just set it aside
            raise
    print(f"{path}: {why}; set aside as {target.name}", file=sys.stderr)


class Store:
    """The runs of one scale. Safe for several processes: a run is stored whole, and once."""

    def __init__(self, scale: str, root: Path | None = None) -> None:
        self.root = root or results_dir(scale)
        self.runs = self.root / "runs"
        self.scale = scale

    # One run ---------------------------------------------------------------------------------

    def save(self, record: Record) -> None:
        """Store a finished run; if another process was faster, its run stays."""
        run, work = record["hash"], self.work(record["hash"])
        aside = work / f".{uuid.uuid4().hex[:8]}"  # there a killed process's is cleared away
        if self._body(run) is None:
            try:
                write_whole(aside / "run.json", _sealed(record))
                with writing(self.runs / run):
                    self.runs.mkdir(exist_ok=True)
                    aside.rename(self.runs / run)
                    flush_names(self.runs)
            except CannotWrite:
                if self._body(run) is None:
                    raise
        shutil.rmtree(work, ignore_errors=True)

    def tidy(self) -> None:
        """Clear away what processes that were killed left of runs that are stored."""
        stored = self.stored()
        for folder in (self.root / "work").glob("*"):
            if folder.name in stored:
                shutil.rmtree(folder, ignore_errors=True)

    def read(self, run: str) -> Record | None:
        """The stored run, or None. One that is damaged or of another version is set aside."""
        body = self._body(run)
        return None if body is None else json.loads(body)

    def _body(self, run: str) -> bytes | None:
        """The run's JSON, its checksum verified: quick, as nothing is parsed."""
        folder = self.runs / run
        try:
            content = (folder / "run.json").read_bytes()
        except FileNotFoundError:
            if folder.exists():
                set_aside(folder, "holds no run.json")
            return None
        seal, _, body = content.partition(b"\n")
        if fault := _fault(seal, body, run):
            set_aside(folder, fault)
            return None
        return body

    def has(self, run: str) -> bool:
        return self._body(run) is not None or run in set(self._collected().runs["hash"])

    def forget(self, run: str) -> str:
        """Drop one run, so that it is trained again; its hash. Raises ConfigError if there is none.

        `run` is the hash, or as much of its beginning as tells it from the others.
        """
        if not run:
            raise ConfigError("which RUN? Name one, as in `make forget RUN=<hash>`")
        matches = [stored for stored in self.stored() if stored.startswith(run)]
        if len(matches) != 1:
            raise ConfigError(
                f"RUN={run}: {len(matches) or 'no'} runs of scale {self.scale} have that hash;"
                f" the hashes stand in {self.root / 'runs.csv'}"
            )
        shutil.rmtree(self.runs / matches[0], ignore_errors=True)
        self._drop({matches[0]})
        return matches[0]

    def work(self, run: str) -> Path:
        """Where a run that is not finished keeps its checkpoint, claim and failure."""
        return self.root / "work" / run

    def fail(self, run: str, settings: Settings, trace: str) -> None:
        """Record why a run failed; a later success removes it."""
        text = json.dumps(settings, indent=1) + "\n\n" + trace
        write_whole(self.work(run) / "failure.txt", text.encode())

    def failures(self) -> dict[str, str]:
        """{hash: the last line of the traceback} of the runs that failed and were not mended."""
        files = sorted(self.root.glob("work/*/failure.txt"))
        return {file.parent.name: file.read_text().strip().splitlines()[-1] for file in files}

    # All runs --------------------------------------------------------------------------------

    def stored(self) -> set[str]:
        """The hashes of all runs that need not be trained again."""
        return self._whole() | set(self._collected().runs["hash"])

    def collect(self) -> Results:
        """Bring runs.csv, epochs.parquet and zero_shot.parquet up to date, and return them."""
        whole, before = self._whole(), self._collected()
        if whole <= set(before.runs["hash"]):
            return before
        with self._alone():
            before = self._collected()
            names = sorted(whole - set(before.runs["hash"]))
            fresh = [record for name in names if (record := self.read(name)) is not None]
            pairs = zip(before, _frames(fresh), strict=True)
            merged = (new if old.empty else pd.concat([old, new]) for old, new in pairs)
            self._write(Results(*merged))
            return self._collected()

    def _whole(self) -> set[str]:
        """Runs with a whole directory; damaged ones are set aside, and with them their rows."""
        names = {path.name for path in self.runs.glob("*") if _is_hash(path.name)}
        damaged = {name for name in names if self._body(name) is None}
        if damaged:
            self._drop(damaged)
        return names - damaged

    def _drop(self, names: set[str]) -> None:
        with self._alone():
            kept = (frame[~frame["hash"].isin(list(names))] for frame in self._collected())
            self._write(Results(*kept))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time changes the collected files."""
        lock = FileLock(self.root / "work" / ".lock")
        with writing(self.root):
            (self.root / "work").mkdir(parents=True, exist_ok=True)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _collected(self) -> Results:
        """What is committed or was collected before; rows that cannot be trusted are left out.

        A process that is killed between two of the files leaves runs that not all of them know:
        these do not count either, and are collected again from their directories.
        """
        runs = _read_rows(self.root / "runs.csv")
        epochs = _read_parquet(self.root / "epochs.parquet", EPOCH_COLUMNS)
        zero_shot = _read_parquet(self.root / "zero_shot.parquet", ZERO_SHOT_COLUMNS)
        with_curve = runs.loc[(runs["method"] == "baseline") & (runs["status"] == "done"), "hash"]
        halves = set(runs["hash"]) ^ set(epochs["hash"])
        halves |= set(with_curve) - set(zero_shot["hash"])
        if lost := [run for run in halves if not (self.runs / run).exists()]:
            print(
                f"{self.root}: {len(lost)} runs are not in all of runs.csv, epochs.parquet and"
                " zero_shot.parquet and do not count as stored; restore the files with git, or"
                " train them again",
                file=sys.stderr,
            )
        kept = set(runs["hash"]) - halves
        return Results(*(f[f["hash"].isin(list(kept))] for f in (runs, epochs, zero_shot)))

    def _write(self, results: Results) -> None:
        order = [name for name in SORT_COLUMNS if name in results.runs]
        runs = results.runs.sort_values(order, kind="stable").reset_index(drop=True)
        epochs = results.epochs.sort_values(["hash", "epoch"]).reset_index(drop=True)
        zero_shot = results.zero_shot.sort_values(["hash", "step"]).reset_index(drop=True)
        # Epochs first: a row of runs.csv whose epochs are missing would not count.
        _write_parquet(self.root / "epochs.parquet", epochs)
        _write_parquet(self.root / "zero_shot.parquet", zero_shot)
        _write_rows(self.root / "runs.csv", runs)


def load(scale: str) -> Results:
    """All stored runs of a scale as frames, collected first; empty frames where there are none."""
    return Store(scale).collect()


#: The columns of runs.csv that tell kinds of runs apart: rates are chosen within one kind.
KIND = (
    *("data", "model", "optimizer", "method", "profile", "normalize", "layers", "coupled"),
    *("exclude", "setting"),
)


def main_grid(results: Results, scale: str) -> Results:
    """The runs that the paper's tables are made of: the decays as printed, settings as in configs/.

    Controls (profile, normalize, layers, exclude, coupled, from scratch), rates beside the grid,
    and runs with other epochs, images or weights than configs/ now says stay in the store but out
    of the tables.
    """
    runs, rates = results.runs, grid_rates(scale)
    columns = zip(runs["data"], runs["model"], runs["optimizer"], strict=True)
    settings = [default_setting(scale, *column, pretrained=True) for column in columns]
    cells = zip(runs["optimizer"], runs["lr"], runs["rate"].fillna(0), strict=True)
    printed = (
        (runs["profile"] == [METHODS[method][1] for method in runs["method"]])
        & (runs["normalize"] == "none")
        & (runs["layers"] == "block")
        & runs["coupled"]
        & (runs["exclude"] == "")
        & (runs["setting"].to_numpy() == np.asarray(settings, dtype=object))
        & np.asarray([cell in rates for cell in cells], dtype=bool)
    )
    return only(results, set(runs.loc[printed, "hash"]))


def only(results: Results, kept: set[str]) -> Results:
    """The runs of these hashes."""
    return Results(*(frame[frame["hash"].isin(kept)].reset_index(drop=True) for frame in results))


@cache
def grid_rates(scale: str) -> set[tuple[str, float, float]]:
    """(optimizer, η, λ) of every cell of a scale's grid; λ = 0 stands for Baseline."""
    cfg = scale_config(scale)
    rates = set()
    for optimizer, base in cfg.base.items():
        for lr_factor in cfg.grid.lr_factors:
            lr = float(canonical_number(base.lr * lr_factor))
            rates.add((str(optimizer), lr, 0.0))
            for rate_factor in cfg.grid.rate_factors:
                rates.add((str(optimizer), lr, float(canonical_number(base.rate * rate_factor))))
    return rates


# -- one run on disk ------------------------------------------------------------------------------


def _strict(tree: Any) -> Any:
    """NaN and infinities are no JSON: null takes their place."""
    if isinstance(tree, dict):
        return {key: _strict(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_strict(item) for item in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree


def _sealed(record: Record) -> bytes:
    """run.json: a line with the version, the run and the SHA-256 of the next; the record."""
    body = json.dumps(_strict(record), separators=(",", ":")).encode()
    seal = {"version": VERSION, "run": record["hash"], "sha256": hashlib.sha256(body).hexdigest()}
    return json.dumps(seal).encode() + b"\n" + body


def _fault(seal: bytes, body: bytes, run: str) -> str | None:
    """What is wrong with a run.json, if anything."""
    try:
        said = json.loads(seal)
        version, owner, digest = said["version"], said["run"], said["sha256"]
    except (ValueError, KeyError, TypeError):
        return "run.json is truncated or has no seal"
    if version != VERSION:
        return f"run.json has version {version!r}, not {VERSION}"
    if digest != hashlib.sha256(body).hexdigest():
        return "run.json is truncated or was changed after it was stored (its checksum differs)"
    return None if owner == run else "run.json belongs to another run"


def _is_hash(name: str) -> bool:
    return len(name) == 12 and set(name) <= set("0123456789abcdef")


# -- frames ---------------------------------------------------------------------------------------

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

SORT_COLUMNS = [
    *("data", "model", "optimizer", "method", "profile", "normalize", "layers", "coupled"),
    *("exclude", "pretrained", "lr", "rate", "seed", "hash"),
]

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


def row(record: Record) -> dict[str, Any]:
    """A run as a row of runs.csv."""
    values = {
        "hash": record["hash"],
        **row_of_settings(record["settings"]),
        **record["summary"],
    }
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
        "lr": settings["optimizer"]["lr"],
        "rate": decay.get("rate"),
        "seed": settings["seed"],
        "setting": setting_id(settings),
        "epochs": scale["epochs"],
        "batch_size": scale["batch_size"],
    }


def _frames(records: Iterable[Record]) -> Results:
    records = list(records)
    runs = pd.DataFrame([row(record) for record in records], columns=list(RUN_COLUMNS))
    epochs = [{"hash": r["hash"], **epoch} for r in records for epoch in r["epochs"]]
    zero_shot = [
        {"hash": r["hash"], "step": step, "test_top1": top1}
        for r in records
        for step, top1 in enumerate(r["zero_shot"])
    ]
    return Results(
        runs.astype(RUN_COLUMNS),
        pd.DataFrame(epochs, columns=list(EPOCH_COLUMNS)).astype(EPOCH_COLUMNS),
        pd.DataFrame(zero_shot, columns=list(ZERO_SHOT_COLUMNS)).astype(ZERO_SHOT_COLUMNS),
    )


def _digests(rows: pd.DataFrame) -> list[str]:
    """A check value of each row of text, so that an edited row is noticed."""
    joined = ("\x1f".join(values) for values in rows.itertuples(index=False))
    return [hashlib.sha256(text.encode()).hexdigest()[:8] for text in joined]


def _write_rows(path: Path, runs: pd.DataFrame) -> None:
    text = runs.astype(object).where(runs.notna(), "").map(str)
    write_whole(path, text.assign(check=_digests(text)).to_csv(index=False).encode())


def _read_rows(path: Path) -> pd.DataFrame:
    if not path.exists():
        return _frames([]).runs
    content = path.read_bytes()  # what the system refuses is not for want of a sound file
    try:
        text = pd.read_csv(BytesIO(content), dtype=str, keep_default_na=False).fillna("")
    except ValueError as error:  # what pandas makes of an empty, binary or torn file
        if is_out_of_memory(error):
            raise
        set_aside(path, f"cannot be read ({str(error).splitlines()[0]})")
        return _frames([]).runs
    if list(text.columns) != [*RUN_COLUMNS, "check"]:
        set_aside(path, "has other columns than this version writes")
        return _frames([]).runs
    check = text.pop("check")
    whole = check == _digests(text)
    for name in text.loc[~whole, "hash"]:
        print(f"{path}: the row of run {name} was edited and does not count", file=sys.stderr)
    text = text[whole].reset_index(drop=True)
    text["coupled"] = text["coupled"] == "True"
    numbers = [name for name, kind in RUN_COLUMNS.items() if kind in ("float64", "int64")]
    text[numbers] = text[numbers].replace("", "nan").astype("float64")
    return text.astype(RUN_COLUMNS)


def _write_parquet(path: Path, frame: pd.DataFrame) -> None:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    table = pa.Table.from_pandas(frame, preserve_index=False)
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    write_whole(path, sink.getvalue().to_pybytes())


def _read_parquet(path: Path, columns: dict[str, str]) -> pd.DataFrame:
    import pyarrow as pa

    nothing = pd.DataFrame(columns=list(columns)).astype(columns)
    if not path.exists():
        return nothing
    content = path.read_bytes()
    try:
        # No `read_table`: it starts a thread, and Arrow's threads now and then abort the process
        # as it ends (apache/arrow#34314).
        file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        table = file.read(use_threads=False)
        return table.to_pandas(use_threads=False)[list(columns)].astype(columns)
    except Exception as error:  # pyarrow has no one error for a damaged file
        if is_out_of_memory(error):
            raise
        set_aside(path, f"cannot be read ({str(error).splitlines()[0]})")
        return nothing


@cache
def commit() -> str:
    """The repository's commit, with + where files differ from it; "unknown" without git."""
    import subprocess

    def git(*args: str) -> str:
        done = subprocess.run(["git", "-C", ROOT, *args], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    head = git("rev-parse", "--short=10", "HEAD")
    return head + "+" * bool(git("status", "--porcelain", "-uno")) if head else "unknown"
