"""Dropout sites and their masks.

A dropout call multiplies its input by a mask, one mask per draw, shared by all rows. It is made of
uniform numbers, see `_uniforms.py`: the masks of a longer sequence go on where those of a shorter
one end.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

from ._functions import gaussian_dropout, number_of_draw
from ._uniforms import MASK_LAWS

__all__ = [
    "KINDS",
    "SEEDS",
    "STAND_INS",
    "DropoutSite",
    "Mask",
    "Masks",
    "count_draws",
    "count_rows_of",
    "draw_mask",
    "draw_masks",
    "dtype_name",
    "extremes",
    "fit_mask",
    "mask_shape",
    "take_draws",
    "unlike_masks",
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
        *(gaussian_dropout, number_of_draw),
    )
}


def _stand_in(draw: Callable) -> Callable:
    """Make a function that stands for the random numbers that a module draws by hand."""

    def numbers(ones: Tensor, p: float) -> Tensor:
        if has_torch_function((ones,)):
            return handle_torch_function(numbers, (ones,), ones, p)
        return draw(ones)

    return numbers


# By the names of the functions that draw; see `_numbers.py`.
_NORMAL = {"randn", "randn_like", "normal", "normal_"}
_UNIFORM = {"rand", "rand_like", "bernoulli", "bernoulli_", "uniform_"}
STAND_INS = {
    **{name: _stand_in(torch.randn_like) for name in _NORMAL},
    **{name: _stand_in(torch.rand_like) for name in _UNIFORM},
}
KINDS |= {function: name for name, function in STAND_INS.items()}

# The others drop whole channels.
_ELEMENTWISE = {"dropout", "alpha_dropout", "gaussian_dropout", "number_of_draw", *STAND_INS}

# The number of axes at which a channel-wise dropout takes its input for one item
# without a batch axis: the channels are then the first axis.
_UNBATCHED_NDIM = {F.dropout1d: 2, F.dropout3d: 4}


# The place among the masks where the seeds of the draws are: no dropout call has this number.
SEEDS = -1

Masks = dict[int, Mask]


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
    dtype : str
        Name of the mask's ``torch.dtype``, that of the input of the dropout.
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
    dtype: str = field(default="float32", repr=False)
    split: tuple[int, tuple[int, int]] | None = field(default=None, repr=False)

    @property
    def nbytes(self) -> int:
        """Number of bytes of the mask of one draw."""
        return math.prod(self.mask_shape) * getattr(torch, self.dtype).itemsize

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise ValueError(
                f"the rate must lie in [0, 1]. Got {self.p} in the submodule {self.path!r}."
            )


def draw_mask(
    site: DropoutSite,
    n_draws: int,
    seed: int,
    device: torch.device,
    first: int = 0,
    law: str = "iid",
) -> Mask:
    """Draw the masks of one dropout call.

    Parameters
    ----------
    site : DropoutSite
        The dropout call.
    n_draws : int
        Number of draws. The masks of a draw do not depend on it.
    seed : int
        Seed shared by all dropout calls.
    device : torch.device
        Where the masks are used; they are drawn on the CPU, the same for every device.
    first : int
        The first draw.
    law : str
        What the draws of a unit have to do with each other, a name in ``MASK_LAWS``.

    Returns
    -------
    tuple of Tensor, each of shape (n_draws, *site.mask_shape)
        ``(scale,)``, or ``(scale, shift)`` for alpha dropout.
    """
    if site.kind == "number_of_draw":
        return (_numbers_of_draws(site, torch.arange(first, first + n_draws), device),)
    size, draws = math.prod(site.mask_shape), range(first, first + n_draws)
    uniform = MASK_LAWS[law](size, draws, seed, site.call).reshape(n_draws, *site.mask_shape)
    if site.kind in STAND_INS:
        return (_numbers(site, uniform).to(device),)
    if site.kind == "gaussian_dropout":
        factors = 1 + math.sqrt(site.p / (1 - site.p)) * _normal(uniform)
        return (factors.to(getattr(torch, site.dtype)).to(device),)
    return _mask_of(torch.from_numpy(uniform >= site.p).to(device), site)


def unlike_masks(site: DropoutSite, device: torch.device) -> Mask:
    """Draw three masks: one with half of the units or so, the opposite one, and the first again.

    Draws that are alike, with another one between, cannot be kept apart by luck, as in a sort of
    all their rows.
    """
    if site.kind == "number_of_draw":
        return (_numbers_of_draws(site, torch.tensor([0, 1, 0]), device),)
    half = np.asarray(np.random.default_rng(site.call).random(site.mask_shape) < 0.5)
    keep = np.stack([half, ~half, half])
    if site.kind in STAND_INS:
        return (_numbers(site, np.where(keep, 0, 1 - 2**-24).astype(np.float32)).to(device),)
    site = replace(site, p=0.5) if site.p < 1 else site
    return _mask_of(torch.from_numpy(keep).to(device), site)


def _numbers_of_draws(site: DropoutSite, draws: Tensor, device: torch.device) -> Tensor:
    numbers = draws.to(device, getattr(torch, site.dtype)).view(-1, *[1] * len(site.mask_shape))
    return numbers.expand(-1, *site.mask_shape)


def _mask_of(keep: Tensor, site: DropoutSite) -> Mask:
    """Turn what is kept into the factors, and shifts, of a dropout call."""
    kept_and_dropped = [(1 / (1 - site.p) if site.p < 1 else 0.0, 0.0)]
    if "alpha" in site.kind and site.p < 1:  # at 1 torch returns zeros, as for each dropout
        # Klambauer et al. (2017), section 3: dropped units are set to the negative saturation,
        # then an affine map gives back mean and variance.
        a = ((1 - site.p) * (1 + site.p * _ALPHA**2)) ** -0.5
        kept_and_dropped = [(a, 0.0), (_ALPHA * a * site.p, _ALPHA * a * (site.p - 1))]
    dtype = getattr(torch, site.dtype)
    return tuple(_either(keep, kept, dropped, dtype) for kept, dropped in kept_and_dropped)


def _either(keep: Tensor, kept: float, dropped: float, dtype: torch.dtype) -> Tensor:
    if dropped == 0:  # in a fifth of the time
        return keep.to(dtype).mul_(kept)
    return torch.full(keep.shape, dropped, dtype=dtype, device=keep.device).masked_fill_(keep, kept)


def _numbers(site: DropoutSite, uniform: np.ndarray) -> Tensor:
    """Return the numbers of a function that draws by hand."""
    numbers, dtype = torch.from_numpy(uniform), getattr(torch, site.dtype)
    if site.kind in _NORMAL:
        return _normal(uniform).to(dtype)
    return numbers.to(dtype).clamp_(max=1 - torch.finfo(dtype).eps / 2)  # halves round up to 1


def _normal(uniform: np.ndarray) -> Tensor:
    """Return normal numbers: each of 2**24 in [0, 1) is the middle of what it stands for."""
    return torch.special.ndtri(torch.from_numpy(uniform).double() + 2**-25)


def extremes(mask: Mask) -> Mask:
    """Return random numbers at the ends of [0, 1), so that whatever they decide goes both ways."""
    return tuple(part.round().clamp_(max=1 - torch.finfo(part.dtype).eps / 2) for part in mask)


def mask_shape(func: Callable, x: Tensor) -> tuple[int, ...]:
    """Return the shape of the mask that a dropout function applies to x."""
    if KINDS[func] in _ELEMENTWISE:
        return tuple(x.shape)
    n_leading = 1 if x.ndim == _UNBATCHED_NDIM.get(func) else 2
    return (*x.shape[:n_leading], *(1 for _ in x.shape[n_leading:]))


def dtype_name(x: Tensor) -> str:
    """Return the name of a tensor's dtype, such as ``"float32"``."""
    return str(x.dtype).removeprefix("torch.")


