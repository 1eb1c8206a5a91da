"""Layers of models that are not timm's: n, the stem's and the head's parameters, and the order."""

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import timm
import torch
import torchvision.models as vision
from torch import nn
from torch.optim import SGD, Adam

import lpwd
from lpwd.decay.blocks import find_blocks

hf: Any = pytest.importorskip("transformers", reason="pip install 'lpwd[examples]'")

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
}
T5 = hf.T5Config(d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
SWITCH = hf.SwitchTransformersConfig(
    d_model=32, d_kv=8, d_ff=64, num_layers=4, num_decoder_layers=4, num_heads=4, vocab_size=99
)
GPT2 = hf.GPT2Config(n_embd=32, n_layer=3, n_head=4)
MIXTRAL = hf.MixtralConfig(**SMALL, num_local_experts=8, num_key_value_heads=4)
#: As the library makes it: each stage has two blocks, of which the first has a shortcut.
RESNET18: dict[str, Any] = {"layer_type": "basic", "depths": [2, 2, 2, 2]}
SWIN = hf.SwinConfig(depths=[2, 2, 6, 2])

#: (model, n, a parameter of the first layer, of the second, of the last)
MODELS: dict[str, tuple[Callable[[], nn.Module], int, tuple[str, str, str]]] = {
    "resnet50": (vision.resnet50, 18, ("bn1.bias", "layer1.0.conv1.weight", "fc.bias")),
    "resnet18": (vision.resnet18, 10, ("conv1.weight", "layer1.0.bn2.bias", "fc.weight")),
    "vit_b_16": (
        vision.vit_b_16,
        14,
        (
            "encoder.pos_embedding",
            "encoder.layers.encoder_layer_0.ln_1.weight",
            "encoder.ln.weight",
        ),
    ),
    "swin_t": (vision.swin_t, 14, ("features.0.0.weight", "features.1.0.norm1.bias", "head.bias")),
    "convnext_tiny": (
        vision.convnext_tiny,
        20,
        ("features.0.1.bias", "features.1.0.layer_scale", "classifier.2.bias"),
    ),
    "efficientnet_b0": (
        vision.efficientnet_b0,
        18,
        ("features.0.0.weight", "features.1.0.block.0.0.weight", "classifier.1.bias"),
    ),
    "mobilenet_v2": (
        vision.mobilenet_v2,
        19,
        ("features.0.0.weight", "features.1.conv.0.0.weight", "features.18.0.weight"),
    ),
    "densenet121": (  # its dense blocks are ModuleDicts
        vision.densenet121,
        60,
        (
            "features.conv0.weight",
            "features.denseblock1.denselayer1.conv2.weight",
            "classifier.bias",
        ),
    ),
    "switch": (  # experts in every second block
        lambda: hf.SwitchTransformersModel(SWITCH),
        10,
        (
            "shared.weight",
            "encoder.block.0.layer.1.layer_norm.weight",
            "decoder.final_layer_norm.weight",
        ),
    ),
    "bert": (
        lambda: hf.BertForSequenceClassification(hf.BertConfig(**SMALL)),
        5,
        (
            "bert.embeddings.word_embeddings.weight",
            "bert.encoder.layer.0.output.dense.bias",
            "classifier.bias",
        ),
    ),
    "gpt2": (
        lambda: hf.GPT2LMHeadModel(GPT2),
        5,
        ("transformer.wte.weight", "transformer.h.0.ln_1.weight", "transformer.ln_f.bias"),
    ),
    "llama": (
        lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**SMALL)),
        5,
        (
            "model.embed_tokens.weight",
            "model.layers.0.mlp.up_proj.weight",
            "lm_head.weight",
        ),
    ),
    "mixtral": (
        lambda: hf.MixtralForCausalLM(MIXTRAL),
        5,
        (
            "model.embed_tokens.weight",
            "model.layers.0.input_layernorm.weight",
            "model.norm.weight",
        ),
    ),
    "t5": (
        lambda: hf.T5ForConditionalGeneration(T5),
        6,
        (
            "shared.weight",
            "encoder.block.0.layer.0.SelfAttention.q.weight",
            "decoder.final_layer_norm.weight",
        ),
    ),
    "hf_convnext": (
        lambda: hf.ConvNextForImageClassification(hf.ConvNextConfig()),
        20,
        (
            "convnext.embeddings.layernorm.bias",
            "convnext.encoder.stages.0.layers.0.pwconv2.bias",
            "classifier.bias",
        ),
    ),
    "hf_resnet18": (
        lambda: hf.ResNetForImageClassification(hf.ResNetConfig(**RESNET18)),
        10,
        (
            "resnet.embedder.embedder.convolution.weight",
            "resnet.encoder.stages.0.layers.0.shortcut.convolution.weight",
            "classifier.1.bias",
        ),
    ),
    "hf_cvt": (  # a stage of one block before those of two and ten
        lambda: hf.CvtForImageClassification(hf.CvtConfig()),
        15,
        (
            "cvt.encoder.stages.0.embedding.convolution_embeddings.projection.weight",
            "cvt.encoder.stages.0.layers.0.output.dense.bias",
            "classifier.bias",
        ),
    ),
    "hf_swin": (
        lambda: hf.SwinForImageClassification(SWIN),
        14,
        (
            "swin.embeddings.norm.bias",
            "swin.encoder.layers.0.blocks.0.mlp.fc2.bias",
            "swin.layernorm.weight",
        ),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_stem_blocks_head(name: str) -> None:
    make, n, ends = MODELS[name]
    with torch.device("meta"):
        model = make()
    index = lpwd.layer_index(model)
    assert set(index) == {name for name, _ in model.named_parameters()}
    assert set(index.values()) == set(range(1, n + 1))
    assert tuple(index[name] for name in ends) == (1, 2, n)


def test_the_encoder_comes_before_the_decoder() -> None:
    with torch.device("meta"):
        index = lpwd.layer_index(hf.T5ForConditionalGeneration(T5))
    last = max(i for name, i in index.items() if name.startswith("encoder.block"))
    assert last == 3
    assert index["decoder.block.0.layer.0.SelfAttention.q.weight"] == 4
    assert index["encoder.final_layer_norm.weight"] == 4  # what is between belongs to what follows


def test_layers_of_several_classes_in_one_list() -> None:
    """As Jamba's, of attention and of state-space layers."""

    class Layer(nn.Sequential): ...

    class Other(nn.Sequential): ...

    kinds = [Layer, Other, Layer, Layer]
    layers = nn.ModuleList([kind(nn.Linear(4, 4), nn.ReLU()) for kind in kinds])
    model = nn.ModuleDict({"stem": nn.Linear(4, 4), "layers": layers, "head": nn.Linear(4, 2)})
    index = lpwd.layer_index(model)
    assert list(index.values())[::2] == [1, 2, 3, 4, 5, 6]


class Block(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(4, 4), nn.ReLU())


def test_a_stem_and_a_head_that_are_as_many_as_the_blocks() -> None:
    def end() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 4), nn.ReLU())

    index = lpwd.layer_index(nn.Sequential(end(), Block(), Block(), end()))
    assert list(index.values())[::2] == [1, 2, 3, 4]


