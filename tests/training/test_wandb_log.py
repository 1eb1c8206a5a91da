"""The mirror in wandb: what an offline run holds, and that no server can stop a run."""

import http.server
import json
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

import lpwd.train
import lpwd.training.build
import lpwd.training.loop
from lpwd.config.check import check
from lpwd.config.compose import composed
from lpwd.config.errors import ConfigError
from lpwd.store.store import Store
from lpwd.training import wandb_log

TINY = ["scale=smoke", "scale.images.train=32", "scale.images.test=20", "scale.images.heldout=10"]
TINY += ["scale.epochs=2", "scale.batch_size=16", "scale.r_op_every=1", "decay=lpwd", "seed=3"]


def config(*overrides: str) -> DictConfig:
    return check(composed([*TINY, *overrides]))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store of its own, and wandb as it is on a machine without a key."""
    monkeypatch.setenv("LPWD_RESULTS", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path.parent / "wandb-config"))
    monkeypatch.setenv("WANDB_MODE", "offline")  # wandb.mode decides, not this
    for variable in ("WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    import wandb

    wandb.teardown()  # what it read before
    yield Store("smoke")
    wandb.teardown()


def offline_runs(store: Store) -> list[Path]:
    import wandb

    wandb.teardown()  # its service closes a run's file a moment after the run's end
    return sorted((store.root / "wandb").glob("offline-run-*/*.wandb"))


def records(path: Path) -> list[Any]:
    """The records of a .wandb file: LevelDB's log format behind a header of seven bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, whole, found = path.read_bytes(), 7, b"", []
    assert content[:4] == b":W&B"
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:  # the rest of a block is padding
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        whole += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # full, or last
            found.append(Record.FromString(whole))
            whole = b""
    return found


