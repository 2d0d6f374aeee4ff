"""Questions about values: where the code of a module can learn what is in its input.

Between the tensors, a module may ask for a number, a truth or how many values there are, and go
one way or another. The answers tell whether two passes can have gone different ways.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["Answer", "answer_of", "is_question", "takes_whole"]

# The name of the function that was called, and what the code got.
Answer = tuple[str, Any]

# By these the values themselves come out, or by their number the shape of the result.
_VALUES = {
    *("__bool__", "__int__", "__float__", "__index__", "__array__", "__contains__", "__complex__"),
    *("item", "tolist", "numpy", "equal", "allclose", "is_nonzero", "__format__", "__repr__"),
}
_SHAPES = {
    *("nonzero", "argwhere", "masked_select", "bincount", "_pack_padded_sequence"),
    *("unique", "unique_consecutive", "_unique2", "unique_dim", "repeat_interleave"),
}


# What these give is written down or shown; the values decide on nothing before they come back.
_WHOLE = {"numpy", "__array__", "__repr__", "__format__"}


def takes_whole(func: Callable) -> bool:
    """Return whether a function takes all values out of torch, for a look or another library."""
    return getattr(func, "__name__", "") in _WHOLE


def is_question(func: Callable, args: tuple) -> bool:
    """Return whether code can learn about values by calling a function.

    Parameters
    ----------
    func : callable
        A torch function.
    args : tuple
        What it is called with.

    Returns
    -------
    bool
        Whether the values of tensors decide on the form of what it returns.
    """
    name = getattr(func, "__name__", "")
    if name == "__getitem__":
        return _selects_by_mask(args[1])
    if name == "where":
        return len(args) == 1
    return name in _VALUES or name in _SHAPES


def _selects_by_mask(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(i, Tensor) and i.dtype in (torch.bool, torch.uint8) for i in parts)


def answer_of(func: Callable, result: Any) -> Answer:
    """Return what code learned by calling a function, in a form that can be compared.

    Parameters
    ----------
    func : callable
        A torch function.
    result : object
        What it returned.

    Returns
    -------
    tuple of str and object
        The name of the function and what was learned.
    """
    return func.__name__, None if takes_whole(func) else _form(result)


def _form(result: Any) -> Any:
    if isinstance(result, Tensor):
        return tuple(result.shape)
    if isinstance(result, tuple):
        return tuple(map(_form, result))
    if isinstance(result, np.ndarray):
        return result.shape, result.tobytes()
    return repr(result)  # which takes two NaN for the same
