"""The examples run, and in each framework the decay is what it is in a plain loop."""

import importlib
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from conftest import REPOSITORY
from small import (
    DECAYS,
    METHODS,
    Still,
    Weights,
    assert_close,
    assert_same,
    decayed,
    mlp,
    weights,
)
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Adam
from torch.utils.data import DataLoader

import lpwd

EXAMPLES = REPOSITORY / "examples"
NEEDS = {"lightning_module": "lightning", "hf_trainer": "transformers"}
STEPS = 3
ETA, RATE = 0.01, 0.5


@pytest.fixture(autouse=True)
def _offline_and_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def example(name: str) -> ModuleType:
    """An example as a module; skips where its framework is not installed."""
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason="pip install 'lpwd[examples]'")
    return importlib.import_module(name)


TRAINING = sorted(path for path in EXAMPLES.glob("*.py") if path.stem != "layers")


@pytest.mark.parametrize("path", TRAINING, ids=lambda path: path.stem)
def test_an_example_runs_and_is_short(path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    example(path.stem)
    runpy.run_path(str(path), run_name="__main__")
    printed = capsys.readouterr().out
    reached = [float(top1) for top1 in re.findall(r"test top-1 ([\d.]+) %", printed)]
    assert reached
    assert min(reached) > 60
    assert "λ_i" in printed
    source = path.read_text()
    assert len(source.splitlines()) <= 60
    assert source.count("# the added line") == 1


@pytest.mark.parametrize("model", ["llama", "resnet50"])
def test_the_tables_in_the_docs_are_what_is_printed(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("transformers", reason="pip install 'lpwd[examples]'")
    example("layers").main(model)
    docs = (REPOSITORY / "docs" / "decays.md").read_text()
    assert f"```text\n{capsys.readouterr().out}```" in docs


def test_the_plain_loop_prints_the_rates_of_eq_9(capsys: pytest.CaptureFixture[str]) -> None:
    model, decay = example("plain_loop").main(rate=0.3, epochs=1)
    expected = {f"{2 * k}.{leaf}": 0.2 * (k + 1) for k in range(3) for leaf in ("weight", "bias")}
    assert decay.rates == pytest.approx(expected)
    assert set(decay.rates) == {name for name, _ in model.named_parameters()}
    assert "0.weight   λ_i = 0.200" in capsys.readouterr().out


def changed(one: Weights, other: Weights) -> bool:
    return any(not torch.equal(one[name], other[name]) for name in one)


# -- timm -----------------------------------------------------------------------------------------

#: One of each family. Not madgrad: it computes the weights anew from their first values.
TIMM = (
    *("adabelief", "adafactorbv", "adamp", "adamw", "adan", "adopt", "lamb", "laprop", "lars"),
    *("lion", "mars", "muon", "nadamw", "novograd", "radam", "rmsproptf", "sgdp"),
)


@pytest.mark.parametrize("method", DECAYS)
@pytest.mark.parametrize("name", TIMM)
def test_timm_optimizers_with_no_gradient_leave_the_decay_alone(name: str, method: str) -> None:
    from timm.optim import create_optimizer_v2

    model = mlp()
    optimizer = create_optimizer_v2(model, opt=name, lr=0.1, weight_decay=0)
    decay = lpwd.WeightDecay(optimizer, model, method, RATE)
    start = weights(model)
    for _ in range(STEPS):
        (0 * model(torch.ones(8, 3, dtype=torch.float64)).sum()).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert_close(weights(model), decayed(start, decay, [0.1] * STEPS))


@pytest.mark.parametrize("method", DECAYS)
def test_lookahead_around_an_optimizer_that_decays(method: str) -> None:
    from timm.optim.lookahead import Lookahead

    model = mlp()
    inner = Still(model.parameters(), lr=0.1)
    decay = lpwd.WeightDecay(inner, model, method, RATE)
    optimizer = Lookahead(inner, k=STEPS + 1)  # its slow weights come after the last step
    start = weights(model)
    for _ in range(STEPS):
        model(torch.ones(8, 3, dtype=torch.float64)).sum().backward()
        optimizer.step()
    assert_close(weights(model), decayed(start, decay, [0.1] * STEPS))


def test_timms_own_decay_beside_ours_is_refused_but_for_its_groups() -> None:
    from timm.optim import create_optimizer_v2

    model = mlp()
    make: Any = {"opt": "lamb", "lr": 0.1, "weight_decay": 0.05}
    optimizer = create_optimizer_v2(model, filter_bias_and_bn=False, **make)
    with pytest.raises(ValueError, match=r"Lamb already decays \(weight_decay=0.05\)"):
        lpwd.WeightDecay(optimizer, model, "lpwd", RATE)
    with pytest.warns(UserWarning, match="5 parameters in groups of Lamb with weight_decay=0"):
        decay = lpwd.WeightDecay(create_optimizer_v2(model, **make), model, "lpwd", RATE)
    assert decay.rates["0.bias"] == 0


# -- Lightning ------------------------------------------------------------------------------------


def batches() -> list[tuple[Tensor, Tensor]]:
    """Six batches of eight digits."""
    train, _ = example("plain_loop").digits()
    return [train[8 * k : 8 * (k + 1)] for k in range(6)]


def plain(
    model: nn.Module, optimizer: torch.optim.Optimizer, method: str, accumulate: int
) -> Weights:
    """The plain loop over `batches`, the loss averaged over those that accumulate."""
    lpwd.WeightDecay(optimizer, model, method, RATE)
    for k, (x, y) in enumerate(batches(), 1):
        (cross_entropy(model(x), y) / accumulate).backward()
        if k % accumulate == 0:
            optimizer.step()
            optimizer.zero_grad()
    return weights(model)


def lightning_fit(
    method: str,
    optimizer: Callable[..., torch.optim.Optimizer] = Adam,
    skip: Callable[[int], bool] = lambda batch: False,
    **options: Any,
) -> tuple[Weights, Any]:
    """Train the example's module on `batches`; the weights it started from, and the module."""
    lightning_module = example("lightning_module")

    class Fitted(lightning_module.Digits):
        def configure_optimizers(self) -> torch.optim.Optimizer:
            chosen = optimizer(self.model.parameters(), lr=ETA)
            self.decay = lpwd.WeightDecay(chosen, self.model, method, RATE)
            return chosen

        def training_step(self, batch: Any, batch_idx: int) -> Tensor | None:
            loss = super().training_step(batch)
            return None if skip(batch_idx) else loss

    torch.manual_seed(0)
    module = Fitted()
    start = weights(module.model)
    loader = DataLoader(batches(), batch_size=None)
    lightning_module.trainer(max_epochs=1, **options).fit(module, loader)
    return start, module


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("method", METHODS)
def test_lightning_trains_as_the_plain_loop(method: str, accumulate: int) -> None:
    start, module = lightning_fit(method, accumulate_grad_batches=accumulate)
    torch.manual_seed(0)
    model = example("lightning_module").Digits().model
    assert_same(weights(model), start)
    expected = plain(model, Adam(model.parameters(), lr=ETA), method, accumulate)
    assert_same(weights(module.model), expected)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", DECAYS)
def test_a_batch_that_lightning_skips(method: str) -> None:
    """training_step returned None: the step is taken all the same, on gradients of None."""
    start, module = lightning_fit(method, Still, skip=lambda batch: batch in (1, 4))
    assert_close(weights(module.model), decayed(start, module.decay, [ETA] * 6), 1e-7)


@pytest.mark.filterwarnings("ignore")
def test_lightning_fits_a_second_time_after_remove() -> None:
    lightning_module = example("lightning_module")
    module = lightning_module.Digits()
    loader = DataLoader(batches(), batch_size=None)
    for _ in range(2):
        lightning_module.trainer(max_epochs=1).fit(module, loader)
        assert module.decay.state_dict() == {"due": 1.0}  # the last step was its own
        with pytest.raises(ValueError, match=r"call its remove\(\) first"):
            lightning_module.trainer(max_epochs=1).fit(module, loader)
        module.decay.remove()


@pytest.mark.filterwarnings("ignore")
def test_lightning_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    lightning_module = example("lightning_module")
    loader = DataLoader(batches(), batch_size=None)

    def fitted(epochs: int, save: Path | None = None, start: Path | None = None) -> Weights:
        torch.manual_seed(0)
        module, fit = lightning_module.Digits(), lightning_module.trainer(max_epochs=epochs)
        fit.fit(module, loader, ckpt_path=start)
        if save:
            fit.save_checkpoint(save)
        return weights(module.model)

    once = fitted(1, save=tmp_path / "one")
    twice = fitted(2, start=tmp_path / "one")
    assert changed(once, twice)
    assert_same(twice, fitted(2))


# -- Hugging Face ---------------------------------------------------------------------------------


class Classifier(nn.Module):
    """The example's small net, with the signature that a Trainer wants."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))

    def forward(self, pixel_values: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits = self.net(pixel_values)
        return {"loss": cross_entropy(logits, labels), "logits": logits}


def hf_fit(model: nn.Module, optimizer: torch.optim.Optimizer, **options: Any) -> None:
    """One epoch of the example's Trainer over `batches`, in order, with a constant η."""
    hf_trainer = example("hf_trainer")
    constant = {"lr_scheduler_type": "constant", "train_sampling_strategy": "sequential"}
    options = {"num_train_epochs": 1, "max_grad_norm": 0, **constant, **options}
    run = hf_trainer.trainer(model, optimizer, **options)  # batches of 8
    run.train_dataset = run.train_dataset[:48]
    run.train()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("method", METHODS)
def test_the_hf_trainer_trains_as_the_plain_loop(method: str, accumulate: int) -> None:
    example("hf_trainer")
    trained, model = Classifier(), Classifier()
    optimizer = Adam(trained.parameters(), lr=ETA)
    lpwd.WeightDecay(optimizer, trained, method, RATE)
    hf_fit(trained, optimizer, gradient_accumulation_steps=accumulate)
    expected = plain(model.net, Adam(model.net.parameters(), lr=ETA), method, accumulate)
    assert_same(weights(trained.net), expected)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", DECAYS)
def test_the_hf_trainers_schedule_scales_the_decay(method: str) -> None:
    """Without an update, the weights end at θ₀ ∏(1 − η_t λ_i), η falling linearly to 0."""
    hf_trainer = example("hf_trainer")
    model = hf_trainer.vit()
    optimizer = Still(model.parameters(), lr=ETA)
    decay = lpwd.WeightDecay(optimizer, model, method, RATE, layers=hf_trainer.LAYERS)
    start = weights(model)
    hf_fit(model, optimizer, gradient_accumulation_steps=2, lr_scheduler_type="linear")
    assert_close(weights(model), decayed(start, decay, [ETA, ETA * 2 / 3, ETA / 3]), 1e-7)


def test_accelerate_keeps_the_decays_state(tmp_path: Path) -> None:
    """Stopped between forward pass and step: the step to come has had its decay."""
    example("hf_trainer")
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    model = mlp()
    model, optimizer = accelerator.prepare(model, Adam(model.parameters(), lr=ETA))
    decay = lpwd.WeightDecay(optimizer, model, "pwd", RATE)
    accelerator.register_for_checkpointing(decay)
    model(torch.ones(8, 3, dtype=torch.float64))
    accelerator.save_state(str(tmp_path))
    decay.load_state_dict({"due": 1.0})
    accelerator.load_state(str(tmp_path))
    assert decay.state_dict() == {"due": 0.0}


@pytest.mark.filterwarnings("ignore")
def test_the_hf_trainer_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    from transformers import Trainer, TrainingArguments

    train, _ = example("plain_loop").digits()
    examples = [{"pixel_values": x, "labels": y} for x, y in zip(*train[:48], strict=True)]

    def trained(folder: str, **resume: Any) -> Weights:
        model = Classifier()
        optimizer = Adam(model.parameters(), lr=ETA)
        lpwd.WeightDecay(optimizer, model, "lpwd", RATE)
        quiet = {"report_to": "none", "disable_tqdm": True, "use_cpu": True}
        every = {"save_strategy": "steps", "save_steps": 4, "num_train_epochs": 2}
        arguments = TrainingArguments(str(tmp_path / folder), **quiet, **every)
        run = Trainer(model, arguments, train_dataset=examples, optimizers=(optimizer, None))
        run.train(**resume)
        return weights(model)

    whole = trained("whole")
    assert_same(
        trained("again", resume_from_checkpoint=str(tmp_path / "whole/checkpoint-4")), whole
    )


@pytest.mark.parametrize("method", METHODS)
def test_accelerates_optimizer_skips_a_step_without_decay(method: str) -> None:
    """Its scaler finds an overflow at the second of three steps: the others are the plain loop's,
    and pwd, which had decayed before that forward pass, does not decay again for the third."""
    example("hf_trainer")
    from accelerate import Accelerator
    from accelerate.optimizer import AcceleratedOptimizer

    Accelerator(cpu=True)  # AcceleratedOptimizer wants its state
    results = []
    for scaler in (None, torch.amp.GradScaler("cpu", init_scale=2.0**10)):
        model = mlp(dtype=torch.float32)
        inner = Adam(model.parameters(), lr=0.1)
        lpwd.WeightDecay(inner, model, method, RATE)
        optimizer = inner if scaler is None else AcceleratedOptimizer(inner, scaler=scaler)
        for step, overflow in enumerate((False, True, False)):
            x = torch.full((8, 3), 1.0 + step)
            loss = model(x).square().mean()
            if overflow:
                if scaler is None:
                    optimizer.zero_grad()
                    continue  # the plain loop leaves this step out
                loss = loss * float("inf")
            (loss if scaler is None else scaler.scale(loss)).backward()
            optimizer.step()
            optimizer.zero_grad()
        results.append(weights(model))
    assert_close(results[1], results[0], 1e-6)