def test_a_layer_that_is_a_list_of_its_parts() -> None:
    """As in lucidrains' transformers."""

    class Mlp(Block): ...

    layers = nn.ModuleList(nn.ModuleList([Block(), Mlp()]) for _ in range(3))
    model = nn.ModuleDict({"stem": nn.Linear(4, 4), "layers": layers, "head": nn.Linear(4, 2)})
    index = lpwd.layer_index(model)
    assert list(index.values())[::2] == [1, 2, 2, 3, 3, 4, 4, 5]


class AuthorsBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))
        self.dwconv = nn.Conv2d(width, width, 7, groups=width)
        self.norm = nn.LayerNorm(width)
        self.pwconv1, self.pwconv2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)


class AuthorsConvNeXt(nn.Module):
    """As its authors lay ConvNeXt-T out: all downsamplings in a list before that of the stages."""

    def __init__(self) -> None:
        super().__init__()
        widths, depths = (96, 192, 384, 768), (3, 3, 9, 3)
        stem = nn.Sequential(nn.Conv2d(3, widths[0], 4, 4), nn.LayerNorm(widths[0]))
        self.downsample_layers = nn.ModuleList([stem])
        for before, width in pairwise(widths):
            parts = nn.LayerNorm(before), nn.Conv2d(before, width, 2, 2)
            self.downsample_layers.append(nn.Sequential(*parts))
        self.stages = nn.ModuleList(
            nn.Sequential(*[AuthorsBlock(width) for _ in range(depth)])
            for width, depth in zip(widths, depths, strict=True)
        )
        self.norm, self.head = nn.LayerNorm(widths[-1]), nn.Linear(widths[-1], 1000)


def test_what_is_between_stages_is_there_though_it_is_registered_before_all() -> None:
    with torch.device("meta"):
        index = lpwd.layer_index(AuthorsConvNeXt())
        timms = timm.create_model("convnext_tiny")
    theirs = lpwd.layer_index(timms)
    assert index["downsample_layers.0.0.weight"] == 1
    for stage in (1, 2, 3):
        name = f"downsample_layers.{stage}.1.weight"
        assert index[name] == theirs[f"stages.{stage}.downsample.1.weight"]
    for stage, depth in enumerate((3, 3, 9, 3)):
        for block in range(depth):
            name = f"stages.{stage}.{block}.gamma"
            assert index[name] == theirs[f"stages.{stage}.blocks.{block}.gamma"]
    assert index["head.weight"] == max(index.values()) == 20


