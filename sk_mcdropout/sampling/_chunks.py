"""Carry a plan out: some rows after the other, with all their draws at once, in bounded memory."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ._intercept import masked_pass
from ._masks import Masks, draw_masks, take_draws
from ._plan import Plan, warn, without_writes
from ._probe import noisy
from ._rows import count_rows, first_rows, map_tensors
from ._strategies import STRATEGIES, Forward, row_by_row

__all__ = ["chunks", "has_effect"]

# Bytes that the activations of one chunk of rows may take. On a CPU they stay near the cache;
# a single row with all its draws may take more, up to the limit.
_CPU_CHUNK = 4 * 2**20
_CPU_LIMIT = 256 * 2**20
_GPU_SHARE = 0.25


@dataclass(frozen=True)
class _Size:
    """How many rows and draws to take at once."""

    rows: int
    draws: int

    def halved(self) -> "_Size":
        if self.rows > 1:
            return replace(self, rows=self.rows // 2)
        return replace(self, draws=self.draws // 2)


def chunks(
    plan: Plan, forward: Forward, x: Any, n_draws: int, seed: int, batch_size: int | None = None
) -> Iterator[Tensor]:
    """Yield the draws for one chunk of rows after the other.

    Parameters
    ----------
    plan : Plan
        What `make_plan` found for an input of this kind.
    forward : callable
        Returns the output for an input.
    x : Tensor, mapping or sequence of Tensor
        The input.
    n_draws : int
        Number of draws.
    seed : int
        Seed of the masks.
    batch_size : int, optional
        Number of rows at once; by default as many as fit into the memory budget.

    Yields
    ------
    Tensor of shape (n_draws, n_chunk_rows, ...)
        The draws for the next rows.

    Raises
    ------
    CallsChanged
        If the module makes other dropout calls than planned.
    """
    forward, seeds = without_writes(forward, plan), bool(plan.extra_dropout)
    if plan.found.varies:
        _warn_of_single_rows()
        yield from row_by_row(forward, x, n_draws, seed, plan.device, seeds)
        return
    n_rows, start = count_rows(x), 0
    masks = draw_masks(plan.sites, n_draws, seed, plan.device, seeds)
    strategy = plan.strategy(n_rows)
    run = partial(_run, plan, forward, strategy, masks, n_draws)
    size = _first_size(plan, strategy, n_draws, n_rows, batch_size)
    while start < n_rows:
        chunk = map_tensors(partial(_rows_of, start, size.rows), x)
        draws = _unless_out_of_memory(run, chunk, size)
        if draws is None:
            size = size.halved()
            continue
        yield draws
        start += size.rows


def _rows_of(start: int, n_rows: int, x: Tensor) -> Tensor:
    return x[start : start + n_rows]


def _unless_out_of_memory(run: Any, x: Any, size: _Size) -> Tensor | None:
    """Run a chunk; return None where there is no memory for it, and a smaller one can be tried."""
    try:
        return run(x, size.draws)
    except RuntimeError as error:
        if not _is_out_of_memory(error) or size.rows == size.draws == 1:
            raise
    # Outside of the handler, so that the failed pass holds no memory any more.
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    return None


def _run(
    plan: Plan,
    forward: Forward,
    strategy: str,
    masks: Masks,
    n_draws: int,
    x: Any,
    draws_at_once: int,
) -> Tensor:
    if not masks:
        masked_pass(forward, x, {}, ())  # there may be a dropout by now
        output = forward(x)  # which may be faster without a mode around it
        return output.expand(n_draws, *output.shape)
    apply_masks = STRATEGIES[strategy]
    parts = [
        apply_masks(forward, x, take_draws(masks, slice(t, t + draws_at_once)), plan.sites)
        for t in range(0, n_draws, draws_at_once)
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _first_size(
    plan: Plan, strategy: str, n_draws: int, n_rows: int, batch_size: int | None
) -> _Size:
    """Return how many rows and draws to take at once, in chunks of one size."""
    if plan.device.type == "cuda":
        budget = limit = int(_GPU_SHARE * torch.cuda.mem_get_info(plan.device)[0])
    else:
        budget, limit = _CPU_CHUNK, _CPU_LIMIT
    found = plan.found
    per_draw = max(1, found.bytes_after)
    if strategy in ("vmap", "fold"):  # which multiply the input of the first dropout, too
        per_draw = max(per_draw, found.bytes_masked)
    at_once = 1 if strategy in ("loop", "thinned") else n_draws
    rows = max(1, budget // (max(found.bytes_before, found.bytes_masked) + at_once * per_draw))
    draws = n_draws if at_once == 1 else max(1, limit // (rows * per_draw))
    n_chunks = -(-n_rows // rows)
    rows = min(batch_size or -(-n_rows // n_chunks), n_rows)
    return _Size(rows, min(n_draws, draws))


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _warn_of_single_rows() -> None:
    warn(
        "the module should make the same dropout calls for all rows. Got calls that depend on the "
        "values of the input, as in a loop that runs until something holds. Each row is sampled by "
        "itself, one draw after the other, which is slow."
    )


def has_effect(plan: Plan, forward: Forward, x: Any) -> bool:
    """Return whether the dropouts change the output for random inputs of the form of x.

    For some rows all draws are equal by right, as for zeros before a dropout. Here random numbers
    are passed, with half of all units dropped.
    """
    sites = [replace(site, p=0.5) for site in plan.sites if site.p < 1]
    masks = draw_masks(sites, 8, 0, plan.device)
    if not masks:
        return True
    forward, rows = without_writes(forward, plan), first_rows(x, 3)
    for numbers in (map_tensors(noisy, rows), map_tensors(lambda t: noisy(t * 0), rows)):
        draws = STRATEGIES["loop"](forward, numbers, masks, plan.sites)
        if not torch.equal(draws, draws[:1].expand_as(draws)):
            return True
    return False
