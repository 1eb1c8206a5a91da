"""Weights of which each process has a part: FSDP2's (``fully_shard``), as DTensors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn


def is_sharded(p: Any) -> bool:
    return hasattr(p, "placements")


def layout(p: Any) -> Any:
    """How a parameter is cut, None if it is not: torch's foreach functions take one at a time."""
    return (p.device_mesh, p.placements) if is_sharded(p) else None


def parts_of(tensors: Iterable[Any]) -> list[Tensor]:
    """This process's part of each."""
    return [t.to_local() if is_sharded(t) else t for t in tensors]


def over_all_parts(sums: Tensor, p: Any) -> Tensor:
    """Sums over this process's part of a parameter, or of several like it, added up over all."""
    if not is_sharded(p):
        return sums
    from torch.distributed.tensor import DTensor, Partial, Replicate

    kinds = [Partial() if placement.is_shard() else Replicate() for placement in p.placements]
    return DTensor.from_local(sums, p.device_mesh, kinds).full_tensor()


def like(tensor: Tensor, p: Any) -> Tensor:
    """On the device, in the type and in the parts of a parameter."""
    tensor = tensor.to(p.device, p.dtype)
    if not is_sharded(p) or is_sharded(tensor):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor, p.device_mesh, p.placements)


def sharded_modules(model: nn.Module) -> list[Any]:
    """The modules of a model that FSDP2 shards."""
    modules = model.modules()
    return [m for m in modules if hasattr(m, "reshard") and hasattr(m, "unshard")]
