"""`make doctor`, and what every sweep looks at before its first run."""

import json
from pathlib import Path

import pytest
from omegaconf import DictConfig

from lpwd.config.compose import composed
from lpwd.config.errors import ConfigErrors
from lpwd.reproduce import main
from lpwd.sweep import cost, doctor


def run(target: str, scale: str) -> int:
    with pytest.raises(SystemExit) as end:
        main([target, "--scale", scale])
    assert isinstance(end.value.code, int)
    return end.value.code


def test_all_is_well_at_smoke_scale(
    results: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("doctor", "smoke") == 0
    said = capfd.readouterr().out
    lines = said.splitlines()
    marks = [line for line in lines if line.startswith(("✓", "✗"))]
    whats = [line.partition(":")[0].removeprefix("✓ ") for line in marks]
    models = ["convnext_micro", "swin_micro", "convnext_micro32", "convnext_micro48"]
    assert whats == [
        *("device", "digits"),
        *(f"weights of {model}" for model in models),
        "results",
        *(f"step of {model}" for model in models),
        "disk",
    ]
    rows = {line.split()[0]: line.split()[1:] for line in lines if line.split()}
    left, hours, seeded, with_seeds = rows["all"]
    assert (int(left), int(seeded)) == (96, 256)
    assert 0 < float(hours) < float(with_seeds)
    assert rows["controls"][0] == "70"
    # What was measured is kept, and `plan` takes it from there.
    file = results / "smoke" / "work" / "cost.json"
    kept = {key: {**of, "step": 3600.0} for key, of in json.loads(file.read_text()).items()}
    file.write_text(json.dumps(kept))
    monkeypatch.delattr(cost, "_measure")
    assert run("plan", "smoke") == 0
    planned = {
        line.split()[0]: line.split() for line in capfd.readouterr().out.splitlines() if line
    }
    assert float(planned["all"][-1]) > 100


def test_every_lack_at_paper_scale_is_a_line_with_its_mend(
    results: Path,
    offline: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("LPWD_DATA", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    cfg = composed(["scale=paper"])
    found = {of.what: of for of in doctor.examine("paper")}
    assert not found.pop("results").said.startswith("cannot")
    assert not any(of.fine for of in found.values())
    models = ["convnext_tiny", "swin_tiny", "convnext_small", "convnext_base", "convnext_large"]
    assert list(found) == [
        *("device", "compiler", "cifar10", "cifar100"),
        *(f"weights of {model}" for model in models),
    ]
    assert "give machine.device=cpu" in found["device"].said
    assert "install gcc" in found["compiler"].said
    assert "hf download uoft-cs/cifar10 --repo-type dataset" in found["cifar10"].said
    assert "hf download timm/convnext_large.fb_in22k" in found["weights of convnext_large"].said
    # The same stops a sweep before its first run, in a line each.
    configs = [composed(["scale=paper", f"data={data}"]) for data in ("cifar10", "cifar100")]
    with pytest.raises(ConfigErrors) as caught:
        doctor.check_ready(cfg, configs, 880)
    device, cifar10, weights, cifar100 = caught.value.lines
    assert device == found["device"].said
    assert (cifar10, cifar100) == (found["cifar10"].said, found["cifar100"].said)
    assert weights == found["weights of convnext_tiny"].said


@pytest.fixture
def smoke() -> DictConfig:
    return composed(["scale=smoke", "machine.device=cpu"])


def test_a_disk_that_is_too_small(
    smoke: DictConfig, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert doctor.disk([smoke.model], smoke, 10, 2).fine
    fault = doctor.disk([smoke.model], smoke, 10**9, 2)
    assert not fault.fine
    assert "free room, or name another folder with LPWD_RESULTS" in fault.said
    with pytest.raises(ConfigErrors, match=r"^1000000000 runs, \d+ at once, need"):
        doctor.check_ready(smoke, [smoke], 10**9)


def test_disk_counts_the_checkpoints_of_the_largest_model(smoke: DictConfig, results: Path) -> None:
    from lpwd.inputs import models

    large = cost.config_of("smoke", "convnext_micro48").model
    count = sum(p.numel() for p in models.create(large, 100).parameters())
    need = cost.disk_bytes([smoke.model, large], smoke, 0, 3)
    assert need == pytest.approx(3 * 2 * count * 12, rel=0.02)
    listed = large.copy()
    listed.weights = None  # so it is built and counted
    listed.kwargs.depths = [1, 1, 1, 1]
    assert 0 < cost.disk_bytes([listed], smoke, 0, 3) < need


def test_a_step_that_fails_is_a_fault(smoke: DictConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(cost, "_measure", no_memory)
    found = doctor._step(smoke)
    assert str(found).startswith("✗ step of convnext_micro: CUDA out of memory")
    assert "use a larger GPU" in found.said


def test_the_paper_scale_is_refused_before_anything_else_happens(
    offline: Path, results: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from lpwd import train

    cfg = composed(["scale=paper", "model.pretrained=false"])
    with pytest.raises(train.ConfigError, match="scale=paper wants a GPU"):
        train.run_once(cfg)
