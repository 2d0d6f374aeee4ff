"""Nets of any kind, of one architecture, trained as one by ``torch.func.vmap``."""

import pickle
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.overrides import TorchFunctionMode

from ._stacked import DropoutCall, StackedNets

__all__ = ["StackedModules"]

# Dropout calls whose masks are known, with the number of axes that their inputs have if these are
# whole batches; None for any number.
_DROPOUTS: dict[Callable, int | None] = {
    F.dropout: None,
    F.dropout1d: 3,
    F.dropout2d: 4,
    F.dropout3d: 5,
}

# Rows for which a pass is tried.
_FEW = 3


class StackedModules(StackedNets):
    """Nets of one architecture whose passes are one pass under ``torch.func.vmap``.

    The parameters and buffers are copies, stacked on a new first axis; the code is that of the
    first net. Each net draws its dropout from a generator of its own, number by number as it would
    alone, and is not changed by its neighbours.

    Parameters
    ----------
    nets : sequence of Module
        The nets.
    x : Tensor of shape (n_samples, ...)
        Some rows, by which the dropouts of a pass are found.

    Attributes
    ----------
    flat : Tensor of shape (n_nets, n_parameters)
        The stacked parameters, those of a net in a row.
    dropouts : list of DropoutCall
        The dropouts of a pass, in turn.

    Raises
    ------
    ValueError
        If a pass cannot be that of one stack.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from sk_mcdropout.nn import StackedModules
    >>> pair = [nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.1), nn.Linear(8, 1)) for _ in "ab"]
    >>> nets = StackedModules(pair, torch.zeros(3, 3))
    >>> (masks,) = nets.masks([[5, 5]], [torch.Generator().manual_seed(seed) for seed in (0, 1)])
    >>> nets(torch.zeros(2, 5, 3), masks).shape
    torch.Size([2, 5, 1])
    """

    def __init__(self, nets: Sequence[nn.Module], x: Tensor) -> None:
        parameters = [part for net in nets for part in net.parameters()]
        if not all(part.requires_grad for part in parameters):
            raise ValueError("all parameters must be trained. Got some that are frozen.")
        if len({(part.dtype, part.device) for part in parameters}) != 1:
            raise ValueError("all parameters must be of one type, on one device. Got several.")
        super().__init__([net.train() for net in nets])
        buffers = [dict(net.named_buffers()) for net in nets]
        self._buffers = {name: torch.stack([b[name] for b in buffers]) for name in buffers[0]}
        calls = [_calls_of(net, _few(x)) for net in nets]
        if len({tuple(shape for _, shape in of_net) for of_net in calls}) != 1:
            raise ValueError("all nets must have the same dropouts. Got others in some.")
        self.dropouts = [
            DropoutCall([p for p, _ in call], call[0][1]) for call in zip(*calls, strict=True)
        ]

    @classmethod
    def matching(cls, nets: Sequence[nn.Module], x: Sequence[Tensor]) -> list[bool]:
        """Return which of some nets have in a stack the outputs that they have alone.

        Parameters
        ----------
        nets : sequence of Module
            The nets, which are not changed.
        x : sequence of Tensor of shape (n_samples, ...)
            Rows for each net.

        Returns
        -------
        list of bool
            Whether a net has; not one does that draws random numbers beside its dropouts, changes
            its buffers or attributes in a pass, or has values in its code that the first net has
            not. None has where ``vmap`` does not take the code.
        """
        some = torch.stack([_few(rows) for rows in x])
        if any(_has_hooks(net) for net in nets):
            return [False] * len(nets)
        try:
            nets = [deepcopy(net).train() for net in nets]
            before = [_state_of(net) for net in nets]
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                stack = cls(nets, some[0])
                generators = [torch.Generator().manual_seed(seed) for seed in range(len(nets))]
                (masks,) = stack.masks([[_FEW] * len(nets)], generators)
                together: Any = stack(some, masks)
                alone = [
                    _seeded(net, x, k) for k, (net, x) in enumerate(zip(nets, some, strict=True))
                ]
        except Exception:  # of the user's code, under vmap: whatever it is, nets alone do without
            return [False] * len(nets)
        if not isinstance(together, Tensor):
            return [False] * len(nets)
        return [
            _is_close(output, expected) and _state_of(net) == state
            for net, output, expected, state in zip(nets, together, alone, before, strict=True)
        ]

    def __call__(self, x: Tensor, masks: Sequence[Tensor | None]) -> Tensor:
        """Compute the outputs of all nets in training, with dropout; see `StackedNets`."""

        def forward(state: Any, x: Tensor, given: list[Tensor]) -> Any:
            following = iter(given)
            with _Dropouts(lambda p, shape: next(following)):
                return functional_call(self.nets[0], state, (x,))

        state = self._parameters() | self._buffers
        ones = x.new_ones(len(self.nets), 1)
        given = [ones if mask is None else mask for mask in masks]
        return vmap(forward, randomness="error")(state, x, given)


