"""Carry a plan out: some rows after the other, with all their draws at once, in bounded memory."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from ._alone import Way, answers_to, rows_go_one_way, ways_of_rows
from ._choice import reason_of, take_rows, unlike_rows
from ._intercept import CallsChanged, PlannedCalls, masked_pass
from ._masks import STAND_INS, Masks, draw_masks, extremes, take_draws
from ._one_by_one import one_by_one
from ._outputs import shapes_in
from ._plan import Plan, forward_of, refusal, warn
from ._questions import Answer
from ._randomness import is_on_gpu
from ._rows import count_rows, first_rows, map_tensors, row_of
from ._strategies import STRATEGIES, Forward

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
    plan: Plan,
    forward: Forward,
    x: Any,
    n_draws: int,
    seed: int,
    law: str = "iid",
    batch_size: int | None = None,
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
    law : str
        Their law, a name in ``MASK_LAWS``.
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
    forward = forward_of(forward, plan)
    warn_once = cache(_warn_of_single_rows)
    alone = partial(
        one_by_one, n_draws=n_draws, seed=seed, device=plan.device, seeds=plan.seeds, law=law
    )
    by_itself = partial(_by_itself, alone, forward, warn_once)
    if plan.found.varies and (plan.mixes or plan.one_item):
        whole = next(alone(forward, [x]))
        yield whole if plan.one_item else _with_all_rows(whole, x)
        return
    if plan.found.varies:
        yield from by_itself(x)
        return
    n_rows, start = count_rows(x), 0
    masks = draw_masks(plan.sites, n_draws, seed, plan.device, plan.seeds, law=law)
    run = partial(_run, plan, forward, masks, n_draws)
    size = _first_size(plan, plan.strategy(n_rows), n_draws, n_rows, batch_size)
    while start < n_rows:
        chunk = map_tensors(partial(_rows_of, start, size.rows), x)
        ways = _ways(plan, forward, masks, chunk) if plan.asks else []
        if ways and all(answers is None for _, answers in ways):
            yield from by_itself(chunk)
        else:
            draws = _unless_out_of_memory(partial(_by_ways, run, by_itself, ways), chunk, size)
            if draws is None:
                size = size.halved()
                continue
            yield draws
        start += size.rows


def _with_all_rows(draws: Tensor, x: Any) -> Tensor:
    """Return the draws for x; refuse them if there are none for some of the rows."""
    n_rows = count_rows(x)
    if draws.ndim > 1 and draws.shape[1] == n_rows:
        return draws
    raise ValueError(
        "the output of the module must have one row for each row of the input, in any batch. Got "
        f"the shape {tuple(draws.shape[1:])} for {n_rows} rows of {shapes_in(x)}. Return a row "
        "for each, or sample a batch of another size."
    )


def _rows_of(start: int, n_rows: int, x: Tensor) -> Tensor:
    return x[start : start + n_rows]


def _by_itself(alone: Callable, forward: Forward, warn_once: Callable, x: Any) -> Iterator[Tensor]:
    warn_once()
    rows = (row_of(x, i) for i in range(count_rows(x)))
    return alone(partial(_one_row, forward), rows)


def _one_row(forward: Forward, x: Any) -> Tensor:
    return _with_all_rows(forward(x)[None], x)[0]


def _ways(plan: Plan, forward: Forward, masks: Masks, x: Any) -> list[Way]:
    """Share the rows of a chunk out among the ways that they go alone."""
    if not plan.found.asks_later:
        return ways_of_rows(forward, x, take_draws(masks, slice(2)), plan.sites)
    answers = answers_to(forward, x)  # each draw may have answers of its own
    one_way = rows_go_one_way(forward, x, answers, masks, plan.sites)
    return [([*range(count_rows(x))], answers if one_way else None)]


def _by_ways(run: Callable, by_itself: Callable, ways: list[Way], x: Any, at_once: int) -> Tensor:
    """Draw for the rows of each way together."""
    if len(ways) < 2:
        return _with_all_rows(run(ways[0][1] if ways else None, x, at_once), x)

    def of_way(some: Any, answers: list[Answer] | None) -> Tensor:
        if answers is not None:
            with suppress(CallsChanged):
                return _with_all_rows(run(answers, some, at_once), some)
        return torch.cat([*by_itself(some)], 1)

    parts = [of_way(take_rows(rows, x), answers) for rows, answers in ways]
    places = torch.tensor([row for rows, _ in ways for row in rows], device=parts[0].device)
    return torch.cat(parts, 1)[:, places.argsort()]


def _unless_out_of_memory(run: Any, x: Any, size: _Size) -> Tensor | None:
    """Run a chunk; return None where there is no memory for it, and a smaller one can be tried."""
    try:
        return run(x, size.draws)
    except RuntimeError as error:
        if not _is_out_of_memory(error) or size.rows == size.draws == 1:
            raise
    # Outside of the handler, so that the failed pass holds no memory any more.
    if is_on_gpu():
        torch.cuda.empty_cache()
    return None


def _run(
    plan: Plan,
    forward: Forward,
    masks: Masks,
    n_draws: int,
    answers: list[Answer] | None,
    x: Any,
    draws_at_once: int,
) -> Tensor:
    """Draw for a chunk by the first strategy that takes it; the loop is the last."""
    if not plan.sites and not plan.seeds:
        masked_pass(forward, x, {}, PlannedCalls((), ()))  # there may be a dropout by now
        output = forward(x)  # which may be faster without a mode around it
        return output.expand(n_draws, *output.shape)
    run = partial(_all_draws, plan, forward, masks, n_draws, answers, draws_at_once, x)
    while (strategy := plan.strategy(count_rows(x))) != "loop":
        try:
            return run(strategy)
        except Exception as error:
            if isinstance(error, RuntimeError) and _is_out_of_memory(error):
                raise
            if plan.asked_for != "auto":
                run("loop")  # what it raises is not the fault of the strategy
                raise NotImplementedError(refusal(strategy, reason_of(error))) from error
            plan.refuse(strategy, error, forward, x)
    return run("loop")


def _all_draws(
    plan: Plan,
    forward: Forward,
    masks: Masks,
    n_draws: int,
    answers: list[Answer] | None,
    draws_at_once: int,
    x: Any,
    strategy: str,
) -> Tensor:
    parts = [
        STRATEGIES[strategy](
            forward, x, take_draws(masks, slice(t, t + draws_at_once)), plan.sites, answers
        )
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
    shared = sum(site.nbytes for site in plan.sites if site.row_axis is None)  # as weights are
    draws = n_draws if at_once == 1 else max(1, limit // (rows * per_draw + shared))
    n_chunks = -(-n_rows // rows)
    rows = min(batch_size or -(-n_rows // n_chunks), n_rows)
    return _Size(rows, min(n_draws, draws))


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _warn_of_single_rows() -> None:
    warn(
        "the module should make the same dropout calls for all rows, with the rows on one axis. "
        "Got calls that depend on the values of the input or on its number of rows. Each row is "
        "sampled by itself, which is slow."
    )


def has_effect(plan: Plan, forward: Forward, x: Any) -> bool:
    """Return whether the dropouts change the output for random inputs of the form of x.

    For some rows all draws are equal by right, as for zeros before a dropout. Here random numbers
    are passed, with half of all units dropped.
    """
    sites = [replace(s, p=0.5) for s in plan.sites if s.p < 1 or s.kind in STAND_INS]
    masks = draw_masks(sites, 8, 0, plan.device)
    masks |= {s.call: extremes(masks[s.call]) for s in sites if s.kind in STAND_INS}
    if not masks:
        return True
    forward, rows = forward_of(forward, plan), first_rows(x, 3)
    for numbers in (
        map_tensors(unlike_rows, rows),
        map_tensors(lambda t: unlike_rows(t * 0), rows),
    ):
        try:
            draws = STRATEGIES["loop"](forward, numbers, masks, plan.sites)
        except CallsChanged:  # such numbers say nothing
            return True
        if not torch.equal(draws, draws[:1].expand_as(draws)):
            return True
    return False
