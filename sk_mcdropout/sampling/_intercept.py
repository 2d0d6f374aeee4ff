"""Catch every dropout call of a module and give it its mask.

Every dropout, written as a module or as a function, ends in a call of a torch function. A
`TorchFunctionMode` sees these calls while the module is in eval mode, so that nothing of the
module is replaced, hooked or switched to training.
"""

import itertools
from collections.abc import Callable
from typing import Any

from torch import Tensor

from ._composites import COMPOSITES, rate_of
from ._masks import KINDS, DropoutSite, Mask, Masks, fit_mask
from ._modes import Mode

__all__ = ["Call", "CallsChanged", "InterceptDropout", "check_calls", "masked_pass"]


class InterceptDropout(Mode):
    """Send each dropout call to ``on_dropout``, which returns its mask or None.

    Parameters
    ----------
    on_dropout : callable of (function, input, rate)
        Returns the mask, or None to pass the input on.
    on_result : callable of (function, result), optional
        Called with each other torch function and its result.
    inplace : bool
        Whether an in-place dropout writes into its input, or returns a new tensor.
    """

    def __init__(
        self, on_dropout: Callable, on_result: Callable | None = None, inplace: bool = True
    ) -> None:
        super().__init__()
        self.on_dropout = on_dropout
        self.on_result = on_result
        self.inplace = inplace

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Handle one torch function; torch calls this."""
        kwargs = kwargs or {}
        if func in KINDS:
            return self._dropout(func, *args, **kwargs)
        if func in COMPOSITES and rate_of(func, args, kwargs) > 0:
            return COMPOSITES[func](self._dropout, self, *args, **kwargs)
        result = func(*args, **kwargs)
        if self.on_result:
            self.on_result(func, result)
        return result

    def _dropout(self, func, input, p=0.5, training=None, inplace=False, *, train=None):
        mask = self.on_dropout(func, input, float(p))
        inplace = self.inplace and (inplace or func.__name__.endswith("_"))
        if mask is None:  # written all the same, so that the probe can tell
            return input.mul_(1) if inplace else input
        output = input.mul_(mask[0]) if inplace else input * mask[0]
        return output if len(mask) == 1 else output.add_(mask[1])


# The number, the kind and the rate of a dropout call.
Call = tuple[int, str, float]


class CallsChanged(Exception):
    """A forward pass made other dropout calls than those that were found before."""


def check_calls(made: list[Call], sites: tuple[DropoutSite, ...]) -> None:
    """Raise `CallsChanged` if a forward pass made other dropout calls than planned."""
    expected = [(site.call, site.kind, site.p) for site in sites]
    if made != expected:
        raise CallsChanged(f"a pass made the calls {made} in the place of {expected}")


def masked_pass(
    forward: Callable[[Any], Tensor],
    x: Any,
    masks: Masks,
    sites: tuple[DropoutSite, ...],
    inplace: bool = True,
) -> Tensor:
    """Run one forward pass; the i-th dropout call applies ``masks[i]``, if there is one."""
    site_of = {site.call: site for site in sites}
    made: list[Call] = []
    calls = itertools.count()

    def on_dropout(func: Callable, x: Tensor, p: float) -> Mask | None:
        call = next(calls)
        if p > 0:
            made.append((call, KINDS[func], p))
        return fit_mask(masks[call], site_of[call], x) if call in masks else None

    with InterceptDropout(on_dropout, inplace=inplace):
        output = forward(x)
    check_calls(made, sites)
    return output
