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

from ._choice import agree_over_draws, take_rows
from ._in_place import WriteOnCopies
from ._intercept import CallsChanged, InterceptDropout, PlannedCalls, masks_of
from ._mapped import AskOnce, UnlikeAnswers, values_for_all
from ._masks import DropoutSite, Masks, count_draws, take_draws
from ._questions import Answer, answer_of, is_question, takes_whole
from ._rows import count_rows, map_tensors, row_of
from ._strategies import STRATEGIES, Forward

__all__ = ["Way", "answers_to", "masks_are_asked_about", "rows_go_one_way", "ways_of_rows"]

# The places of rows that go one way, and the answers that they get; None for rows of which each
# goes its own.
Way = tuple[list[int], list[Answer] | None]


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
        with (
            WriteOnCopies(next(iter(masks.values()))[0]) as mode,
            _RefuseMapped(_masks_or_none(masks, sites, count_rows(x))),
        ):
            output = forward(x)
        return mode.replaced(output)

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
    draws = [None] if masks is None else [take_draws(masks, t) for t in range(count_draws(masks))]
    try:
        return all(_answers_alone(forward, x, masks, sites) == answers for masks in draws)
    except Exception:  # torch does not map everything
        return False


def _answers_alone(
    forward: Forward, x: Any, masks: Masks | None = None, sites: tuple[DropoutSite, ...] = ()
) -> list[Answer]:
    """Return the answers that each row gets alone; these must be the same for all."""
    each: list[Answer] = []

    def one_row(x: Any) -> Tensor:
        mapped: list[Tensor] = []
        map_tensors(mapped.append, x)
        with (
            WriteOnCopies(mapped[0]) as mode,
            AskOnce(
                _masks_or_none(masks, sites, 1),
                lambda func, result: each.append(answer_of(func, result)),
            ),
        ):
            output = forward(x)
        return mode.replaced(output)

    torch.vmap(one_row)(map_tensors(partial(torch.unsqueeze, dim=1), x))
    return each


def ways_of_rows(
    forward: Forward, x: Any, masks: Masks, sites: tuple[DropoutSite, ...]
) -> list[Way]:
    """Share rows out among the ways that they go alone.

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
    list of tuple
        The places of rows in x that go one way, or that have together the outputs that each has
        alone, and the answers that they get. None in the place of answers if neither is so.

    Raises
    ------
    CallsChanged
        If all rows together make other dropout calls.
    """
    answers, rows = answers_to(forward, x), list(range(count_rows(x)))
    groups = [rows] if len(rows) == 1 else _rows_by_answer(forward, x, answers)
    if len(groups) == 1:
        return [(rows, answers)]
    few = 0 < len(groups) <= max(2, len(rows) // 4)  # so that passes for each cost little
    if not few and _agree_alone(forward, x, masks, sites):
        return [(rows, answers)]
    if not few and len(groups) in (0, len(rows)):
        return [(rows, None)]
    return [
        ([group[i] for i in some], theirs)
        for group in groups
        for some, theirs in ways_of_rows(forward, take_rows(group, x), masks, sites)
    ]


def _rows_by_answer(forward: Forward, x: Any, answers: list[Answer]) -> list[list[int]]:
    """Group rows by what they answer alone to the first question that they answer unlike.

    It is one group if each gets the answers of all, and none if it cannot be told.
    """
    groups: dict[bytes | None, list[int]] = {}
    try:
        if _answers_alone(forward, x) == answers:
            groups[None] = list(range(count_rows(x)))
    except UnlikeAnswers as error:
        for i, value in enumerate(error.values.cpu().numpy()):
            groups.setdefault(value.tobytes(), []).append(i)
    except Exception:  # torch does not map everything
        return []
    return list(groups.values()) if None in groups or len(groups) > 1 else []


def _agree_alone(forward: Forward, x: Any, masks: Masks, sites: tuple[DropoutSite, ...]) -> bool:
    """Return whether each row alone makes the dropout calls of all rows and has its output."""
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
