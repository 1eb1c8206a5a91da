"""The layer index: how many layers, which parameters in which, and in the forward pass's order."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from small import images, micro, mlp
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import lpwd


def names_by_layer(index: dict[str, int]) -> list[list[str]]:
    return [[name for name in index if index[name] == i] for i in range(1, max(index.values()) + 1)]


def prefixes(index: dict[str, int], depth: Callable[[str], str]) -> list[list[str]]:
    return [list(dict.fromkeys(map(depth, names))) for names in names_by_layer(index)]


def module_of(name: str) -> str:
    """stages.2.blocks.1.mlp.fc1.weight → stages.2.blocks.1; stem.0.weight → stem."""
    match = re.match(r"(stages|layers)\.\d\.(downsample|blocks\.\d+)", name)
    return match[0] if match else name.split(".")[0]


# -- block: timm's own groups ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arch", "kwargs", "n"),
    [
        ("convnext_tiny", {}, 20),  # stem, 3 + 3 + 9 + 3 blocks, head
        ("swin_tiny_patch4_window7_224", {"img_size": 32}, 14),  # embedding, 12 blocks, head
    ],
)
def test_layers_of_the_papers_models(arch: str, kwargs: dict[str, Any], n: int) -> None:
    with torch.device("meta"):
        model = timm.create_model(arch, **kwargs)
    index = lpwd.layer_index(model)
    assert set(index.values()) == set(range(1, n + 1))
    assert index.keys() == dict(model.named_parameters()).keys()


def test_blocks_of_micro_convnext() -> None:
    assert prefixes(lpwd.layer_index(micro("convnext_micro")), module_of) == [
        ["stem"],
        ["stages.0.blocks.0"],
        ["stages.1.downsample", "stages.1.blocks.0"],
        ["stages.2.downsample", "stages.2.blocks.0"],
        ["stages.2.blocks.1"],
        ["stages.2.blocks.2"],
        ["stages.3.downsample", "stages.3.blocks.0"],
        ["head"],
    ]


def test_blocks_of_micro_swin() -> None:
    assert prefixes(lpwd.layer_index(micro("swin_micro")), module_of) == [
        ["patch_embed"],
        ["layers.0.blocks.0"],
        ["layers.1.downsample", "layers.1.blocks.0"],
        ["layers.2.downsample", "layers.2.blocks.0"],
        ["layers.2.blocks.1"],
        ["layers.2.blocks.2"],
        ["layers.3.downsample", "layers.3.blocks.0", "norm"],
        ["head"],
    ]


# -- forward order, traced independently ----------------------------------------------------------


class Storages(TorchDispatchMode):
    """Notes, kernel by kernel, whose memory is read: views of a weight count as the weight."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        named = model.named_parameters()
        self.names = {p.untyped_storage().data_ptr(): name for name, p in named}
        self.order: dict[str, None] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for value in torch.utils._pytree.tree_leaves((args, kwargs)):
            if isinstance(value, Tensor):
                name = self.names.get(value.untyped_storage().data_ptr())
                if name is not None:
                    self.order.setdefault(name)
        return func(*args, **(kwargs or {}))


def used(model: nn.Module) -> list[str]:
    """Parameter names in the order of their use on real 32-pixel images."""
    with torch.no_grad(), Storages(model) as storages:
        model(images(0)[0])
    return list(storages.order)


def called(model: nn.Module) -> list[str]:
    """Leaf modules with parameters, in the order of their calls on real 32-pixel images."""
    calls: list[str] = []
    for name, module in model.named_modules():
        if list(module.parameters(recurse=False)) and not list(module.children()):
            module.register_forward_pre_hook(lambda *_, name=name: calls.append(name))
    with torch.no_grad():
        model(images(0)[0])
    return calls


@pytest.mark.parametrize("name", ["convnext_micro", "swin_micro"])
def test_block_index_never_falls_along_the_forward_pass(name: str) -> None:
    model = micro(name)
    index = lpwd.layer_index(model)
    along = [index[parameter] for parameter in used(model)]
    assert along == sorted(along)
    assert set(along) == set(index.values())


@pytest.mark.parametrize("name", ["convnext_micro", "swin_micro"])
def test_tensor_index_is_the_order_of_use(name: str) -> None:
    model = micro(name)
    index = lpwd.layer_index(model, "tensor")
    assert sorted(index, key=index.__getitem__) == used(model)
    assert list(index.values()) == list(range(1, len(used(model)) + 1))


@pytest.mark.parametrize("name", ["convnext_micro", "swin_micro"])
def test_module_index_is_the_order_of_use(name: str) -> None:
    model = micro(name)
    index = lpwd.layer_index(model, "module")
    owners = dict.fromkeys(parameter.rpartition(".")[0] for parameter in used(model))
    assert index == {
        parameter: 1 + list(owners).index(parameter.rpartition(".")[0]) for parameter in index
    }
    # The modules that are called, without those that hold a parameter beside their children
    # (gamma, the relative position bias table), come in the order of their calls.
    leaves = called(model)
    numbers = [index[next(p for p in index if p.startswith(f"{leaf}."))] for leaf in leaves]
    assert numbers == sorted(numbers)
    assert len(leaves) > 20


