"""Inputs of any form whose tensors have their rows on the first axis."""

from collections.abc import Callable, Iterable, Mapping, MutableMapping
from copy import copy
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["call", "count_rows", "first_rows", "gather_rows", "map_tensors", "row_of", "some_rows"]


def map_tensors(func: Callable[[Tensor], Any], x: Any) -> Any:
    """Apply a function to each tensor with rows in x, a tensor or a mapping or sequence of them.

    What else is in x, such as names, numbers and None, is handed through. Mappings and sequences
    keep their class.
    """
    if isinstance(x, Tensor):
        return func(x) if x.ndim else x
    if isinstance(x, Mapping):
        items = {name: map_tensors(func, part) for name, part in x.items()}
        if type(x) is dict or not isinstance(x, MutableMapping):
            return items
        mapped = copy(x)
        for name, part in items.items():  # some, as those of transformers, refuse `update`
            mapped[name] = part
        return mapped
    if isinstance(x, list | tuple):
        parts = [map_tensors(func, part) for part in x]
        return type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts)
    return x


def count_rows(x: Any) -> int:
    """Count the rows of x: the length of the first axis of its tensors."""
    lengths: set[int] = set()
    map_tensors(lambda t: lengths.add(len(t)), x)
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(
            "each tensor of `x` must have the same number of rows, at least 1, on its first axis. "
            f"Got {sorted(lengths) or x!r}. Pass tensors of one length."
        )
    return lengths.pop()


def first_rows(x: Any, n_rows: int) -> Any:
    """Copy n_rows rows of x, from the first on, round and round if x has fewer."""
    return map_tensors(lambda t: t[torch.arange(n_rows, device=t.device) % len(t)], x)


def row_of(x: Any, i: int) -> Any:
    """Return row i of x, with its axis."""
    return map_tensors(partial(torch.narrow, dim=0, start=i, length=1), x)


def some_rows(x: Any, n_rows: int) -> Any:
    """Copy n_rows rows from all over x, round and round if x has fewer."""
    step = max(1, count_rows(x) // n_rows)
    return map_tensors(lambda t: t[torch.arange(n_rows, device=t.device) * step % len(t)], x)


def call(module: nn.Module, x: Any) -> Any:
    """Call a module with x, the arguments of a tuple and the keywords of a mapping."""
    if isinstance(x, Mapping):
        try:
            return module(**x)
        except TypeError as error:
            _explain_keywords(module, x, error)
            raise
    return module(*x) if isinstance(x, tuple) else module(x)


def _explain_keywords(module: nn.Module, x: Mapping, error: TypeError) -> None:
    """Raise what is wrong with the names in x, if that is why a module could not be called."""
    try:
        signature(module.forward).bind(**x)
    except TypeError:
        raise TypeError(
            "the names in a mapping `x` must be those of the arguments of the module's `forward`. "
            f"Got {sorted(map(str, x))!r} for {signature(module.forward)}. Pass `(x,)` to a "
            "module that takes the whole mapping as one argument."
        ) from error


def gather_rows(
    parts: Iterable[tuple[Tensor, ...]], n_rows: int, axis: int = 0
) -> tuple[Tensor, ...]:
    """Gather results of one chunk of rows after the other.

    They are written into tensors made for all rows: small results among the big tensors of the
    chunks would leave the allocator with holes that no chunk fits into.

    Parameters
    ----------
    parts : iterable of tuple of Tensor
        The results; at least one tuple.
    n_rows : int
        Number of rows in all parts together.
    axis : int
        Axis of the rows.

    Returns
    -------
    tuple of Tensor
        The results for all rows.
    """
    whole: tuple[Tensor, ...] = ()
    start = 0
    for part in parts:
        if not whole:
            shapes = ((*t.shape[:axis], n_rows, *t.shape[axis + 1 :]) for t in part)
            whole = tuple(t.new_empty(shape) for t, shape in zip(part, shapes, strict=True))
        for all_rows, chunk in zip(whole, part, strict=True):
            all_rows.narrow(axis, start, chunk.shape[axis]).copy_(chunk)
        start += part[0].shape[axis]
    return whole
