"""Run a copy of a module, with some submodules in training mode, and write down what happens."""

import random
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ._choice import agree
from ._eval_mode import alone_with
from ._intercept import InterceptDropout
from ._masks import KINDS, STAND_INS, Mask
from ._numbers import shared_numbers
from ._put_back import (
    OWN,
    NoWrites,
    OwnState,
    Written,
    copy_tensors,
    generators_put_back,
    moved,
    sources_of,
    tensors_of,
)
from ._reading import Code, read
from ._rows import first_rows

__all__ = ["Event", "Pass", "Passes", "same"]

_N_LOOKS = {False: 2, True: 3}  # at what may be skipped by chance, without and with draws


@dataclass(frozen=True)
class Event:
    """A dropout call, with its rate, or a draw, with the generators; and who was running."""

    what: tuple[str, float] | str
    stack: tuple[nn.Module, ...]
    shape: tuple[int, ...] = ()

    def owner(self, group: Collection[nn.Module]) -> nn.Module | None:
        """Return the innermost module of a group that was running."""
        return next((part for part in self.stack if part in group), None)


@dataclass
class Pass:
    """One forward pass: its calls and draws, its output, what it changed, or its error."""

    events: list[Event] = field(default_factory=list)
    output: Any = None
    changed: set[str] = field(default_factory=set)
    error: Exception | None = None
    moved: list[str] = field(default_factory=list)

    def calls(self, group: Collection[nn.Module]) -> Counter:
        """Count the dropout calls of each module of a group."""
        calls = (event for event in self.events if not isinstance(event.what, str))
        return Counter((event.owner(group), event.what) for event in calls)

    def draws(self, group: Collection[nn.Module]) -> Counter:
        """Count the draws of each module of a group."""
        draws = (event for event in self.events if isinstance(event.what, str))
        return Counter((event.owner(group), event.what) for event in draws)

    def numbers(self, group: Collection[nn.Module]) -> dict[nn.Module, list[tuple[int, ...]]]:
        """Return the shapes of the random numbers of each module of a group."""
        found: dict[nn.Module, list[tuple[int, ...]]] = {}
        for event in self.events:
            if event.what[0] in STAND_INS and (owner := event.owner(group)) is not None:
                found.setdefault(owner, []).append(event.shape)
        return found