def test_forward_order_is_not_registration_order() -> None:
    model = micro("convnext_micro")
    registered = [name for name, _ in model.named_parameters()]
    gamma, first, last = (
        f"stages.0.blocks.0.{x}" for x in ("gamma", "conv_dw.bias", "mlp.fc2.bias")
    )
    assert registered.index(gamma) < registered.index(first)
    index = lpwd.layer_index(model, "tensor")
    assert index[first] < index[last] < index[gamma]


@pytest.mark.parametrize("layers", ["module", "tensor"])
def test_indexing_changes_nothing(layers: str) -> None:
    model = micro("swin_micro", drop_path_rate=0.5, drop_rate=0.5).train()
    before = {name: (id(value), value.clone()) for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    lpwd.layer_index(model, layers)
    assert torch.equal(torch.get_rng_state(), random)
    assert model.training
    assert all(torch.equal(value, before[name][1]) for name, value in model.state_dict().items())
    assert all(p.device.type == "cpu" and p.grad is None for p in model.parameters())


# -- other models ---------------------------------------------------------------------------------


class Backwards(nn.Module):
    """Registers last what it uses first; it is not timm's, so nothing tells."""

    def __init__(self) -> None:
        super().__init__()
        self.second = nn.Linear(4, 2)
        self.scale = nn.Parameter(torch.ones(4))
        self.first = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x) * self.scale)


@pytest.mark.parametrize("layers", ["block", "module"])
def test_a_plain_module_is_indexed_by_its_modules_as_registered(layers: str) -> None:
    assert names_by_layer(lpwd.layer_index(mlp(), layers)) == [
        ["0.weight", "0.bias"],
        ["2.weight", "2.bias"],
        ["3.weight", "3.bias"],
        ["4.weight", "4.bias"],
    ]
    assert names_by_layer(lpwd.layer_index(Backwards(), layers)) == [
        ["scale"],  # the model's own parameter, named first by torch
        ["second.weight", "second.bias"],
        ["first.weight", "first.bias"],
    ]


def test_a_plain_module_by_tensors_and_by_hand() -> None:
    assert list(lpwd.layer_index(Backwards(), "tensor").values()) == [1, 2, 3, 4, 5]
    index = lpwd.layer_index(Backwards(), [["first"], ["scale"], ["second"]])
    assert index == {
        "first.weight": 1,
        "first.bias": 1,
        "scale": 2,
        "second.weight": 3,
        "second.bias": 3,
    }


@pytest.mark.parametrize("make", ["built", "grey"])
def test_a_timm_model_that_is_not_as_its_cfg_says(make: str) -> None:
    if make == "built":
        model: Any = timm.models.VisionTransformer(img_size=32, embed_dim=12, depth=2, num_heads=2)
    else:
        model = timm.create_model("resnet18", in_chans=1)
    index = lpwd.layer_index(model, "tensor")
    assert sorted(index.values()) == list(range(1, len(index) + 1))


def test_users_own_layers_set_the_rates() -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    layers = [["4"], ["0.weight", "2."], ["0.bias", "3"]]
    decay = lpwd.WeightDecay(optimizer, model, "lpwd", 0.3, layers=layers)
    assert decay.layer_count == 3
    assert decay.rates == pytest.approx(
        {
            **{"4.weight": 0.2, "4.bias": 0.2},
            **{"0.weight": 0.4, "2.weight": 0.4, "2.bias": 0.4},
            **{"0.bias": 0.6, "3.weight": 0.6, "3.bias": 0.6},
        }
    )


def test_a_layer_of_one_name_needs_no_list() -> None:
    assert set(lpwd.layer_index(mlp(), ["0", "2", "3", "4"]).values()) == {1, 2, 3, 4}


def test_a_prefix_ends_at_a_dot() -> None:
    model = nn.ModuleDict({"a": nn.Linear(1, 1), "ab": nn.Linear(1, 1)})
    index = lpwd.layer_index(model, [["ab"], ["a"]])
    assert (index["ab.weight"], index["a.weight"]) == (1, 2)


@pytest.mark.parametrize(
    "wrap",
    [
        nn.DataParallel,
        lambda model: torch.compile(model, backend="eager"),
        lambda model: nn.DataParallel(torch.compile(model, backend="eager")),
    ],
    ids=["data-parallel", "compiled", "both"],
)
def test_wrappers_leave_the_names_alone(wrap: Callable[[nn.Module], nn.Module]) -> None:
    model = micro("convnext_micro")
    for layers in ("block", "tensor"):
        assert lpwd.layer_index(wrap(model), layers) == lpwd.layer_index(model, layers)


