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
from torch.utils._pytree import tree_leaves

from ._choice import agree_over_draws
from ._intercept import CallsChanged, InterceptDropout, PlannedCalls, masks_of
from ._mapped import AskOnce, values_for_all
from ._masks import DropoutSite, Masks, count_draws, take_draws
from ._questions import Answer, answer_of, is_question, takes_whole
from ._rows import count_rows, map_tensors, row_of
from ._strategies import STRATEGIES, Forward

__all__ = ["answers_to", "masks_are_asked_about", "rows_agree_alone", "rows_go_one_way"]


def answers_to(forward: Forward, x: Any) -> list[Answer]:
    """Return what the code of a module learns about the values of x, without dropout."""
    answers: list[Answer] = []
    with InterceptDropout(_no_mask, lambda func, result: answers.append(answer_of(func, result))):
        forward(x)
    return answers


def masks_are_asked_about(
    forward: Forward, x: Any, masks: Masks, sites: tuple[DropoutSite, ...]
) -> bool:
    """Return whether the code learns about values that depend on masks; if in doubt, True."""

    def one_draw(masks: Masks) -> Tensor:
        with _RefuseMapped(_masks_or_none(masks, sites, count_rows(x))):
            return forward(x)

    try:
        torch.vmap(one_draw)(masks)
    except Exception:  # torch does not map everything
        return True
    return False


class _RefuseMapped(InterceptDropout):
    """Raise an error for questions about what is mapped over."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Handle one torch function; torch calls this."""
        if is_question(func, args):
            for x in filter(torch.is_tensor, tree_leaves((args, kwargs))):
                values = values_for_all(x)
                if values is not None and not takes_whole(func):
                    raise CallsChanged("the masks are asked about")
                args = args if values is None else (values[0], *args[1:])
        return super().__torch_function__(func, types, args, kwargs)


def _masks_or_none(masks: Masks | None, sites: tuple[DropoutSite, ...], n_rows: int) -> Callable:
    return _no_mask if masks is None else masks_of(masks, PlannedCalls(sites, [n_rows]))


def _no_mask(*_: Any) -> None:
    return None


def rows_go_one_way(
    forward: Forward,
    x: Any,
    answers: list[Answer],
    masks: Masks | None = None,
    sites: tuple[DropoutSite, ...] = (),
) -> bool:
    """Return whether each row alone would get the answers that all of them got together.

    All rows are looked at in one pass, by mapping over them, or in one pass for each draw if there
    are masks; where torch cannot do so, the answer is False.
    """
    each_row = map_tensors(partial(torch.unsqueeze, dim=1), x)
    draws = [None] if masks is None else [take_draws(masks, t) for t in range(count_draws(masks))]
    return all(_get(forward, each_row, answers, masks, sites) for masks in draws)


def _get(
    forward: Forward,
    each_row: Any,
    answers: list[Answer],
    masks: Masks | None,
    sites: tuple[DropoutSite, ...],
) -> bool:
    each: list[Answer] = []

    def one_row(x: Any) -> Tensor:
        with AskOnce(
            _masks_or_none(masks, sites, 1),
            lambda func, result: each.append(answer_of(func, result)),
        ):
            return forward(x)

    try:
        torch.vmap(one_row)(each_row)
    except Exception:  # torch does not map everything
        return False
    return each == answers


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
        try:
            alone = loop(row_of(x, i))
        except CallsChanged:
            return False
        if not agree_over_draws(alone, together[:, [i]], of=together):
            return False
    return True
