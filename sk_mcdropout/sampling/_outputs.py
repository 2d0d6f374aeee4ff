"""The prediction among all that a module returns: the one tensor that is drawn."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import partial, reduce
from typing import Any

from torch import Tensor
from torch.distributions import Distribution

__all__ = ["Which", "find_prediction", "shapes_in"]

# How a user names the prediction: a key, the name of an attribute, an index or a function.
Which = str | int | Callable[[Any], Any] | None

# The way to a tensor: at each step an attribute or an item.
Path = tuple[tuple[bool, Any], ...]


def find_prediction(outputs: Mapping[Any, Any], which: Which = None) -> Callable[[Any], Tensor]:
    """Find where the prediction is among all that a module returns.

    Parameters
    ----------
    outputs : mapping
        What the module returned, for one number of rows or several: tensors, distributions,
        mappings, sequences or dataclasses of these. For None in the place of a number the
        prediction has any shape.
    which : str, int or callable, optional
        The prediction: a key or the name of an attribute, an index, or a function of the output.
        By default, and inside of what is named, it is the first tensor of floating-point numbers
        with as many rows on its first axis. A distribution stands for its mean.

    Returns
    -------
    callable
        Returns the prediction of a pass, for any number of rows: a table of weights that happens
        to have as many rows as a batch is not taken for it.

    Raises
    ------
    TypeError
        If there are tensors, but none of floating-point numbers.
    ValueError
        If there is none.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.sampling import find_prediction
    >>> outputs = {n: {"loss": torch.ones(()), "logits": torch.ones(n, 4)} for n in (2, 3)}
    >>> find_prediction(outputs)(outputs[3]).shape
    torch.Size([3, 4])
    """
    named = {n_rows: _named(output, which) for n_rows, output in outputs.items()}
    places = [
        dict.fromkeys(path for path, tensor in _tensors(output) if _is_prediction(tensor, n_rows))
        for n_rows, output in named.items()
    ]
    for path in places[0]:
        if all(path in other for other in places):
            return partial(_follow, which, path)
    n_rows, output = next(iter(named.items()))
    raise _no_prediction(output, n_rows)


def _is_prediction(x: Tensor, n_rows: int | None) -> bool:
    """Return whether a tensor has floating-point numbers, and rows on its first axis."""
    return x.is_floating_point() and (n_rows is None or (x.ndim > 0 and len(x) == n_rows))


def _follow(which: Which, path: Path, output: Any) -> Tensor:
    return _at(_named(output, which), path)


def _at(output: Any, path: Path) -> Tensor:
    return reduce(
        lambda part, step: getattr(part, step[1]) if step[0] else part[step[1]], path, output
    )


def _named(output: Any, which: Which) -> Any:
    """Return the part of an output that the user has named."""
    if which is None:
        return output
    if callable(which):
        return which(output)
    try:
        if isinstance(output, Tensor):
            raise KeyError(which)  # its items are the rows
        if isinstance(output, Mapping) and which in output:
            return output[which]
        return getattr(output, which) if isinstance(which, str) else output[which]
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise ValueError(
            "`output` must name a part of what the module returns. Got "
            f"{which!r} for {shapes_in(output)}. Write one of the keys or indices."
        ) from error


def _tensors(output: Any, path: Path = ()) -> Iterator[tuple[Path, Tensor]]:
    """Yield the tensors in an output, in its order, and the way to each."""
    if isinstance(output, Tensor):
        yield path, output
    elif isinstance(output, Distribution):
        yield from _tensors(output.mean, (*path, (True, "mean")))
    elif isinstance(output, Mapping):
        for key, part in output.items():
            yield from _tensors(part, (*path, (False, key)))
    elif isinstance(output, list | tuple):
        for index, part in enumerate(output):
            yield from _tensors(part, (*path, (False, index)))
    elif is_dataclass(output):
        for field in fields(output):
            yield from _tensors(getattr(output, field.name, None), (*path, (True, field.name)))


def shapes_in(output: Any) -> str:
    """Describe an output: the names and shapes of its tensors."""
    if isinstance(output, Tensor):
        return f"{str(output.dtype).removeprefix('torch.')} of shape {tuple(output.shape)}"
    found = [
        f"{'.'.join(str(name) for _, name in path)}: {shapes_in(tensor)}"
        for path, tensor in _tensors(output)
    ]
    return f"a {type(output).__name__} of {{{', '.join(found)}}}" if found else repr(type(output))


def _no_prediction(output: Any, n_rows: int | None) -> Exception:
    tensors = [tensor for _, tensor in _tensors(output)]
    if tensors and not any(tensor.is_floating_point() for tensor in tensors):
        return TypeError(
            f"the output of the module must be floating-point numbers. Got {shapes_in(output)}. "
            "Return floats, such as probabilities in the place of classes."
        )
    return ValueError(
        "the output of the module must be, or hold, a tensor with one row for each row of the "
        f"input, on its first axis. Got {shapes_in(output)} for {n_rows} rows. Return such a "
        "tensor, or say by `output` how to get it: a key, an index or a function."
    )