def count_rows_of(site: DropoutSite, func: Callable, x: Tensor) -> int | None:
    """Count the rows in the input of a dropout call; None if it is another call than planned."""
    shape = mask_shape(func, x)
    if site.split is not None:
        axis, sizes = site.split
        length = max(sizes)
        if len(shape) <= axis or shape[axis] % length:
            return None
        whole = (shape[axis] // length if size == -1 else size for size in sizes)
        shape = (*shape[:axis], *whole, *shape[axis + 1 :])
    rows = site.row_axis
    if rows is None:
        return 0 if shape == site.mask_shape else None
    if len(shape) != len(site.mask_shape) or dtype_name(x) != site.dtype:
        return None
    same = (*shape[:rows], 1, *shape[rows + 1 :]) == site.mask_shape
    return shape[rows] if same else None


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


def take_draws(masks: Masks, draws: int | slice) -> Masks:
    """Take the masks of some draws, or of one."""
    return {call: tuple(part[draws] for part in mask) for call, mask in masks.items()}


def count_draws(masks: Masks) -> int:
    return len(next(iter(masks.values()))[0])


def draw_masks(
    sites: Sequence[DropoutSite],
    n_draws: int,
    seed: int,
    device: torch.device,
    seeds: bool = False,
    first: int = 0,
    law: str = "iid",
) -> Masks:
    """Draw the masks of all dropout calls; small ones are cached.

    With ``seeds`` the loop also seeds torch before each draw, for modules that draw by themselves.
    """
    masks: Masks = {}
    if seeds:
        some = np.random.default_rng([seed, 2**32 - 1]).integers(2**31, size=n_draws)
        masks[SEEDS] = (torch.from_numpy(some),)
    for site in sites:
        small = n_draws * math.prod(site.mask_shape) <= _CACHED_SIZE
        draw = _cached_mask if small else draw_mask
        masks[site.call] = draw(site, n_draws, seed, device, first, law)
    return masks


_CACHED_SIZE = 2**18
_cached_mask = lru_cache(maxsize=32)(draw_mask)
