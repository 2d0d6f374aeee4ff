"""In-place functions where one tensor cannot hold the results of all draws.

What comes before the first dropout is computed once for all draws. An in-place function that
gives each draw a result of its own, a dropout to begin with, then gives them in a new tensor, which
replaces the old one wherever it is used.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_map_only

from ._modes import Mode

__all__ = ["Replaced", "WriteOnCopies", "counted"]

_DATA = Tensor.data.__get__  # type: ignore[attr-defined]


def counted(func: Callable, args: tuple) -> Callable:
    """Return a function whose result shows that it was written into, as ``x.data`` does not."""
    return Tensor.detach if func == _DATA and not is_lazy(args[0]) else func


class Replaced:
    """Tensors that should have been written into, each with what replaces it."""

    def __init__(self) -> None:
        self._pairs: dict[int, tuple[Tensor, Any]] = {}  # by id; holding the tensor keeps the id
        self._memory: set[int | None] = set()

    def put(self, x: Tensor, output: Any) -> None:
        """Replace a tensor from now on."""
        self._pairs[id(x)] = x, output
        self._memory.add(memory_of(x))

    def __call__(self, arguments: Any) -> Any:
        """Replace the tensors among the arguments of a function."""
        return tree_map_only(Tensor, self._now, arguments) if self._pairs else arguments

    def _now(self, x: Tensor) -> Any:
        if id(x) in self._pairs:
            return self._pairs[id(x)][1]
        if memory_of(x) in self._memory - {None}:
            raise NotImplementedError(
                "a tensor that a dropout writes into must not be used through a view of it as well"
            )
        return x


def memory_of(x: Tensor) -> int | None:
    """Return the address of the memory of a tensor; None if it has none of its own."""
    try:
        return x.untyped_storage().data_ptr() or None
    except (RuntimeError, NotImplementedError):
        return None


class WriteOnCopies(Mode):
    """Write into a copy per draw where `torch.vmap` cannot write into what the draws share.

    Parameters
    ----------
    like : Tensor
        A tensor that vmap maps over.
    """

    def __init__(self, like: Tensor) -> None:
        super().__init__()
        self.like = like
        self.replaced = Replaced()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Handle one torch function; torch calls this."""
        args, kwargs = self.replaced((args, kwargs or {}))
        try:
            return func(*args, **kwargs)
        except RuntimeError:
            x = args[0] if args else None
            in_place = func.__name__.endswith("_")  # or `__setitem__`
            if not (in_place and isinstance(x, Tensor)) or memory_of(x) is None:
                raise
        own = self.like.new_empty(x.shape, dtype=x.dtype).copy_(x)
        output = func(own, *args[1:], **kwargs)
        self.replaced.put(x, own)
        return output
