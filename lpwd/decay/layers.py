"""Which layer a parameter belongs to: its index i of n, shallow to deep (the i and n of Eq. 9).

The paper says no more than "layer index". Four readings are offered; ``block`` is the default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lpwd.decay.blocks import by_block, find_blocks
from lpwd.decay.checks import check_choice, did_you_mean
from lpwd.decay.methods import LAYERS

#: The ``layers`` argument: one of LAYERS, or groups of parameter names, shallow to deep.
Layers = str | Sequence[Sequence[str]]


def layer_index(model: nn.Module, layers: Layers = "block") -> dict[str, int]:
    """Number the model's parameters by layer, in forward order: ``{name: i}`` with i in 1…n.

    ``block``: stem, blocks, head; n = 20 for ConvNeXt-T, 14 for Swin-T. timm's models say
    themselves what their blocks are, within another model, too: what that has before, between and
    behind them are further layers. Blocks of others are found from the module tree
    (`blocks.find_blocks`). ``module``: every module with parameters of its own is a layer.
    ``tensor``: every parameter is. A list of lists names the layers itself, shallow to deep, by
    parameter names or their dotted prefixes, and must cover every parameter once.

    A model that is not timm's (it has no ``group_matcher``) says nothing about its forward order:
    the order of registration is taken for it. Where it is not made of blocks, ``block`` means
    ``module``.

    Raises ValueError for an unknown name, or a list that misses a parameter, names one twice or
    names one that the model lacks.
    """
    model = unwrap(model)
    names = [name for name, _ in model.named_parameters()]
    if not isinstance(layers, str):
        return _by_list(names, layers)
    check_choice("layers", layers, LAYERS)
    nets = timm_models(model)
    if nets and nets != [model]:
        return _around(model, nets, layers)
    if layers == "block" and nets:
        return _by_timm_group(model)
    if layers == "block" and find_blocks(model):
        return by_block(model, names)
    return _by_order(_first_use(model) if nets else names, layers)


def _around(model: nn.Module, nets: Sequence[nn.Module], layers: str) -> dict[str, int]:
    """The layers of timm's models in one and, around them, of what is registered there."""
    names: dict[Tensor, str] = {p: name for name, p in model.named_parameters()}
    ordered = list(names.values())

    def first(of_net: dict[str, int]) -> int:
        return min(map(ordered.index, of_net))

    def beside(start: int, end: int | None) -> dict[str, int]:
        part = [name for name in ordered[start:end] if name not in within]
        return by_block(model, part) if layers == "block" else _by_order(part, layers)

    inner = [{names[p]: i for p, i in _by_parameter(net, layers).items()} for net in nets]
    within = set().union(*inner)
    parts, start = [], 0
    for of_net in sorted(filter(None, inner), key=first):
        parts += [beside(start, first(of_net)), of_net]
        start = first(of_net)
    index: dict[str, int] = {}
    for part in [*parts, beside(start, None)]:
        deepest = max(index.values(), default=0)
        index |= {name: deepest + i for name, i in part.items()}
    return index


def _by_parameter(net: nn.Module, layers: str) -> dict[Tensor, int]:
    index = layer_index(net, layers)
    return {p: index[name] for name, p in net.named_parameters()}


def _by_order(names: Sequence[str], layers: str) -> dict[str, int]:
    """A layer for every parameter, or for every module with parameters of its own."""
    if layers == "tensor":
        return {name: i for i, name in enumerate(names, 1)}
    owners = list(dict.fromkeys(owner_and_leaf(name)[0] for name in names))
    return {name: owners.index(owner_and_leaf(name)[0]) + 1 for name in names}


def owner_and_leaf(name: str) -> tuple[str, str]:
    """The module that a parameter belongs to, and what it is there.

    A parametrization (weight_norm's, say) keeps a module's weight in tensors of its own:
    ``0.parametrizations.weight.original1`` is a part of ``0``'s weight.
    """
    owner, _, leaf = name.rpartition(".")
    before, found, what = owner.rpartition("parametrizations.")
    return (before.rstrip("."), what) if found and leaf.startswith("original") else (owner, leaf)


def unwrap(model: nn.Module) -> nn.Module:
    """The user's own module inside ``torch.compile``'s, data-parallel and engines' wrappers.

    These have one ``module``, and nothing else of their own.
    """
    while True:
        if hasattr(model, "_orig_mod"):
            model = model._orig_mod  # pyright: ignore[reportAssignmentType]
        elif [name for name, _ in model.named_children()] == ["module"] and not any(
            True for _ in model.parameters(recurse=False)
        ):
            model = model.get_submodule("module")
        else:
            return model


