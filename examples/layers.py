"""Layers and rates of a model that is not timm's, after ten steps with LPWD.

python examples/layers.py llama      # Hugging Face, from a config: nothing is downloaded
python examples/layers.py resnet50   # torchvision
"""

import sys

import torch
from torch.nn.functional import cross_entropy

import lpwd


def llama():
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=100, num_hidden_layers=4, **sizes))
    tokens = torch.randint(100, (2, 16))
    return model, lambda: model(input_ids=tokens, labels=tokens).loss


def resnet50():
    from torchvision.models import resnet50

    model = resnet50(num_classes=10)
    images, labels = torch.randn(4, 3, 64, 64), torch.randint(10, (4,))
    return model, lambda: cross_entropy(model(images), labels)


def main(name="llama"):
    torch.manual_seed(0)
    model, loss = {"llama": llama, "resnet50": resnet50}[name]()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    decay = lpwd.WeightDecay(optimizer, model, "lpwd", rate=0.1, exclude=["norm", "bias"])
    for _ in range(10):
        loss().backward()
        optimizer.step()
        optimizer.zero_grad()
    print(decay)


if __name__ == "__main__":
    main(*sys.argv[1:])
