"""Probe a module: run it on a few rows and record its dropout calls."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ._choice import unlike_rows
from ._eval_mode import forked_generators, running_part
from ._intercept import InterceptDropout
from ._masks import KINDS, DropoutSite, dtype_name, mask_shape
from ._questions import Answer, answer_of
from ._randomness import is_random, others_differ, set_generators, states_of_generators
from ._rows import first_rows, map_tensors

__all__ = ["Probe", "probe", "probe_one_item"]


@dataclass(frozen=True)
class Probe:
    """Findings of a few small forward passes of a module.

    Parameters
    ----------
    sites : tuple of DropoutSite
        The dropout calls of rate above 0, in the order of the calls.
    bytes_before, bytes_masked, bytes_after : int
        Size for one row of the widest activation before the first dropout, of the input of
        the first dropout, and of the widest activation after it.
    writes_input : bool
        Whether the module changes its input in place.
    asks : bool
        Whether the code of the module learns about values, and may go one way or another.
    asks_later : bool
        Whether it learns about values that masks may have changed.
    random : bool
        Whether the module draws random numbers in eval mode.
    varies : bool
        Whether each row must be sampled by itself: the dropout calls depend on the values of the
        input or on the number of rows, or it cannot be told which axis is that of the rows. The
        calls are then those for the first row.
    tied : bool
        Whether these rows, being alike, could not tell all that there is to know.
    """

    sites: tuple[DropoutSite, ...]
    bytes_before: int = 0
    bytes_masked: int = 0
    bytes_after: int = 0
    writes_input: bool = False
    asks: bool = False
    asks_later: bool = False
    random: bool = False
    varies: bool = False
    tied: bool = False


class Recorder:
    """Write down the dropout calls of one forward pass, its answers and the sizes of results."""

    def __init__(self, paths: dict[nn.Module, str]) -> None:
        self.paths = paths
        self.calls: list[tuple[str, str, float, str]] = []
        self.inputs: list[tuple[tuple[int, ...], Tensor]] = []
        self.answers: list[Answer] = []
        self.asks_later = False
        self.draws = False  # random numbers, in other ways than dropout
        self.sizes: dict[str, list[int]] = {"before": [], "masked": [], "after": []}

    def on_dropout(self, func: Callable, x: Tensor, p: float) -> None:
        self.calls.append((self.path(), KINDS[func], p, dtype_name(x)))
        self.inputs.append((mask_shape(func, x), x.clone()))  # which may be written into later
        if p > 0 and not self.sizes["masked"]:
            self.sizes["masked"].append(x.numel() * x.element_size())

    def on_answer(self, func: Callable, result: Any) -> None:
        self.answers.append(answer_of(func, result))
        self.asks_later |= bool(self.sizes["masked"])

    def on_result(self, func: Callable, result: Any) -> None:
        self.draws |= is_random(func)
        if isinstance(result, Tensor):
            when = "after" if self.sizes["masked"] else "before"
            self.sizes[when].append(result.numel() * result.element_size())

    def path(self) -> str:
        """Name the innermost known module among those that are running."""
        owner = running_part(self.paths)
        return "" if owner is None else self.paths[owner]


def probe(module: nn.Module, forward: Callable[[Any], Any], rows: Any) -> tuple[Probe, Any, Any]:
    """Run two small forward passes and find the dropout calls and their axis of rows.

    Parameters
    ----------
    module : nn.Module
        The module, in eval mode; names the calls.
    forward : callable
        Returns all outputs for an input.
    rows : Tensor, mapping or sequence of Tensor
        Three rows of the input.

    Returns
    -------
    Probe
        The dropout calls and sizes.
    object, object
        All outputs without dropout for the first two and for all three rows.
    """
    paths = {submodule: name for name, submodule in module.named_modules()}
    _refuse_scripted(paths)
    own = first_rows(rows, 3)
    versions, generators = _versions(own), states_of_generators()
    more, three = _one_pass(paths, forward, own)
    fewer, two = _one_pass(paths, forward, first_rows(rows, 2))
    random = more.draws and fewer.draws
    if random:  # which hides how the rows go
        set_generators(*generators)
        with forked_generators(0):
            more, three = _one_pass(paths, forward, first_rows(rows, 3))
        with forked_generators(0):
            fewer, two = _one_pass(paths, forward, first_rows(rows, 2))
    seen = _sites(fewer, more)
    if seen is not None and None in seen:  # rows that look alike
        seen = _sites_of_unlike_rows(paths, forward, rows) or seen
    sites = tuple(site for site in seen or () if site is not None)
    tied = len(sites) < len(seen or ())
    varies = seen is None or tied
    if varies:
        sites = _sites_of_one_row(paths, forward, rows)
    before, masked, after = map(_widest_row, fewer.sizes.values(), more.sizes.values())
    written, asks = _versions(own) != versions, bool(more.answers)
    found = Probe(
        *(sites, before, masked, after, written),
        *(asks, more.asks_later, random, varies, tied),
    )
    return found, two, three


def _widest_row(two: list[int], three: list[int]) -> int:
    """Return the most bytes of a row among the results for two and for three rows.

    What has no rows, as weights, is as large for both.
    """
    if len(two) != len(three):
        return max(three, default=0) // 3
    return max((more - fewer for fewer, more in zip(two, three, strict=True)), default=0)


def _versions(rows: Any) -> list[int]:
    versions: list[int] = []
    map_tensors(lambda t: versions.append(t._version), rows)
    return versions


def _one_pass(paths: dict[nn.Module, str], forward: Callable[[Any], Tensor], rows: Any) -> tuple:
    """Pass some rows without dropout."""
    recorder, before = Recorder(paths), states_of_generators()
    with InterceptDropout(recorder.on_dropout, recorder.on_answer, recorder.on_result):
        output = forward(rows)
    recorder.draws |= others_differ(before, states_of_generators())
    return recorder, output


Sites = tuple[DropoutSite | None, ...] | None


def _sites_of_unlike_rows(paths: dict, forward: Callable, rows: Any) -> Sites:
    """Describe the dropout calls by rows with noise."""
    unlike = map_tensors(unlike_rows, rows)
    try:
        more, _ = _one_pass(paths, forward, first_rows(unlike, 3))
        fewer, _ = _one_pass(paths, forward, first_rows(unlike, 2))
    except Exception:  # noise is no input that the module must take
        return None
    return _sites(fewer, more)


def probe_one_item(module: nn.Module, forward: Callable[[Any], Any], x: Any) -> tuple[Probe, Any]:
    """Run one pass for an input that has no rows; see `probe`."""
    paths = {submodule: name for name, submodule in module.named_modules()}
    _refuse_scripted(paths)
    recorder, output = _one_pass(paths, forward, map_tensors(torch.clone, x))
    sites = _own_sites(recorder)
    return Probe(sites, writes_input=True, random=recorder.draws, varies=True), output


def _sites_of_one_row(paths: dict, forward: Callable, rows: Any) -> tuple[DropoutSite, ...]:
    return _own_sites(_one_pass(paths, forward, first_rows(rows, 1))[0])


def _own_sites(recorder: Recorder) -> tuple[DropoutSite, ...]:
    """Describe the dropout calls of one pass, with masks of the shapes that it has."""
    calls = enumerate(zip(recorder.calls, recorder.inputs, strict=True))
    return tuple(
        DropoutSite(path, kind, p, shape, call, None, dtype)
        for call, ((path, kind, p, dtype), (shape, _)) in calls
        if p
    )


def _sites(fewer: Recorder, more: Recorder) -> Sites:
    """Describe the dropout calls that two and three rows gave.

    None in the place of a call means that its rows look alike; in the place of all calls, that
    the calls depend on the rows, or that the axis of the rows cannot be told.
    """
    if fewer.calls != more.calls:
        return None
    sites: list[DropoutSite | None] = []
    calls = enumerate(zip(more.calls, fewer.inputs, more.inputs, strict=True))
    for call, (about, few, many) in calls:
        path, kind, p, dtype = about
        if p == 0:
            continue
        places = _places_of_rows(few, many)
        if not places:
            return None
        mask, axis, split = places[0]
        site = DropoutSite(path, kind, p, mask, call, axis, dtype, split)
        sites.append(site if len(places) == 1 else None)
    return tuple(sites)


# The shape of the mask, the axis of the rows and, if they share it, how it is to be split.
Place = tuple[tuple[int, ...], int | None, tuple[int, tuple[int, int]] | None]


def _places_of_rows(few: tuple, many: tuple) -> list[Place]:
    """Find the axis of the rows in the inputs that two and three rows gave to a dropout call."""
    (shape2, x2), (shape3, x3) = few, many
    if len(shape2) != len(shape3):
        return []
    axes = [
        axis for axis, (two, three) in enumerate(zip(shape2, shape3, strict=True)) if two != three
    ]
    if not axes:
        return [(shape3, None, None)]
    axis, *others = axes
    if others:
        return []
    before, after = shape3[:axis], shape3[axis + 1 :]
    if (shape2[axis], shape3[axis]) == (2, 3):
        return [((*before, 1, *after), axis, None)]
    places: list[Place] = []
    for split in _splits_of_rows(axis, x2, x3):
        sizes = tuple(1 if size == -1 else size for size in split[1])
        places.append(((*before, *sizes, *after), axis + split[1].index(-1), split))
    return places


def _splits_of_rows(axis: int, x2: Tensor, x3: Tensor) -> list[tuple[int, tuple[int, int]]]:
    """Return the ways in which an axis can be made of the rows and another axis."""
    length, rest = divmod(x3.shape[axis], 3)
    if rest or x2.shape[axis] != 2 * length:
        return []
    splits = []
    for sizes in ((-1, length), (length, -1)):
        two, three = x2.unflatten(axis, sizes), x3.unflatten(axis, sizes)
        three = three.narrow(axis + sizes.index(-1), 0, 2)
        size = three.abs().nan_to_num(0, 0, 0).max().item()
        if torch.allclose(two, three, rtol=0, atol=1e-3 * size, equal_nan=True):
            splits.append((axis, sizes))
    return splits


def _refuse_scripted(paths: dict[nn.Module, str]) -> None:
    for module, path in paths.items():
        if isinstance(module, torch.jit.ScriptModule) and "dropout" in str(module.inlined_graph):
            raise NotImplementedError(
                "each dropout must be in a module that is run by Python. Got a scripted module "
                f"with dropout at {path!r}. Pass the module it was made from."
            )
