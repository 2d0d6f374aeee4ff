"""Catch every dropout call of a module and give it its mask.

Every dropout, written as a module or as a function, ends in a call of a torch function. A
`TorchFunctionMode` sees these calls while the module is in eval mode, so that nothing of the
module is replaced, hooked or switched to training.
"""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from ._composites import COMPOSITES, rate_of
from ._in_place import counted
from ._masks import KINDS, DropoutSite, Mask, Masks, count_rows_of, fit_mask
from ._modes import Mode
from ._questions import Answer, answer_of, is_question

__all__ = ["CallsChanged", "InterceptDropout", "PlannedCalls", "masked_pass", "masks_of"]


class InterceptDropout(Mode):
    """Send each dropout call to ``on_dropout``, which returns its mask or None.

    Parameters
    ----------
    on_dropout : callable of (function, input, rate)
        Returns the mask, or None to pass the input on.
    on_answer : callable of (function, result), optional
        Called with each function by which code learns about values, and what it returned.
    on_result : callable of (function, result), optional
        Called with each other torch function and its result.
    """

    def __init__(
        self,
        on_dropout: Callable,
        on_answer: Callable | None = None,
        on_result: Callable | None = None,
    ) -> None:
        super().__init__()
        self.on_dropout = on_dropout
        self.on_answer = on_answer
        self.on_result = on_result

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Handle one torch function; torch calls this."""
        kwargs = kwargs or {}
        if func in KINDS:
            return self._dropout(func, *args, **kwargs)
        if func in COMPOSITES and rate_of(func, args, kwargs) > 0:
            return COMPOSITES[func](self._dropout, self, *args, **kwargs)
        func = counted(func, args)
        result = func(*args, **kwargs)
        if self.on_answer and is_question(func, args):
            self.on_answer(func, result)
        elif self.on_result:
            self.on_result(func, result)
        return result

    def _dropout(self, func, input, p=0.5, training=None, inplace=False, *, train=None):
        mask = self.on_dropout(func, input, float(p))
        inplace = inplace or func.__name__.endswith("_")
        if mask is None:  # a copy all the same, or written into: what comes after may depend on it
            return input if p == 0 else input.mul_(1) if inplace else input.clone()
        output = input.mul_(mask[0]) if inplace else input * mask[0]
        return output if len(mask) == 1 else output.add_(mask[1])


class CallsChanged(Exception):
    """A forward pass went another way than the one that was planned."""


class PlannedCalls:
    """Hold the dropout calls of one pass, and its answers, against those that were planned.

    Parameters
    ----------
    sites : sequence of DropoutSite
        The calls that were planned.
    n_rows : sequence of int
        The numbers of rows that the input of a call may have.
    answers : sequence of Answer, optional
        The answers that the code of the module must get; by default they are not compared.
    """

    def __init__(
        self,
        sites: Sequence[DropoutSite],
        n_rows: Sequence[int],
        answers: Sequence[Answer] | None = None,
    ) -> None:
        self.sites, self.n_rows, self.answers = sites, n_rows, answers
        self.n_calls = self.n_dropouts = self.n_answers = 0

    def next_site(self, func: Callable, x: Tensor, p: float) -> DropoutSite | None:
        """Return the site of the next dropout call, or None if its rate is 0."""
        call, self.n_calls = self.n_calls, self.n_calls + 1
        if p == 0:
            return None
        if self.n_dropouts == len(self.sites):
            raise CallsChanged(f"a pass made more than {len(self.sites)} dropout calls")
        site = self.sites[self.n_dropouts]
        self.n_dropouts += 1
        if (site.call, site.kind, site.p) == (call, KINDS[func], p):
            n_rows = count_rows_of(site, func, x)
            if n_rows in self.n_rows or (n_rows is not None and site.row_axis is None):
                return site
        raise CallsChanged(
            f"a pass made the dropout call {KINDS[func]}({tuple(x.shape)}, {p}), number {call}, in "
            f"the place of {site} for {self.n_rows} rows"
        )

    def hear(self, func: Callable, result: Any) -> None:
        """Compare an answer with the one that was planned."""
        if self.answers is None:
            return
        answer, number = answer_of(func, result), self.n_answers
        self.n_answers += 1
        if number >= len(self.answers) or answer != self.answers[number]:
            raise CallsChanged(f"a pass got the answer {answer}, number {number}")

    def end(self) -> None:
        """Raise `CallsChanged` if calls or answers are missing."""
        missing = self.n_dropouts < len(self.sites)
        if missing or (self.answers is not None and self.n_answers < len(self.answers)):
            raise CallsChanged(f"a pass made {self.n_dropouts} of {len(self.sites)} dropout calls")


def masked_pass(
    forward: Callable[[Any], Tensor],
    x: Any,
    masks: Masks,
    calls: PlannedCalls,
    intercept: type[InterceptDropout] = InterceptDropout,
) -> Tensor:
    """Run one forward pass; each dropout call applies its mask, if there is one."""
    with intercept(masks_of(masks, calls), calls.hear):
        output = forward(x)
    calls.end()
    return output


def masks_of(masks: Masks, calls: PlannedCalls) -> Callable[[Callable, Tensor, float], Mask | None]:
    """Return what gives each dropout call its mask, if it is one of those that were planned."""

    def on_dropout(func: Callable, x: Tensor, p: float) -> Mask | None:
        site = calls.next_site(func, x, p)
        return fit_mask(masks[site.call], site, x) if site and site.call in masks else None

    return on_dropout
