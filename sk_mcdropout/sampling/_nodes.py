"""Layers, functions and masks that are put off, and the two ways to compute them.

With all units, the masks in the weights of the layers after them where that is cheaper
(`all_units`), or with the units and channels that the masks keep (`kept_units`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Captured", "Layer", "Map", "Node", "all_units", "by_image", "kept_units", "shape_after"]

# Returns the values, of shape (..., n_kept, *space), for those of the kept units or channels.
Map = Callable[[Tensor, Tensor | None], Tensor]


class Captured:
    """A tensor that the code of the user may write into, as it was when it was captured."""

    def __init__(self, tensor: Tensor) -> None:
        # Tensors of the inference mode do not count how often they are written into.
        counts = not tensor.is_inference()
        self._tensor = tensor.detach() if counts else tensor.clone()
        self._version = self._tensor._version if counts else None

    @property
    def tensor(self) -> Tensor:
        """The tensor, if it was not written into since."""
        if self._version is not None and self._tensor._version != self._version:
            raise NotImplementedError(
                "a tensor must not be written into between its use and the use of the result, "
                "which is computed late"
            )
        return self._tensor


@dataclass(frozen=True, eq=False)
class Node:
    """Units, or channels of images, for each draw that need not be computed yet.

    Either values that are ``known``, of shape (n_rows, *shape) if all draws share them or else
    (n_draws, n_rows, *shape); or a linear ``layer`` or convolution. Then ``maps`` of each unit or
    channel, then a multiplication by ``mask``, of shape (n_draws, 1, n_units, 1, ...).
    """

    shape: tuple[int, ...]
    like: Tensor
    known: Any = None
    layer: "Layer | None" = None
    maps: tuple[Map, ...] = ()
    mask: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Layer:
    """A linear layer or a convolution, called with (x, weight, bias), and what it is applied to."""

    source: Node
    function: Callable[..., Tensor]
    weight: Captured
    bias: Captured | None

    @property
    def parameters(self) -> tuple[Tensor, Tensor | None]:
        """The weight and the bias."""
        return self.weight.tensor, None if self.bias is None else self.bias.tensor


def by_image(n_axes: int, function: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    """Apply a function that takes one leading axis, that of the images, to values with more."""
    images = function(values.flatten(0, -n_axes - 1))
    return images.unflatten(0, values.shape[:-n_axes])


def shape_after(function: Callable[[Tensor], Tensor], node: Node) -> tuple[int, ...]:
    return tuple(function(torch.empty((0, *node.shape), device="meta")).shape[1:])


def all_units(node: Node, n_draws: int) -> Tensor:
    """Compute a node for all draws."""
    values = _unmasked(node)
    if node.mask is not None:
        values = values * node.mask
    return values.expand(n_draws, *values.shape[-len(node.shape) - 1 :])


def _unmasked(node: Node) -> Tensor:
    """Compute a node before its mask: (n_draws, n_rows, *shape), or (n_rows, *shape) if shared."""
    if node.layer is None:
        values = node.known.tensor.clone() if node.maps else node.known.tensor
    elif node.layer.function is F.linear:
        values = _linear(_unmasked(node.layer.source), node.layer.source.mask, node.layer)
    else:
        source, (weight, bias) = node.layer.source, node.layer.parameters
        values = _unmasked(source) if source.mask is None else _unmasked(source) * source.mask
        convolve = partial(node.layer.function, weight=weight, bias=bias)
        values = by_image(len(source.shape), convolve, values)
    for function in node.maps:
        values = function(values, None)
    return values


def _linear(x: Tensor, mask: Tensor | None, layer: Layer) -> Tensor:
    """Multiply x by the mask, then apply the layer, in whichever order is cheaper."""
    weight, bias = layer.parameters
    n_rows, n_outputs = x.shape[-2], len(weight)
    if mask is None or n_outputs > n_rows:
        return F.linear(x if mask is None else x * mask, weight, bias)
    if n_outputs == 1 and x.ndim == 2:
        y = (mask[:, 0] * weight) @ x.T
        return y.unsqueeze(2) if bias is None else y.add_(bias).unsqueeze(2)
    x = x.expand(len(mask), *x.shape[-2:])
    weights = (mask * weight).transpose(1, 2)
    return torch.bmm(x, weights) if bias is None else torch.baddbmm(bias, x, weights)


def kept_units(node: Node, n_draws: int) -> Tensor:
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


def _thinned(node: Node, draw: int, kept: Tensor | None) -> Tensor:
    """Compute the kept units of a node for one draw, before its mask: (n_rows, n_kept, ...)."""
    if node.layer is None:
        x = node.known.tensor
        x = x if x.ndim == len(node.shape) + 1 else x[draw]
        values = x.index_select(1, kept) if kept is not None else x.clone() if node.maps else x
    else:
        source, (weight, bias) = node.layer.source, node.layer.parameters
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
