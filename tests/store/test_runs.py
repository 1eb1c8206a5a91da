"""A run's identity and the store."""

import itertools
import math
import random
import shutil
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpwd.config.compose import composer
from lpwd.config.errors import ConfigError
from lpwd.config.rates import canonical_number
from lpwd.store import frames, index, rows, run_file
from lpwd.store import identity as identities
from lpwd.store.files import write_whole
from lpwd.store.lock import RunLock
from lpwd.store.rows import EPOCH_COLUMNS
from lpwd.store.store import Store
from lpwd.train import describe


def settings(*overrides: str) -> identities.Settings:
    return identities.settings(composer().config(["scale=smoke", *overrides]))


def identity(*overrides: str) -> str:
    return identities.run_id(settings(*overrides))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["optimizer.lr=1e-3"], ["optimizer.lr=0.001"]),
        (["optimizer.lr=5e-3"], ["optimizer.lr_factor=10"]),
        (["decay.rate=1"], ["decay.rate=1.0"]),
        (["decay.rate=0.1"], ["decay.rate_factor=5"]),
        (["decay=lpwd"], ["decay=pwd", "decay.profile=linear"]),
        (["decay=lpwd", "decay.profile=uniform"], ["decay=pwd"]),
        (["decay=baseline", "decay.rate=0.3"], ["decay=baseline", "decay.layers=tensor"]),
        (["decay.exclude=[bias,norm]"], ["decay.exclude=[norm,bias]"]),
        (["machine.threads=2", "wandb.mode=offline"], ["machine.compile=true"]),
        (["+experiment=table1"], []),
        (["optimizer.schedule=constant"], []),  # stored runs are older than the key
        (["decay.towards=null"], []),
        (["scale.grid.lr_factors=[1]"], ["scale.base.sgdm.lr=3"]),
    ],
)
def test_one_run_under_two_spellings(one: list[str], other: list[str]) -> None:
    assert identity(*one) == identity(*other)


@pytest.mark.parametrize(
    "change",
    [
        "seed=1",
        "decay.rate=0.03",
        "decay=wd",
        "decay.profile=reversed",
        "decay.normalize=params",
        "decay.layers=tensor",
        "decay.coupled=false",
        "optimizer=sgdm",
        "optimizer.schedule=cosine",
        "decay.towards=pretrained",
        "model=swin_micro",
        "scale.epochs=3",
        "model.pretrained=false",
        "scale.precision=bf16",
        "data.augment=[]",
    ],
)
def test_what_changes_numbers_changes_the_identity(change: str) -> None:
    assert identity(change) != identity()


@given(st.decimals(0, 1000, places=4), st.decimals(0, 100, places=3))
def test_a_number_has_one_spelling(base: Decimal, factor: Decimal) -> None:
    product = canonical_number(float(base) * float(factor))
    assert product == float(base * factor)
    assert canonical_number(product) == product


# -- the store ------------------------------------------------------------------------------------


def record(seed: int = 0, **summary: Any) -> run_file.Record:
    known = settings(f"seed={seed}", "decay=wd")
    numbers = {name: 0.5 for name, kind in frames.RUN_COLUMNS.items() if kind == "float64"}
    counts = {name: 7 for name, kind in frames.RUN_COLUMNS.items() if kind == "int64"}
    texts = {name: "x" for name, kind in frames.RUN_COLUMNS.items() if kind == "str"}
    own = set(rows.row_of_settings(known))
    rest = {k: v for k, v in (numbers | counts | texts).items() if k not in own and k != "hash"}
    epoch = {name: 1.5 for name in frames.EPOCH_COLUMNS if name not in ("hash", "epoch")}
    epoch |= {"r_op_share_layers": [0.1, 0.2], "r_op_size_layers": [0.3, 0.4]}
    return {
        "hash": identities.run_id(known),
        "settings": known,
        "summary": {**rest, "pretrained": "true", "status": "done", **summary},
        "epochs": [{"epoch": e, **epoch} for e in (1, 2)],
        "zero_shot": [90.0, 10.0],
    }


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("LPWD_RESULTS", str(tmp_path))
    return Store("smoke")


def test_what_is_stored_comes_back(store: Store) -> None:
    mine = record(best_mean=float("nan"))
    store.save(mine)
    assert store.has(mine["hash"])
    stored = store.read(mine["hash"])
    assert stored is not None
    assert stored["epochs"] == mine["epochs"]
    assert stored["summary"]["best_mean"] is None  # JSON has no NaN
    results = store.collect()
    assert results.runs["hash"].tolist() == [mine["hash"]]
    assert results.runs["best_mean"].isna().all()
    assert results.epochs["epoch"].tolist() == [1, 2]
    assert list(results.epochs["r_op_share_layers"][0]) == [0.1, 0.2]
    assert results.zero_shot["test_top1"].tolist() == [90.0, 10.0]