class Passes:
    """Forward passes of a copy of a module, or of itself if it has none, from the same state.

    Parameters
    ----------
    module : nn.Module
        The module.
    forward : callable of (module, input)
        Runs the module or its copy.
    x : Tensor, mapping or sequence of Tensor
        The input; two of its rows are used.
    code : Code
        What was read of the module.
    on_itself : bool
        Whether to run the module itself, and put it back after each pass.
    share : bool
        Whether to copy no parameters of torch's own layers, as long as nothing writes into them.

    Raises
    ------
    Written
        By a pass, if something writes into what is shared.
    """

    def __init__(
        self,
        module: nn.Module,
        forward: Callable[[nn.Module, Any], Any],
        x: Any,
        code: Code,
        on_itself: bool,
        share: bool,
    ) -> None:
        self.forward, self.x = forward, x
        self.on: Collection[nn.Module] = ()  # always in training mode
        self.drawn: Collection[nn.Module] = ()  # whose numbers are taken as dropouts
        self.closely = False  # whether to look at the generators after each function
        memo = copy_tensors(module, share)
        self._original, self._alone = module, ExitStack()
        self.subject = module if on_itself else _copy(module, memo)
        values, own = tensors_of(module), code.generators
        if self.subject is module:
            values = {
                n: v if memo.get(id(v)) is v else v.detach().clone() for n, v in values.items()
            }
        elif own:
            own = read(self.subject).generators
        tensors = tensors_of(self.subject).items()
        self.shared = [tensor for name, tensor in tensors if tensor is values[name]]
        self.state, self.sources = OwnState(self.subject, values), sources_of(own)
        self.parts = dict.fromkeys(self.subject.modules())
        self._modes = {part: getattr(part, "training", False) for part in self.parts}

    def __enter__(self) -> "Passes":
        if self.subject is self._original:  # whose modes other threads may hold
            self._alone.enter_context(alone_with(self.subject))
        return self

    def __exit__(self, *_: object) -> None:
        with self._alone:
            for part, mode in self._modes.items():
                _set_mode(part, mode)

    @cached_property
    def in_training(self) -> dict[nn.Module, None]:
        """Return the submodules that ``train()`` puts in training mode: some are frozen."""
        for part in self.parts:
            _set_mode(part, False)
        try:
            self.subject.train()
            trained = [part for part in self.parts if part.training]
        except Exception:  # an exported module has no modes
            trained = list(self.parts)
        self.state.put_back()
        return dict.fromkeys(trained)

    def several(self, training: Collection[nn.Module]) -> list[Pass]:
        """Run some passes, each with another seed."""
        return [self.one(training, seed) for seed in range(_N_LOOKS[self.closely])]

    def one(
        self,
        training: Collection[nn.Module],
        seed: int,
        replace: Callable[[Event, Tensor], Mask | None] | None = None,
        n_rows: int = 2,
    ) -> Pass:
        """Run one pass with some modules in training mode."""
        run, states = Pass(), list[Any]()
        for part in self.parts:
            _set_mode(part, part in training or part in self.on)

        def on_dropout(func: Callable, x: Tensor, p: float) -> Mask | None:
            event = Event((KINDS[func], p), self._running(), tuple(x.shape))
            if p > 0:
                run.events.append(event)
            if KINDS[func] in STAND_INS:
                return (torch.full_like(x, 0.5),)
            return replace(event, x) if replace else None

        def on_result(func: Callable | None, result: Any) -> None:
            nonlocal states
            names, states = moved(self.sources, states)
            run.events.extend(Event(name, self._running()) for name in names)

        # The others are forked outside, and seeded here. Put back late, after an interrupt, they
        # would be what they were in the fork.
        own = [source for source in self.sources if source.name == OWN]
        with generators_put_back(own), self._state_put_back(run):
            torch.manual_seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            random.seed(seed)
            states = start = moved(self.sources, [])[1]
            try:
                heard = on_result if self.closely else None
                with InterceptDropout(on_dropout, on_result=heard), NoWrites(self.shared):
                    forward = shared_numbers(self.forward, self.drawn)
                    output = forward(self.subject, first_rows(self.x, n_rows))
                if self.closely:
                    on_result(None, None)
                run.output = output[0] if isinstance(output, list | tuple) else output
            except Written:
                raise
            except Exception as error:  # what training needs may not be here, as targets
                run.error = error
            run.moved = moved(self.sources, start)[0]
        return run

    @contextmanager
    def _state_put_back(self, run: Pass) -> Iterator[None]:
        try:
            yield
        finally:
            run.changed = self.state.put_back()

    def _running(self) -> tuple[nn.Module, ...]:
        """Return the submodules that are running, the innermost first."""
        found: dict[nn.Module, None] = {}
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code is not Passes.one.__code__:
            for value in frame.f_locals.values():
                if isinstance(value, nn.Module) and value in self.parts:
                    found[value] = None
            frame = frame.f_back
        return tuple(found)


def _copy(module: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """Return a copy, or the module itself if there is something in it that has none."""
    try:
        return deepcopy(module, memo)
    except Exception:  # locks, streams, tensors with a history and the like
        return module


def _set_mode(part: nn.Module, training: bool) -> None:
    if "_orig_mod" not in part._modules and getattr(part, "training", training) != training:
        part.training = training


def same(actual: Any, expected: Any) -> bool:
    """Return whether two outputs are equal up to rounding."""
    ours, theirs = list(_tensors(actual)), list(_tensors(expected))
    return len(ours) >= len(theirs) and all(map(_agree, ours, theirs))


def _agree(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return agree(a, b) if a.is_floating_point() and a.numel() else torch.equal(a, b)


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, dict):
        for part in output.values():
            yield from _tensors(part)
    elif isinstance(output, list | tuple):
        for part in output:
            yield from _tensors(part)
