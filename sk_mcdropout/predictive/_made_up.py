"""Draws of one row that no net has made, to learn the shape and the type of an answer."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["MadeUpDraws"]


@dataclass(frozen=True)
class MadeUpDraws:
    """Draws in the place of those of a net, of one row.

    Parameters
    ----------
    make : callable
        Returns the outputs of a number of draws, of shape (n_draws, 1, ...).
    n_draws, seed : int
        As for `Draws`.
    """

    make: Callable[[int], Tensor]
    n_draws: int
    seed: int

    def reduce(
        self,
        function: Callable[[Tensor, slice], tuple[Tensor, ...]],
        *,
        axis: int = 0,
        spread: bool = True,
    ) -> tuple[Tensor, ...]:
        """Reduce the outputs; see `Draws.reduce`."""
        return function(self.make(self.n_draws), slice(0, 1))

    def moments(self) -> tuple[Tensor, Tensor]:
        """Return a mean and a standard deviation; see `Draws.moments`."""
        mean = self.make(1)[0].double()
        return mean, torch.ones_like(mean)