def timm_models(model: nn.Module) -> list[nn.Module]:
    """timm's models that this one holds, or is: the outermost ones."""
    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        is_within = any(not outer or name.startswith(f"{outer}.") for outer in found)
        if hasattr(type(module), "group_matcher") and not is_within:
            found[name] = module
    return list(found.values())


def _by_list(names: Sequence[str], layers: Sequence[Sequence[str]]) -> dict[str, int]:
    index: dict[str, int] = {}
    if not _are_lists(layers):
        raise ValueError(
            f"layers={layers!r} must be one of {', '.join(LAYERS)}, or lists of parameter names"
        )
    for i, layer in enumerate(layers, 1):
        if not layer:
            raise ValueError(f"layers: layer {i} of {len(layers)} is empty; leave it out")
        for wanted in [layer] if isinstance(layer, str) else layer:
            prefix = wanted.rstrip(".") + "."
            matches = [name for name in names if name == wanted or name.startswith(prefix)]
            if not matches:
                raise ValueError(
                    f"layers: no parameter is named {wanted!r}{did_you_mean(wanted, names)}"
                )
            for name in matches:
                if name in index:
                    raise ValueError(f"layers: {name!r} stands in layers {index[name]} and {i}")
                index[name] = i
    missing = [name for name in names if name not in index]
    if missing:
        raise ValueError(
            f"layers: {len(missing)} parameters stand in no layer, the first is {missing[0]!r};"
            " list every parameter, or a dotted prefix of it, once"
        )
    return index


def _are_lists(layers: Any) -> bool:
    """A list whose items are names, or lists of them."""
    if not isinstance(layers, Sequence):
        return False
    names = [[item] if isinstance(item, str) else item for item in layers]
    return all(isinstance(of_one, Sequence) for of_one in names) and all(
        isinstance(name, str) for of_one in names for name in of_one
    )


def _by_timm_group(model: Any) -> dict[str, int]:
    from timm.models import group_parameters

    groups: Any = group_parameters(model, model.group_matcher(coarse=False))
    ordered = [groups[i] for i in sorted(groups)]
    return {name: i for i, group in enumerate(ordered, 1) for name in group}


class _ParameterUse(TorchFunctionMode):
    """Notes the order in which parameters first take part in an operation."""

    def __init__(self, names: Mapping[int, str]) -> None:
        super().__init__()
        self.names = names
        self.order: dict[str, None] = {}

    def _note(self, value: Any) -> None:
        if isinstance(value, Tensor):
            if id(value) in self.names:
                self.order.setdefault(self.names[id(value)])
        elif isinstance(value, tuple | list):
            for item in value:
                self._note(item)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self._note(args)
        self._note(list(kwargs.values()))
        return func(*args, **kwargs)


def _first_use(model: Any) -> list[str]:
    """A timm model's parameter names in the order in which its forward pass uses them.

    Registration order is another: ConvNeXt registers a block's ``gamma`` first and uses it last.
    The pass runs on the meta device: shapes only, nothing is computed and nothing changes.
    """
    # In float32, whatever the model's own precision: the images have it, too.
    state = {
        name: torch.empty_like(
            tensor, device="meta", dtype=torch.float32 if tensor.is_floating_point() else None
        )
        for name, tensor in (*model.named_parameters(), *model.named_buffers())
    }
    parameters = [name for name, _ in model.named_parameters()]
    use = _ParameterUse({id(state[name]): name for name in parameters})
    # Models that were built directly, and those for grey images, have no cfg, or a wrong one.
    channels, *size = getattr(model, "default_cfg", {"input_size": (3, 224, 224)})["input_size"]
    convolutions = (m for m in model.modules() if isinstance(m, nn.Conv2d))
    channels = next((convolution.in_channels for convolution in convolutions), channels)
    size = getattr(getattr(model, "patch_embed", None), "img_size", None) or size
    images = torch.empty(2, channels, *size, device="meta", dtype=torch.float32)
    with torch.no_grad(), torch.compiler.set_stance("force_eager"), use:
        torch.func.functional_call(model, state, (images,))
    unused = [name for name in parameters if name not in use.order]
    return [*use.order, *unused]
