"""Two processes, data parallel or sharded, train as one does."""

import contextlib
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from small import METHODS, Weights, assert_close, data, mlp
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Adam, Optimizer

import lpwd

dist: Any = torch.distributed
pytestmark = pytest.mark.skipif(not dist.is_available(), reason="torch without distributed")

STEPS, RANKS = 10, 2
CASES: list[tuple[str, dict[str, Any]]] = [
    *((method, {}) for method in METHODS),
    ("lpwd", {"normalize": "params", "exclude": ["norm", "bias"]}),
    ("wd", {"profile": "linear"}),
    ("rwd", {"towards": {"0.weight": torch.ones(5, 3, dtype=torch.float64)}}),
]


def train(model: nn.Module, optimizer: Optimizer, rank: int | None, parts: int = 1) -> None:
    """Ten steps, of the whole batch or of a rank's half, in `parts` backward passes."""
    for step in range(STEPS):
        x, y = data(step)
        if rank is not None:
            x, y = x[rank::RANKS], y[rank::RANKS]
        for part in range(parts):
            last = part == parts - 1
            with contextlib.nullcontext() if last else model.no_sync():
                (cross_entropy(model(x[part::parts]), y[part::parts]) / parts).backward()
        optimizer.step()
        optimizer.zero_grad()


def whole(model: nn.Module) -> Weights:
    """The weights, gathered from all ranks, under the names of the model itself."""
    return {
        name.removeprefix("module."): getattr(p, "full_tensor", lambda p=p: p)().detach()
        for name, p in model.named_parameters()
    }


def sharded(model: nn.Module) -> nn.Module:
    from torch.distributed.fsdp import fully_shard

    for part in model:
        if isinstance(part, nn.Linear):
            fully_shard(part)
    return fully_shard(model)


def partly_sharded(model: nn.Module) -> nn.Module:
    """The first layer is sharded; the others' gradients are averaged by hand."""
    from torch.distributed.fsdp import fully_shard

    fully_shard(model[0])
    for p in model[1:].parameters():
        p.register_post_accumulate_grad_hook(lambda p: dist.all_reduce(p.grad.div_(RANKS)))
    return model


def optimizer_of(model: nn.Module, kind: type[Optimizer]) -> Optimizer:
    return kind(model.parameters(), lr=0.05, **({"momentum": 0.9} if kind is SGD else {}))


def check(rank: int, method: str, kwargs: dict[str, Any], kind: type[Optimizer]) -> None:
    alone = mlp()
    optimizer = optimizer_of(alone, kind)
    rates = lpwd.WeightDecay(optimizer, alone, method, 0.3, **kwargs).rates
    train(alone, optimizer, None)

    for parts, inner in ((1, False), (2, False), (1, True)):
        model = mlp()
        parallel = nn.parallel.DistributedDataParallel(model)
        optimizer = optimizer_of(parallel, kind)
        decay = lpwd.WeightDecay(optimizer, model if inner else parallel, method, 0.3, **kwargs)
        assert decay.rates == rates
        train(parallel, optimizer, rank, parts)
        assert_close(whole(parallel), whole(alone))

    for model in (sharded(mlp()), partly_sharded(mlp())):
        optimizer = optimizer_of(model, kind)
        decay = lpwd.WeightDecay(optimizer, model, method, 0.3, **kwargs)
        assert decay.rates == rates
        if method == "cwd_mirrored":
            with pytest.raises(ValueError, match="cannot take sharded weights; cwd can"):
                train(model, optimizer, rank)
            continue
        train(model, optimizer, rank)
        assert_close(whole(model), whole(alone))


def check_state_before_training() -> None:
    """torch's checkpoints make the optimizer's state by a step with lr = 0."""
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

    for method in (m for m in METHODS if m != "cwd_mirrored"):
        model = sharded(mlp())
        optimizer = Adam(model.parameters(), lr=0.05)
        lpwd.WeightDecay(optimizer, model, method, 0.3)
        assert get_optimizer_state_dict(model, optimizer)["state"]
        assert_close(whole(model), whole(mlp()))


def check_flattened_weights_are_refused() -> None:
    from torch.distributed.fsdp import FullyShardedDataParallel

    model = FullyShardedDataParallel(mlp(), device_id=torch.device("cpu"))
    with pytest.raises(ValueError, match=r"flattens the weights .*fully_shard"):
        lpwd.WeightDecay(SGD(model.parameters()), model, "wd", 0.3)


def check_an_optimizer_from_before_the_sharding_is_refused() -> None:
    model = mlp()
    optimizer = Adam(model.parameters(), lr=0.05)
    lpwd.WeightDecay(optimizer, model, "wd", 0.3)
    with pytest.raises(ValueError, match="make the optimizer after the model is sharded"):
        train(sharded(model), optimizer, None)


def check_opposing(rank: int) -> None:
    rates = []
    for model in (mlp(), sharded(mlp())):
        optimizer = Adam(model.parameters(), lr=0.05)
        opposing = lpwd.OpposingRate(lpwd.WeightDecay(optimizer, model, "wd", 0.3))
        train(model, optimizer, rank if rates else None)
        rates.append(opposing.compute())
    assert_close(*rates)


def work(rank: int, store: str) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    dist.init_process_group("gloo", store=dist.FileStore(store, RANKS), rank=rank, world_size=RANKS)
    for method, kwargs in CASES:
        for kind in (SGD, Adam) if method in ("l2", "wd") else (Adam,):
            check(rank, method, kwargs, kind)
    check_state_before_training()
    check_an_optimizer_from_before_the_sharding_is_refused()
    check_flattened_weights_are_refused()
    check_opposing(rank)
    dist.destroy_process_group()


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(work, (str(tmp_path / "store"),), RANKS)
