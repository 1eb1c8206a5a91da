"""Facts about the paper's own models that the docs state (docs/decays.md, docs/reproduction.md)."""

import pytest
import timm
import torch
from torch import nn

import lpwd

torch.set_num_threads(1)


def paper_model(name: str) -> nn.Module:
    size = {"img_size": 32} if name.startswith("swin") else {}
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=100, **size)


@pytest.mark.parametrize("name", ["convnext_tiny", "swin_tiny_patch4_window7_224"])
def test_lpwd_as_printed_decays_weights_by_one_and_a_half_times_the_rate(name: str) -> None:
    model = paper_model(name)
    decay = lpwd.WeightDecay(torch.optim.SGD(model.parameters(), lr=0.1), model, "lpwd", 1.0)
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    mean = sum(rate * sizes[name] for name, rate in decay.rates.items()) / sum(sizes.values())
    assert mean == pytest.approx(1.5, abs=0.01)


@pytest.mark.parametrize(
    ("name", "percent"), [("convnext_tiny", 0.9), ("swin_tiny_patch4_window7_224", 8.6)]
)
def test_at_32_pixels_some_weights_get_no_gradient(name: str, percent: float) -> None:
    model = paper_model(name)
    loss = nn.functional.cross_entropy(model(torch.randn(8, 3, 32, 32)), torch.arange(8))
    loss.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    still = sum(int((gradient == 0).sum()) for gradient in gradients)
    total = sum(gradient.numel() for gradient in gradients)
    assert total == sum(p.numel() for p in model.parameters())
    assert 100 * still / total == pytest.approx(percent, abs=0.05)


def test_at_32_pixels_most_depthwise_weights_of_convnexts_deep_stages_get_no_gradient() -> None:
    """Of 7×7 taps, 3×3 reach a 2×2 image, and one reaches a single pixel."""
    model = paper_model("convnext_tiny")
    model(torch.randn(2, 3, 32, 32)).sum().backward()
    for stage, reached in enumerate([49, 49, 9, 1]):
        gradients = [
            p.grad
            for name, p in model.named_parameters()
            if name.startswith(f"stages.{stage}.") and name.endswith("conv_dw.weight")
        ]
        assert gradients
        for gradient in gradients:
            assert gradient is not None
            assert float((gradient != 0).float().mean()) == pytest.approx(reached / 49, abs=1e-3)
