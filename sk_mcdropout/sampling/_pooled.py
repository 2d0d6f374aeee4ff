"""Draws of several modules: pooled for the same rows, or each for rows of its own."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ._draws import Draws, Reducer
from ._progress import progress_bar
from ._rows import count_rows, map_tensors

__all__ = ["AnyDraws", "ChainedDraws", "PooledDraws"]

# Numbers in the draws of the rows that are pooled at once.
_AT_ONCE = 2**22
_FIRST_ROWS = 64


class AnyDraws(Protocol):
    """What reduces the draws of some rows, as `Draws` does."""

    @property
    def n_draws(self) -> int:
        """Number of draws."""

    @property
    def seed(self) -> int:
        """Seed of the draws."""

    def reduce(
        self, function: Reducer, *, axis: int = 0, spread: bool = True
    ) -> tuple[Tensor, ...]:
        """Reduce the draws of all rows; see `Draws.reduce`."""


@dataclass(frozen=True)
class PooledDraws:
    """Draws of several modules for the same rows, taken in turn: draw t is one of module t mod K.

    Each draw is a function of all rows, and the first draws are the same for any ``n_draws``.

    Parameters
    ----------
    members : sequence of Draws
        The draws of each module, for the same rows; their numbers and seeds are not used.
    n_draws : int
        Number of draws of all modules together.
    seed : int
        Seed of the masks; each module has masks of its own.
    convert : sequence of callable, optional
        For each module a function that brings its outputs to those of a common scale.
    verbose : bool
        Whether to show a progress bar of the rows, if they take more than a second.
    n_rows : int, optional
        The number of all rows, where it is known, for that bar.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.sampling import Draws, PooledDraws
    >>> nets = [torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Dropout(0.5)) for _ in "ab"]
    >>> draws = PooledDraws([Draws(net, lambda: [torch.ones(3, 2)]) for net in nets], n_draws=5)
    >>> draws.reduce(lambda outputs, rows: (outputs,), axis=1)[0].shape
    torch.Size([5, 3, 8])
    """

    members: Sequence[Draws]
    n_draws: int = 100
    seed: int = 0
    convert: Sequence[Callable[[Tensor], Tensor]] = ()
    verbose: bool = False
    n_rows: int | None = None

    def reduce(
        self, function: Reducer, *, axis: int = 0, spread: bool = True
    ) -> tuple[Tensor, ...]:
        """Reduce the draws of all rows, some rows after the others; see `Draws.reduce`."""
        bar = progress_bar(self.n_rows, "row", delay=1) if self.verbose else nullcontext()
        parts, start, at_once = [], 0, _FIRST_ROWS
        with bar as progress:
            for batch in self.members[0].batches():
                done, n_rows = 0, count_rows(batch)
                while done < n_rows:
                    some = slice(done, done + at_once)
                    outputs = self._outputs(map_tensors(partial(_take, some), batch), spread)
                    rows = slice(start + done, start + done + outputs.shape[1])
                    parts.append(function(outputs, rows))
                    done += outputs.shape[1]
                    at_once = max(1, _AT_ONCE * outputs.shape[1] // max(1, outputs.numel()))
                    if progress is not None:
                        progress.update(outputs.shape[1])
                start += n_rows
        return tuple(torch.cat(tensors, axis) for tensors in zip(*parts, strict=True))

    def each(self) -> list[Draws]:
        """Return the draws that each module has among those of all."""
        return [
            replace(
                member,
                n_draws=len(range(k, self.n_draws, len(self.members))),
                seed=_seed_of(self.seed, k),
            )
            for k, member in enumerate(self.members[: self.n_draws])
        ]

    def _outputs(self, x: Any, spread: bool) -> Tensor:
        """Return the outputs of all draws for some rows."""
        drawn = []
        for k, member in enumerate(self.each()):
            own = replace(member, batches=lambda: [x])
            (outputs,) = own.reduce(lambda outputs, rows: (outputs,), axis=1, spread=spread)
            drawn.append(self.convert[k](outputs) if self.convert else outputs)
        pooled = drawn[0].new_empty(self.n_draws, *drawn[0].shape[1:])
        for k, outputs in enumerate(drawn):
            pooled[k :: len(self.members)] = outputs
        return pooled


@dataclass(frozen=True)
class ChainedDraws:
    """Draws for rows of which each part comes from modules of its own.

    Parameters
    ----------
    parts : sequence of PooledDraws
        The draws of each part, one after the other; their numbers and seeds are not used.
    n_draws : int
        Number of draws.
    seed : int
        Seed of the masks.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.sampling import ChainedDraws, Draws, PooledDraws
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Dropout(0.5))
    >>> parts = [PooledDraws([Draws(net, lambda: [torch.ones(3, 2)])]) for _ in range(2)]
    >>> ChainedDraws(parts).reduce(lambda outputs, rows: (outputs.mean(0),))[0].shape
    torch.Size([6, 8])
    """

    parts: Sequence[PooledDraws]
    n_draws: int = 100
    seed: int = 0

    def reduce(
        self, function: Reducer, *, axis: int = 0, spread: bool = True
    ) -> tuple[Tensor, ...]:
        """Reduce the draws of all rows, part by part; see `Draws.reduce`."""
        reduced, start = [], 0
        for part in self.parts:
            begin = start

            def of_part(outputs: Tensor, rows: slice, begin: int = begin) -> tuple[Tensor, ...]:
                nonlocal start
                start = begin + rows.stop
                return function(outputs, slice(begin + rows.start, begin + rows.stop))

            own = replace(part, n_draws=self.n_draws, seed=self.seed)
            reduced.append(own.reduce(of_part, axis=axis, spread=spread))
        return tuple(torch.cat(tensors, axis) for tensors in zip(*reduced, strict=True))


def _seed_of(seed: int, k: int) -> int:
    return int(np.random.SeedSequence([seed, k]).generate_state(1)[0])


def _take(rows: slice, x: Tensor) -> Tensor:
    return x[rows]
