"""Ask whether each row alone goes the way that it goes among the others.

A module that asks for values, as in ``assert torch.isfinite(x).all()`` or in a loop with as many
steps as the longest row has, may do one thing for a batch and another for a row of it. Here this
is found out for the very rows that are sampled.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ._choice import agree_over_draws
from ._intercept import CallsChanged, InterceptDropout
from ._masks import DropoutSite, Masks
from ._questions import Answer, answer_of
from ._rows import count_rows, map_tensors
from ._strategies import STRATEGIES, Forward

__all__ = ["answers_to", "rows_agree_alone", "rows_go_one_way"]


def answers_to(forward: Forward, x: Any) -> list[Answer]:
    """Return what the code of a module learns about the values of x, without dropout."""
    answers: list[Answer] = []
    with InterceptDropout(_no_mask, lambda func, result: answers.append(answer_of(func, result))):
        forward(x)
    return answers


def _no_mask(*_: Any) -> None:
    return None


def rows_go_one_way(forward: Forward, x: Any, answers: list[Answer]) -> bool:
    """Return whether each row alone would get the answers that all of them got together.

    All rows are looked at in one pass, by mapping over them; where torch cannot do so, the answer
    is False.
    """
    each: list[Answer] = []

    def one_row(x: Any) -> Tensor:
        with _AskEachRow(each):
            return forward(x)

    try:
        torch.vmap(one_row)(map_tensors(partial(torch.unsqueeze, dim=1), x))
    except Exception:  # torch does not map everything
        return False
    return each == answers


class _AskEachRow(InterceptDropout):
    """Answer a question about one row if the answer is the same for all rows."""

    def __init__(self, answers: list[Answer]) -> None:
        super().__init__(_no_mask, self._hear)
        self.answers = answers

    def _hear(self, func: Callable, result: Any) -> None:
        self.answers.append(answer_of(func, result))

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Handle one torch function; torch calls this."""
        if func.__name__ in _OF_ONE_TENSOR and args:
            _HandOut.apply(rows := _Rows(), args[0])
            if rows.values is not None:
                if not torch.equal(rows.values, rows.values[:1].expand_as(rows.values)):
                    raise CallsChanged("the rows get unlike answers")
                args = rows.values[0], *args[1:]
        return super().__torch_function__(func, types, args, kwargs)


_OF_ONE_TENSOR = {"__bool__", "__int__", "__float__", "__index__", "item", "tolist", "is_nonzero"}


class _Rows:
    """Takes the values of a tensor for all rows, if it is mapped over."""

    values: Tensor | None = None


class _HandOut(torch.autograd.Function):
    """Hand out the values of a tensor for all rows that are mapped over."""

    @staticmethod
    def forward(rows: _Rows, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        """Keep nothing for a backward pass."""

    @staticmethod
    def vmap(info: Any, in_dims: tuple, rows: _Rows, x: Tensor) -> tuple[Tensor, int]:
        """Take the values from outside of the map."""
        rows.values = x.movedim(in_dims[1], 0)
        return x.clone(), in_dims[1]


def rows_agree_alone(
    forward: Forward, x: Any, masks: Masks, sites: tuple[DropoutSite, ...]
) -> bool:
    """Return whether each row alone makes the dropout calls of the batch and has its output.

    Parameters
    ----------
    forward : callable
        Returns the output for an input.
    x : Tensor, mapping or sequence of Tensor
        The input.
    masks : dict
        The masks of a few draws.
    sites : tuple of DropoutSite
        The dropout calls.

    Returns
    -------
    bool
        Whether it does.

    Raises
    ------
    CallsChanged
        If all rows together make other calls.
    """
    loop = partial(STRATEGIES["loop"], forward, masks=masks, sites=sites)
    together = loop(x)
    for i in range(count_rows(x)):
        row = map_tensors(partial(torch.narrow, dim=0, start=i, length=1), x)
        try:
            alone = loop(row)
        except CallsChanged:
            return False
        if not agree_over_draws(alone, together[:, [i]], of=together):
            return False
    return True
