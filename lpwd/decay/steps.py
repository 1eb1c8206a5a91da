"""Which calls of hooks are an optimizer's step, and which forward passes are a step's own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, TypeVar, cast

import torch
from torch.utils.checkpoint import CheckpointFunction

NO_FORWARD_PASS = (
    "no training forward pass of the model since the last step, so no decay; call model(x) in"
    " train() mode instead of model.forward(x) or a part of it, or call decay.before_forward()"
    " yourself before each step's forward pass"
)

_CHECKPOINTED = CheckpointFunction.forward.__code__


class OuterStep:
    """Distinguishes a step from one within it.

    torch runs the hooks at every level of a class whose step() calls super().step(), once its base
    class has been used anywhere. Only the outermost is a step. A step that raised is over, though
    its post-hooks never ran: it is no longer on the stack.
    """

    def __init__(self) -> None:
        self._frame: FrameType | None = None
        self._depth = 0  # in a compiled step: the compiler knows no frames
        self.is_compiled = False

    def begins(self) -> bool:
        """To be asked by a pre-hook: does a step begin here?"""
        self.is_compiled = torch.compiler.is_compiling()
        if self.is_compiled:
            self._depth += 1
            return self._depth == 1
        self._depth = 0
        frame = sys._getframe(2)  # torch's wrapper of step(), which calls the hooks
        if self._frame is not None and self._frame in _stack(frame):
            return False
        self._frame = frame
        return True

    def ends(self) -> bool:
        """To be asked by a post-hook: does the step that began end here?"""
        if torch.compiler.is_compiling():
            self._depth -= 1
            return self._depth == 0
        if sys._getframe(2) is not self._frame:
            return False
        self._frame = None
        return True


def _stack(frame: FrameType | None) -> Iterator[FrameType]:
    """A frame, its caller, and so on."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def act_inside(args: Any, kwargs: Any, act: Callable[[bool], None], late: bool) -> Any:
    """What a step's pre-hook returns so that `act` runs once the gradients are there.

    Without a closure that is at once, or, if `late`, after all other pre-hooks. With one, the
    optimizer calls it, and with it backward(), only after the hook: `act` then follows each of its
    calls, and is given whether it is the first.
    """
    by_place = len(args) > 1 and (args[1] is None or _is_closure(args[1]))
    closure = args[1] if by_place else kwargs.get("closure")
    if closure is None and not late:
        act(True)
        return None
    first = True

    def closure_and_act(*given: Any, **named: Any) -> Any:
        nonlocal first
        loss = closure(*given, **named) if closure is not None else None
        act(first)
        first = False
        return loss

    if by_place:
        return (args[0], closure_and_act, *args[2:]), kwargs
    return args, {**kwargs, "closure": closure_and_act}


def _is_closure(argument: Any) -> bool:
    return callable(argument) and not isinstance(argument, torch.nn.Module)


F = TypeVar("F", bound=Callable[..., Any])


def outside_graphs(function: F) -> F:
    """Never a part of a compiled step: its graph would keep which parameters were frozen when it
    was traced."""
    return cast(F, torch._disable_dynamo(function))  # the compiler takes a second to import


class ForwardHook:
    """A model's forward pre-hook, `act`, which runs outside every graph.

    Not at all in a model that is exported or traced, nor in a copy or a pickle of the model.
    """

    def __init__(self, act: Callable[[Any], None]) -> None:
        self._act: Any = torch.compiler.disable(act)

    def __call__(self, module: Any, args: Any) -> None:
        if not (torch.compiler.is_exporting() or torch.jit.is_tracing()):
            self._act(module)

    def __reduce__(self) -> Any:
        return getattr, ({}, "get")  # {}.get(module, args) is args: as they were, without lpwd


def done(optimizer: Any) -> float | torch.Tensor:
    """1, or 0 if GradScaler lets a fused optimizer skip this step: only the device knows."""
    found_inf = getattr(optimizer, "found_inf", None)  # how many devices overflowed
    return 1.0 if found_inf is None else (found_inf == 0).double()


def is_in_backward() -> bool:
    """Is this within a backward pass?"""
    return torch._C._current_graph_task_id() != -1


def is_checkpointed() -> bool:
    """Is this a forward pass under torch.utils.checkpoint with use_reentrant=True?

    It runs without gradients, but is the pass whose output is trained on; the one with gradients,
    in the backward pass, comes too late for a decay.
    """
    return any(frame.f_code is _CHECKPOINTED for frame in _stack(sys._getframe(1)))
