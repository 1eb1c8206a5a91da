"""The trainer: what it records, and that an interrupted run equals an uninterrupted one."""

import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from faults import HOW, damage
from omegaconf import DictConfig

import lpwd.train
from lpwd.config.check import check, without_hydra
from lpwd.config.compose import composed
from lpwd.config.errors import ConfigError, is_out_of_memory
from lpwd.store.store import Store
from lpwd.training import build, loop, record, stopping

TINY = ["scale=smoke", "scale.images.train=96", "scale.images.test=60", "scale.images.heldout=40"]
TINY += ["scale.epochs=3", "scale.batch_size=16", "scale.r_op_every=2", "scale.eval_batch_size=100"]


def config(*overrides: str) -> DictConfig:
    return check(composed([*TINY, *overrides]))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("LPWD_RESULTS", str(tmp_path))
    return Store("smoke")


def numbers(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows without their seconds, NaN made comparable."""
    return [{k: repr(v) for k, v in row.items() if k != "seconds"} for row in rows]


class StopAfter:
    """A stop that is asked for after so many steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    @property
    def requested(self) -> bool:
        self.left -= 1
        return self.left < 0


@pytest.mark.parametrize(
    "overrides",
    [
        ["decay=lpwd", "optimizer=adam", "model=swin_micro"],  # with drop path
        ["decay=pwd", "optimizer=sgdm"],
        ["decay=lpwd", "optimizer.schedule=cosine"],
        ["decay=lpwd", "decay.towards=pretrained"],
        ["decay=l2", "optimizer=adam", "scale.loader=albumentations", "machine.loader_workers=0"],
    ],
)
@pytest.mark.parametrize("steps", [0, 3, 5, 8])
def test_an_interrupted_run_equals_an_uninterrupted_one(
    store: Store, monkeypatch: pytest.MonkeyPatch, overrides: list[str], steps: int
) -> None:
    cfg = config(*overrides)
    whole = loop.train(cfg, store, "whole")
    with monkeypatch.context() as patched:
        from contextlib import nullcontext

        patched.setattr(loop, "stop_signals", lambda: nullcontext(StopAfter(steps)))
        with pytest.raises(stopping.Stopped):
            loop.train(cfg, store, "cut")
    assert (store.work("cut") / "checkpoint.pt").exists()
    resumed = loop.train(cfg, store, "cut")
    assert numbers(resumed.rows) == numbers(whole.rows)
    for mine, theirs in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_cosine_takes_the_lr_from_its_value_to_nothing(store: Store) -> None:
    cfg = config("optimizer.schedule=cosine", "decay=wd", "scale.epochs=2", "optimizer.lr=0.01")
    training, lrs = build.prepare(cfg), []
    group = training.optimizer.param_groups[0]
    for _ in range(2):
        loop.train_epoch(training, lambda: lrs.append(group["lr"]))
    steps = 2 * len(training.loader)
    wanted = [0.01 * (1 + math.cos(math.pi * t / steps)) / 2 for t in range(steps)]
    assert lrs == pytest.approx(wanted, rel=1e-12)


def test_a_resumed_run_uses_the_configs_rates(store: Store) -> None:
    before = config("machine.checkpoint_minutes=0", "scale.epochs=1", "decay.rate=0.1")
    loop.train(before, store, "run")
    after = config("optimizer.lr=0.00025", "decay.rate=0.2")
    training = loop.train(after, store, "run")
    assert [group["lr"] for group in training.optimizer.param_groups] == [0.00025]
    assert max(training.decay.rates.values()) == pytest.approx(0.4)
    assert [row["epoch"] for row in training.rows] == [1, 2, 3]


def test_an_optimizer_that_keeps_a_checkpoints_rates_is_refused(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = config("machine.checkpoint_minutes=0", "scale.epochs=1")
    loop.train(cfg, store, "run")
    load = torch.optim.Adam.load_state_dict

    def stale(optimizer: torch.optim.Adam, state: Any) -> None:
        load(optimizer, state)
        optimizer.param_groups[0]["lr"] = 9.0

    monkeypatch.setattr(torch.optim.Adam, "load_state_dict", stale)
    training = loop.train(cfg, store, "run")
    assert training.optimizer.param_groups[0]["lr"] == 0.0005
    assert "does not fit this run (it brings its own rates" in capsys.readouterr().err


@pytest.mark.parametrize("how", HOW)
def test_a_damaged_checkpoint_is_set_aside_and_the_run_starts_anew(
    store: Store, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = config("machine.checkpoint_minutes=0")
    whole = loop.train(cfg, store, "run")
    damage(store.work("run") / "checkpoint.pt", how, random.Random(how))
    again = loop.train(cfg, store, "run")
    said = capsys.readouterr().err
    assert "checkpoint.pt: is damaged (its checksum differs), the run starts anew" in said
    assert "set aside as checkpoint.pt.damaged-1" in said
    assert (store.work("run") / "checkpoint.pt.damaged-1").exists()
    assert numbers(again.rows) == numbers(whole.rows)


def test_what_a_run_records(store: Store) -> None:
    cfg = config("decay=wd", "decay.rate=20")
    training = loop.train(cfg, store, "run")
    settings = {"model": {"weights": "x"}}
    finished = record.finish(training, "run", settings)
    summary, rows = finished["summary"], finished["epochs"]
    top1 = [row["test_top1"] for row in rows]
    assert summary["best_mean"] == max(top1)  # the best 1 of 3 epochs
    assert summary["steps"] == 3 * 6
    assert summary["status"] == "done"
    halves = [(row["test_a_top1"] + row["test_b_top1"]) / 2 for row in rows]
    assert halves == pytest.approx(top1)
    assert 0 < summary["r_op_share"] < 1
    assert len(rows[0]["r_op_share_layers"]) == 8
    assert finished["zero_shot"] == []
    chosen = max(rows, key=lambda row: row["heldout_top1"])
    assert summary["heldout_mean"] == chosen["test_top1"]


def test_baseline_ends_with_its_zero_shot_curve(store: Store) -> None:
    training = loop.train(config("decay=baseline", "scale.epochs=1"), store, "run")
    weights = [p.clone() for p in training.model.parameters()]
    curve = record.finish(training, "run", {"model": {"weights": "x"}})["zero_shot"]
    assert len(curve) == 101
    assert curve[0] == training.rows[-1]["test_top1"]  # 60 images, all of the zero-shot's 100
    assert curve[100] == pytest.approx(10, abs=2)  # all logits are equal: class 0
    for before, after in zip(weights, training.model.parameters(), strict=True):
        assert torch.equal(before, after)


def test_decay_towards_the_pretrained_weights_spares_the_new_head(store: Store) -> None:
    training = build.prepare(config("decay=wd", "decay.towards=pretrained"))
    at_the_start = dict(training.model.named_parameters())
    towards = training.decay.towards
    assert {name for name in at_the_start if name not in towards} == {
        "head.fc.weight",
        "head.fc.bias",
    }
    assert all(torch.equal(towards[name], at_the_start[name]) for name in towards)
    with pytest.raises(ConfigError, match=r"decay\.towards=pretrained: this model starts from sc"):
        config("decay=wd", "decay.towards=pretrained", "model.pretrained=false")


def test_seeds_differ_and_repeat(store: Store) -> None:
    first, again = (loop.train(config("seed=1"), store, name) for name in "ab")
    other = loop.train(config("seed=2"), store, "c")
    assert numbers(first.rows) == numbers(again.rows)
    assert first.rows[0]["train_loss"] != other.rows[0]["train_loss"]


def test_compiled_equals_plain(store: Store) -> None:
    plain = loop.train(config("decay=lpwd", "scale.epochs=1"), store, "a")
    compiled = build.prepare(config("decay=lpwd", "scale.epochs=1"))
    compiled.forward = torch.compile(compiled.model, backend="eager")  # pyright: ignore
    compiled.decay.remove()
    compiled.decay = build.make_decay(compiled.cfg, compiled.optimizer, compiled.forward)
    compiled.opposing = None
    loop.train_epoch(compiled, lambda: None)
    assert compiled.rows[0]["train_loss"] == pytest.approx(plain.rows[0]["train_loss"], rel=1e-6)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["decay.rate=3000"], "ηλ_i = 3 > 1"),
        (["decay.rate=abc"], "decay.rate=abc must be a number or null"),
        (["decay.method=lpdw"], "did you mean 'lpwd'"),
        (["decay.profile=linar"], "did you mean 'linear'"),
        (["decay.exclude=[biases]"], "did you mean 'bias'"),
        (["optimizer.name=adamw"], "did you mean 'adam'"),
        (["optimizer.betas=[0.9,1.0]"], "optimizer.betas"),
        (["scale.batch_size=97", "scale.drop_last=true"], "more than the 96 training images"),
        (["scale.images.train=5000"], "scale.images.train=5000"),
        (["data=cifar10", "data.root=/nowhere"], "data.root=/nowhere"),
        (["model.arch=convnext_tinny"], "did you mean 'convnext_tiny'"),
        (["model.pretrained=nowhere.pth"], "nowhere.pth"),
        (["machine.device=cuda:77"], "machine.device=cuda:77"),
        (["data.augment=[{_target_: os.system, command: ls}]"], "os.system"),
    ],
)
def test_bad_input_is_one_line_before_any_work(
    store: Store, overrides: list[str], said: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        lpwd.train.run_once(without_hydra(composed([*TINY, *overrides])))
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not list(store.root.rglob("*.*"))


# -- the machine ----------------------------------------------------------------------------------


def test_every_model_of_a_lasting_process_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch stops after recompile_limit models of one class, unless the earlier are dropped."""
    from torch._dynamo.testing import CompileCounter

    counter, compile_ = CompileCounter(), torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda model, mode, **rest: compile_(model, backend=counter, **rest)
    )
    with torch._dynamo.config.patch(recompile_limit=2):  # pyright: ignore
        for _ in range(4):
            build.compiled(torch.nn.Sequential(torch.nn.Linear(2, 2)), True)(torch.zeros(1, 2))
    assert counter.frame_count == 4


def test_what_cannot_be_compiled_whole_raises() -> None:
    class Reads(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1 if x.sum() > 0 else x

    with pytest.raises(Exception, match=r"[Dd]ata-dependent"):
        build.compiled(Reads(), "graphs")(torch.zeros(2))


def test_a_record_says_what_the_machine_was_asked_for() -> None:
    cfg = config("machine.channels_last=false", "machine.deterministic=false")
    said = record.versions(build.prepare(cfg))
    assert (said["deterministic"], said["compile"], said["channels_last"]) == (False, False, False)
    assert said["cuda"] is None  # trained on the CPU


@pytest.mark.parametrize(
    "said",
    ["CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", "CUDNN_STATUS_ALLOC_FAILED"],
)
def test_libraries_that_lack_memory_say_so_in_their_own_words(said: str) -> None:
    assert is_out_of_memory(RuntimeError(f"CUDA error: {said}"))
    assert not is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"))
