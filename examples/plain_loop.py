"""LPWD in a plain PyTorch loop: one line. Run it with `python examples/plain_loop.py`."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import lpwd


def digits() -> tuple[TensorDataset, TensorDataset]:
    """1,437 training and 360 test images of 8×8 pixels; they ship with scikit-learn."""
    pixels, labels = (torch.tensor(array) for array in load_digits(return_X_y=True))
    pixels = pixels.float() / 16
    return TensorDataset(pixels[360:], labels[360:]), TensorDataset(pixels[:360], labels[:360])


def main(rate: float = 0.5, epochs: int = 5) -> tuple[nn.Module, lpwd.WeightDecay]:
    torch.manual_seed(0)
    train, test = digits()
    model = nn.Sequential(
        nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    decay = lpwd.WeightDecay(optimizer, model, method="lpwd", rate=rate)  # the added line

    for _ in range(epochs):
        for x, y in DataLoader(train, batch_size=64, shuffle=True):
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
            optimizer.zero_grad()

    model.eval()
    with torch.no_grad():
        pixels, labels = test.tensors
        hits = (model(pixels).argmax(1) == labels).float().mean()
    print(f"test top-1 {100 * hits:.1f} % after {epochs} epochs")
    for name, lambda_i in decay.rates.items():
        print(f"  {name:<10} λ_i = {lambda_i:.3f}")
    return model, decay


if __name__ == "__main__":
    main()
