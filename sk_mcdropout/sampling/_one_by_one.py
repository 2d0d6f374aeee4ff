"""Draw for one part of the input after the other, each with the dropout calls that it makes.

This is for rows of which each goes its own way, and takes every module.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from ._choice import agree_over_draws
from ._intercept import InterceptDropout, PlannedCalls
from ._masks import (
    KINDS,
    DropoutSite,
    Mask,
    Masks,
    draw_mask,
    draw_masks,
    dtype_name,
    mask_shape,
)
from ._strategies import Forward, map_over_masks, seed_draw

__all__ = ["one_by_one"]

# The widest activation of so many draws of one part, and their masks, take no more than this.
_MOST_BYTES = 32 * 2**20
# The draws that are mapped over are held against so many that are made one after the other.
_N_CHECKED = 2
# Parts for which the masks of a draw are made once.
_AT_ONCE = 32


def one_by_one(
    forward: Forward,
    parts: Iterable[Any],
    n_draws: int,
    seed: int,
    device: torch.device,
    seeds: bool = False,
    law: str = "iid",
) -> Iterator[Tensor]:
    """Draw for each part of the input by itself.

    The draws of a part are mapped over where it takes that, or else made one after the other.

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
    law : str
        The law of the masks.

    Yields
    ------
    Tensor of shape (n_draws, n_rows, ...)
        The draws for the rows of the next parts.
    """
    before_each = draw_masks((), n_draws, seed, device, seeds)
    maps = not seeds and n_draws > 2 * _N_CHECKED
    masks_of = lru_cache(maxsize=1)(partial(draw_masks, seed=seed, device=device, law=law))

    def passes(some: list[Any], t: int) -> list[_OwnPass]:
        mask_of = cache(partial(_mask_of_draw, seed, device, law, t))
        return [_OwnPass(forward, part, mask_of, before_each, t) for part in some]

    for some in _batched(parts, _AT_ONCE):
        draws = [passes(some, t) for t in range(min(_N_CHECKED, n_draws))]
        mapped: list[Tensor] = []
        for each in zip(*draws, strict=True) if maps else ():
            found = _mapped(forward, some[len(mapped)], each, n_draws, masks_of)
            if found is None:  # so will it be for the others
                maps = False
                break
            mapped.append(found)
        if mapped:
            yield torch.cat(mapped, 1)
        if rest := some[len(mapped) :]:
            outputs = [[own.output for own in draw[len(mapped) :]] for draw in draws]
            outputs += [[own.output for own in passes(rest, t)] for t in range(len(draws), n_draws)]
            yield torch.stack([torch.cat(draw) for draw in outputs])


def _mask_of_draw(seed: int, device: torch.device, law: str, t: int, site: DropoutSite) -> Mask:
    return tuple(part[0] for part in draw_mask(site, 1, seed, device, t, law))


def _batched(parts: Iterable[Any], size: int) -> Iterator[list]:  # itertools has it from 3.12 on
    parts = iter(parts)
    while some := [*itertools.islice(parts, size)]:
        yield some


class _OwnPass:
    """One pass, with a mask for each dropout call that it makes; knows the calls and the widest."""

    def __init__(
        self,
        forward: Forward,
        x: Any,
        mask_of: Callable[[DropoutSite], Mask],
        before_each: Masks,
        t: int,
    ) -> None:
        self.mask_of = mask_of
        self.sites: list[DropoutSite] = []
        self.n_calls = self.widest = 0
        seed_draw(before_each, t)
        with InterceptDropout(self._on_dropout, on_result=self._on_result):
            self.output = forward(x)

    def _on_dropout(self, func: Callable, x: Tensor, p: float) -> Mask | None:
        call, self.n_calls = self.n_calls, self.n_calls + 1
        if p == 0:
            return None
        site = DropoutSite("", KINDS[func], p, mask_shape(func, x), call, None, dtype_name(x))
        self.sites.append(site)
        return self.mask_of(site)

    def _on_result(self, func: Callable, result: Any) -> None:
        if isinstance(result, Tensor):
            self.widest = max(self.widest, result.nbytes)


def _mapped(
    forward: Forward,
    x: Any,
    checked: Sequence[_OwnPass],
    n_draws: int,
    masks_of: Callable[..., Masks],
) -> Tensor | None:
    """Return the draws for x by mapping over the masks, if they are those that are known."""
    sites = tuple(checked[0].sites)
    size = checked[0].widest + sum(4 * math.prod(site.mask_shape) for site in sites)
    at_once = min(n_draws, _MOST_BYTES // max(1, size))
    if not sites or at_once <= 2 * _N_CHECKED:
        return None
    try:
        parts = []
        for t in range(0, n_draws, at_once):
            masks = masks_of(sites, min(at_once, n_draws - t), first=t)
            parts.append(map_over_masks(forward, x, masks, lambda: PlannedCalls(sites, ())))
        draws = torch.cat(parts)
    except Exception:  # of whatever torch does not map
        return None
    known = torch.stack([own.output for own in checked])
    return draws if agree_over_draws(draws[: len(known)], known) else None
