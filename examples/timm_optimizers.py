"""LPWD with timm's own optimizers: one line. Run it with `python examples/timm_optimizers.py`.

Leave timm's `weight_decay` at 0: the decay is WeightDecay's.
"""

import timm
import torch
from plain_loop import digits
from timm.optim import create_optimizer_v2
from torch.nn import functional as F
from torch.utils.data import DataLoader

import lpwd

LR = {"adamw": 3e-3, "lamb": 1e-2, "lion": 5e-4, "muon": 1e-2}


def convnext() -> torch.nn.Module:
    """timm's smallest ConvNeXt, for 8×8 pixels. LPWD asks timm for its layers."""
    torch.manual_seed(0)
    return timm.create_model("test_convnext", in_chans=1, patch_size=1, num_classes=10)


def main(epochs: int = 2) -> None:
    train, test = digits()
    for name, lr in LR.items():
        model = convnext()
        optimizer = create_optimizer_v2(model, opt=name, lr=lr, weight_decay=0)
        decay = lpwd.WeightDecay(optimizer, model, method="lpwd", rate=0.2)  # the added line

        for _ in range(epochs):
            for x, y in DataLoader(train, batch_size=64, shuffle=True):
                F.cross_entropy(model(x.view(-1, 1, 8, 8)), y).backward()
                optimizer.step()
                optimizer.zero_grad()

        model.eval()
        with torch.no_grad():
            pixels, labels = test.tensors
            hits = (model(pixels.view(-1, 1, 8, 8)).argmax(1) == labels).float().mean()
        rates = sorted(set(decay.rates.values()))
        print(
            f"{type(optimizer).__name__:<6} test top-1 {100 * hits:.1f} % after {epochs} epochs;"
            f" λ_i of {decay.layer_count} layers: {', '.join(f'{rate:.3f}' for rate in rates)}"
        )


if __name__ == "__main__":
    main()
