"""The Monte-Carlo draws of a module for some rows, reduced chunk by chunk."""

from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ._chunks import chunks, has_effect
from ._eval_mode import evaluating, forked_generators
from ._intercept import CallsChanged
from ._kept import large_buffers
from ._memory import Plans, kind_of_input, state_of
from ._moments import moments
from ._numbers import shared_numbers
from ._one_item import plan_one_item
from ._outputs import Which
from ._plan import (
    DropoutSites,
    Plan,
    as_planned,
    make_plan,
    warn,
    warn_about,
    warn_if_not_random,
    warn_of_numbers,
    warn_of_rows,
)
from ._progress import progress_bar
from ._rows import call, count_rows, gather_rows, map_tensors
from ._uniforms import check_law

__all__ = ["Draws"]

# Takes draws of shape (n_draws, n_chunk_rows, ...) and the place of their rows among all rows;
# returns tensors with the rows on one axis.
Reducer = Callable[[Tensor, slice], tuple[Tensor, ...]]


@dataclass(frozen=True)
class Draws:
    """Monte-Carlo draws of a module for some rows.

    A draw is one stochastic forward pass: one thinned network, applied to all rows. The draws are
    made again by each call of `reduce`, in bounded memory, and are the same each time.

    Parameters
    ----------
    module : nn.Module
        A trained module.
    batches : callable
        Returns the inputs, an iterable of batches: tensors, tuples or mappings of tensors.
    n_draws : int
        Number of draws.
    seed : int
        Seed of the masks.
    masks : str
        Their law, ``"iid"`` or ``"qmc"``; see `sample`.
    forward : callable, optional
        Returns the output for a batch; by default the module itself.
    held : tuple of nn.Module
        Modules beside ``module`` that are held in eval mode, too.
    extra_dropout : tuple of class
        Modules that draw by themselves; see `sample`.
    output : str, int or callable, optional
        Which of several outputs is drawn; see `sample`.
    one_item : bool
        Whether an input is passed whole, having no rows; see `sample`. The draws then have one row,
        and the results of `reduce` no axis of rows.
    strategy : str
        Name of the strategy that applies the masks, or ``"auto"``; see `sample`.
    batch_size : int, optional
        Number of rows at once; by default as many as fit into a memory budget.
    verbose : bool
        Whether to show a progress bar of the rows, if they take more than a second.
    n_rows : int, optional
        The number of all rows, where it is known, for that bar.
    plans : Plans
        The plans made so far. Whoever owns the module hands the same to all its `Draws`.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.sampling import Draws
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Dropout(0.5))
    >>> draws = Draws(net, lambda: [torch.ones(3, 2), torch.ones(2, 2)], n_draws=10)
    >>> (mean,) = draws.reduce(lambda outputs, rows: (outputs.mean(0),))
    >>> mean.shape
    torch.Size([5, 8])
    """

    module: nn.Module
    batches: Callable[[], Iterable[Any]]
    n_draws: int = 100
    seed: int = 0
    masks: str = "iid"
    forward: Callable[[Any], Any] | None = None
    held: tuple[nn.Module, ...] = ()
    extra_dropout: tuple[type, ...] = ()
    output: Which = None
    one_item: bool = False
    strategy: str = "auto"
    batch_size: int | None = None
    verbose: bool = False
    n_rows: int | None = None
    plans: Plans = field(default_factory=Plans, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_law(self.masks)

    def reduce(
        self, function: Reducer, *, axis: int = 0, spread: bool = True
    ) -> tuple[Tensor, ...]:
        """Reduce the draws of all rows, one chunk of rows after the other.

        Parameters
        ----------
        function : callable of (outputs, rows)
            Takes the outputs of all draws for a chunk of rows, of shape
            (n_draws, n_chunk_rows, ...), and the slice of these rows among all rows. Returns a
            tuple of tensors.
        axis : int
            Axis of the rows in these tensors.
        spread : bool
            Whether draws that are all equal are worth a warning or an error.

        Returns
        -------
        tuple of Tensor
            The tensors for all rows.

        Raises
        ------
        ValueError
            If a spread is asked for, and the output does not depend on the dropouts.
        """
        parts, start = [], 0
        bar = progress_bar(self.n_rows, "row", delay=1) if self.verbose else nullcontext()
        with self.evaluating(), bar as progress:
            state = state_of(self.module)  # which a pass may change, until it is put back
            for x in self.batches():
                reduced = self._reduced(x, state, start, function, spread, progress)
                parts.append(gather_rows(reduced, n_rows := self._count(x), axis))
                start += n_rows
        if self.one_item:
            return tuple(tensor.squeeze(axis) for tensor in parts[0])
        if len(parts) == 1:
            return parts[0]
        return tuple(torch.cat(tensors, axis) for tensors in zip(*parts, strict=True))

    def moments(self) -> tuple[Tensor, Tensor]:
        """Compute the mean and the standard deviation by one pass, approximately, without draws.

        Returns
        -------
        mean, std : Tensor of shape (n_samples, ...), in double precision
            Those of the outputs of all rows over all masks; see `mean_and_std`.

        Raises
        ------
        NotImplementedError
            If the module is not of those that are known; the message names the submodule.
        ValueError
            If the output does not depend on the dropouts.
        """
        parts: list[tuple[Tensor, Tensor]] = []
        with self.evaluating():
            state = state_of(self.module)
            for x in self.batches():
                plan = self._plan(x, state)
                if not parts:
                    warn_about(plan)
                    warn_if_not_random(plan)
                parts += self._moments(x, state)
        mean, std = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        if not std.any():
            with self.evaluating():
                self._check_effect(x, plan)
        return mean, std

    def sites(self, checked: bool = False) -> DropoutSites:
        """List the dropouts that are drawn for the first batch; warn of what `check` did not."""
        with self.evaluating():
            plan = self._plan(next(iter(self.batches())), state_of(self.module))
            (warn_of_rows if checked else warn_about)(plan)
            return DropoutSites(plan.sites, plan.strategies, plan.refused)

    def check(self) -> None:
        """Refuse a module that cannot be drawn, and warn of what is not: before it is trained."""
        with self.evaluating():
            warn_of_numbers(self._make_plan(next(iter(self.batches())), decide=False))

    def evaluating(self) -> AbstractContextManager[None]:
        """Hold the modules in eval mode, without gradients, as while the draws are made."""
        return evaluating(self.module, *self.held)

    def _reduced(
        self, x: Any, state: list, start: int, function: Reducer, spread: bool, progress: Any
    ) -> Iterator[tuple[Tensor, ...]]:
        """Yield the reduced draws of one batch, chunk by chunk."""
        known = self.plans.get(self._key(x), state) is not None
        plan = self._plan(x, state)
        if not (known and start):
            warn_about(plan)
            if plan.seeds and self.masks != "iid":
                _warn_of_seeded_numbers(self.masks)
        if spread and not start:
            warn_if_not_random(plan)
        differ = plan.has_effect or not spread or not plan.sites or plan.seeds or self.n_draws == 1
        for outputs in self._chunks(x, state, plan, known):
            if not differ:
                differ = plan.has_effect = _differ(outputs)
            rows = slice(start, start := start + outputs.shape[1])
            yield function(outputs, rows)
            if progress is not None:
                progress.update(outputs.shape[1])
        if not differ:
            self._check_effect(x, self._plan(x, state))

    def _moments(self, x: Any, state: list, again: bool = True) -> list[tuple[Tensor, Tensor]]:
        """Return the moments of a batch; where other calls are made, plan ``again``."""
        plan = self._plan(x, state)
        try:
            with self._as_planned(plan):
                forward = self._forward_of(plan)
                return list(moments(plan, self.module, forward, x, self.batch_size))
        except CallsChanged as error:
            if not again:
                raise NotImplementedError(
                    "`strategy='moments'` takes modules whose dropout calls are the same for all "
                    "rows. Got others. Leave `strategy` at 'auto' to draw."
                ) from error
        self.plans.drop(self._key(x))  # the module was changed since
        return self._moments(x, state, again=False)

    def _chunks(self, x: Any, state: list, plan: Plan, again: bool) -> Iterator[Tensor]:
        """Yield the outputs chunk by chunk; where other calls are made, plan ``again``."""
        n_rows, done = self._count(x), 0
        while done < n_rows:
            rest = map_tensors(partial(_without_first, done), x) if done else x
            forward = self._forward_of(plan)
            outputs = chunks(
                plan, forward, rest, self.n_draws, self.seed, self.masks, self.batch_size
            )
            try:
                with self._as_planned(plan):
                    for chunk in outputs:
                        yield chunk
                        done += chunk.shape[1]
            except CallsChanged:
                if again:  # the module was changed since
                    self.plans.drop(self._key(x))
                    plan, again = self._plan(x, state), False
                    warn_about(plan)
                else:  # the calls depend on the values of the rows
                    plan = plan.row_by_row()

    @contextmanager
    def _as_planned(self, plan: Plan) -> Iterator[None]:
        forked = forked_generators() if plan.seeds else nullcontext()
        with forked, as_planned(self.module, plan.look):
            yield

    def _count(self, x: Any) -> int:
        return 1 if self.one_item else count_rows(x)

    def _forward(self, x: Any) -> Any:
        return call(self.module, x) if self.forward is None else self.forward(x)

    def _forward_of(self, plan: Plan) -> Callable[[Any], Any]:
        return shared_numbers(self._forward, plan.look.drawing(self.module))

    def _plan(self, x: Any, state: list) -> Plan:
        key = self._key(x)
        if (known := self.plans.get(key, state)) is not None:
            return known
        large = large_buffers(self.module).items()
        plan = self._make_plan(x)
        plan.written = tuple(
            name for name, (buffer, n_writes) in large if buffer._version != n_writes
        )
        if not plan.found.tied and not plan.tied:  # other rows can tell more
            self.plans.put(key, state, plan, self.module)
        return plan

    def _make_plan(self, x: Any, decide: bool = True) -> Plan:
        about = self.module, x, self._forward, self.strategy, self.extra_dropout, self.output
        return plan_one_item(*about) if self.one_item else make_plan(*about, decide)

    def _key(self, x: Any) -> Hashable:
        return self.strategy, self.extra_dropout, self.output, self.one_item, kind_of_input(x)

    def _check_effect(self, x: Any, plan: Plan) -> None:
        if plan.found.varies or not plan.sites:
            return
        with self._as_planned(plan):
            if has_effect(plan, self._forward_of(plan), x):
                return
        raise ValueError(
            "the output of the module must depend on its dropouts. Got rates above 0, and yet the "
            "same output in each draw, for random inputs as well. Look at "
            "`dropout_sites(module, x)`, and where what these dropouts give goes to."
        )


def _warn_of_seeded_numbers(masks: str) -> None:
    warn(
        "`masks` can be the law of numbers that rows share alone. Got "
        f"{masks!r}, and random numbers that are seeded for each draw: these stay independent. "
        "Leave it at 'iid' where there are no others."
    )


def _without_first(n_rows: int, x: Tensor) -> Tensor:
    return x[n_rows:]


def _differ(draws: Tensor) -> bool:
    """Return whether any draws differ by more than rounding."""
    rounding = 8 * torch.finfo(draws.dtype).eps * draws[0].abs()
    pairs = (draws[-1], draws)  # the last draw most often differs
    return any(bool(((other - draws[0]).abs() > rounding).any()) for other in pairs)
