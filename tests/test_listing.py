"""python -m lpwd.listing: the listing shows what the decay does."""

import subprocess
import sys

import pytest
from conftest import REPOSITORY
from torch.optim import Adam

import lpwd
from lpwd import listing
from lpwd.config import compose
from lpwd.config.check import without_hydra
from lpwd.config.errors import ConfigError
from lpwd.inputs import models


def listed(*overrides: str) -> tuple:
    cfg = without_hydra(compose.composed(["scale=smoke", "model.pretrained=false", *overrides]))
    return cfg, listing.listing(cfg)


def test_rates_and_layers_are_the_decays() -> None:
    cfg, frame = listed("model=swin_micro", "decay=lpwd", "decay.rate=0.3", "optimizer.lr=0.01")
    model = models.create(cfg.model, 10)
    decay = lpwd.WeightDecay(Adam(model.parameters(), lr=0.01), model, "lpwd", 0.3)
    assert dict(zip(frame["parameter"], frame["rate"], strict=True)) == decay.rates
    assert dict(zip(frame["parameter"], frame["layer"], strict=True)) == lpwd.layer_index(model)
    assert frame["step"].tolist() == pytest.approx((0.01 * frame["rate"]).tolist())
    assert frame["layer"].is_monotonic_increasing
    assert frame["weights"].sum() == sum(p.numel() for p in model.parameters())


def test_normalized_over_weights_the_mean_is_the_rate() -> None:
    _, frame = listed("decay=lpwd", "decay.normalize=params", "decay.rate=0.3")
    assert frame.attrs["mean"] == pytest.approx(0.3)


def test_as_printed_the_mean_over_layers_is_the_same_in_either_order() -> None:
    """2λi/n over i = 1 … n: λ(n + 1)/n."""
    for profile in ("linear", "reversed"):
        _, frame = listed("decay=pwd", f"decay.profile={profile}", "decay.rate=0.3")
        n = frame.attrs["n"]
        assert frame.attrs["layer_mean"] == pytest.approx(0.3 * (n + 1) / n)


def test_what_a_run_refuses_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"decay\.rate"):
        listed("decay.rate=-1")


def test_the_command() -> None:
    command = [sys.executable, "-m", "lpwd.listing", "scale=smoke", "decay=lpwd", "--by-layer"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "8 of 8" in done.stdout
    assert "ηλ_i" in done.stdout


def test_an_unknown_model_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # put back when the test ends
    with pytest.raises(SystemExit) as end:
        listing.main(["scale=smoke", "model=swin"])
    assert end.value.code == 2
    assert "model=swin is unknown; did you mean" in capsys.readouterr().err
