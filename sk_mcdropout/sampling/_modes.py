"""Function modes that an interrupt does not leave switched on.

Torch takes a mode off its stack around each call that the mode handles. A `KeyboardInterrupt` at
the wrong moment leaves the mode there, to handle all that the user calls from then on.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any, Self

import torch
from torch.overrides import (
    TorchFunctionMode,
    _get_current_function_mode_stack,
    _pop_mode,
)

__all__ = ["Mode", "tidy_modes"]


class _Entered(threading.local):
    """The modes of this thread that were entered, and not left."""

    def __init__(self) -> None:
        self.modes: list[Mode] = []


_entered = _Entered()


class Mode(TorchFunctionMode):
    """Base class: a mode that is over after `tidy_modes`, whatever has cut it short."""

    def __enter__(self) -> Self:
        _entered.modes.append(self)
        return super().__enter__()

    def __exit__(self, *exception: Any) -> None:
        stack = _get_current_function_mode_stack()
        if stack and stack[-1] is self:
            super().__exit__(*exception)
            _entered.modes.remove(self)


def _pass_on(
    mode: Mode, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
) -> Any:
    return func(*args, **(kwargs or {}))


@contextmanager
def tidy_modes() -> Iterator[None]:
    """Leave torch's stacks of modes, and of levels of ``vmap``, as they were.

    A mode that comes back later, with what else an interrupt has left half done, has no effect.
    """
    functorch = torch._C._functorch
    stack = _get_current_function_mode_stack()
    while stack and "__torch_function__" in vars(stack[-1]):
        _pop_mode()
        stack.pop()
    entered, levels = list(_entered.modes), functorch.get_dynamic_layer_stack_depth()
    try:
        yield
    finally:
        while len(_get_current_function_mode_stack()) > len(stack):
            _pop_mode()
        for mode in _entered.modes:
            if mode not in entered:
                vars(mode)["__torch_function__"] = MethodType(_pass_on, mode)
        _entered.modes[:] = entered
        if functorch.get_dynamic_layer_stack_depth() > levels:
            functorch.pop_dynamic_layer_stack_and_undo_to_depth(levels)