class _Dropouts(TorchFunctionMode):
    """Multiply the inputs of dropout calls by masks.

    Parameters
    ----------
    mask_for : callable of (rate, shape)
        Returns a mask of the shape of a mask for a batch, or one that broadcasts with it.
    """

    def __init__(self, mask_for: Callable[[float, torch.Size], Tensor]) -> None:
        super().__init__()
        self.mask_for = mask_for

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Handle one torch function; torch calls this."""
        kwargs = kwargs or {}
        if func not in _DROPOUTS:
            return func(*args, **kwargs)
        return self._dropout(func, *args, **kwargs)

    def _dropout(self, func, input, p=0.5, training=True, inplace=False):
        if not training:
            return input
        n_axes = _DROPOUTS[func]
        if n_axes not in (None, input.ndim):
            raise ValueError(f"the input of a dropout must have {n_axes} axes. Got {input.ndim}.")
        shape = input.shape
        if n_axes is not None:  # whole channels
            shape = torch.Size([*shape[:2], *[1] * (n_axes - 2)])
        mask = self.mask_for(float(p), shape)
        return input.mul_(mask) if inplace else input * mask


def _few(x: Tensor) -> Tensor:
    """Return a few of the rows, which may be fewer and are then repeated."""
    return x[torch.arange(_FEW) % len(x)]


def _calls_of(net: nn.Module, x: Tensor) -> list[tuple[float, tuple[int, ...]]]:
    """Return the rate of each dropout in a pass, and the shape of its mask for a row."""
    found: list[list[tuple[float, tuple[int, ...]]]] = []
    for n_rows in (2, 3):
        calls: list[tuple[float, tuple[int, ...]]] = []

        def note(p: float, shape: torch.Size, calls: list = calls, n_rows: int = n_rows) -> Tensor:
            if shape[:1] != (n_rows,):
                raise ValueError(f"the first axis of a dropout must be the rows. Got {shape}.")
            calls.append((p, tuple(shape[1:])))
            return x.new_ones(())

        with torch.no_grad(), _Dropouts(note):
            net(x[:n_rows])
        found.append(calls)
    if found[0] != found[1]:
        raise ValueError("the dropouts must not depend on the number of rows. Got others for 3.")
    return found[0]


def _seeded(net: nn.Module, x: Tensor, seed: int) -> Any:
    torch.manual_seed(seed)
    return net(x)


def _is_close(output: Tensor, expected: Tensor) -> bool:
    return (
        output.shape == expected.shape
        and output.dtype == expected.dtype
        and torch.allclose(output, expected, rtol=1e-4, atol=1e-6, equal_nan=True)
    )


def _has_hooks(net: nn.Module) -> bool:
    """Return whether something else is called in a pass, or on the way back."""
    kinds = "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"
    parts = any(getattr(part, kind) for part in net.modules() for kind in kinds)
    return parts or any(
        part._backward_hooks or part._post_accumulate_grad_hooks for part in net.parameters()
    )


def _state_of(net: nn.Module) -> bytes:
    """Return what a pass may change, buffers and attributes of each part, to be compared."""
    left = {"_modules", "_parameters"}
    parts = net.modules()
    return pickle.dumps([{k: v for k, v in vars(part).items() if k not in left} for part in parts])
