"""Two fast strategies: no mask is applied before the layer after it is known.

The mask of a dropout can go into the weights of the linear layer that follows
(`by_weights`); or the units that it drops, or the channels, can be left out of the linear layers
and convolutions around it (`by_thinning`). Both run the module once, on stand-ins that put off
layers, functions of one unit or channel at a time and masks until something else asks for the
values.

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
from torch.utils._pytree import tree_map_only

from ._composites import COMPOSITES, rate_of
from ._intercept import Call, check_calls
from ._masks import KINDS, DropoutSite, Mask
from ._modes import Mode
from ._rows import count_rows

__all__ = ["by_thinning", "by_weights"]

# Functions of one number at a time, whatever their other arguments.
_ELEMENTWISE = {
    *(F.relu, F.gelu, F.tanh, F.sigmoid, F.silu, F.elu, F.selu, F.celu, F.leaky_relu, F.mish),
    *(F.softplus, F.relu6, F.hardtanh, F.hardswish, F.hardsigmoid, F.logsigmoid, F.softsign),
    *(torch.relu, torch.tanh, torch.sigmoid, torch.sin, torch.cos, torch.exp, torch.square),
    *(Tensor.relu, Tensor.tanh, Tensor.sigmoid),
}

# Those that may write into what was computed for them alone, which saves memory and its time.
_IN_PLACE = {F.relu: torch.relu_, torch.relu: torch.relu_, Tensor.relu: torch.relu_}

# Functions of one channel at a time, with which a convolution may change the size of images.
_POOLING = {
    *(F.max_pool1d, F.max_pool2d, F.max_pool3d, F.avg_pool1d, F.avg_pool2d, F.avg_pool3d),
    *(F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d),
    *(F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d),
}

_CONVOLUTIONS = {F.conv1d, F.conv2d, F.conv3d}

# What may be asked of a stand-in without computing it.
_METADATA = {
    *(Tensor.size, Tensor.dim, Tensor.__len__, Tensor.numel, Tensor.is_floating_point),
    *(getattr(Tensor, name).__get__ for name in ("shape", "dtype", "device", "ndim", "is_cuda")),
    *(getattr(Tensor, name).__get__ for name in ("requires_grad", "layout", "is_sparse")),
}


# Returns the values, of shape (..., n_kept, *space), for those of the kept units or channels.
Map = Callable[[Tensor, Tensor | None], Tensor]


@dataclass(frozen=True, eq=False)
class _Node:
    """Units, or channels of images, for each draw that need not be computed yet.

    Either ``known`` values, of shape (n_rows, *shape) if all draws share them or else
    (n_draws, n_rows, *shape); or a linear ``layer`` or convolution. Then ``maps`` of each unit or
    channel, then a multiplication by ``mask``, of shape (n_draws, 1, n_units, 1, ...).
    """

    shape: tuple[int, ...]
    like: Tensor
    known: Any = None
    layer: "_Layer | None" = None
    maps: tuple[Map, ...] = ()
    mask: Tensor | None = None


@dataclass(frozen=True, eq=False)
class _Layer:
    """A linear layer or a convolution, called with (x, weight, bias), and what it is applied to."""

    source: _Node
    function: Callable[..., Tensor]
    weight: Tensor
    bias: Tensor | None


class _StandIn(Tensor):
    """Stands for the n_draws x n_rows rows of a node in the code of the user."""

    node: _Node

    @staticmethod
    def __new__(cls, node: _Node, n_rows: int) -> "_StandIn":
        like = node.like
        stand_in = Tensor._make_wrapper_subclass(
            cls, (n_rows, *node.shape), dtype=like.dtype, device=like.device
        )
        stand_in.node = node
        return stand_in

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        """Refuse what went past the mode, and with it would compute on nothing."""
        raise NotImplementedError(f"{func} was called past the mode that samples")


_MAY_HOLD = (_StandIn, list, tuple, dict)


class _Defer(Mode):
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
        self.made: list[Call] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Handle one torch function; torch calls this."""
        kwargs = kwargs or {}
        if func in KINDS:
            return self._dropout(func, *args, **kwargs)
        if func in COMPOSITES and rate_of(func, args, kwargs) > 0:
            raise NotImplementedError("dropout inside of attention or a recurrent net")
        first = args[0] if args else None
        if isinstance(first, _StandIn):
            if func in _METADATA:
                with torch.DisableTorchFunctionSubclass():
                    return func(*args, **kwargs)
            if (put_off := self._put_off(func, first.node, args[1:], kwargs)) is not None:
                return self._stand_in(put_off)
        if any(isinstance(arg, _MAY_HOLD) for arg in (*args, *kwargs.values())):
            args, kwargs = tree_map_only(_StandIn, self.values, (args, kwargs))
        return func(*args, **kwargs)

    def values(self, x: _StandIn) -> Tensor:
        """Compute the rows that a stand-in stands for."""
        drawn = self.evaluate(x.node, self.n_draws)
        values = drawn.flatten(0, 1)
        x.node = _Node(x.node.shape, values, known=drawn)
        return values

    def _stand_in(self, node: _Node) -> _StandIn:
        return _StandIn(node, self.n_draws * self.n_rows)

    def _put_off(self, func: Callable, node: _Node, args: tuple, kwargs: dict) -> _Node | None:
        """Return the node after a function, or None if it must be computed at once."""
        images = len(node.shape) > 1
        if func is F.linear and not images:
            return self._layer(F.linear, node, *args, **kwargs)
        if func in _CONVOLUTIONS and images:
            return self._convolution(func, node, *args, **kwargs)
        if node.mask is not None:
            return None
        if func in _ELEMENTWISE and not args:
            options = {name: value for name, value in kwargs.items() if name != "inplace"}
            apply = partial(_IN_PLACE.get(func, func), **options)
            return replace(node, maps=(*node.maps, lambda values, kept: apply(values)))
        if func in _POOLING and images and not kwargs.get("return_indices"):

            def pool(x: Tensor) -> Tensor:
                return func(x, *args, **kwargs)

            by_image = partial(_by_image, len(node.shape), pool)
            maps = (*node.maps, lambda values, kept: by_image(values))
            return replace(node, shape=_shape_after(pool, node), maps=maps)
        if func is F.batch_norm:
            return self._batch_norm(node, *args, **kwargs)
        return None

    def _layer(self, function, node, weight, bias=None):
        shape = (len(weight), *node.shape[1:])
        return _Node(shape, node.like, layer=_Layer(node, function, weight, bias))

    def _convolution(
        self, func, node, weight, bias=None, stride=1, padding=0, dilation=1, groups=1
    ):
        if groups != 1:
            return None
        convolve = partial(func, stride=stride, padding=padding, dilation=dilation)
        like = torch.empty_like(weight, device="meta")
        layer = self._layer(convolve, node, weight, bias)
        return replace(layer, shape=_shape_after(lambda x: convolve(x, like), node))

    def _batch_norm(
        self, node, mean, var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5
    ):
        if training or mean is None:
            return None
        scale = (var + eps).rsqrt() if weight is None else weight * (var + eps).rsqrt()
        shift = -mean * scale if bias is None else bias - mean * scale
        scale, shift = (part.view(-1, *[1] * (len(node.shape) - 1)) for part in (scale, shift))

        def normalise(values: Tensor, kept: Tensor | None) -> Tensor:
            if kept is None:
                return torch.addcmul(shift, values, scale)
            return torch.addcmul(shift[kept], values, scale[kept])

        return replace(node, maps=(*node.maps, normalise))

    def _dropout(self, func, input, p=0.5, training=None, inplace=False, *, train=None):
        call = next(self.calls)
        if float(p) > 0:
            self.made.append((call, KINDS[func], float(p)))
        if call not in self.masks:
            return input
        mask = self.masks[call]
        site = self.sites[call]
        deferred = isinstance(input, _StandIn)
        units = site.row_axis == 0 and site.split is None and len(site.mask_shape) > 1
        if len(mask) == 1 and units and {*site.mask_shape[2:]} <= {1}:
            if deferred and input.node.mask is None:
                return self._stand_in(replace(input.node, mask=mask[0]))
            if not deferred:
                known = input if len(input) == self.n_rows else self._by_draw(input)
                node = _Node(tuple(input.shape[1:]), input, known=known, mask=mask[0])
                return self._stand_in(node)
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


