"""LPWD in Hugging Face's Trainer: one line, and the optimizer handed to the Trainer.

Run it with `python examples/hf_trainer.py` (pip install 'lpwd[examples]').
"""

import tempfile
from typing import Any

import torch
from plain_loop import digits
from torch import nn
from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification

import lpwd

#: Shallow to deep, by the beginnings of parameter names; left out, every module is a layer.
LAYERS = (
    ["vit.embeddings"],
    *([f"vit.layers.{i}"] for i in range(3)),
    ["vit.layernorm", "classifier"],
)


def vit() -> nn.Module:
    """A small vision transformer."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 48, "num_attention_heads": 4, "intermediate_size": 96}
    images = {"image_size": 8, "patch_size": 2, "num_channels": 1, "num_labels": 10}
    return ViTForImageClassification(ViTConfig(num_hidden_layers=3, **sizes, **images))


def trainer(model: nn.Module, optimizer: torch.optim.Optimizer, **options: Any) -> Trainer:
    """A quiet Trainer on the CPU that keeps no files."""
    quiet = {"report_to": "none", "save_strategy": "no", "logging_strategy": "no"}
    arguments = TrainingArguments(tempfile.gettempdir(), use_cpu=True, **quiet, **options)
    train, test = ([{"pixel_values": x.view(1, 8, 8), "labels": y} for x, y in d] for d in digits())
    return Trainer(
        model,
        arguments,
        train_dataset=train,
        eval_dataset=test,
        optimizers=(optimizer, None),  # without it, the Trainer makes an optimizer of its own
        compute_metrics=lambda p: {"top1": (p.predictions.argmax(1) == p.label_ids).mean()},
    )


def main() -> None:
    model = vit()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    decay = lpwd.WeightDecay(optimizer, model, "lpwd", rate=0.2, layers=LAYERS)  # the added line
    run = trainer(model, optimizer, num_train_epochs=4, per_device_train_batch_size=32)
    run.train()  # η falls linearly to 0, and the decay with it
    print(
        f"test top-1 {100 * run.evaluate()['eval_top1']:.1f} % after {run.state.global_step} steps"
    )
    print("λ_i of the layers:", *(f"{rate:.2f}" for rate in sorted(set(decay.rates.values()))))


if __name__ == "__main__":
    main()
