"""Run a module on a few rows and write down its dropout calls."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from .dropouts import KINDS, DropoutSite, InterceptDropout, mask_shape
from .rows import first_rows, map_tensors

__all__ = ["Probe", "probe"]


@dataclass(frozen=True)
class Probe:
    """What two small forward passes told about a module.

    Parameters
    ----------
    sites : tuple of DropoutSite
        The dropout calls of rate above 0, in the order of the calls.
    bytes_before, bytes_masked, bytes_after : int
        Size for one row of the widest activation before the first dropout, of the input of
        the first dropout, and of the widest activation after it.
    writes_input : bool
        Whether the module changes its input in place.
    """

    sites: tuple[DropoutSite, ...]
    bytes_before: int
    bytes_masked: int
    bytes_after: int
    writes_input: bool


class _Recorder:
    """Write down the dropout calls of one forward pass and the widest activations."""

    def __init__(self, paths: dict[nn.Module, str]) -> None:
        self.paths = paths
        self.calls: list[tuple[str, str, float, torch.dtype]] = []
        self.inputs: list[tuple[tuple[int, ...], Tensor]] = []
        self.widest = {"before": 0, "masked": 0, "after": 0}

    def on_dropout(self, func: Callable, x: Tensor, p: float) -> None:
        path = self.path()
        if not 0 <= p <= 1:
            raise ValueError(f"the rate must lie in [0, 1]. Got {p} in the submodule {path!r}.")
        self.calls.append((path, KINDS[func], p, x.dtype))
        self.inputs.append((mask_shape(func, x), x))
        if p > 0 and not self.widest["masked"]:
            self.widest["masked"] = x.numel() * x.element_size()

    def on_result(self, result: Any) -> None:
        if isinstance(result, Tensor):
            when = "after" if self.widest["masked"] else "before"
            self.widest[when] = max(self.widest[when], result.numel() * result.element_size())

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
        Answers the output for an input.
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
    recorders, outputs = [], []
    for n_rows in (2, 3):
        recorder = _Recorder(paths)
        rows = first_rows(x, n_rows)
        with InterceptDropout(recorder.on_dropout, recorder.on_result):
            outputs.append(forward(rows))
        recorders.append(recorder)
    fewer, more = recorders
    if fewer.calls != more.calls:
        raise NotImplementedError(
            "a forward pass must make the same dropout calls for every number of rows. Got "
            f"{len(fewer.calls)} calls for 2 rows and {len(more.calls)} for 3. "
            "Make the calls independent of the batch."
        )
    sites = tuple(
        _site(call, about, few, many)
        for call, (about, few, many) in enumerate(
            zip(more.calls, fewer.inputs, more.inputs, strict=True)
        )
        if about[2] > 0
    )
    written: list[int] = []
    map_tensors(lambda t: written.append(t._version), rows)
    before, masked, after = (size // 3 for size in more.widest.values())
    return Probe(sites, before, masked, after, any(written)), outputs[0], outputs[1]


def _site(call: int, about: tuple, fewer: tuple, more: tuple) -> DropoutSite:
    """Tell the axis of the rows from the inputs that two and three rows gave."""
    path, kind, p, dtype = about
    (few, x2), (shape, x3) = fewer, more
    rows = [axis for axis, sizes in enumerate(zip(few, shape, strict=True)) if len({*sizes}) > 1]
    if not rows:
        return DropoutSite(path, kind, p, shape, call, None, dtype)
    axis = rows[0]
    split = None if shape[axis] == 3 else _split_of_rows(axis, x2, x3)
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


def _split_of_rows(axis: int, x2: Tensor, x3: Tensor) -> tuple[int, tuple[int, int]] | None:
    """Tell how an axis is made of the rows and another axis, which of them comes first."""
    length, rest = divmod(x3.shape[axis], 3)
    if rest or x2.shape[axis] != 2 * length:
        return None
    for sizes in ((-1, length), (length, -1)):
        two, three = x2.unflatten(axis, sizes), x3.unflatten(axis, sizes)
        three = three.narrow(axis + sizes.index(-1), 0, 2)
        if torch.allclose(two, three, rtol=1e-3, atol=1e-5, equal_nan=True):
            return axis, sizes
    return None


def _refuse_scripted(paths: dict[nn.Module, str]) -> None:
    for module, path in paths.items():
        if isinstance(module, torch.jit.ScriptModule) and "dropout" in str(module.inlined_graph):
            raise NotImplementedError(
                "each dropout must be in a module that is run by Python. Got a scripted module "
                f"with dropout at {path!r}. Pass the module it was made from."
            )