def _by_image(n_axes: int, function: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    """Apply a function that takes one leading axis, that of the images, to values with more."""
    images = function(values.flatten(0, -n_axes - 1))
    return images.unflatten(0, values.shape[:-n_axes])


def _shape_after(function: Callable[[Tensor], Tensor], node: _Node) -> tuple[int, ...]:
    return tuple(function(torch.empty((0, *node.shape), device="meta")).shape[1:])


def _all_units(node: _Node, n_draws: int) -> Tensor:
    """Compute a node for all draws."""
    values = _unmasked(node)
    if node.mask is not None:
        values = values * node.mask
    return values.expand(n_draws, *values.shape[-len(node.shape) - 1 :])


def _unmasked(node: _Node) -> Tensor:
    """Compute a node before its mask: (n_draws, n_rows, *shape), or (n_rows, *shape) if shared."""
    if node.layer is None:
        values = node.known.clone() if node.maps else node.known
    elif node.layer.function is F.linear:
        values = _linear(_unmasked(node.layer.source), node.layer.source.mask, node.layer)
    else:
        source, weight, bias = node.layer.source, node.layer.weight, node.layer.bias
        values = _unmasked(source) if source.mask is None else _unmasked(source) * source.mask
        convolve = partial(node.layer.function, weight=weight, bias=bias)
        values = _by_image(len(source.shape), convolve, values)
    for function in node.maps:
        values = function(values, None)
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
    """Compute a node for all draws, draw by draw, without the units that masks drop."""
    if node.mask is None:
        return torch.stack([_thinned(node, t, None) for t in range(n_draws)])
    draws = []
    for t in range(n_draws):
        kept, scale = _kept(node.mask, t)
        some = _thinned(node, t, kept) * scale
        whole = some.new_zeros((len(some), *node.shape))
        draws.append(whole.index_copy_(1, kept, some))
    return torch.stack(draws)


def _kept(mask: Tensor, draw: int) -> tuple[Tensor, Tensor]:
    """Return the indices of the units that a mask keeps, and their scale."""
    scale = mask[draw, 0]
    kept = scale.flatten().nonzero().squeeze(1)
    if not len(kept):  # torch convolves no empty images
        kept = kept.new_zeros(1)
    return kept, scale[kept]


def _thinned(node: _Node, draw: int, kept: Tensor | None) -> Tensor:
    """Compute the kept units of a node for one draw, before its mask: (n_rows, n_kept, ...)."""
    if node.layer is None:
        x = node.known if node.known.ndim == len(node.shape) + 1 else node.known[draw]
        values = x.index_select(1, kept) if kept is not None else x.clone() if node.maps else x
    else:
        source, weight, bias = node.layer.source, node.layer.weight, node.layer.bias
        if kept is not None:
            weight, bias = weight.index_select(0, kept), None if bias is None else bias[kept]
        inputs = None
        if source.mask is not None:
            inputs, scale = _kept(source.mask, draw)
            weight = weight.index_select(1, inputs)
            weight *= scale.view(-1, *[1] * (weight.ndim - 2))
        values = node.layer.function(_thinned(source, draw, inputs), weight, bias)
    for function in node.maps:
        values = function(values, kept)
    return values


def _run(evaluate: Callable, forward: Callable, x: Any, masks: dict, sites: tuple) -> Tensor:
    mode = _Defer(masks, {site.call: site for site in sites}, count_rows(x), evaluate)
    with mode:
        output = forward(x)
    check_calls(mode.made, sites)
    if isinstance(output, _StandIn):
        return evaluate(output.node, mode.n_draws)
    return mode._by_draw(output)


by_weights = partial(_run, _all_units)
by_thinning = partial(_run, _kept_units)
