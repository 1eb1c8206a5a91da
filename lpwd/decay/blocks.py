"""The blocks of a model that says nothing of them itself, found from its module tree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Sequence
from itertools import pairwise

from torch import nn

#: The shapes of a module's parameters.
Shapes = tuple[tuple[int, ...], ...]

#: torch's own sequences of modules.
_PLAIN = (nn.ModuleList, nn.Sequential)
#: What may be a stack: a ``ModuleDict`` if it is a class of its own, as torchvision's dense blocks.
_STACKS = (*_PLAIN, nn.ModuleDict)


def find_blocks(model: nn.Module) -> list[str]:
    """Names of the blocks, in the order of registration; empty if the model is not made of blocks.

    A stack is an ``nn.ModuleList`` or ``nn.Sequential`` with at least two modules of one class
    that are made of further modules themselves: a transformer's layers, a stage of a ResNet. Its
    members are blocks. But where they hold stacks of their own, another from member to member, of
    modules that repeat or are made of compounds themselves, they are the stages of a network, and
    the blocks are those that they hold. (Experts of a mixture are the same in all layers: they are
    parts of a block.)
    """
    return list(_stacked(model, ""))


def by_block(model: nn.Module, names: Sequence[str]) -> dict[str, int]:
    """``{parameter name: layer}`` of some of a model's parameters, by its blocks.

    What stands before the first block is the first layer, what stands behind the last block the
    last one; between two blocks, it belongs to the second, as in timm's groups. Without a block
    among them, all are one layer.
    """
    blocks = set(find_blocks(model))
    index: dict[str, int] = {}
    layer, pending = 0, []
    seen: dict[str, int] = {}
    for name in _in_turns(model, names):
        pending.append(name)
        place = inside(name, blocks)
        if place is None:
            continue
        if not seen and len(pending) > 1:  # the stem
            layer += 1
            index |= dict.fromkeys(pending[:-1], layer)
            pending = pending[-1:]
        if place not in seen:
            layer += 1
            seen[place] = layer
        index |= dict.fromkeys(pending, seen[place])
        pending = []
    return index | dict.fromkeys(pending, layer + 1)


def inside(name: str, modules: Container[str]) -> str | None:
    """The one of these modules that a parameter is in."""
    while "." in name:
        name = name.rpartition(".")[0]
        if name in modules:
            return name
    return None


def _in_turns(model: nn.Module, names: Sequence[str]) -> Sequence[str]:
    """The names in the order of registration, but for lists that take turns with one of stages."""
    for prefix, module in model.named_modules():
        place = {
            _join(prefix, f"{of}.{member}"): (turn, number)
            for number, of in enumerate(_turns(module))
            for turn, (member, _) in enumerate(module.get_submodule(of).named_children())
        }
        taking = {name: place[of] for name in names if (of := inside(name, place))}
        if taking:
            first = names.index(next(iter(taking)))
            others = [name for name in names[first:] if name not in taking]
            names = [*names[:first], *sorted(taking, key=taking.__getitem__), *others]
    return names


def _turns(module: nn.Module) -> list[str]:
    """A module's list of stages and, before it, those with a member for each stage.

    Those are what is between stages: the downsamplings in the ConvNeXt of its authors, the patch
    embeddings of a PoolFormer. Empty where there are none, or several lists of stages.
    """
    lists = {name: child for name, child in module.named_children() if isinstance(child, _PLAIN)}
    stages = [name for name, child in lists.items() if _are_stages(_children(child, 2))]
    if len(stages) != 1:
        return []
    names = list(lists)[: list(lists).index(stages[0]) + 1]
    turns = [name for name in names if len(lists[name]) == len(lists[stages[0]])]
    return turns if len(turns) > 1 else []


def _stacked(module: nn.Module, name: str, least: int = 2) -> Iterator[str]:
    """The members of the outermost stacks, or of the stacks within, if those are stages."""
    members = _members(module, least)
    stages = _are_stages(_children(module, least))
    if members and not stages:
        yield from (_join(name, member) for member in members)
        return
    between = _turns(module)[:-1]
    for child_name, child in module.named_children():
        if child_name not in between:
            yield from _stacked(child, _join(name, child_name), 1 if stages else least)


def _children(module: nn.Module, least: int) -> list[nn.Module]:
    """The modules that `_members` names."""
    return [module.get_submodule(member) for member in _members(module, least)]


def _members(module: nn.Module, least: int) -> list[str]:
    """The names of a stack's blocks: the class of which it has most, in a list also the others.

    A ``Sequential`` may begin with a stem, and end with a head; a ``ModuleList`` is of one kind of
    layers, if not of one class: of attention and of state-space layers, say.
    """
    if not isinstance(module, _STACKS) or type(module) is nn.ModuleDict:
        return []
    compound = {name: type(child) for name, child in module.named_children() if _is_compound(child)}
    if not compound:
        return []
    kinds = list(compound.values())
    count = Counter(kinds)
    follows = {kind for kind, after in pairwise(kinds) if kind is after}
    kind = max(count, key=lambda kind: (count[kind], kind in follows))
    if count[kind] < least:
        return []
    every = isinstance(module, nn.ModuleList)
    return [name for name, of_one in compound.items() if every or of_one is kind]


def _are_stages(members: Sequence[nn.Module]) -> bool:
    held = [[member.get_submodule(name) for name in _stacked(member, "", 1)] for member in members]
    repeating = [of_one for of_one in held if len({type(b) for b in of_one}) < len(of_one)]
    if all(type(m) in _PLAIN or isinstance(m, nn.ModuleDict) for m in members):
        return bool(repeating)  # what repeats in one is its blocks
    shapes = [[_shapes(block) for block in of_one] for of_one in held if of_one]
    repeat = any(of_one[-2:-1] == of_one[-1:] for of_one in shapes)
    several = [block for of_one in repeating for block in of_one]
    are_deep = any(_is_compound(part) for block in several for part in block.children())
    return (repeat or are_deep) and len({of_one[-1] for of_one in shapes}) > 1


def _is_compound(module: nn.Module) -> bool:
    """Is it made of further modules, with parameters?"""
    return any(True for _ in module.children()) and any(True for _ in module.parameters())


def _shapes(module: nn.Module) -> Shapes:
    return tuple(tuple(p.shape) for p in module.parameters())


def _join(name: str, child: str) -> str:
    return f"{name}.{child}" if name else child
