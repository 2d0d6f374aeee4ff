"""Strategies that apply the masks of many draws; they differ in speed and in what they take.

Each takes the forward pass, an input, the masks of its dropout calls and the calls, and returns
the draws, of shape (n_draws, n_rows, ...). The loop takes every module; the others are held
against it.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ._deferred import by_thinning, by_weights
from ._in_place import WriteOnCopies
from ._intercept import InterceptDropout, PlannedCalls, masked_pass
from ._mapped import AskOnce
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
from ._questions import Answer
from ._randomness import seed_generators
from ._rows import count_rows, map_tensors

__all__ = ["STRATEGIES", "Forward", "one_by_one", "thinning_pays"]

Forward = Callable[[Any], Tensor]
Sites = tuple[DropoutSite, ...]
Answers = Sequence[Answer] | None


def _by_vmap(
    forward: Forward, x: Any, masks: Masks, sites: Sites, answers: Answers = None
) -> Tensor:
    """Map over the masks; what comes before the first dropout is computed once."""
    n_rows = count_rows(x)

    def all_draws(masks: Masks) -> Tensor:
        calls = PlannedCalls(sites, [n_rows], answers)
        with WriteOnCopies(next(iter(masks.values()))[0]) as mode:
            output = masked_pass(forward, x, masks, calls, AskOnce)
        return mode.replaced(output)

    return torch.vmap(all_draws)(masks)


def _by_fold(
    forward: Forward, x: Any, masks: Masks, sites: Sites, answers: Answers = None
) -> Tensor:
    """Repeat the rows once per draw and run one pass over all of them."""
    n_draws, n_rows = count_draws(masks), count_rows(x)
    repeated = map_tensors(lambda t: t.repeat(n_draws, *[1] * (t.ndim - 1)), x)
    folded = {
        site.call: tuple(_fold_mask(part, site, n_rows) for part in masks[site.call])
        for site in sites
    }
    calls = PlannedCalls(sites, [n_draws * n_rows], answers)
    return masked_pass(forward, repeated, folded, calls).unflatten(0, (n_draws, n_rows))


def _fold_mask(mask: Tensor, site: DropoutSite, n_rows: int) -> Tensor:
    axis = site.row_axis
    if axis is None:
        raise ValueError(f"the dropout at {site.path!r} has no axis of rows to fold the draws into")
    return mask.movedim(0, axis).repeat_interleave(n_rows, dim=axis).squeeze(axis + 1)


def _by_loop(
    forward: Forward, x: Any, masks: Masks, sites: Sites, answers: Answers = None
) -> Tensor:
    """Run one pass per draw."""
    n_rows, draws = count_rows(x), []
    for t in range(count_draws(masks)):
        _seed(masks, t)
        calls = PlannedCalls(sites, [n_rows], answers)
        draws.append(masked_pass(forward, x, take_draws(masks, t), calls))
    return torch.stack(draws)


def _seed(masks: Masks, t: int) -> None:
    """Seed the generators for a draw, if there are modules that draw by themselves."""
    if SEEDS in masks:
        seed_generators(int(masks[SEEDS][0][t]))


def one_by_one(
    forward: Forward,
    parts: Iterable[Any],
    n_draws: int,
    seed: int,
    device: torch.device,
    seeds: bool = False,
) -> Iterator[Tensor]:
    """Run one pass per part of the input and draw, with masks for the calls that each pass makes.

    Parameters
    ----------
    forward : callable
        Returns the output for an input.
    parts : iterable of Tensor, mapping or sequence of Tensor
        The parts, such as single rows.
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
    Tensor of shape (n_draws, n_rows, ...)
        The draws for the rows of the next parts.
    """
    before_each = draw_masks((), n_draws, seed, device, seeds)
    for some in _batched(parts, _AT_ONCE):
        draws = (_one_draw(forward, some, seed, device, before_each, t) for t in range(n_draws))
        yield torch.stack([*draws])


def _one_draw(
    forward: Forward, parts: list, seed: int, device: torch.device, before: Masks, t: int
) -> Tensor:
    """Run one pass of each part, with the masks of one draw."""

    @cache
    def mask_of(site: DropoutSite) -> Mask:
        return tuple(part[0] for part in draw_mask(site, 1, seed, device, first=t))

    outputs = []
    for part in parts:
        _seed(before, t)
        outputs.append(_own_pass(forward, part, mask_of))
    return torch.cat(outputs)


# Parts for which the masks of a draw are made once.
_AT_ONCE = 32


def _batched(parts: Iterable[Any], size: int) -> Iterator[list]:  # itertools has it from 3.12 on
    parts = iter(parts)
    while some := [*itertools.islice(parts, size)]:
        yield some


def _own_pass(forward: Forward, row: Any, mask_of: Callable[[DropoutSite], Mask]) -> Tensor:
    """Run one pass, with a mask for each dropout call that it makes."""
    calls = itertools.count()

    def on_dropout(func: Callable, x: Tensor, p: float) -> Mask | None:
        call = next(calls)
        if p == 0:
            return None
        shape = mask_shape(func, x)
        return mask_of(DropoutSite("", KINDS[func], p, shape, call, None, dtype_name(x)))

    with InterceptDropout(on_dropout):
        return forward(row)


# Each is called with (forward, x, masks, sites) and, optionally, the answers that must be got.
STRATEGIES: dict[str, Callable[..., Tensor]] = {
    "weights": by_weights,
    "thinned": by_thinning,
    "vmap": _by_vmap,
    "fold": _by_fold,
    "loop": _by_loop,
}


def thinning_pays(sites: Sites, n_rows: int) -> bool:
    """Return whether leaving out the units that dropouts drop saves more than it costs.

    Parameters
    ----------
    sites : tuple of DropoutSite
        The dropout calls.
    n_rows : int
        Number of rows at once.

    Returns
    -------
    bool
        Whether the widths of dropouts that follow each other, with a layer between them, or
        those of channels, let it pay.
    """
    # What follows the last dropout is mostly a narrow output, for which it does not pay.
    pairs = any(_saves_units(*pair) for pair in itertools.pairwise(sites))
    channels = any(_saves_channels(site) for site in sites)
    return (pairs and n_rows >= _LEAST_ROWS) or (channels and n_rows >= _LEAST_IMAGES)


def _saves_units(before: DropoutSite, after: DropoutSite) -> bool:
    """Return whether enough is left out of a linear layer between two dropouts."""
    if len(before.mask_shape) != 2 or len(after.mask_shape) != 2:
        return False
    width = min(before.mask_shape[1], after.mask_shape[1])
    return width * (1 - (1 - before.p) * (1 - after.p)) >= _LEAST_SAVED


def _saves_channels(site: DropoutSite) -> bool:
    if len(site.mask_shape) < 3 or {*site.mask_shape[2:]} - {1}:
        return False
    width = site.mask_shape[1]
    return math.ceil(width * (1 - site.p) / _BLOCK) * _BLOCK <= _MOST_BLOCKS * width


# Thinning gathers weights for each draw. For linear layers it pays from so many rows and saved
# units on; for convolutions, which compute channels in blocks, if enough blocks are saved.
_LEAST_ROWS, _LEAST_IMAGES = 100, 20
_LEAST_SAVED = 64
_BLOCK, _MOST_BLOCKS = 16, 0.75