def test_a_large_part_without_blocks_is_said() -> None:
    """A backbone whose blocks are not found, beside a decoder whose are."""
    block = nn.Sequential(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8))
    model = nn.ModuleDict(
        {
            "encoder": timm.create_model("vgg11_bn", features_only=True),
            "decoder": nn.ModuleList([block, copy.deepcopy(block)]),
        }
    )
    optimizer = SGD(model.parameters(), lr=0.1)
    said = r"layer 1 of ModuleDict has 8 modules in which no blocks are found \(the first is 'enc"
    with pytest.warns(UserWarning, match=said):
        lpwd.WeightDecay(optimizer, model, "lpwd", 0.1)


def test_the_same_network_of_two_libraries_has_the_same_layers() -> None:
    def weights(model: nn.Module) -> list[int]:
        index = lpwd.layer_index(model)
        counts = [0] * max(index.values())
        for name, p in model.named_parameters():
            counts[index[name] - 1] += p.numel()
        return counts

    with torch.device("meta"):
        assert weights(vision.convnext_tiny()) == weights(timm.create_model("convnext_tiny"))


def test_a_model_without_blocks_says_so_where_layers_matter() -> None:
    model = vision.vgg11(num_classes=2)
    assert find_blocks(model) == []
    optimizer = SGD(model.parameters(), lr=0.1)
    with pytest.warns(UserWarning, match="VGG is not made of blocks: every module"):
        decay = lpwd.WeightDecay(optimizer, model, "lpwd", 0.1)
    assert decay.layer_count == 11


def test_the_table_has_a_line_for_each_rate_of_a_layer() -> None:
    torch.manual_seed(0)
    model = hf.LlamaForCausalLM(hf.LlamaConfig(**SMALL, vocab_size=50))
    optimizer = Adam(model.parameters(), lr=0.1)
    decay = lpwd.WeightDecay(optimizer, model, "lpwd", 0.5, exclude=["norm", "bias"])
    lines = decay.table().splitlines()
    columns = [" ".join(line.split()) for line in lines]
    assert columns[0] == "layer parameters weights λ_i ηλ_i first parameter"
    assert columns[1] == "1 of 5 1 1,600 0.2 0.02 model.embed_tokens.weight"
    norms = [line.rpartition(" ")[0] for line in columns if "none" in line]
    assert norms == [
        *("2 of 5 2 64 none none", "3 of 5 2 64 none none"),
        *("4 of 5 2 64 none none", "5 of 5 1 32 none none"),
    ]
    assert str(decay).startswith("lpwd, λ = 0.5\n")
    assert sum(int(line.split()[4].replace(",", "")) for line in lines[1:]) == sum(
        p.numel() for p in model.parameters()
    )


def test_a_profile_of_ones_own() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    optimizer = SGD(model.parameters(), lr=0.1)
    decay = lpwd.WeightDecay(optimizer, model, "wd", 0.5, profile=lambda i, n: i / n)
    assert (decay.rates["0.bias"], decay.rates["1.bias"]) == (0.25, 0.5)
    decay.remove()
    decay = lpwd.WeightDecay(optimizer, model, "wd", 0.5, profile="geometric")
    assert (decay.rates["0.bias"], decay.rates["1.bias"]) == (0.375, 0.5)
    decay.remove()
    with pytest.raises(ValueError, match=r"profile\(1, 2\)=-1 must be a finite number"):
        lpwd.WeightDecay(optimizer, model, "wd", 0.5, profile=lambda i, n: -1)
    with pytest.raises(ValueError, match="the profile is 0 wherever something is decayed"):
        lpwd.WeightDecay(optimizer, model, "wd", 0.5, profile=lambda i, n: 0, normalize="mean")


@pytest.mark.parametrize(("rate", "said"), [(0.01, True), (0.5, False)])
def test_a_decay_that_bfloat16_rounds_away_is_said(rate: float, said: bool) -> None:
    model = nn.Linear(8, 8).bfloat16()
    before = model.weight.detach().clone()
    optimizer = SGD(model.parameters(), lr=0.1)
    with pytest.warns(UserWarning, match="their decay rounds away") if said else _nothing():
        lpwd.WeightDecay(optimizer, model, "wd", rate)
    optimizer.step()
    assert torch.equal(before, model.weight) == said


def _nothing() -> Any:
    import warnings

    return warnings.catch_warnings(action="error")