def test_a_model_compiled_in_place_is_indexed_without_compiling() -> None:
    def never(*_: Any) -> Any:
        raise AssertionError("compiled")

    model = micro("convnext_micro")
    expected = lpwd.layer_index(model, "tensor")
    model.compile(backend=never)
    assert lpwd.layer_index(model, "tensor") == expected


def test_tied_parameters_have_one_layer_that_of_their_first_name() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    assert lpwd.layer_index(model) == {"0.weight": 1, "0.bias": 1, "1.bias": 2}


class Around(nn.Module):
    """A user's model around one of timm's: something before it, a head behind."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.net = net
        self.head = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))


@pytest.mark.parametrize("layers", ["block", "module", "tensor"])
@pytest.mark.parametrize(
    "arch",
    ["convnext_tiny", "swin_tiny_patch4_window7_224", "densenet121", "maxvit_tiny_tf_224"],
)
def test_a_timm_model_within_another_keeps_its_layers(arch: str, layers: str) -> None:
    with torch.device("meta"):
        model = Around(timm.create_model(arch, num_classes=0))
    index = lpwd.layer_index(model, layers)
    n = max(lpwd.layer_index(model.net, layers).values())
    inner = {f"net.{name}": 1 + i for name, i in lpwd.layer_index(model.net, layers).items()}
    behind = {"block": [1, 1, 1, 1], "module": [1, 1, 2, 2], "tensor": [1, 2, 3, 4]}[layers]
    head = [name for name in index if name.startswith("head")]
    assert index == {"scale": 1, **inner} | {
        name: 1 + n + i for name, i in zip(head, behind, strict=True)
    }


def test_two_timm_models_within_one_keep_their_layers() -> None:
    with torch.device("meta"):
        nets = [timm.create_model("densenet121", num_classes=0) for _ in range(2)]
        model = nn.ModuleDict({"rgb": nets[0], "mix": nn.Linear(8, 8), "depth": nets[1]})
    index, one = lpwd.layer_index(model), lpwd.layer_index(nets[0])
    n = max(one.values())
    first = {f"rgb.{name}": i for name, i in one.items()}
    second = {f"depth.{name}": n + 1 + i for name, i in one.items()}
    assert index == {**first, "mix.weight": n + 1, "mix.bias": n + 1, **second}


def test_blocks_behind_a_timm_model_are_found() -> None:
    """A language model behind an image encoder, say."""
    block = nn.TransformerEncoderLayer(8, 2, 8)
    model = nn.ModuleDict(
        {
            "eye": micro("swin_micro"),
            "text": nn.TransformerEncoder(block, 3, enable_nested_tensor=False),
        }
    )
    index = lpwd.layer_index(model)
    n = max(lpwd.layer_index(model["eye"]).values())
    numbers = [index[f"text.layers.{i}.linear1.weight"] for i in range(3)]
    assert numbers == [n + 1, n + 2, n + 3]


def test_a_timm_model_whose_blocks_have_a_second_name() -> None:
    net = micro("swin_micro")
    model = nn.ModuleDict({"stages": net.get_submodule("layers"), "net": net})
    index, expected = lpwd.layer_index(model), lpwd.layer_index(net)
    assert index == {
        name.replace("layers.", "stages.") if name.startswith("layers.") else f"net.{name}": i
        for name, i in expected.items()
    }


# -- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ("blocks", r"layers='blocks' is unknown; did you mean 'block'\?"),
        ("x", "layers='x' is unknown; known are block, module, tensor"),
        (
            [["0", "2", "3", "4.wieght"]],
            r"no parameter is named '4.wieght'; did you mean '4.weight'",
        ),
        ([["0", "2", "3"], ["4", "0.bias"]], "'0.bias' stands in layers 1 and 2"),
        ([["0", "0.bias"]], "'0.bias' stands in layers 1 and 1"),
        (
            [["0"], ["2"], ["3", "4.bias"]],
            "1 parameters stand in no layer, the first is '4.weight'",
        ),
        ([["0", "2"], [], ["3", "4"]], "layer 2 of 3 is empty"),
        ([], "8 parameters stand in no layer"),
    ],
)
def test_wrong_layers_say_what_is_wrong(layers: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        lpwd.layer_index(mlp(), layers)
    assert "\n" not in str(caught.value)
    model = mlp()
    with pytest.raises(ValueError, match=message):
        lpwd.WeightDecay(torch.optim.SGD(model.parameters()), model, "wd", 0.1, layers=layers)


def test_an_unknown_name_among_many_lists_a_few() -> None:
    with pytest.raises(ValueError, match="known are") as caught:
        lpwd.layer_index(micro("convnext_micro"), [["@"]])
    assert len(str(caught.value)) < 500
