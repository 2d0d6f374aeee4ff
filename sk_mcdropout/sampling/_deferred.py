"""Two fast strategies: no mask is applied before the layer after it is known.

The mask of a dropout can go into the weights of the linear layer that follows
(`by_weights`); or the units that it drops, or the channels, can be left out of the linear layers
and convolutions around it (`by_thinning`). Both run the module once, on stand-ins that put off
layers, functions of one unit or channel at a time and masks until something else asks for the
values.

What comes before the first dropout has n_rows rows, what comes after n_draws x n_rows, draw
after draw. A module that mixes the two fails here and is left to the other strategies.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._pytree import tree_map_only

from ._composites import COMPOSITES, rate_of
from ._in_place import Replaced, counted
from ._intercept import PlannedCalls
from ._masks import KINDS, Mask, count_draws
from ._modes import Mode
from ._nodes import Captured, Layer, Node, all_units, by_image, kept_units, shape_after
from ._questions import Answer, is_question
from ._rows import count_rows

__all__ = ["ELEMENTWISE", "METADATA", "by_thinning", "by_weights"]

# Functions of one number at a time, whatever their other arguments.
ELEMENTWISE = {
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
METADATA = {
    *(Tensor.size, Tensor.dim, Tensor.__len__, Tensor.numel, Tensor.is_floating_point),
    *(getattr(Tensor, name).__get__ for name in ("shape", "dtype", "device", "ndim", "is_cuda")),
    *(getattr(Tensor, name).__get__ for name in ("requires_grad", "layout", "is_sparse")),
}


class _StandIn(Tensor):
    """Stands for the n_draws x n_rows rows of a node in the code of the user.

    The node never changes. An in-place function gives the stand-in another node; or it writes into
    the values, once they are ``computed``, which may have views and are used from then on.
    """

    node: Node
    computed: Tensor | None

    @staticmethod
    def __new__(cls, node: Node, n_rows: int) -> "_StandIn":
        like = node.like
        stand_in = Tensor._make_wrapper_subclass(
            cls, (n_rows, *node.shape), dtype=like.dtype, device=like.device
        )
        stand_in.node, stand_in.computed = node, None
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
        calls: PlannedCalls,
        n_rows: int,
        evaluate: Callable[[Node, int], Tensor],
    ) -> None:
        super().__init__()
        self.masks, self.calls, self.n_rows, self.evaluate = masks, calls, n_rows, evaluate
        self.n_draws = count_draws(masks)
        self.replaced = Replaced()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Handle one torch function; torch calls this."""
        args, kwargs = self.replaced((args, kwargs or {}))
        func = counted(func, args)
        if kwargs.get("out") is not None:
            raise NotImplementedError("`out=` would be written into before its values are computed")
        if func in KINDS:
            return self._dropout(func, *args, **kwargs)
        if func in COMPOSITES and rate_of(func, args, kwargs) > 0:
            raise NotImplementedError("dropout inside of attention, a recurrent net or the like")
        first = args[0] if args else None
        if isinstance(first, _StandIn):
            if func in METADATA and first.computed is None:
                with torch.DisableTorchFunctionSubclass():
                    return func(*args, **kwargs)
            written = kwargs.get("inplace")
            if not written or first.computed is None:
                node = self._put_off(func, self._node_of(first), args[1:], kwargs)
                if node is not None:
                    return self._stand_in(node, first if written else None)
        if any(isinstance(arg, _MAY_HOLD) for arg in (*args, *kwargs.values())):
            args, kwargs = tree_map_only(_StandIn, self.values, (args, kwargs))
        result = func(*args, **kwargs)
        if is_question(func, args):
            self.calls.hear(func, result)
        return result

    def values(self, x: _StandIn) -> Tensor:
        """Compute the rows that a stand-in stands for."""
        if x.computed is None:
            x.computed = self.evaluate(x.node, self.n_draws).flatten(0, 1)
        return x.computed

    def by_draw(self, x: Tensor) -> Tensor:
        """Split the rows into draws and rows."""
        return x.unflatten(0, (self.n_draws, self.n_rows))

    def _node_of(self, x: Tensor) -> Node:
        """Return the node of what a stand-in or a tensor is at this moment."""
        if isinstance(x, _StandIn):
            if x.computed is None:
                return x.node
            x = x.computed
        known = x if len(x) == self.n_rows else self.by_draw(x)
        return Node(tuple(x.shape[1:]), x, known=Captured(known))

    def _stand_in(self, node: Node, written: _StandIn | None = None) -> _StandIn:
        """Return a stand-in for a node, the one that an in-place function writes into."""
        if written is None:
            return _StandIn(node, self.n_draws * self.n_rows)
        written.node = node
        return written

    def _put_off(self, func: Callable, node: Node, args: tuple, kwargs: dict) -> Node | None:
        """Return the node after a function, or None if it must be computed at once."""
        if any(isinstance(part, _StandIn) for part in (*args, *kwargs.values())):
            return None
        images = len(node.shape) > 1
        if func is F.linear and not images:
            return self._layer(F.linear, node, *args, **kwargs)
        if func in _CONVOLUTIONS and images:
            return self._convolution(func, node, *args, **kwargs)
        if node.mask is not None:
            return None
        if func in ELEMENTWISE and not args:
            options = {name: value for name, value in kwargs.items() if name != "inplace"}
            apply = partial(_IN_PLACE.get(func, func), **options)
            return replace(node, maps=(*node.maps, lambda values, kept: apply(values)))
        if func in _POOLING and images and not kwargs.get("return_indices"):

            def pool(x: Tensor) -> Tensor:
                return func(x, *args, **kwargs)

            pool_all = partial(by_image, len(node.shape), pool)
            maps = (*node.maps, lambda values, kept: pool_all(values))
            return replace(node, shape=shape_after(pool, node), maps=maps)
        if func is F.batch_norm:
            return self._batch_norm(node, *args, **kwargs)
        return None

    def _layer(self, function, node, weight, bias=None):
        bias = None if bias is None else Captured(bias)
        shape = (len(weight), *node.shape[1:])
        return Node(shape, node.like, layer=Layer(node, function, Captured(weight), bias))

    def _convolution(
        self, func, node, weight, bias=None, stride=1, padding=0, dilation=1, groups=1
    ):
        if groups != 1:
            return None
        convolve = partial(func, stride=stride, padding=padding, dilation=dilation)
        like = torch.empty_like(weight, device="meta")
        layer = self._layer(convolve, node, weight, bias)
        return replace(layer, shape=shape_after(lambda x: convolve(x, like), node))

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
        site = self.calls.next_site(func, input, float(p))
        if site is None:
            return input
        mask = self.masks[site.call]
        written = inplace or func.__name__.endswith("_")
        axis = site.row_axis
        if axis is None or site.split is not None:
            raise NotImplementedError("the rows have no axis of their own")
        units = axis == 0 and len(site.mask_shape) > 1
        put_off = len(mask) == 1 and units and {*site.mask_shape[2:]} <= {1}
        if put_off and isinstance(input, _StandIn) and input.computed is None:
            if input.node.mask is None:
                node = replace(input.node, mask=mask[0])
                return self._stand_in(node, input if written else None)
        x = self.values(input) if isinstance(input, _StandIn) else input
        if written and x.shape[axis] == self.n_draws * self.n_rows:
            return x.copy_(self._apply(x, mask, axis))
        output = (
            self._stand_in(replace(self._node_of(x), mask=mask[0]))
            if put_off
            else self._apply(x, mask, axis)
        )
        if written:
            self.replaced.put(x, output)
        return output

    def _apply(self, x: Tensor, mask: Mask, axis: int) -> Tensor:
        """Apply a mask that cannot be put off; draws go beside the rows, on their axis."""
        drawn = x.shape[axis] != self.n_rows
        x = x.unflatten(axis, (self.n_draws if drawn else 1, self.n_rows))
        mask = tuple(part.movedim(0, axis) for part in mask)
        x = x * mask[0] if len(mask) == 1 else torch.addcmul(mask[1], x, mask[0])
        return x.flatten(axis, axis + 1)


def _run(
    evaluate: Callable,
    forward: Callable,
    x: Any,
    masks: dict,
    sites: tuple,
    answers: Sequence[Answer] | None = None,
) -> Tensor:
    n_rows = count_rows(x)
    calls = PlannedCalls(sites, [n_rows, count_draws(masks) * n_rows], answers)
    mode = _Defer(masks, calls, n_rows, evaluate)
    with mode:
        output = forward(x)
    calls.end()
    output = mode.replaced(output)
    if isinstance(output, _StandIn) and output.computed is None:
        return evaluate(output.node, mode.n_draws)
    return mode.by_draw(mode.values(output) if isinstance(output, _StandIn) else output)


by_weights = partial(_run, all_units)
by_thinning = partial(_run, kept_units)
