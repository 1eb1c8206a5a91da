"""LPWD in PyTorch Lightning: one line in configure_optimizers.

Run it with `python examples/lightning_module.py` (pip install 'lpwd[examples]').
"""

import lightning as L
import torch
from plain_loop import digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

import lpwd


class Digits(L.LightningModule):
    def __init__(self, rate: float = 0.5) -> None:
        super().__init__()
        self.rate = rate
        self.model = nn.Sequential(
            nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)
        )

    def configure_optimizers(self) -> torch.optim.Optimizer:
        optimizer = torch.optim.Adam(self.model.parameters(), lr=3e-3)
        self.decay = lpwd.WeightDecay(optimizer, self.model, "lpwd", self.rate)  # the added line
        return optimizer

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, y = batch
        return F.cross_entropy(self.model(x), y)

    def test_step(self, batch: tuple[Tensor, Tensor]) -> None:
        x, y = batch
        self.log("top1", (self.model(x).argmax(1) == y).float().mean())


def trainer(**options: object) -> L.Trainer:
    """A quiet trainer on the CPU that writes no files."""
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar"), False)
    return L.Trainer(accelerator="cpu", enable_model_summary=False, **quiet, **options)


def main() -> None:
    L.seed_everything(0)
    train, test = digits()
    module, fit = Digits(), trainer(max_epochs=5, accumulate_grad_batches=2)
    fit.fit(module, DataLoader(train, batch_size=32, shuffle=True))
    (reached,) = fit.test(module, DataLoader(test, batch_size=360), verbose=False)
    print(f"test top-1 {100 * reached['top1']:.1f} % after {fit.global_step} steps")
    for name, lambda_i in module.decay.rates.items():
        print(f"  {name:<10} λ_i = {lambda_i:.3f}")


if __name__ == "__main__":
    main()
