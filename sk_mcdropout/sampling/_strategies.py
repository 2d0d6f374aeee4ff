"""Strategies that apply the masks of many draws; they differ in speed and in what they take.

Each takes the forward pass, an input, the masks of its dropout calls and the calls, and returns
the draws, of shape (n_draws, n_rows, ...). The loop takes every module; the others are held
against it.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ._deferred import by_thinning, by_weights
from ._in_place import WriteOnCopies
from ._intercept import PlannedCalls, masked_pass
from ._mapped import AskOnce
from ._masks import (
    SEEDS,
    DropoutSite,
    Masks,
    count_draws,
    take_draws,
)
from ._questions import Answer
from ._randomness import seed_generators
from ._rows import count_rows, map_tensors

__all__ = ["STRATEGIES", "Forward", "map_over_masks", "seed_draw", "thinning_pays"]

Forward = Callable[[Any], Tensor]
Sites = tuple[DropoutSite, ...]
Answers = Sequence[Answer] | None


def _by_vmap(
    forward: Forward, x: Any, masks: Masks, sites: Sites, answers: Answers = None
) -> Tensor:
    """Map over the masks; what comes before the first dropout is computed once."""
    n_rows = count_rows(x)
    return map_over_masks(forward, x, masks, lambda: PlannedCalls(sites, [n_rows], answers))


def map_over_masks(
    forward: Forward, x: Any, masks: Masks, planned: Callable[[], PlannedCalls]
) -> Tensor:
    """Return the draws for x, by `torch.vmap`, while the pass makes the planned calls."""

    def all_draws(masks: Masks) -> Tensor:
        with WriteOnCopies(next(iter(masks.values()))[0]) as mode:
            output = masked_pass(forward, x, masks, planned(), AskOnce)
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
        seed_draw(masks, t)
        calls = PlannedCalls(sites, [n_rows], answers)
        draws.append(masked_pass(forward, x, take_draws(masks, t), calls))
    return torch.stack(draws)


def seed_draw(masks: Masks, t: int) -> None:
    """Seed the generators for a draw, if there are modules that draw by themselves."""
    if SEEDS in masks:
        seed_generators(int(masks[SEEDS][0][t]))


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
    sites = tuple(site for site in sites if site.kind != "gaussian_dropout")  # which drops nothing
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
