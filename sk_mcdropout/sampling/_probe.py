"""Probe a module: run it on a few rows and record its dropout calls."""

import sys
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ._eval_mode import forked_generators
from ._intercept import InterceptDropout
from ._masks import KINDS, DropoutSite, dtype_name, mask_shape
from ._rows import first_rows, map_tensors

__all__ = ["Probe", "missed_dropouts", "noisy", "probe"]


@dataclass(frozen=True)
class Probe:
    """Findings of two small forward passes of a module.

    Parameters
    ----------
    sites : tuple of DropoutSite
        The dropout calls of rate above 0, in the order of the calls.
    bytes_before, bytes_masked, bytes_after : int
        Size for one row of the widest activation before the first dropout, of the input of
        the first dropout, and of the widest activation after it.
    writes_input : bool
        Whether the module changes its input in place.
    varies : bool
        Whether the dropout calls depend on the values of the input, as those in a loop may that
        runs until something holds. The calls are then those for the first row.
    """

    sites: tuple[DropoutSite, ...]
    bytes_before: int
    bytes_masked: int
    bytes_after: int
    writes_input: bool
    varies: bool = False


class Recorder:
    """Write down the dropout calls of one forward pass and the widest activations."""

    def __init__(self, paths: dict[nn.Module, str]) -> None:
        self.paths = paths
        self.calls: list[tuple[str, str, float, str]] = []
        self.inputs: list[tuple[tuple[int, ...], Tensor]] = []
        self.widest = {"before": 0, "masked": 0, "after": 0}
        self.asked: dict[tuple, int] = {}  # where values were asked for, and at which call
        self.asks_in_a_loop = False

    def on_dropout(self, func: Callable, x: Tensor, p: float) -> None:
        self.calls.append((self.path(), KINDS[func], p, dtype_name(x)))
        self.inputs.append((mask_shape(func, x), x))
        if p > 0 and not self.widest["masked"]:
            self.widest["masked"] = x.numel() * x.element_size()

    def on_result(self, func: Callable, result: Any) -> None:
        if isinstance(result, Tensor):
            when = "after" if self.widest["masked"] else "before"
            self.widest[when] = max(self.widest[when], result.numel() * result.element_size())
        elif func in _VALUES:
            place, call = _place(), sum(call[2] > 0 for call in self.calls)
            self.asks_in_a_loop |= self.asked.setdefault(place, call) < call

    def path(self) -> str:
        """Name the innermost known module among those that are running."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            owner = frame.f_locals.get("self")
            if isinstance(owner, nn.Module) and owner in self.paths:
                return self.paths[owner]
            frame = frame.f_back
        return ""


def probe(
    module: nn.Module, forward: Callable[[Any], Tensor], x: Any
) -> tuple[Probe, Tensor, Tensor]:
    """Run two small forward passes and find the dropout calls and their axis of rows.

    Parameters
    ----------
    module : nn.Module
        The module, in eval mode; names the calls.
    forward : callable
        Returns the output for an input.
    x : Tensor, mapping or sequence of Tensor
        The input; a few of its rows are used.

    Returns
    -------
    Probe
        The dropout calls and sizes.
    Tensor, Tensor
        The outputs without dropout for the first two and the first three rows.
    """
    paths = {submodule: name for name, submodule in module.named_modules()}
    _refuse_scripted(paths)
    rows = first_rows(x, 3)
    fewer, more, *outputs = _two_passes(paths, forward, rows)
    written: list[int] = []
    map_tensors(lambda t: written.append(t._version), rows)
    if _calls_vary(fewer, more, paths, forward, first_rows(x, 3)):
        recorder, _ = _one_pass(paths, forward, first_rows(x, 1))
        first = zip(recorder.calls, recorder.inputs, strict=True)
        sites = tuple(
            DropoutSite(path, kind, p, shape, call, None, dtype)
            for call, ((path, kind, p, dtype), (shape, _)) in enumerate(first)
            if p
        )
        return Probe(sites, 0, 0, 0, any(written), varies=True), *outputs
    sites = _sites(fewer, more)
    if None in sites:  # rows that look alike: tell them apart by noise
        fewer, more, *_ = _two_passes(paths, forward, map_tensors(noisy, first_rows(x, 3)))
        sites = _sites(fewer, more, take_first=True)
    before, masked, after = (size // 3 for size in more.widest.values())
    return Probe(sites, before, masked, after, any(written)), *outputs


def _one_pass(paths: dict[nn.Module, str], forward: Callable[[Any], Tensor], rows: Any) -> tuple:
    """Pass some rows without dropout."""
    recorder = Recorder(paths)
    with InterceptDropout(recorder.on_dropout, recorder.on_result):
        return recorder, forward(rows)


def _two_passes(paths: dict[nn.Module, str], forward: Callable[[Any], Tensor], rows: Any) -> tuple:
    """Pass two of three rows, then all of them, without dropout."""
    fewer, two = _one_pass(paths, forward, first_rows(rows, 2))
    more, three = _one_pass(paths, forward, rows)
    return fewer, more, two, three


def _calls_vary(
    fewer: "Recorder", more: "Recorder", paths: dict, forward: Callable, rows: Any
) -> bool:
    """Return whether the dropout calls depend on the values of the input."""
    if fewer.calls != more.calls or more.asks_in_a_loop:
        return True
    if not more.asked:  # the code cannot know the values
        return False
    each = (map_tensors(partial(torch.narrow, dim=0, start=i, length=1), rows) for i in range(3))
    return any(_one_pass(paths, forward, row)[0].calls != more.calls for row in each)


# The functions by which code gets at the values of a tensor, to decide on them.
_VALUES = {
    *(Tensor.__bool__, Tensor.__int__, Tensor.__float__, Tensor.__index__, Tensor.__array__),
    *(Tensor.item, Tensor.tolist, Tensor.numpy, Tensor.equal, Tensor.allclose),
    *(Tensor.is_nonzero, torch.is_nonzero, torch.equal, torch.allclose),
}


def _place() -> tuple:
    """Name the line of code that is running, and those that called it."""
    place = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        place.append((frame.f_code, frame.f_lineno, id(frame.f_locals.get("self"))))
        frame = frame.f_back
    return tuple(place)


def noisy(x: Tensor) -> Tensor:
    """Add normal noise to x, the same at each call; whole numbers are left as they are."""
    if not x.is_floating_point():
        return x
    noise = np.random.default_rng(0).normal(size=x.shape)
    return x + torch.from_numpy(noise).to(x)


def _sites(fewer: "Recorder", more: "Recorder", take_first: bool = False) -> tuple:
    """Describe the dropout calls; None for one whose rows cannot be told from something else."""
    calls = enumerate(zip(more.calls, fewer.inputs, more.inputs, strict=True))
    return tuple(
        _site(call, about, few, many, take_first) for call, (about, few, many) in calls if about[2]
    )


def _site(
    call: int, about: tuple, fewer: tuple, more: tuple, take_first: bool
) -> DropoutSite | None:
    """Find the axis of the rows in the inputs that two and three rows gave."""
    path, kind, p, dtype = about
    (few, x2), (shape, x3) = fewer, more
    rows = [axis for axis, sizes in enumerate(zip(few, shape, strict=True)) if len({*sizes}) > 1]
    if not rows:
        return DropoutSite(path, kind, p, shape, call, None, dtype)
    axis = rows[0]
    splits = [] if shape[axis] == 3 else _splits_of_rows(axis, x2, x3)
    if len(splits) > 1 and not take_first:
        return None
    split = splits[0] if splits else None
    if len(rows) > 1 or (shape[axis] != 3 and split is None):
        raise NotImplementedError(
            "each dropout must see its rows on one axis, alone or beside one other. Got the shapes "
            f"{few} for 2 rows and {shape} for 3 in the submodule {path!r}. "
            "Move the dropout to where the rows are an axis of their own."
        )
    if split is not None:
        sizes = tuple(3 if size == -1 else size for size in split[1])
        shape = (*shape[:axis], *sizes, *shape[axis + 1 :])
        axis += split[1].index(-1)
    mask_shape = tuple(1 if a == axis else size for a, size in enumerate(shape))
    return DropoutSite(path, kind, p, mask_shape, call, axis, dtype, split)


def _splits_of_rows(axis: int, x2: Tensor, x3: Tensor) -> list[tuple[int, tuple[int, int]]]:
    """Return the ways in which an axis can be made of the rows and another axis."""
    length, rest = divmod(x3.shape[axis], 3)
    if rest or x2.shape[axis] != 2 * length:
        return []
    splits = []
    for sizes in ((-1, length), (length, -1)):
        two, three = x2.unflatten(axis, sizes), x3.unflatten(axis, sizes)
        three = three.narrow(axis + sizes.index(-1), 0, 2)
        if torch.allclose(two, three, rtol=1e-3, atol=1e-5, equal_nan=True):
            splits.append((axis, sizes))
    return splits


def _refuse_scripted(paths: dict[nn.Module, str]) -> None:
    for module, path in paths.items():
        if isinstance(module, torch.jit.ScriptModule) and "dropout" in str(module.inlined_graph):
            raise NotImplementedError(
                "each dropout must be in a module that is run by Python. Got a scripted module "
                f"with dropout at {path!r}. Pass the module it was made from."
            )


def missed_dropouts(
    module: nn.Module, x: Any, forward: Callable[[nn.Module, Any], Any], extra: tuple[type, ...]
) -> list[str]:
    """Name the submodules that drop or draw in training mode only.

    Where the code of a class asks for ``training``, a copy of the module, with the same
    parameters, runs once in training mode and once in eval mode, and the dropout calls are
    compared. A module that cannot be copied or run so is not looked into.

    Parameters
    ----------
    module : nn.Module
        The module.
    x : Tensor, mapping or sequence of Tensor
        The input; a few of its rows are used.
    forward : callable of (module, input)
        Runs the copy.
    extra : tuple of class
        The classes of submodules that are in training mode while sampling.

    Returns
    -------
    list of str
        Their paths, sorted.
    """
    if not any(_asks_for_training(type(part)) for part in module.modules()):
        return []
    try:
        copy = deepcopy(module, {id(part): part for part in module.parameters()})
        paths = {submodule: name for name, submodule in copy.named_modules()}
        calls, drawers = [], []
        with forked_generators():
            for training in (False, True):
                for part in paths:
                    part.training = training or isinstance(part, extra)
                recorder = _DrawRecorder(paths)
                with InterceptDropout(recorder.on_dropout, recorder.on_result):
                    forward(copy, first_rows(x, 2))
                calls.append(Counter(call for call in recorder.calls if call[2] > 0))
                drawers.append(set(recorder.drawers))
    except Exception:  # what happens in training is none of our business
        return []
    # Who drops in eval mode, too, may draw its masks in another way while it is trained.
    drawn = drawers[1] - drawers[0] - {call[0] for call in calls[0]}
    return sorted({call[0] for call in calls[1] - calls[0]} | drawn)


def _asks_for_training(kind: type) -> bool:
    """Return whether a class that is not torch's own looks at the mode of its modules."""
    own = (c for c in kind.__mro__ if not c.__module__.startswith("torch."))
    codes = (getattr(value, "__code__", None) for c in own for value in vars(c).values())
    return any(code is not None and "training" in code.co_names for code in codes)


class _DrawRecorder(Recorder):
    """Write down also which submodules move torch's generator."""

    def __init__(self, paths: dict[nn.Module, str]) -> None:
        super().__init__(paths)
        self.state = torch.get_rng_state()
        self.drawers: list[str] = []

    def on_result(self, func: Callable, result: Any) -> None:
        state = torch.get_rng_state()
        if not torch.equal(state, self.state):
            self.drawers.append(self.path())
        self.state = state
