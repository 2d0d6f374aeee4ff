"""Find the dropouts of a module and give each of them its masks.

Every dropout, written as a module or as a function, ends in a call of a torch
function. A `TorchFunctionMode` sees these calls while the module is in eval mode,
so that nothing of the module is replaced, hooked or switched to training.

A dropout call multiplies its input by a mask, one mask per draw, shared by all rows.
The mask of the i-th call comes from ``default_rng([seed, i])``, draws first.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .composites import COMPOSITES, rate_of
from .rows import first_rows, map_tensors

__all__ = [
    "KINDS",
    "DropoutSite",
    "InterceptDropout",
    "Mask",
    "Probe",
    "draw_mask",
    "fit_mask",
    "probe",
]

# The tensors of one dropout call: ``(scale,)`` or, for alpha dropout, ``(scale, shift)``.
Mask = tuple[Tensor, ...]

# The saturation value of SELU with its sign turned, Klambauer et al. (2017), section 3.
_ALPHA = 1.6732632423543772 * 1.0507009873554805

# The name of a function says what it does: with "alpha" it sets units to the saturation of SELU,
# with a trailing underscore it writes into its input.
KINDS: dict[Callable, str] = {
    function: function.__name__.removesuffix("_")
    for function in (
        *(F.dropout, F.dropout1d, F.dropout2d, F.dropout3d),
        *(F.alpha_dropout, F.feature_alpha_dropout),
        *(torch.dropout, torch.dropout_, torch.feature_dropout, torch.feature_dropout_),
        *(torch.alpha_dropout, torch.alpha_dropout_),
        *(torch.feature_alpha_dropout, torch.feature_alpha_dropout_),
    )
}
_ELEMENTWISE = {"dropout", "alpha_dropout"}  # the others drop whole channels

# The number of axes at which a channel-wise dropout takes its input for one item
# without a batch axis: the channels are then the first axis.
_UNBATCHED_NDIM = {F.dropout1d: 2, F.dropout3d: 4}


@dataclass(frozen=True)
class DropoutSite:
    """One dropout call of a module.

    Parameters
    ----------
    path : str
        Name of the submodule that makes the call, as in ``named_modules``; empty for
        the module itself.
    kind : str
        Name of the dropout function, such as ``"dropout"`` or ``"alpha_dropout"``.
    p : float
        Dropout rate.
    mask_shape : tuple of int
        Shape of the mask of one draw. The axis of the rows has length 1: all rows share
        the mask.
    call : int
        Number of the call in one forward pass, from 0. Dropouts of rate 0 count too.
    row_axis : int or None
        Axis of the rows in the input of the dropout; None if the mask has no such axis.
    dtype : torch.dtype
        Type of the numbers in the mask, that of the input of the dropout.
    split : tuple of int and pair of int, or None
        The axis that the rows share with something else and the two sizes it is made of, -1
        for the rows; ``mask_shape`` and ``row_axis`` are those after this split.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout import dropout_sites
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Dropout(0.1))
    >>> dropout_sites(net, torch.zeros(5, 2))
    [DropoutSite(path='1', kind='dropout', p=0.1, mask_shape=(1, 8), call=0, row_axis=0)]
    """

    path: str
    kind: str
    p: float
    mask_shape: tuple[int, ...]
    call: int
    row_axis: int | None
    dtype: torch.dtype = field(default=torch.float32, repr=False)
    split: tuple[int, tuple[int, int]] | None = field(default=None, repr=False)


def draw_mask(site: DropoutSite, n_draws: int, seed: int, device: torch.device) -> Mask:
    """Draw the masks of one dropout call.

    Parameters
    ----------
    site : DropoutSite
        The dropout call.
    n_draws : int
        Number of draws. The first masks do not depend on it.
    seed : int
        Seed shared by all dropout calls.
    device : torch.device
        Where the masks are used; they are drawn on the CPU, the same for every device.

    Returns
    -------
    tuple of Tensor, each of shape (n_draws, *site.mask_shape)
        ``(scale,)``, or ``(scale, shift)`` for alpha dropout.
    """
    generator = np.random.default_rng([seed, site.call])
    uniform = generator.random((n_draws, *site.mask_shape), dtype=np.float32)
    keep = torch.from_numpy(uniform >= site.p).to(device)
    kept_and_dropped = [(1 / (1 - site.p) if site.p < 1 else 0.0, 0.0)]
    if "alpha" in site.kind and site.p < 1:  # at 1 torch answers zeros, as for each dropout
        # Klambauer et al. (2017), section 3: dropped units are set to the negative saturation,
        # then an affine map gives back mean and variance.
        a = ((1 - site.p) * (1 + site.p * _ALPHA**2)) ** -0.5
        kept_and_dropped = [(a, 0.0), (_ALPHA * a * site.p, _ALPHA * a * (site.p - 1))]
    return tuple(
        torch.full(keep.shape, dropped, dtype=site.dtype, device=device).masked_fill_(keep, kept)
        for kept, dropped in kept_and_dropped
    )


class InterceptDropout(TorchFunctionMode):
    """Send each dropout call to ``on_dropout``, which answers its mask or None.

    Parameters
    ----------
    on_dropout : callable of (function, input, rate)
        Returns the mask, or None to pass the input on.
    on_result : callable, optional
        Is told the result of each other torch function.
    inplace : bool
        Whether an in-place dropout writes into its input, or answers a new tensor.
    """

    def __init__(
        self, on_dropout: Callable, on_result: Callable | None = None, inplace: bool = True
    ) -> None:
        super().__init__()
        self.on_dropout = on_dropout
        self.on_result = on_result
        self.inplace = inplace

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Handle one torch function; torch calls this."""
        kwargs = kwargs or {}
        if func in KINDS:
            return self._dropout(func, *args, **kwargs)
        if func in COMPOSITES and rate_of(func, args, kwargs) > 0:
            return COMPOSITES[func](self._dropout, self, *args, **kwargs)
        result = func(*args, **kwargs)
        if self.on_result:
            self.on_result(result)
        return result

    def _dropout(self, func, input, p=0.5, training=None, inplace=False, *, train=None):
        mask = self.on_dropout(func, input, float(p))
        inplace = self.inplace and (inplace or func.__name__.endswith("_"))
        if mask is None:  # written all the same, so that the probe can tell
            return input.mul_(1) if inplace else input
        output = input.mul_(mask[0]) if inplace else input * mask[0]
        return output if len(mask) == 1 else output.add_(mask[1])


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
        self.inputs.append((_mask_shape(func, x), x))
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


def _mask_shape(func: Callable, x: Tensor) -> tuple[int, ...]:
    if KINDS[func] in _ELEMENTWISE:
        return tuple(x.shape)
    n_leading = 1 if x.ndim == _UNBATCHED_NDIM.get(func) else 2
    return (*x.shape[:n_leading], *(1 for _ in x.shape[n_leading:]))


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


def fit_mask(mask: Mask, site: DropoutSite, x: Tensor) -> Mask:
    """Bring a mask to the shape of x where its rows share an axis with something else."""
    if site.split is None:
        return mask
    shape = list(x.unflatten(*site.split).shape)
    for axis, size in enumerate(site.mask_shape):
        if size == 1 and axis != site.row_axis:
            shape[axis] = 1
    axis = site.split[0]
    return tuple(part.expand(shape).flatten(axis, axis + 1) for part in mask)


def _refuse_scripted(paths: dict[nn.Module, str]) -> None:
    for module, path in paths.items():
        if isinstance(module, torch.jit.ScriptModule) and "dropout" in str(module.inlined_graph):
            raise NotImplementedError(
                "each dropout must be in a module that is run by Python. Got a scripted module "
                f"with dropout at {path!r}. Pass the module it was made from."
            )
