"""Choose the strategies for a module: those that give what the loop gives, on unlike rows."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ._intercept import CallsChanged, InterceptDropout
from ._masks import DropoutSite, Masks, take_draws, unlike_masks
from ._rows import map_tensors
from ._strategies import STRATEGIES, Forward

__all__ = [
    "NOT_THE_LOOP",
    "Trial",
    "agree",
    "agree_over_draws",
    "reason_of",
    "take_rows",
    "unlike_rows",
]


def unlike_rows(x: Tensor) -> Tensor:
    """Make the rows of x unlike each other: floats by noise, the same at each call, without NaN.

    Whole numbers may be names of things: each row keeps its own, at other places along its first
    axis.
    """
    if x.is_floating_point():
        noise = np.random.default_rng(0).normal(size=x.shape)
        return x.nan_to_num(0, 0, 0) + torch.from_numpy(noise).to(x)
    if x.ndim == 1:
        return x
    return torch.stack([row.roll(i, 0) for i, row in enumerate(x)])


def take_rows(rows: list[int], x: Any) -> Any:
    return map_tensors(lambda t: t[torch.tensor(rows, device=t.device)], x)


NOT_THE_LOOP = "its draws were not those of the loop"


@dataclass(frozen=True)
class Trial:
    """What the loop gives for a few unlike rows and unlike draws, to hold strategies against.

    The rows are three of the input, as given and then permuted and with noise; the draws are three
    with half of the units dropped, see `unlike_masks`.

    Parameters
    ----------
    forward : callable
        Returns the output for an input.
    rows : Tensor, mapping or sequence of Tensor
        Three rows of the input.
    sites : tuple of DropoutSite
        The dropout calls.
    device : torch.device
        Where the module is.

    Raises
    ------
    CallsChanged
        If the masks change the dropout calls that the module makes.
    """

    forward: Forward
    rows: Any
    sites: tuple[DropoutSite, ...]
    device: torch.device
    masks: Masks = field(init=False)
    cases: list[tuple[Any, Tensor]] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        masks = {site.call: unlike_masks(site, self.device) for site in self.sites}
        object.__setattr__(self, "masks", masks)
        self.cases.append((self.rows, self._loop(self.rows)))
        unlike = map_tensors(unlike_rows, take_rows([1, 2, 0], self.rows))
        try:
            self.cases.append((unlike, self._loop(unlike)))
        except Exception:  # noise is no input that the module must take
            return

    def is_tied(self) -> bool:
        """Return whether the draws do not differ, so that they cannot tell strategies apart."""
        return not any(_spreads(expected) for _, expected in self.cases)

    def rows_mix(self) -> bool:
        """Return whether a row gets another output among other rows, in another order."""
        few = [2, 0]
        return any(
            not agree_over_draws(
                self._loop(take_rows(few, rows), draws=slice(1)),
                expected[:1, few],
                of=expected,
            )
            for rows, expected in self.cases[-1:]
        )

    def rows_mix_without_masks(self) -> bool:
        """Return whether a row gets another output among other rows, without any dropout."""
        few = [2, 0]
        rows, _ = self.cases[-1]
        with InterceptDropout(lambda *_: None):
            return not agree(self.forward(take_rows(few, rows)), self.forward(rows)[few])

    def agreeing(self, refused: dict[str, str]) -> tuple[str, ...]:
        """Find the strategies to use, and write down why others are refused.

        Parameters
        ----------
        refused : dict
            The strategies that were refused before, with the reasons; more are added.

        Returns
        -------
        tuple of str
            The first strategy that agrees; after ``"weights"`` also ``"thinned"`` if it agrees.
        """
        agreeing: list[str] = []
        for name in STRATEGIES:
            if name in refused or (agreeing and name != "thinned"):
                continue
            reason = "" if name == "loop" else self.reason_against(name)
            if reason:
                refused[name] = reason
            else:
                agreeing.append(name)
        return tuple(agreeing)

    def reason_against(self, name: str) -> str:
        """Return why a strategy does not take the module, or nothing if it does."""
        for rows, expected in self._cases_and_one_row():
            try:
                actual = STRATEGIES[name](self.forward, rows, self.masks, self.sites)
            except Exception as error:  # whatever a strategy cannot do, the loop can
                return reason_of(error)
            if not agree_over_draws(actual, expected):
                return NOT_THE_LOOP
        return ""

    def _cases_and_one_row(self) -> Iterator[tuple[Any, Tensor]]:
        yield from self.cases
        rows, expected = self.cases[-1]
        yield take_rows([1], rows), expected[:, [1]]

    def _loop(self, rows: Any, draws: slice = slice(None)) -> Tensor:
        return STRATEGIES["loop"](self.forward, rows, take_draws(self.masks, draws), self.sites)


def reason_of(error: Exception) -> str:
    """Return the first line of what an error says."""
    if isinstance(error, CallsChanged):
        return "it went another way through the module"
    return str(error).strip().partition("\n")[0] or type(error).__name__


# How many units in the last place the outputs of two strategies may differ by rounding. The half
# types round after each layer only.
_ROUNDING = {torch.float64: 64, torch.float32: 64, torch.float16: 4, torch.bfloat16: 4}


def agree(actual: Tensor, expected: Tensor) -> bool:
    """Return whether two outputs are equal up to rounding, column by column."""
    size = _size(expected, 0)
    return _agree(actual, expected, torch.finfo(expected.dtype).eps ** 0.5 * size, size)


def agree_over_draws(actual: Tensor, expected: Tensor, of: Tensor | None = None) -> bool:
    """Return whether two sets of draws are equal up to rounding, column by column.

    A mask in the wrong place changes a draw as much as another mask does, so the scale of each
    column is its spread over draws: those of ``expected``, or ``of`` if that has more.
    """
    of = expected if of is None else of
    rounding, size = _rounding(of)
    spread = torch.finfo(of.dtype).eps ** 0.5 * _spread(of)
    return _agree(actual, expected, rounding + spread, size)


def _agree(actual: Tensor, expected: Tensor, tolerance: Tensor, size: Tensor) -> bool:
    if actual.shape != expected.shape:
        return False
    error = (actual.double() - expected.double()).abs()
    error[(actual == expected) | (actual.isnan() & expected.isnan())] = 0
    wrong = ~(error <= tolerance)
    if not wrong.any():
        return True
    # In a wide output a few columns may be all rounding, as differences of what is equal are.
    columns = wrong.flatten(0, wrong.ndim - tolerance.ndim - 1).any(0)
    rounding = 16 * torch.finfo(expected.dtype).eps * size.max()
    return bool(columns.sum() <= 0.01 * columns.numel() and (error[wrong] <= rounding).all())


def _size(draws: Tensor, *axes: int) -> Tensor:
    return draws.double().nan_to_num(0, 0, 0).abs().amax(axes)


def _spread(draws: Tensor) -> Tensor:
    draws = draws.double().nan_to_num(0, 0, 0)
    return (draws.amax(0) - draws.amin(0)).amax(0)


def _rounding(draws: Tensor) -> tuple[Tensor, Tensor]:
    size = _size(draws, 0, 1)
    return _ROUNDING.get(draws.dtype, 4) * torch.finfo(draws.dtype).eps * size, size


def _spreads(draws: Tensor) -> bool:
    return bool((_spread(draws) > _rounding(draws)[0]).any())
