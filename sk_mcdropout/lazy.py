"""Two fast strategies: no mask is applied before the layer after it is known.

The mask of a dropout can go into the weights of the linear layer that follows
(`by_weights`); or the units that it drops can be left out of the two layers around it
(`by_thinning`). Both run the module once, on stand-ins that put off linear layers,
elementwise functions and masks until something else asks for the values.

What comes before the first dropout has n_rows rows, what comes after n_draws x n_rows, draw
after draw. A module that mixes the two fails here and is left to the other strategies.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from .composites import COMPOSITES, rate_of
from .dropouts import KINDS, DropoutSite, Mask, check_calls
from .rows import count_rows

__all__ = ["by_thinning", "by_weights"]

# Functions of one number at a time, whatever their other arguments.
_ELEMENTWISE = {
    *(F.relu, F.gelu, F.tanh, F.sigmoid, F.silu, F.elu, F.selu, F.celu, F.leaky_relu, F.mish),
    *(F.softplus, F.relu6, F.hardtanh, F.hardswish, F.hardsigmoid, F.logsigmoid, F.softsign),
    *(torch.relu, torch.tanh, torch.sigmoid, torch.sin, torch.cos, torch.exp, torch.square),
    *(Tensor.relu, Tensor.tanh, Tensor.sigmoid),
}

# What may be asked of a stand-in without computing it.
_METADATA = {
    *(Tensor.size, Tensor.dim, Tensor.__len__, Tensor.numel, Tensor.is_floating_point),
    *(getattr(Tensor, name).__get__ for name in ("shape", "dtype", "device", "ndim", "is_cuda")),
}


@dataclass(frozen=True, eq=False)
class _Node:
    """A matrix for each draw that need not be computed yet.

    Either ``known`` values, of shape (n_rows, width) if all draws share them or else
    (n_draws, n_rows, width); or a linear ``layer``. Then the elementwise ``maps``, then a
    multiplication by ``mask``, of shape (n_draws, 1, width).
    """

    width: int
    like: Tensor
    known: Any = None
    layer: "_Layer | None" = None
    maps: tuple[Callable[[Tensor], Tensor], ...] = ()
    mask: Tensor | None = None


@dataclass(frozen=True, eq=False)
class _Layer:
    """A linear layer and what it is applied to."""

    source: _Node
    weight: Tensor
    bias: Tensor | None


class _StandIn(Tensor):
    """Stands for the n_draws x n_rows rows of a node in the code of the user."""

    node: _Node

    @staticmethod
    def __new__(cls, node: _Node, n_rows: int) -> "_StandIn":
        like = node.like
        stand_in = Tensor._make_wrapper_subclass(
            cls, (n_rows, node.width), dtype=like.dtype, device=like.device
        )
        stand_in.node = node
        return stand_in

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        """Refuse what went past the mode, and with it would compute on nothing."""
        raise NotImplementedError(f"{func} was called past the mode that samples")


class _Defer(TorchFunctionMode):
    """Put off what can be put off; give everything else its values."""

    def __init__(
        self,
        masks: dict[int, Mask],
        sites: dict[int, DropoutSite],
        n_rows: int,
        evaluate: Callable[[_Node, int], Tensor],
    ) -> None:
        super().__init__()
        self.masks, self.sites, self.n_rows, self.evaluate = masks, sites, n_rows, evaluate
        self.n_draws = len(next(iter(masks.values()))[0])
        self.calls = itertools.count()
        self.made: list[tuple[int, float]] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Handle one torch function; torch calls this."""
        kwargs = kwargs or {}
        if func in KINDS:
            return self._dropout(func, *args, **kwargs)
        if func in COMPOSITES and rate_of(func, args, kwargs) > 0:
            raise NotImplementedError("dropout inside of attention or a recurrent net")
        first = args[0] if args else None
        if isinstance(first, _StandIn):
            if func is F.linear:
                return self._linear(*args, **kwargs)
            if func in _ELEMENTWISE and len(args) == 1 and first.node.mask is None:
                return self._map(func, first, kwargs)
            if func in _METADATA:
                with torch._C.DisableTorchFunctionSubclass():
                    return func(*args, **kwargs)
        if self.made:  # there are stand-ins only after the first dropout
            args, kwargs = tree_map_only(_StandIn, self.values, (args, kwargs))
        return func(*args, **kwargs)

    def values(self, x: _StandIn) -> Tensor:
        """Compute the rows that a stand-in stands for."""
        values = self.evaluate(replace(x.node, mask=None), self.n_draws)
        if values.ndim == 2:
            values = values.expand(self.n_draws, *values.shape)
        if x.node.mask is not None:
            values = values * x.node.mask
        values = values.reshape(self.n_draws * self.n_rows, x.node.width)
        x.node = _Node(x.node.width, values, known=values.view(self.n_draws, self.n_rows, -1))
        return values

    def _stand_in(self, node: _Node) -> _StandIn:
        return _StandIn(node, self.n_draws * self.n_rows)

    def _linear(self, x, weight, bias=None):
        return self._stand_in(_Node(len(weight), x.node.like, layer=_Layer(x.node, weight, bias)))

    def _map(self, func, x, kwargs):
        options = {name: value for name, value in kwargs.items() if name != "inplace"}
        maps = (*x.node.maps, lambda values: func(values, **options))
        return self._stand_in(replace(x.node, maps=maps))

    def _dropout(self, func, input, p=0.5, training=None, inplace=False, *, train=None):
        call = next(self.calls)
        if float(p) > 0:
            self.made.append((call, float(p)))
        if call not in self.masks:
            return input
        mask = self.masks[call]
        site = self.sites[call]
        deferred = isinstance(input, _StandIn)
        if len(mask) == 1 and len(site.mask_shape) == 2 and site.row_axis == 0:
            if deferred and input.node.mask is None:
                return self._stand_in(replace(input.node, mask=mask[0]))
            if not deferred:
                known = input if len(input) == self.n_rows else self._by_draw(input)
                return self._stand_in(_Node(input.shape[1], input, known=known, mask=mask[0]))
        return self._apply(self.values(input) if deferred else input, mask, site)

    def _by_draw(self, x: Tensor) -> Tensor:
        return x.unflatten(0, (self.n_draws, self.n_rows))

    def _apply(self, x: Tensor, mask: Mask, site: DropoutSite) -> Tensor:
        """Apply a mask that cannot be put off; draws go beside the rows, on their axis."""
        axis = site.row_axis
        if axis is None or site.split is not None:
            raise NotImplementedError("the rows have no axis of their own")
        drawn = x.shape[axis] != self.n_rows
        x = x.unflatten(axis, (self.n_draws if drawn else 1, self.n_rows))
        mask = tuple(part.movedim(0, axis) for part in mask)
        x = x * mask[0] if len(mask) == 1 else torch.addcmul(mask[1], x, mask[0])
        return x.flatten(axis, axis + 1)