def test_collecting_twice_changes_nothing(store: Store) -> None:
    for seed in range(3):
        store.save(record(seed))
    files = ("runs.csv", "epochs.parquet", "zero_shot.parquet", "settings.parquet")
    store.collect()
    before = [(store.root / name).read_bytes() for name in files]
    store.collect()
    assert [(store.root / name).read_bytes() for name in files] == before


def test_committed_rows_count_without_their_directories(store: Store) -> None:
    mine = record()
    store.save(mine)
    before = store.collect()
    shutil.rmtree(store.runs)
    assert store.has(mine["hash"])
    assert store.summary(mine["hash"])["status"] == "done"
    assert store.settings(mine["hash"]) == mine["settings"]
    after = store.collect()
    pd.testing.assert_frame_equal(before.runs, after.runs)
    pd.testing.assert_frame_equal(before.zero_shot, after.zero_shot)


def test_settings_that_were_lost_are_missed(store: Store) -> None:
    """A run without them still counts as stored."""
    mine = record()
    store.save(mine)
    store.collect()
    shutil.rmtree(store.runs)
    (store.root / "settings.parquet").unlink()
    assert store.stored() == {mine["hash"]}
    with pytest.raises(ConfigError, match=f"make forget RUN={mine['hash']}"):
        store.settings(mine["hash"])


def test_a_worker_reads_the_collected_files_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(record())
    store.collect()
    shutil.rmtree(store.runs)
    assert store.has(record()["hash"])
    monkeypatch.setattr(index, "_hashes", lambda *_: pytest.fail("read again"))
    assert Store("smoke").has(record()["hash"])
    assert not store.has("0123456789ab")


def test_the_first_of_two_stays(store: Store) -> None:
    store.save(record(best_mean=1.0))
    store.save(record(best_mean=2.0))
    assert store.collect().runs["best_mean"].tolist() == [1.0]
    assert [path.name for path in store.runs.iterdir()] == [record()["hash"]]


def test_forget_drops_one(store: Store) -> None:
    for seed in range(2):
        store.save(record(seed))
    store.collect()
    store.forget(record(1)["hash"])
    assert store.stored() == {record(0)["hash"]}
    with pytest.raises(ConfigError, match="no runs of scale smoke"):
        store.forget("0123456789ab")


def test_forget_takes_the_beginning_of_one_hash(store: Store) -> None:
    names = sorted(record(seed)["hash"] for seed in range(17))  # 16 first digits: two share theirs
    for seed in range(17):
        store.save(record(seed))
    first, second = next(pair for pair in itertools.pairwise(names) if pair[0][0] == pair[1][0])
    with pytest.raises(ConfigError, match=rf"RUN={first[0]}: \d+ runs .* \(.*{first}, {second}"):
        store.forget(first[0])
    assert store.forget(first[:8]) == first
    assert store.stored() == {*names} - {first}


def test_forget_drops_what_an_interrupted_run_left_but_not_one_in_training(store: Store) -> None:
    work = store.work("0123456789ab")
    with RunLock(work):
        write_whole(work / "checkpoint.pt", b"half a run")
        with pytest.raises(ConfigError, match="0123456789ab is in training; stop it first"):
            store.forget("0123")
    assert (work / "checkpoint.pt").exists()
    assert store.forget("0123") == "0123456789ab"
    assert not work.exists()


def test_a_collected_run_is_described_from_its_row(store: Store) -> None:
    """Without pandas: `python -m lpwd.train` of a run whose directory is not here."""
    mine = record(heldout_mean=float("nan"))
    store.save(mine)
    store.collect()
    shutil.rmtree(store.runs)
    row, kinds = store.summary(mine["hash"]), frames.RUN_COLUMNS
    assert (row["best_mean"], row["best_k"], row["status"]) == (0.5, 7, "done")
    assert math.isnan(row["heldout_mean"])
    assert list(row) == list(kinds)
    assert "mean of the best 7 epochs" in describe(mine["hash"], row)


def edit(path: Path) -> None:
    text = path.read_text()
    path.write_text(text.replace('"best_mean":0.5', '"best_mean":99.5'))
    assert path.read_text() != text


