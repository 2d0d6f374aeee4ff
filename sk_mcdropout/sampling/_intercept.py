"""Find the dropouts of a module and give each of them its masks.

Every dropout, written as a module or as a function, ends in a call of a torch
function. A `TorchFunctionMode` sees these calls while the module is in eval mode,
so that nothing of the module is replaced, hooked or switched to training.

A dropout call multiplies its input by a mask, one mask per draw, shared by all rows.
The mask of the i-th call comes from ``default_rng([seed, i])``, draws first.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ._composites import COMPOSITES, rate_of

__all__ = [
    "KINDS",
    "CallsChanged",
    "DropoutSite",
    "InterceptDropout",
    "Mask",
    "check_calls",
    "draw_mask",
    "fit_mask",
    "mask_shape",
]

# The tensors of one dropout call: ``(scale,)`` or, for alpha dropout, ``(scale, shift)``.
Mask = tuple[Tensor, ...]

# The saturation value of SELU with its sign turned, Klambauer et al. (2017), section 3.
_ALPHA = 1.6732632423543772 * 1.0507009873554805

# The name of a function says what it does: with "alpha" it sets units to the saturation of SELU,
# with a trailing underscore it writes into its input.
KINDS: dict[Callable, str] = {
    function: function.__name__.removesuffix("_")
    for function in (
        *(F.dropout, F.dropout1d, F.dropout2d, F.dropout3d),
        *(F.alpha_dropout, F.feature_alpha_dropout),
        *(torch.dropout, torch.dropout_, torch.feature_dropout, torch.feature_dropout_),
        *(torch.alpha_dropout, torch.alpha_dropout_),
        *(torch.feature_alpha_dropout, torch.feature_alpha_dropout_),
    )
}
_ELEMENTWISE = {"dropout", "alpha_dropout"}  # the others drop whole channels

# The number of axes at which a channel-wise dropout takes its input for one item
# without a batch axis: the channels are then the first axis.
_UNBATCHED_NDIM = {F.dropout1d: 2, F.dropout3d: 4}


@dataclass(frozen=True)
class DropoutSite:
    """One dropout call of a module.

    Parameters
    ----------
    path : str
        Name of the submodule that makes the call, as in ``named_modules``; empty for
        the module itself.
    kind : str
        Name of the dropout function, such as ``"dropout"`` or ``"alpha_dropout"``.
    p : float
        Dropout rate.
    mask_shape : tuple of int
        Shape of the mask of one draw. The axis of the rows has length 1: all rows share
        the mask.
    call : int
        Number of the call in one forward pass, from 0. Dropouts of rate 0 count too.
    row_axis : int or None
        Axis of the rows in the input of the dropout; None if the mask has no such axis.
    dtype : torch.dtype
        Type of the numbers in the mask, that of the input of the dropout.
    split : tuple of int and pair of int, or None
        The axis that the rows share with something else and the two sizes it is made of, -1
        for the rows; ``mask_shape`` and ``row_axis`` are those after this split.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout import dropout_sites
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Dropout(0.1))
    >>> dropout_sites(net, torch.zeros(5, 2))
    [DropoutSite(path='1', kind='dropout', p=0.1, mask_shape=(1, 8), call=0, row_axis=0)]
    """

    path: str
    kind: str
    p: float
    mask_shape: tuple[int, ...]
    call: int
    row_axis: int | None
    dtype: torch.dtype = field(default=torch.float32, repr=False)
    split: tuple[int, tuple[int, int]] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise ValueError(
                f"the rate must lie in [0, 1]. Got {self.p} in the submodule {self.path!r}."
            )


def draw_mask(site: DropoutSite, n_draws: int, seed: int, device: torch.device) -> Mask:
    """Draw the masks of one dropout call.

    Parameters
    ----------
    site : DropoutSite
        The dropout call.
    n_draws : int
        Number of draws. The first masks do not depend on it.
    seed : int
        Seed shared by all dropout calls.
    device : torch.device
        Where the masks are used; they are drawn on the CPU, the same for every device.

    Returns
    -------
    tuple of Tensor, each of shape (n_draws, *site.mask_shape)
        ``(scale,)``, or ``(scale, shift)`` for alpha dropout.
    """
    generator = np.random.default_rng([seed, site.call])
    uniform = generator.random((n_draws, *site.mask_shape), dtype=np.float32)
    keep = torch.from_numpy(uniform >= site.p).to(device)
    kept_and_dropped = [(1 / (1 - site.p) if site.p < 1 else 0.0, 0.0)]
    if "alpha" in site.kind and site.p < 1:  # at 1 torch answers zeros, as for each dropout
        # Klambauer et al. (2017), section 3: dropped units are set to the negative saturation,
        # then an affine map gives back mean and variance.
        a = ((1 - site.p) * (1 + site.p * _ALPHA**2)) ** -0.5
        kept_and_dropped = [(a, 0.0), (_ALPHA * a * site.p, _ALPHA * a * (site.p - 1))]
    return tuple(
        torch.full(keep.shape, dropped, dtype=site.dtype, device=device).masked_fill_(keep, kept)
        for kept, dropped in kept_and_dropped
    )


class InterceptDropout(TorchFunctionMode):
    """Send each dropout call to ``on_dropout``, which answers its mask or None.

    Parameters
    ----------
    on_dropout : callable of (function, input, rate)
        Returns the mask, or None to pass the input on.
    on_result : callable of (function, result), optional
        Is told the result of each other torch function.
    inplace : bool
        Whether an in-place dropout writes into its input, or answers a new tensor.
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


def mask_shape(func: Callable, x: Tensor) -> tuple[int, ...]:
    """Answer the shape of the mask that a dropout function gives to x."""
    if KINDS[func] in _ELEMENTWISE:
        return tuple(x.shape)
    n_leading = 1 if x.ndim == _UNBATCHED_NDIM.get(func) else 2
    return (*x.shape[:n_leading], *(1 for _ in x.shape[n_leading:]))


def fit_mask(mask: Mask, site: DropoutSite, x: Tensor) -> Mask:
    """Bring a mask to the shape of x where its rows share an axis with something else."""
    if site.split is None:
        return mask
    shape = list(x.unflatten(*site.split).shape)
    for axis, size in enumerate(site.mask_shape):
        if size == 1 and axis != site.row_axis:
            shape[axis] = 1
    axis = site.split[0]
    return tuple(part.expand(shape).flatten(axis, axis + 1) for part in mask)


class CallsChanged(Exception):
    """A forward pass made other dropout calls than those that were found before."""


def check_calls(made: list[tuple[int, float]], sites: tuple[DropoutSite, ...]) -> None:
    """Refuse a forward pass whose dropout calls, as pairs of number and rate, are others."""
    expected = [(site.call, site.p) for site in sites]
    if made != expected:
        raise CallsChanged(f"a pass made the calls and rates {made} in the place of {expected}")
