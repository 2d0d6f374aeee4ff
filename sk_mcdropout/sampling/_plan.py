"""Plan how to sample a module, and carry it out chunk by chunk.

A plan holds the dropouts that a probe found and the strategies that gave what the loop gives.
It is carried out for some rows after the other, with all their draws at once, so that memory is
bounded by a budget and not by the number of rows and draws.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from sk_mcdropout.nn import ConcreteDropout, learned_rates

from ._eval_mode import parts_of
from ._intercept import CallsChanged, DropoutSite
from ._probe import Probe, missed_dropouts, noisy, probe
from ._rows import count_rows, first_rows, map_tensors
from ._strategies import (
    STRATEGIES,
    Forward,
    Masks,
    agreeing_strategies,
    draw_masks,
    masked_pass,
    row_by_row,
    take_draws,
    thinning_pays,
)
from ._warned import warn_if_missed, warn_if_rows_mix, warn_of_single_rows

__all__ = ["Plan", "call", "chunks", "prepare", "refuse_no_effect"]

# Bytes that the activations of one chunk of rows may take. On a CPU they stay near the cache;
# a single row with all its draws may take more, up to the limit.
_CPU_CHUNK = 4 * 2**20
_CPU_LIMIT = 256 * 2**20
_GPU_SHARE = 0.25


@dataclass(frozen=True)
class Plan:
    """How to sample one module for inputs of one kind; `prepare` makes it."""

    forward: Forward
    found: Probe
    strategies: tuple[str, ...]
    refused: dict[str, str]
    device: torch.device
    extra_dropout: tuple[type, ...] = ()
    renew: Callable[[], "Plan"] | None = None

    @property
    def sites(self) -> tuple[DropoutSite, ...]:
        """The dropout calls of rate above 0."""
        return self.found.sites

    def strategy(self, n_rows: int) -> str:
        """Answer the strategy for so many rows: thin out where it saves more than it costs."""
        if len(self.strategies) == 1:
            return self.strategies[0]
        pays = any(thinning_pays(site, n_rows) for site in self.sites)
        return self.strategies[-1 if pays else 0]


# What was found out, for each module, about inputs of some kinds. A module that was changed
# since is another kind; what cannot be seen of that, the passes notice.
_remembered: WeakKeyDictionary = WeakKeyDictionary()
_MOST_REMEMBERED = 64


def prepare(
    module: nn.Module,
    x: Any,
    *,
    forward: Callable[[Any], Any] | None = None,
    strategy: str = "auto",
    extra_dropout: tuple[type, ...] = (),
    way: Hashable = None,
    anew: bool = False,
) -> Plan:
    """Find the dropouts of a module and the strategies to sample it. Needs `evaluating`.

    Parameters
    ----------
    module : nn.Module
        The module.
    x : Tensor, mapping or sequence of Tensor
        The input, with rows on the first axis.
    forward : callable, optional
        Answers the output for an input; by default the module itself.
    strategy : str
        A name in ``STRATEGIES``, or ``"auto"``.
    extra_dropout : tuple of class
        Modules that draw by themselves, as given to `evaluating`.
    way : hashable, optional
        What ``forward`` is: what was found out about one way is not used for another.
    anew : bool
        Whether to find out anew what is known from an earlier call.

    Returns
    -------
    Plan
        The input of `chunks`.
    """
    if strategy != "auto" and strategy not in STRATEGIES:
        raise ValueError(
            f"`strategy` must be 'auto' or one of {sorted(STRATEGIES)}. Got {strategy!r}."
        )
    if extra_dropout:
        strategy = _check_extra(module, strategy, extra_dropout)
    count_rows(x)
    first = partial(_first_output, forward or partial(call, module))
    known = _remembered.setdefault(module, {})
    key = (strategy, way, _kind_of(x), _state_of(module))
    renew = None
    if key in known and not anew:
        again = partial(prepare, module, x, forward=forward, strategy=strategy, way=way, anew=True)
        renew = partial(again, extra_dropout=extra_dropout)
    else:
        if len(known) >= _MOST_REMEMBERED:
            known.clear()
        known[key] = _find_out(module, first, x, strategy)
        warn_if_missed(missed_dropouts(module, x, call, extra_dropout))
    found, strategies, refused, device = known[key]
    if found.writes_input:
        first = partial(_on_copy, first)
    return Plan(first, found, strategies, refused, device, extra_dropout, renew)


def _find_out(
    module: nn.Module, forward: Forward, x: Any, strategy: str
) -> tuple[Probe, tuple[str, ...], dict[str, str], torch.device]:
    found, fewer, more = probe(module, forward, x)
    _check_output(fewer)
    if found.varies:
        return found, ("row by row",), {}, more.device
    if strategy != "auto" or not found.sites:
        return found, (strategy,), {}, more.device
    if found.writes_input:
        forward = partial(_on_copy, forward)
    warn_if_rows_mix(fewer, more)
    try:
        return found, *agreeing_strategies(forward, x, found.sites, more.device), more.device
    except CallsChanged:  # the masks change the values, and they the calls
        return replace(found, varies=True), ("row by row",), {}, more.device


def _check_extra(module: nn.Module, strategy: str, extra_dropout: tuple[type, ...]) -> str:
    """Answer the one strategy for modules that draw by themselves, or say what is wrong."""
    parts = list(module.modules())
    for kind in extra_dropout:
        if not any(isinstance(part, kind) for part in parts):
            raise ValueError(
                f"`extra_dropout` must name classes of submodules. Got {kind.__name__}, of which "
                "the module has none. Leave it out."
            )
    if strategy not in ("auto", "loop"):
        raise ValueError(
            f"`strategy` must be 'auto' or 'loop' with `extra_dropout`. Got {strategy!r}."
        )
    return "loop"


def call(module: nn.Module, x: Any) -> Any:
    """Call a module with x, the arguments of a tuple and the keywords of a mapping."""
    if isinstance(x, Mapping):
        return module(**x)
    return module(*x) if isinstance(x, tuple) else module(x)


def _on_copy(forward: Forward, x: Any) -> Tensor:
    return forward(map_tensors(torch.clone, x))


def _first_output(forward: Callable[[Any], Any], x: Any) -> Tensor:
    """Answer the prediction: the output, or the first one of a tuple."""
    output = forward(x)
    return output[0] if isinstance(output, list | tuple) else output


def _check_output(output: Any) -> None:
    if isinstance(output, Tensor) and not output.is_floating_point():
        raise TypeError(
            f"the output of the module must be floating-point numbers. Got {output.dtype}. Answer "
            "floats, such as probabilities in the place of classes."
        )
    if not isinstance(output, Tensor) or output.ndim == 0 or len(output) != 2:
        got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(
            "the output of the module, or its first output, must be a tensor with one row for each "
            f"row of the input. Got {got} for 2 rows."
        )


def _kind_of(x: Any) -> Hashable:
    if isinstance(x, Tensor):
        return x.shape[1:], x.dtype, x.device
    return str(map_tensors(lambda t: (t.shape[1:], t.dtype, t.device), x))


def _state_of(module: nn.Module) -> Hashable:
    """Answer what tells whether a module was changed: its parts, their settings, its place."""
    parts = parts_of(module)
    state: list[Any] = []
    for part in parts:
        state.append(type(part))
        state.extend(value for value in vars(part).values() if type(value) in _SETTINGS)
    parameter = next(module.parameters(), None)
    state += [] if parameter is None else [parameter.dtype, parameter.device]
    concrete = any(isinstance(part, ConcreteDropout) for part in parts)
    return *state, *(learned_rates(module).items() if concrete else ())


_SETTINGS = {int, float, bool, str}


def chunks(
    plan: Plan, x: Any, n_draws: int, seed: int, batch_size: int | None = None
) -> Iterator[Tensor]:
    """Yield the draws for some rows after the other. Needs `evaluating`.

    Parameters
    ----------
    plan : Plan
        What `prepare` answered for an input of this kind.
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
    Tensor of shape (n_draws, n_some_rows, ...)
        The draws for the next rows.
    """
    n_rows = count_rows(x)
    start, rows, draws = 0, 0, 0
    while start < n_rows:
        if plan.found.varies:
            warn_of_single_rows()
            rest = map_tensors(lambda t: t[start:], x)  # noqa: B023 - used at once
            seeds = bool(plan.extra_dropout)
            yield from row_by_row(plan.forward, rest, n_draws, seed, plan.device, seeds)
            return
        if not rows:
            seeds = bool(plan.extra_dropout)
            masks = draw_masks(plan.sites, n_draws, seed, plan.device, seeds)
            strategy = plan.strategy(n_rows)
            rows, draws = _chunk_size(plan, strategy, n_draws)
            n_chunks = -(-n_rows // rows)
            rows = min(batch_size or -(-n_rows // n_chunks), n_rows)  # of one size
        some = map_tensors(lambda t: t[start : start + rows], x)  # noqa: B023 - used at once
        try:
            yield _run(plan, strategy, some, masks, n_draws, draws)
            start += rows
            continue
        except CallsChanged:
            varying = replace(plan, found=replace(plan.found, varies=True))
            plan, rows = plan.renew() if plan.renew else varying, 0
            continue
        except RuntimeError as error:
            if not _is_out_of_memory(error) or rows == draws == 1:
                raise
        # Outside of the handler, so that the failed pass holds no memory any more.
        rows, draws = (rows // 2, draws) if rows > 1 else (1, draws // 2)
        if plan.device.type == "cuda":
            torch.cuda.empty_cache()


def _run(
    plan: Plan, strategy: str, x: Any, masks: Masks, n_draws: int, draws_at_once: int
) -> Tensor:
    if not masks:
        masked_pass(plan.forward, x, {}, ())  # there may be a dropout by now
        return (output := plan.forward(x)).expand(n_draws, *output.shape)
    run = STRATEGIES[strategy]
    parts = [
        run(plan.forward, x, take_draws(masks, slice(t, t + draws_at_once)), plan.sites)
        for t in range(0, n_draws, draws_at_once)
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _chunk_size(plan: Plan, strategy: str, n_draws: int) -> tuple[int, int]:
    """Answer how many rows and draws to take at once."""
    if plan.device.type == "cuda":
        chunk = limit = int(_GPU_SHARE * torch.cuda.mem_get_info(plan.device)[0])
    else:
        chunk, limit = _CPU_CHUNK, _CPU_LIMIT
    found = plan.found
    per_draw = max(1, found.bytes_after)
    if strategy in ("vmap", "fold"):  # which multiply the input of the first dropout, too
        per_draw = max(per_draw, found.bytes_masked)
    at_once = 1 if strategy in ("loop", "thinned") else n_draws
    rows = max(1, chunk // (max(found.bytes_before, found.bytes_masked) + at_once * per_draw))
    draws = n_draws if at_once == 1 else max(1, limit // (rows * per_draw))
    return rows, min(n_draws, draws)


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def refuse_no_effect(draws: Iterator[Tensor], plan: Plan, x: Any) -> Iterator[Tensor]:
    """Pass draws on; refuse a module whose output has nothing of its dropouts.

    For some rows all draws are equal by right, as for zeros before a dropout. So that an error does
    not depend on the rows, it is raised only if random numbers, with half of all units dropped,
    make no difference either.
    """
    differ = not plan.sites or bool(plan.extra_dropout) or plan.found.varies
    for some in draws:
        differ = differ or _differ(some)
        yield some
    if differ or len(some) == 1:
        return
    masks = draw_masks([replace(s, p=0.5) for s in plan.sites if s.p < 1], 8, 0, plan.device)
    if not masks:
        return
    rows = first_rows(x, 3)
    for numbers in (map_tensors(noisy, rows), map_tensors(lambda t: noisy(t * 0), rows)):
        tried = STRATEGIES["loop"](plan.forward, numbers, masks, plan.sites)
        if not torch.equal(tried, tried[:1].expand_as(tried)):
            return
    raise ValueError(
        "the output of the module must depend on its dropouts. Got rates above 0, and yet the same "
        "output in each draw, for random inputs as well. Look at `dropout_sites(module, x)`, and "
        "where what these dropouts give goes to."
    )


def _differ(draws: Tensor) -> bool:
    """Tell whether any draws differ by more than rounding."""
    rounding = 8 * torch.finfo(draws.dtype).eps * draws[0].abs()
    pairs = (draws[-1], draws)  # the last draw most often tells
    return any(bool(((other - draws[0]).abs() > rounding).any()) for other in pairs)
