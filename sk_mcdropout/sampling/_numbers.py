"""Take the random numbers that a module draws by hand as dropouts.

Stochastic depth, DropBlock and their kin call ``torch.rand`` or ``Tensor.bernoulli_``. Here such a
call is a dropout over ones whose mask is the numbers: it has one mask per draw, shared by all
rows, and every strategy takes it.
"""

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ._eval_mode import running_part
from ._masks import STAND_INS
from ._modes import Mode

__all__ = ["is_known_dropout", "n_registered", "register_dropout", "shared_numbers"]

Numbers = Callable[[Any], Tensor]  # gives the numbers in the shape of ones


def _new(numbers: Numbers, *size: Any, **options: Any) -> Tensor:
    return numbers(torch.ones(*size, **options))


def _like(numbers: Numbers, x: Tensor, dtype: Any = None, device: Any = None, **_: Any) -> Tensor:
    return numbers(torch.ones(x.shape, dtype=dtype or x.dtype, device=device or x.device))


def _bernoulli(numbers: Numbers, x: Tensor, p: Any = None) -> Tensor:
    uniform = numbers(torch.ones(x.shape, dtype=torch.float32, device=x.device))
    return (uniform < (x if p is None else p)).to(x.dtype)


def _bernoulli_(numbers: Numbers, x: Tensor, p: Any = 0.5) -> Tensor:
    return x.copy_(_bernoulli(numbers, x, p))


def _uniform_(numbers: Numbers, x: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    return x.copy_(a + (b - a) * _like(numbers, x))


def _normal_(numbers: Numbers, x: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    return x.copy_(mean + std * _like(numbers, x))


def _normal(
    numbers: Numbers, mean: Any, std: Any = 1.0, size: Any = None, **options: Any
) -> Tensor:
    given = [part for part in (mean, std) if isinstance(part, Tensor)]
    if given:  # the numbers have the form of these
        size = torch.broadcast_shapes(*(part.shape for part in given))
        options = {"dtype": given[0].dtype, "device": given[0].device}
    return mean + std * numbers(torch.ones(size, **options))


_RULES: dict[Callable, Callable[..., Tensor]] = {
    **{torch.rand: _new, torch.randn: _new, torch.rand_like: _like, torch.randn_like: _like},
    **{torch.normal: _normal, torch.bernoulli: _bernoulli, Tensor.bernoulli: _bernoulli},
    **{Tensor.bernoulli_: _bernoulli_, Tensor.uniform_: _uniform_, Tensor.normal_: _normal_},
}


class _SharedNumbers(Mode):
    """Send the draws of some modules to the mode around this one, as dropouts over ones."""

    def __init__(self, drawn: Collection[nn.Module]) -> None:
        super().__init__()
        self.drawn = drawn

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Handle one torch function; torch calls this."""
        kwargs = kwargs or {}
        rule = _RULES.get(func)
        if rule and kwargs.get("generator") is None and kwargs.get("out") is None:
            owner = running_part(self.drawn)
            if owner is not None:
                kwargs.pop("generator", None)
                p = _rate_of(owner)
                return rule(partial(_as_dropout, func.__name__, p), *args, **kwargs)
        return func(*args, **kwargs)


def _as_dropout(name: str, p: float, ones: Tensor) -> Tensor:
    return STAND_INS[name](ones, p)


def _rate_of(owner: nn.Module) -> float:
    """Return the rate that a module gives itself, by the names that are in use; or else 1."""
    rates = (vars(owner).get(name) for name in ("p", "drop_prob", "drop_rate", "rate", "prob"))
    return next((float(p) for p in rates if isinstance(p, float | int) and 0 < p <= 1), 1.0)


def shared_numbers(forward: Callable, drawn: Collection[nn.Module]) -> Callable:
    """Return the forward pass with what some modules draw by hand taken as dropouts.

    Parameters
    ----------
    forward : callable
        The forward pass, run inside a mode that catches dropouts.
    drawn : collection of nn.Module
        The modules, in training mode.
    """

    def run(*args: Any) -> Any:
        with _SharedNumbers(drawn):
            return forward(*args)

    return run if drawn else forward


_registered: set[type] = set()


def register_dropout(kind: type) -> type:
    """Let a class of modules be drawn that drops by random numbers of its own.

    Where an instance draws by ``torch.rand``, ``rand_like``, ``randn``, ``randn_like``, ``normal``,
    ``bernoulli``, or a tensor's ``bernoulli_``, ``uniform_`` or ``normal_``, in numbers with one
    axis of rows or none, all rows share these numbers, as they share the mask of a dropout.

    Parameters
    ----------
    kind : type
        A subclass of ``torch.nn.Module``; its instances are in training mode while sampling.

    Returns
    -------
    type
        The class itself, so that this is a decorator as well.

    Raises
    ------
    TypeError
        If it is no such class.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout import dropout_sites, register_dropout
    >>> @register_dropout
    ... class Weaken(torch.nn.Module):
    ...     def forward(self, x):
    ...         return x * torch.rand_like(x) if self.training else x
    >>> net = torch.nn.Sequential(torch.nn.Dropout(0.1), Weaken())
    >>> [(site.path, site.kind) for site in dropout_sites(net, torch.ones(3, 2))]
    [('0', 'dropout'), ('1', 'rand_like')]
    """
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise TypeError(
            f"`kind` must be a subclass of `torch.nn.Module`. Got {kind!r}. Register the class of "
            "the modules that drop."
        )
    _registered.add(kind)
    return kind


def n_registered() -> int:
    """Count the classes that are registered."""
    return len(_registered)


# In the names of classes that drop, which draw by hand if torch's own do not do for them.
_NAMES = ("droppath", "dropblock", "dropconnect", "stochasticdepth", "dropout")


def is_known_dropout(part: nn.Module) -> bool:
    """Return whether a module is registered, or is by its name one that drops.

    What skips layers by chance has no name for it, but the attribute ``layerdrop``.
    """
    if isinstance(part, tuple(_registered)):
        return True
    if type(part).__module__.startswith(("torch.", "sk_mcdropout.")):
        return False
    name, own = type(part).__name__.lower(), vars(part)
    skips = own.get("layerdrop") or getattr(own.get("config"), "layerdrop", None)
    return bool(skips) or any(known in name for known in _NAMES)