def unknown_version(path: Path) -> None:
    path.write_text(path.read_text().replace('"version": 1', '"version": 99'))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-40]), "truncated"),
        (lambda path: path.write_bytes(b""), "truncated"),
        (edit, "changed after it was stored"),
        (unknown_version, "version 99"),
        (lambda path: path.unlink(), "no run.json"),
    ],
)
@pytest.mark.parametrize("collected", [False, True])
def test_a_damaged_run_is_named_and_set_aside(
    store: Store, damage: Any, said: str, collected: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, other = record(0), record(1)
    store.save(mine)
    store.save(other)
    if collected:
        store.collect()
    damage(store.runs / mine["hash"] / "run.json")
    assert store.stored() == {other["hash"]}
    assert said in (message := capsys.readouterr().err)
    assert mine["hash"] in message
    assert (store.runs / f"{mine['hash']}.damaged-1").exists()
    assert store.collect().runs["hash"].tolist() == [other["hash"]]
    store.save(mine)
    assert store.stored() == {mine["hash"], other["hash"]}


def test_an_edited_row_does_not_count(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.save(record())
    store.collect()
    shutil.rmtree(store.runs)
    table = store.root / "runs.csv"
    table.write_text(table.read_text().replace(",done,", ",diverged,"))
    assert store.stored() == set()
    assert "was edited" in capsys.readouterr().err


def test_a_file_from_before_a_column_reads_as_if_it_had_its_old_value(store: Store) -> None:
    store.save(record(0))
    store.collect()
    table = store.root / "runs.csv"
    now = frames.read_rows(table)
    old = now.drop(columns=list(rows.YOUNGER_COLUMNS))
    frames.write_rows(table, old)
    assert "towards" not in table.read_text().partition("\n")[0]
    pd.testing.assert_frame_equal(frames.read_rows(table), now)


def test_rows_without_epochs_do_not_count(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.save(record())
    store.collect()
    shutil.rmtree(store.runs)
    epochs = store.root / "epochs.parquet"
    content = bytearray(epochs.read_bytes())
    content[len(content) // 3] ^= 0xFF
    epochs.write_bytes(bytes(content))
    assert store.stored() == set()
    assert "do not count as stored" in capsys.readouterr().err


def test_no_flipped_bit_of_a_collected_file_goes_unnoticed(store: Store) -> None:
    """Parquet's checksums are of pages alone: a bit of its footer could move a column."""
    store.save(record())
    store.collect()
    path = store.root / "epochs.parquet"
    content, rng = path.read_bytes(), random.Random(0)
    for _ in range(300):
        flipped = bytearray(content)
        flipped[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(bytes(flipped))
        assert frames.read_parquet(path, EPOCH_COLUMNS).empty
        assert not path.exists()


def test_failures_are_kept_until_mended(store: Store) -> None:
    mine = record()
    store.fail(mine["hash"], mine["settings"], "Traceback …\nMemoryError: too large")
    assert store.failures() == {mine["hash"]: "MemoryError: too large"}
    store.save(mine)
    assert store.failures() == {}


def test_reading_leaves_no_thread_behind(store: Store) -> None:
    """Arrow's threads now and then abort a process that ends soon after."""
    store.save(record(1))
    store.collect()
    code = (
        "import os, pathlib, sys, lpwd.store.frames; from lpwd.store.store import Store;"
        " threads = lambda: len(os.listdir('/proc/self/task')); before = threads();"
        " store = Store('smoke', pathlib.Path(sys.argv[1]));"
        " print(len(store.collect().epochs), threads() - before)"
    )
    command = [sys.executable, "-c", code, str(store.root)]
    done = subprocess.run(command, capture_output=True, text=True)
    epochs, started = map(int, done.stdout.split())
    assert epochs > 0, done.stderr
    assert started == 0


# -- folders --------------------------------------------------------------------------------------


def test_a_relative_folder_is_where_the_command_is_started_for_its_sweep_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from lpwd.sweep.workers import run_sweep

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LPWD_RESULTS", "mine")
    store = Store("smoke")
    store.save(record())
    assert store.root == tmp_path / "mine" / "smoke"
    assert run_sweep("scale=smoke", "decay=wd") == 0
    assert "1 runs at scale smoke: 1 stored" in capfd.readouterr().out


def test_a_folder_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lpwd.inputs.cache import cache_dir

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LPWD_RESULTS", "~/mine")
    monkeypatch.setenv("LPWD_CACHE", "~/cache")
    assert Store("smoke").root == tmp_path / "mine" / "smoke"
    assert cache_dir(tmp_path).parent == tmp_path / "cache"
    monkeypatch.setenv("LPWD_RESULTS", "~nobody-of-that-name/mine")
    with pytest.raises(ConfigError, match="~nobody-of-that-name/mine: there is no such home"):
        Store("smoke")