def _all_units(node: _Node, n_draws: int) -> Tensor:
    """Compute a node before its mask: (n_draws, n_rows, width), or (n_rows, width) if shared."""
    if node.layer is None:
        values = node.known
    else:
        source = node.layer.source
        values = _linear(_all_units(source, n_draws), source.mask, node.layer)
    for function in node.maps:
        values = function(values)
    return values


def _linear(x: Tensor, mask: Tensor | None, layer: _Layer) -> Tensor:
    """Multiply x by the mask, then apply the layer, in whichever order is cheaper."""
    weight, bias = layer.weight, layer.bias
    n_rows, n_outputs = x.shape[-2], len(weight)
    if mask is None or n_outputs > n_rows:
        return F.linear(x if mask is None else x * mask, weight, bias)
    if n_outputs == 1 and x.ndim == 2:
        y = (mask[:, 0] * weight) @ x.T
        return y.unsqueeze(2) if bias is None else y.add_(bias).unsqueeze(2)
    x = x.expand(len(mask), *x.shape[-2:])
    weights = (mask * weight).transpose(1, 2)
    return torch.bmm(x, weights) if bias is None else torch.baddbmm(bias, x, weights)


def _kept_units(node: _Node, n_draws: int) -> Tensor:
    """Compute a node before its mask, draw by draw, without the units that masks drop."""
    return torch.stack([_thinned(node, t, None) for t in range(n_draws)])


def _thinned(node: _Node, draw: int, kept: Tensor | None) -> Tensor:
    """Compute the kept columns of a node for one draw, before its mask."""
    if node.layer is None:
        x = node.known if node.known.ndim == 2 else node.known[draw]
        values = x if kept is None else x.index_select(1, kept)
    else:
        source, weight, bias = node.layer.source, node.layer.weight, node.layer.bias
        if kept is not None:
            weight, bias = weight.index_select(0, kept), None if bias is None else bias[kept]
        inputs = None
        if source.mask is not None:
            scale = source.mask[draw, 0]
            inputs = scale.nonzero().squeeze(1)
            weight = weight.index_select(1, inputs).mul_(scale[inputs])
        values = F.linear(_thinned(source, draw, inputs), weight, bias)
    for function in node.maps:
        values = function(values)
    return values


def _run(evaluate: Callable, forward: Callable, x: Any, masks: dict, sites: tuple) -> Tensor:
    mode = _Defer(masks, {site.call: site for site in sites}, count_rows(x), evaluate)
    with mode:
        output = forward(x)
    check_calls(mode.made, sites)
    if not isinstance(output, _StandIn):
        return mode._by_draw(output)
    values = evaluate(replace(output.node, mask=None), mode.n_draws)
    return values if output.node.mask is None else values * output.node.mask


by_weights = partial(_run, _all_units)
by_thinning = partial(_run, _kept_units)
