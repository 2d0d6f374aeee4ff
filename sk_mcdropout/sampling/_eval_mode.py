"""Hold modules in eval mode and the random generators for a while, and put them back."""

import re
import sys
import warnings
from collections.abc import Collection, Container, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import Any

import torch
from torch import nn

from ._kept import Kept, set_mode
from ._modes import tidy_modes
from ._randomness import seed_generators, set_generators, states_of_generators
from ._turns import ALONE, Hold, hold, others_running, way_of

__all__ = [
    "alone_with",
    "evaluating",
    "forked_generators",
    "is_evaluated",
    "parts_of",
    "running_part",
]


def forked_generators(seed: int | None = None) -> AbstractContextManager[None]:
    """Fork the global random generators of torch, numpy and Python, optionally with a seed.

    One thread at a time can have this; others wait.

    Parameters
    ----------
    seed : int, optional
        Seed of the generators, below 2**32; those of all GPUs too, where CUDA is in use.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.sampling import forked_generators
    >>> before = torch.get_rng_state()
    >>> with forked_generators(0):
    ...     number = torch.rand(())
    >>> torch.equal(torch.get_rng_state(), before)
    True
    """
    return hold(_Generators(seed))


class _Generators(Hold):
    """The generators; what they were outside, and, while others have them, what they were here."""

    def __init__(self, seed: int | None) -> None:
        super().__init__({"generators": ALONE})
        self.seed = seed
        self.outside: tuple | None = None
        self.inside: tuple | None = None

    def take(self) -> None:
        if self.outside is not None:
            return
        self.outside = states_of_generators()
        if self.inside is not None:
            set_generators(*self.inside)
        elif self.seed is not None:
            seed_generators(self.seed)

    def give(self) -> None:
        if self.outside is None:
            return
        self.inside = states_of_generators()
        set_generators(*self.outside)
        self.outside = None


def running_part(parts: Container[nn.Module]) -> nn.Module | None:
    """Return the innermost of some modules among those that are running."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, nn.Module) and owner in parts:
            return owner
        frame = frame.f_back
    return None


def parts_of(*modules: nn.Module) -> list[nn.Module]:
    """List modules and all their submodules, each once; faster than ``modules()``."""
    parts = dict.fromkeys(modules)
    waiting = list(parts)
    while waiting:
        for part in waiting.pop()._modules.values():
            if part is not None and part not in parts:
                parts[part] = None
                waiting.append(part)
    return list(parts)


def alone_with(*things: Any) -> AbstractContextManager[None]:
    """Keep other threads from sampling, or training, modules for a while.

    Parameters
    ----------
    *things : nn.Module or object
        The modules, with all their submodules; anything else is held by itself.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.sampling import alone_with
    >>> net = torch.nn.Linear(2, 1)
    >>> with alone_with(net):
    ...     net(torch.ones(3, 2)).sum().backward()
    """
    modules = [thing for thing in things if isinstance(thing, nn.Module)]
    return hold(Hold(dict.fromkeys([*things, *parts_of(*modules)], ALONE)))


@contextmanager
def evaluating(*modules: nn.Module, in_training: Collection[nn.Module] = ()) -> Iterator[None]:
    """Hold modules in eval mode, without gradients; put back modes and attributes after.

    Threads may hold modules in the same modes side by side; one that wants other modes waits. In
    one thread modules may be held in other modes inside, and the outer modes come back.

    Parameters
    ----------
    *modules : nn.Module
        The modules; all their submodules are held too.
    in_training : collection of nn.Module
        Those of them that are held in training mode instead.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.sampling._eval_mode import evaluating
    >>> net = torch.nn.Dropout(0.5)
    >>> with evaluating(net):
    ...     net.training
    False
    >>> net.training
    True
    """
    gradients, mine = torch.is_grad_enabled(), _Evaluation(modules, in_training)
    try:
        with torch.inference_mode(False), torch.no_grad(), hold(mine), tidy_modes():
            yield
    finally:
        torch.set_grad_enabled(gradients)  # `no_grad` does not, where an interrupt cuts it short


def is_evaluated(module: nn.Module) -> bool:
    """Return whether this thread holds a module by `evaluating`, which then sets the modes.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.sampling import evaluating, is_evaluated
    >>> net = torch.nn.Dropout(0.5)
    >>> with evaluating(net):
    ...     is_evaluated(net)
    True
    >>> is_evaluated(net)
    False
    """
    return isinstance(way_of(module), bool)


class _Evaluation(Hold):
    """Modules in their modes. What is one for all threads the first changes, the last puts back."""

    def __init__(self, modules: tuple[nn.Module, ...], in_training: Collection[nn.Module]) -> None:
        parts, on = parts_of(*modules), set(in_training)
        self.is_compiled = any(
            "_orig_mod" in part._modules or part._compiled_call_impl for part in parts
        )
        # The wrapper of a compiled module has no mode of its own, it shows that of its inside.
        super().__init__({p: p in on for p in parts if "_orig_mod" not in p._modules})

    def take(self) -> None:
        for part, training in self.ways.items():
            if part not in _kept:
                _kept[part] = Kept(part)
            set_mode(part, training)
        _settings.change(self.is_compiled)

    def give(self) -> None:
        others = [other for other in others_running(self) if isinstance(other, _Evaluation)]
        _settings.put_back(bool(others), any(other.is_compiled for other in others))
        outside = {part: way for other in others for part, way in other.ways.items()}
        for part in self.ways:
            if part in outside:
                set_mode(part, outside[part])
            elif part in _kept:
                _kept[part].put_back()
                del _kept[part]


_kept: dict[nn.Module, Kept] = {}


class _Settings:
    """Settings of the whole process, while any thread samples.

    Compiled modules run uncompiled, since a compiled graph has its dropouts fixed. That ``vmap``
    is slower for some functions is for us to know, not for the user.
    """

    quiet = ("ignore", re.compile("There is a performance drop because"), UserWarning, None, 0)

    def __init__(self) -> None:
        self.stance: Any = None

    def change(self, is_compiled: bool) -> None:
        if self.quiet not in warnings.filters:
            warnings.filters.insert(0, self.quiet)  # type: ignore[attr-defined]
        if is_compiled and self.stance is None:
            self.stance = torch.compiler.set_stance("force_eager")

    def put_back(self, others: bool, others_compiled: bool) -> None:
        if not others and self.quiet in warnings.filters:
            warnings.filters.remove(self.quiet)  # type: ignore[attr-defined]
        if not others_compiled and self.stance is not None:
            self.stance.__exit__(None, None, None)
            self.stance = None


_settings = _Settings()
