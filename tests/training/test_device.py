"""Nothing in an epoch waits for the device or mixes devices: seen where there is none.

Tensors on "meta" play the device's: shapes without values. What would make the host wait for a
GPU fails within an epoch, as does what takes tensors of both.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from small import METHODS
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import lpwd
from lpwd.config.compose import composed
from lpwd.training import build, loop, record

aten = torch.ops.aten
DEVICE = torch.device("meta")
#: Their result is a number of Python's.
READS = {aten._local_scalar_dense.default, aten.equal.default, aten.is_nonzero.default}
COPIES = {aten._to_copy.default, aten.copy_.default}
#: Change tensors in place, on GPUs alone: there is no shape to be worked out.
GPU_ONLY = {
    *(aten._fused_adam_.default, aten._fused_adam_.tensor_lr),
    *(aten._fused_adamw_.default, aten._fused_adamw_.tensor_lr),
    *(aten._fused_sgd_.default, aten._fused_sgd_.tensor_lr),
    *(aten._amp_foreach_non_finite_check_and_unscale_.default, aten._amp_update_scale_.default),
}


class Waited(AssertionError):
    pass


class Device(TorchDispatchMode):
    """Lets everything happen, and where `strict` nothing that waits for the device."""

    strict = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func._can_decompose():  # in inference_mode operations come whole
            with self:
                return func.decompose(*args, **kwargs)
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        mine = [t for t in tensors if t.device == DEVICE]
        to = kwargs.get("device", tensors[0].device if tensors else None)
        if func in COPIES and (mine or to == DEVICE):
            return self._copy(func, args, kwargs)
        if mine:
            # A tensor of no dimension is handed to a kernel as a number.
            strange = [t for t in tensors if t.device != DEVICE and t.ndim]
            assert not strange, f"{func} mixes devices"
        if mine and func in READS:
            self._waits(func)
            return 1
        if func in GPU_ONLY:
            return args[0] if func._schema.returns else None
        return func(*args, **kwargs)

    def _copy(self, func: Any, args: Any, kwargs: Any) -> Any:
        source = args[1] if func is aten.copy_.default else args[0]
        target = args[0].device if func is aten.copy_.default else kwargs.get("device")
        target = target or source.device
        blocks = not (kwargs.get("non_blocking") or (len(args) > 2 and args[2]))
        if target != DEVICE:
            self._waits("a copy to the host")
            return torch.zeros(source.shape, dtype=kwargs.get("dtype") or source.dtype)
        if source.device != DEVICE and source.ndim and blocks:
            self._waits("a copy from the host")
        return func(*args, **kwargs)

    def _waits(self, what: Any) -> None:
        if self.strict:
            raise Waited(f"{what} waits for the device")

    @contextmanager
    def epoch(self) -> Iterator[None]:
        self.strict = True
        yield
        self.strict = False


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    monkeypatch.setattr(optimizer, "_get_fused_kernels_supported_devices", lambda: ["meta"])
    monkeypatch.setattr(build, "choose_device", lambda *_: DEVICE)
    make = torch.tensor

    def tensor(*args: Any, **kwargs: Any) -> Tensor:
        if torch.device(kwargs.get("device") or "cpu") == DEVICE:  # no operation on this device
            device._waits("torch.tensor(…, device=…)")
        return make(*args, **kwargs)

    monkeypatch.setattr(torch, "tensor", tensor)
    with Device() as device:
        yield device


def prepared(*overrides: str) -> build.Training:
    short = ["scale.images={train: 70, heldout: 20, test: 20}", "scale.r_op_every=2"]
    return build.prepare(composed(["scale=smoke", *short, "machine.device=meta", *overrides]))


@pytest.mark.parametrize("model", ["convnext_micro", "swin_micro"])
@pytest.mark.parametrize("optimizer", ["adam", "sgdm"])
@pytest.mark.parametrize("method", METHODS)
def test_an_epoch_of_the_trainer(
    device: Device, method: str, optimizer: str, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    t = prepared(f"decay={method}", f"optimizer={optimizer}", f"model={model}")
    assert {p.device for p in t.model.parameters()} == {DEVICE}

    def between_steps() -> None:
        device.strict = t.step < len(t.loader)  # once the images' order is there, to the last step

    loop.train_epoch(t, between_steps)
    with device.epoch(), pytest.raises(Waited, match="to the host"):  # the end, and nothing before
        record.correct(t, t.test)


# -- loops of one's own ---------------------------------------------------------------------------

OPTIMIZERS: dict[str, Any] = {
    "adam": lambda params, lr: torch.optim.Adam(params, lr=lr, fused=True),
    "sgdm": lambda params, lr: torch.optim.SGD(params, lr=lr, momentum=0.9, fused=True),
}


def step(model: nn.Module, optimizer: Any, way: str, scaler: Any) -> None:
    x = torch.zeros(4, 3, 32, 32, device=DEVICE)
    y = torch.zeros(4, dtype=torch.long, device=DEVICE)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = cross_entropy(model(x), y)
        loss.backward()
        return loss

    if way == "closure":
        optimizer.step(closure)
        return
    for _ in range(3 if way == "accumulation" else 1):
        loss = cross_entropy(model(x), y)
        (scaler.scale(loss) if scaler else loss).backward()
    if scaler:
        scaler.step(optimizer)
        scaler.update()
    else:
        optimizer.step()
    optimizer.zero_grad()


@pytest.mark.parametrize(
    "way", ["GradScaler", "tensor lr", "GradScaler, tensor lr", "accumulation", "closure"]
)
@pytest.mark.parametrize("optimizer", ["adam", "sgdm"])
@pytest.mark.parametrize("method", METHODS)
def test_loops(device: Device, method: str, optimizer: str, way: str) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.Flatten(), nn.Linear(3600, 5))
    model = model.to(DEVICE)
    opt = OPTIMIZERS[optimizer](model.parameters(), 0.1)
    decay = lpwd.WeightDecay(opt, model, method, 0.5)
    if method not in ("baseline", "l2"):
        lpwd.OpposingRate(decay, every=2)
    scaler = torch.amp.GradScaler(DEVICE.type) if "GradScaler" in way else None
    if scaler:
        scaler.scale(torch.zeros((), device=DEVICE))  # its first scale is sent there
    if "tensor lr" in way:
        opt.param_groups[0]["lr"] = torch.ones((), device=DEVICE)
    with device.epoch():
        for _ in range(3):
            step(model, opt, way, scaler)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (lambda x: x.sum().item(), "_local_scalar_dense"),
        (lambda x: x.sum() > 0 and None, "_local_scalar_dense"),
        (lambda x: x.cpu(), "to the host"),
        (lambda x: torch.ones(3).to(x.device), "from the host"),
        (lambda x: torch.tensor([1.0], device=x.device), "tensor"),
        (lambda x: x[torch.tensor([1])], "mixes devices"),
        (lambda x: x + torch.ones(3), "mixes devices"),
    ],
)
def test_a_fault_would_be_noticed(device: Device, fault: Any, says: str) -> None:
    x = torch.zeros(3, device=DEVICE)
    with device.epoch(), pytest.raises(AssertionError, match=says):
        fault(x)
