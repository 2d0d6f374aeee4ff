"""Strategies that apply the masks of many draws; they differ in speed and in what they take.

Each takes the forward pass, an input, the masks of its dropout calls and the calls, and returns
the draws, of shape (n_draws, n_rows, ...). The loop takes every module; the others are held
against it.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from ._deferred import by_thinning, by_weights
from ._eval_mode import seed_generators
from ._intercept import InterceptDropout, masked_pass
from ._masks import (
    KINDS,
    SEEDS,
    DropoutSite,
    Mask,
    Masks,
    count_draws,
    draw_mask,
    draw_masks,
    dtype_name,
    mask_shape,
    take_draws,
)
from ._rows import count_rows, first_rows, map_tensors

__all__ = ["STRATEGIES", "Forward", "agree", "agreeing_strategies", "row_by_row", "thinning_pays"]

Forward = Callable[[Any], Tensor]
Sites = tuple[DropoutSite, ...]


def _by_vmap(forward: Forward, x: Any, masks: Masks, sites: Sites) -> Tensor:
    """Map over the masks; what comes before the first dropout is computed once."""
    return torch.vmap(lambda masks: masked_pass(forward, x, masks, sites, inplace=False))(masks)


def _by_fold(forward: Forward, x: Any, masks: Masks, sites: Sites) -> Tensor:
    """Repeat the rows once per draw and run one pass over all of them."""
    n_draws, n_rows = count_draws(masks), count_rows(x)
    repeated = map_tensors(lambda t: t.repeat(n_draws, *[1] * (t.ndim - 1)), x)
    folded = {
        site.call: tuple(_fold_mask(part, site, n_rows) for part in masks[site.call])
        for site in sites
    }
    return masked_pass(forward, repeated, folded, sites).unflatten(0, (n_draws, n_rows))


def _fold_mask(mask: Tensor, site: DropoutSite, n_rows: int) -> Tensor:
    axis = site.row_axis
    if axis is None:
        raise ValueError(f"the dropout at {site.path!r} has no axis of rows to fold the draws into")
    return mask.movedim(0, axis).repeat_interleave(n_rows, dim=axis).squeeze(axis + 1)


def _by_loop(forward: Forward, x: Any, masks: Masks, sites: Sites) -> Tensor:
    """Run one pass per draw."""
    draws = []
    for t in range(count_draws(masks)):
        _seed(masks, t)
        draws.append(masked_pass(forward, x, take_draws(masks, t), sites))
    return torch.stack(draws)


def _seed(masks: Masks, t: int) -> None:
    """Seed the generators for a draw, if there are modules that draw by themselves."""
    if SEEDS in masks:
        seed_generators(int(masks[SEEDS][0][t]))


def row_by_row(
    forward: Forward, x: Any, n_draws: int, seed: int, device: torch.device, seeds: bool = False
) -> Iterator[Tensor]:
    """Yield the draws for one row after the other: each makes the dropout calls that it needs.

    Parameters
    ----------
    forward : callable
        Returns the output for an input.
    x : Tensor, mapping or sequence of Tensor
        The input.
    n_draws : int
        Number of draws.
    seed : int
        Seed of the masks. A call has the masks that it has in a batch.
    device : torch.device
        Where the module is.
    seeds : bool
        Whether to seed torch before each draw.

    Yields
    ------
    Tensor of shape (n_draws, 1, ...)
        The draws for the next row.
    """
    masks_of = cache(partial(draw_mask, n_draws=n_draws, seed=seed, device=device))
    before_each = draw_masks((), n_draws, seed, device, seeds)
    for i in range(count_rows(x)):
        row = map_tensors(partial(torch.narrow, dim=0, start=i, length=1), x)
        own_pass = partial(_own_pass, forward, row, masks_of, before_each)
        yield torch.stack([own_pass(t) for t in range(n_draws)])


def _own_pass(forward: Forward, row: Any, masks_of: Callable, before: Masks, t: int) -> Tensor:
    """Run one pass of one row, with masks for each dropout call that it makes."""
    calls = itertools.count()

    def on_dropout(func: Callable, x: Tensor, p: float) -> Mask | None:
        call = next(calls)
        if p == 0:
            return None
        site = DropoutSite("", KINDS[func], p, mask_shape(func, x), call, None, dtype_name(x))
        return tuple(part[t] for part in masks_of(site))

    _seed(before, t)
    with InterceptDropout(on_dropout):
        return forward(row)


STRATEGIES: dict[str, Callable[[Forward, Any, Masks, Sites], Tensor]] = {
    "weights": by_weights,
    "thinned": by_thinning,
    "vmap": _by_vmap,
    "fold": _by_fold,
    "loop": _by_loop,
}


def agreeing_strategies(
    forward: Forward, x: Any, sites: Sites, device: torch.device
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Find the strategies to use: those that give what the loop gives for a few draws.

    Parameters
    ----------
    forward : callable
        Returns the output for an input.
    x : Tensor, mapping or sequence of Tensor
        The input; three of its rows are used.
    sites : tuple of DropoutSite
        The dropout calls.
    device : torch.device
        Where the module is.

    Returns
    -------
    tuple of str
        The first strategy that agrees; after ``"weights"`` also ``"thinned"`` if it agrees.
    dict
        For each strategy that was tried and refused, the reason.
    """
    rows = first_rows(x, 3)
    masks = draw_masks(sites, 2, 0, device)
    expected = _by_loop(forward, rows, masks, sites)
    agreeing: list[str] = []
    refused: dict[str, str] = {}
    for name, strategy in STRATEGIES.items():
        if agreeing and name != "thinned":
            break
        try:
            actual = strategy(forward, rows, masks, sites)
        except Exception as error:  # whatever a strategy cannot do, the loop can
            refused[name] = str(error).strip().partition("\n")[0] or type(error).__name__
            continue
        if agree(actual, expected):
            agreeing.append(name)
        else:
            refused[name] = "its draws were not those of the loop"
    return tuple(agreeing) or ("loop",), refused


def thinning_pays(site: DropoutSite, n_rows: int) -> bool:
    """Return whether leaving out the units that a dropout drops saves more than it costs."""
    if len(site.mask_shape) < 2 or {*site.mask_shape[2:]} - {1}:  # not units or channels
        return False
    width, kept = site.mask_shape[1], 1 - site.p
    if len(site.mask_shape) == 2:
        return n_rows >= _LEAST_ROWS and width * (1 - kept**2) >= _LEAST_SAVED
    blocks = math.ceil(width * kept / _BLOCK) * _BLOCK
    return n_rows >= _LEAST_IMAGES and blocks <= _MOST_BLOCKS * width


# Thinning gathers weights for each draw. For linear layers it pays from so many rows and saved
# units on; for convolutions, which compute channels in blocks, if enough blocks are saved.
_LEAST_ROWS, _LEAST_IMAGES = 100, 20
_LEAST_SAVED = 64
_BLOCK, _MOST_BLOCKS = 16, 0.75


def agree(actual: Tensor, expected: Tensor) -> bool:
    """Return whether two results are equal up to rounding."""
    tolerance = torch.finfo(expected.dtype).eps ** 0.5
    size = expected.abs().nan_to_num(0, 0, 0).max().item()
    return actual.shape == expected.shape and torch.allclose(
        actual, expected, rtol=tolerance, atol=tolerance * size, equal_nan=True
    )
