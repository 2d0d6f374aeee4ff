"""Nets of one architecture whose parameters are stacked, and their dropout masks."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

__all__ = ["DropoutCall", "StackedNets"]


class DropoutCall(NamedTuple):
    """A dropout in the passes of all nets.

    Parameters
    ----------
    rates : sequence of float
        The rate of each net.
    shape : tuple of int
        The shape of the mask of a row.
    """

    rates: Sequence[float]
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of numbers in the mask of a row."""
        return torch.Size(self.shape).numel()


class StackedNets(ABC):
    """Base class: nets of one architecture whose passes are one pass.

    The parameters are copies, stacked on a new first axis. Each net draws its dropout from a
    generator of its own, number by number as it would alone, and is not changed by its neighbours.

    Parameters
    ----------
    nets : sequence of Module
        The nets.

    Attributes
    ----------
    flat : Tensor of shape (n_nets, n_parameters)
        The stacked parameters, those of a net in a row.
    dropouts : list of DropoutCall
        The dropouts of a pass, in turn; set by subclasses.
    """

    dropouts: list[DropoutCall]

    def __init__(self, nets: Sequence[nn.Module]) -> None:
        self.nets = nets
        rows = [[self._laid_out(*item) for item in net.named_parameters()] for net in nets]
        names = [name for name, _ in nets[0].named_parameters()]
        self._shapes = {name: part.shape for name, part in zip(names, rows[0], strict=True)}
        flat = torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])
        self.flat = flat.detach().requires_grad_()

    def scaled(self, rows: Sequence[Tensor]) -> list[Tensor]:
        """Return the rows of each net as the passes take them: what training does not change.

        Parameters
        ----------
        rows : sequence of Tensor of shape (n_samples, ...)
            The rows that each net is to be trained on. Several nets may have the same ones.

        Returns
        -------
        list of Tensor of shape (n_samples, ...)
            The rows for the passes.
        """
        return list(rows)

    @abstractmethod
    def __call__(self, x: Tensor, masks: Sequence[Tensor | None]) -> Tensor:
        """Compute the outputs of all nets in training, with dropout.

        Parameters
        ----------
        x : Tensor of shape (n_nets, n_samples, ...)
            The rows of each net.
        masks : list of Tensor of shape (n_nets, n_samples, ...) or None
            What `masks` gave.

        Returns
        -------
        Tensor of shape (n_nets, n_samples, ...)
            The outputs.
        """

    def _parameters(self) -> dict[str, Tensor]:
        """Return the parameters by their names in a net: parts of the flat ones."""
        parts = self.flat.split([shape.numel() for shape in self._shapes.values()], dim=1)
        return {
            name: part.unflatten(1, shape)
            for part, (name, shape) in zip(parts, self._shapes.items(), strict=True)
        }

    def _laid_out(self, name: str, parameter: Tensor) -> Tensor:
        """Return a parameter as the passes take it, or back."""
        return parameter

    def masks(
        self, n_rows: Sequence[Sequence[int]], generators: Sequence[torch.Generator]
    ) -> list[list[Tensor | None]]:
        """Draw the masks of some steps, number by number as the nets would, in few calls.

        Parameters
        ----------
        n_rows : sequence of (sequence of int)
            For each step the number of rows of each net. Those with fewer than the others get
            zeros for the rest, whose outputs are to be left alone.
        generators : sequence of torch.Generator
            A generator for each net.

        Returns
        -------
        list of list of Tensor of shape (n_nets, n_samples, ...) or None
            For each step the masks of each dropout, with the kept ones divided by their share;
            None for rates of 0.
        """
        if not self.dropouts:
            return [[] for _ in n_rows]
        numbers = []
        for k, generator in enumerate(generators):
            runs = [(n[k] * call.size, call.rates[k]) for n in n_rows for call in self.dropouts]
            numbers.append(_draw(runs, generator, self.flat.dtype))
        flat, starts = pad_sequence(numbers, batch_first=True), [0] * len(generators)
        masks = [[_masks(flat, starts, n, call.shape) for call in self.dropouts] for n in n_rows]
        dropped = [any(call.rates) for call in self.dropouts]
        return [
            [mask if some else None for mask, some in zip(of_step, dropped, strict=True)]
            for of_step in masks
        ]

    @torch.no_grad()
    def put_back(self) -> None:
        """Copy the stacked parameters into the nets."""
        for name, parameters in self._parameters().items():
            for net, parameter in zip(self.nets, parameters, strict=True):
                own = net.get_parameter(name)
                own.copy_(self._laid_out(name, parameter))


def _draw(
    runs: Sequence[tuple[int, float]], generator: torch.Generator, dtype: torch.dtype
) -> Tensor:
    """Draw runs of numbers that are kept or not, each run with a rate: 0, or 1 / (1 - rate)."""
    if _calls_go_on():
        by_rate = groupby(runs, key=lambda run: run[1])
        runs = [(sum(size for size, _ in together), rate) for rate, together in by_rate]
    drawn = torch.empty(sum(size for size, _ in runs), dtype=dtype)
    start = 0
    for size, rate in runs:
        some = drawn[start : (start := start + size)]
        if 0 < rate < 1:
            some.bernoulli_(1 - rate, generator=generator).div_(1 - rate)
        else:
            some.fill_(1 - rate)
    return drawn


@cache
def _calls_go_on() -> bool:
    """Return whether a call draws what several do, the next of which goes on where one ended.

    In some builds of torch each call seeds a stream of its own.
    """

    def draw(*sizes: int) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return torch.cat([torch.empty(n).bernoulli_(0.5, generator=generator) for n in sizes])

    return torch.equal(draw(1024), draw(1000, 24))


def _masks(
    flat: Tensor, starts: list[int], n_rows: Sequence[int], shape: tuple[int, ...]
) -> Tensor:
    """Take the masks of all nets from their numbers, and move the starts behind them."""
    size = torch.Size(shape).numel()
    ends = [start + n * size for start, n in zip(starts, n_rows, strict=True)]
    if min(n_rows) == max(n_rows) and min(starts) == max(starts):
        masks = flat[:, starts[0] : ends[0]].unflatten(1, (n_rows[0], *shape))
    else:
        parts = [
            row[a:b].unflatten(0, (n, *shape))
            for row, a, b, n in zip(flat, starts, ends, n_rows, strict=True)
        ]
        masks = pad_sequence(parts, batch_first=True)
    starts[:] = ends
    return masks
