"""Inputs of any form whose tensors have their rows on the first axis."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["count_rows", "first_rows", "map_tensors"]


def map_tensors(func: Callable[[Tensor], Any], x: Any) -> Any:
    """Apply a function to each tensor with rows in x, a tensor or a mapping or sequence of them."""
    if isinstance(x, Tensor):
        return func(x) if x.ndim else x
    if isinstance(x, Mapping):
        return {name: map_tensors(func, part) for name, part in x.items()}
    if isinstance(x, list | tuple):
        return type(x)(map_tensors(func, part) for part in x)
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
