"""Look into what `torch.vmap` maps over, to answer a question that has one answer for all."""

from typing import Any

import torch
from torch import Tensor

from ._intercept import CallsChanged, InterceptDropout
from ._questions import takes_whole

__all__ = ["AskOnce", "UnlikeAnswers", "values_for_all"]

_OF_ONE_TENSOR = {"__bool__", "__int__", "__float__", "__index__", "item", "tolist", "is_nonzero"}


class UnlikeAnswers(CallsChanged):
    """A question has unlike answers for what is mapped over: the values, one for each."""

    def __init__(self, values: Tensor) -> None:
        super().__init__("a question has unlike answers")
        self.values = values


class AskOnce(InterceptDropout):
    """Answer a question about one row or draw if the answer is the same for all of them.

    What takes all values out, for a look, gets those of the first.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Handle one torch function; torch calls this."""
        whole = takes_whole(func)
        if args and (whole or func.__name__ in _OF_ONE_TENSOR):
            values = values_for_all(args[0])
            if values is not None:
                if not whole and not torch.equal(values, values[:1].expand_as(values)):
                    raise UnlikeAnswers(values)
                args = values[0], *args[1:]
        return super().__torch_function__(func, types, args, kwargs)


def values_for_all(x: Tensor) -> Tensor | None:
    """Return the values of x for all that is mapped over; None if they do not depend on it."""
    _HandOut.apply(tray := _Tray(), x)
    return tray.values


class _Tray:
    """Where `_HandOut` puts what it finds."""

    values: Tensor | None = None


class _HandOut(torch.autograd.Function):
    """Hand out the values of a tensor for all that is mapped over."""

    @staticmethod
    def forward(tray: _Tray, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        """Keep nothing for a backward pass."""

    @staticmethod
    def vmap(info: Any, in_dims: tuple, tray: _Tray, x: Tensor) -> tuple[Tensor, int]:
        """Take the values from outside of the map."""
        tray.values = x.movedim(in_dims[1], 0)
        return x.clone(), in_dims[1]