def values(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def mirrored(path: Path) -> tuple[Any, dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
    """wandb's run, its config, its history and its last summary."""
    found = records(path)
    (run,) = (record.run for record in found if record.HasField("run"))
    history = [values(record.history.item) for record in found if record.HasField("history")]
    summary: dict[str, Any] = {}
    for record in found:
        if record.HasField("summary"):
            summary |= values(record.summary.update)
    return run, values(run.config.update), history, summary


def test_an_offline_run_holds_what_the_store_does(store: Store) -> None:
    cfg = config("wandb.mode=offline", "+experiment=table1")
    lpwd.train.run_once(cfg)
    (stored,) = store.collect().runs.to_dict("records")
    (path,) = offline_runs(store)
    run, its_config, history, summary = mirrored(path)
    assert (run.run_id, run.display_name) == (stored["hash"], stored["hash"])
    assert (run.run_group, run.project) == ("table1", "lpwd")
    for name in ("hash", "data", "model", "optimizer", "method", "profile", "lr", "rate", "seed"):
        assert its_config[name] == stored[name], name
    epochs = store.collect().epochs
    for name in ("train_loss", "test_top1", "heldout_top1", "r_op_share", "r_op_size"):
        assert [row[name] for row in history] == epochs[name].tolist(), name
    paper = ("best_mean", "best_std", "r_op_share", "r_op_size")
    for name in (*paper, "heldout_mean", "final_top1", "final_loss", "weight_norm"):
        assert summary[name] == pytest.approx(stored[name], rel=1e-12), name


def test_the_config_holds_the_rate_of_each_layer(store: Store) -> None:
    """Of layer i of n: λ_i = 2λ i/n."""
    cfg = config("wandb.mode=offline", "decay.rate=0.04")
    lpwd.train.run_once(cfg)
    _, its_config, history, _ = mirrored(*offline_runs(store))
    n = len(its_config["lambda"])
    assert n == len([name for name in history[0] if name.startswith("r_op_share_layers/")])
    expected = {f"{i:02d}": 2 * 0.04 * i / n for i in range(1, n + 1)}
    assert its_config["lambda"] == pytest.approx(expected)


def test_two_runs_of_one_process_stay_apart_and_a_group_can_be_named(store: Store) -> None:
    for seed in (1, 2):
        lpwd.train.run_once(config("wandb.mode=offline", "wandb.group=mine", f"seed={seed}"))
    seeds = {}
    for path in offline_runs(store):
        run, its_config, history, _ = mirrored(path)
        assert run.run_group == "mine"
        assert len(history) == 2
        seeds[its_config["hash"]] = its_config["seed"]
    assert sorted(seeds.values()) == [1, 2]


def test_a_resumed_run_is_mirrored_whole(store: Store) -> None:
    cfg = config("wandb.mode=offline", "machine.checkpoint_minutes=0", "scale.epochs=3")
    training = lpwd.training.build.prepare(cfg)

    def interrupted() -> None:
        with wandb_log.open_run(training, store, "resumed") as log:
            log(lpwd.training.loop.train_epoch(training, lambda: None))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    time.sleep(1.1)  # wandb names a run's folder by the second
    with wandb_log.open_run(training, store, "resumed") as log:
        for _ in range(2):
            log(lpwd.training.loop.train_epoch(training, lambda: None))
    histories = [mirrored(path)[2] for path in offline_runs(store)]
    assert sorted([row["epoch"] for row in history] for history in histories) == [[1], [1, 2, 3]]


def test_online_without_a_key_is_refused_before_any_work(store: Store) -> None:
    with pytest.raises(ConfigError, match="needs a key: run `wandb login`"):
        lpwd.train.run_once(config("wandb.mode=online"))
    assert not list(store.root.rglob("*"))


@pytest.mark.parametrize(
    ("key", "url", "project", "said"),
    [
        ("short", "", "lpwd", r"online: WANDB_API_KEY invalid: API key must have 40\+ characters"),
        ("0" * 40, "nonsense", "lpwd", r"base_url \(WANDB_BASE_URL\): Input should be a valid URL"),
        ("0" * 40, "", "a/b", r"Invalid project name 'a/b'"),
    ],
)
def test_what_wandb_refuses_is_said_in_one_line_before_any_work(
    store: Store, monkeypatch: pytest.MonkeyPatch, key: str, url: str, project: str, said: str
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", key)
    monkeypatch.setenv("WANDB_BASE_URL", url or "http://127.0.0.1:9")
    modes = ["online"] if key == "short" else ["online", "offline"]  # offline needs no key
    for mode in modes:
        with pytest.raises(ConfigError, match=said) as caught:
            lpwd.train.run_once(config(f"wandb.mode={mode}", f"wandb.project='{project}'"))
        assert "\n" not in str(caught.value)
    assert not list(store.root.rglob("*"))


class Silent(http.server.BaseHTTPRequestHandler):
    """Answers the first question, and then never anything that wandb asks."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def do_POST(self) -> None:
        time.sleep(60)

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def silent_server() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Silent)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


@pytest.mark.parametrize("server", ["absent", "silent"])
def test_a_server_that_is_not_there_stops_nothing(
    server: str,
    store: Store,
    silent_server: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The run is stored and mirrored offline; one line says why."""
    monkeypatch.setattr(wandb_log, "INIT_SECONDS", 3)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    url = "http://127.0.0.1:9" if server == "absent" else silent_server
    monkeypatch.setenv("WANDB_BASE_URL", url)
    lpwd.train.run_once(config("wandb.mode=online"))
    (stored,) = store.collect().runs.to_dict("records")
    (path,) = offline_runs(store)
    assert [row["epoch"] for row in mirrored(path)[2]] == [1, 2]
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("wandb:")]
    assert len(told) == 1
    assert told[0].endswith(f"run {stored['hash']} is mirrored offline, for `wandb sync`")


def test_a_mirror_that_breaks_is_let_go(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import wandb

    def broken(*_: Any, **__: Any) -> None:
        raise OSError("the service is gone")

    monkeypatch.setattr(wandb.Run, "log", broken)
    lpwd.train.run_once(config("wandb.mode=offline"))
    (run,) = store.stored()
    told = f"wandb: the service is gone; run {run} is mirrored no further"
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("wandb:")]
    assert said == [told]


def test_the_mirror_changes_no_number(store: Store, tmp_path: Path) -> None:
    mode, numbers = "wandb.mode=offline", []
    for overrides in ([mode], []):
        lpwd.train.run_once(config(*overrides))
        name = next(store.runs.iterdir()).name
        record = store.read(name)
        assert record is not None
        for row in record["epochs"]:
            row.pop("seconds")
        numbers.append((name, record["epochs"]))
        store.forget(name)
    assert numbers[0] == numbers[1]
