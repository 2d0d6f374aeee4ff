"""Default nets of one architecture, trained as one by batched products."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ._inputs import PeriodicEmbedding, RobustScale, join_waves
from ._mlp import MLP
from ._stacked import DropoutCall, StackedNets

__all__ = ["StackedMLP"]

# Activations that take each number by itself, without parameters or random numbers.
_ELEMENTWISE = (
    nn.ReLU,
    nn.LeakyReLU,
    nn.ELU,
    nn.SELU,
    nn.CELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Softplus,
    nn.Tanh,
    nn.Sigmoid,
    nn.Identity,
)


class StackedMLP(StackedNets):
    """Nets of one architecture whose passes are one pass of batched products.

    The parameters are copies, stacked on a new first axis. Each net draws its dropout from a
    generator of its own, number by number as it would alone, and is not changed by its neighbours.

    Parameters
    ----------
    nets : sequence of MLP
        The nets, that `takes` takes, of the same widths and activations; their rates may differ.

    Attributes
    ----------
    flat : Tensor of shape (n_nets, n_parameters)
        The stacked parameters, those of a net in a row.
    dropouts : list of DropoutCall
        The dropouts of a pass, in turn.
    within : bool
        Whether all rows to come lie in the range of those that the embeddings were fitted to,
        where there is less to compute.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.nn import MLP, StackedMLP
    >>> nets = StackedMLP([MLP(3), MLP(3)])
    >>> (masks,) = nets.masks([[5, 5]], [torch.Generator().manual_seed(seed) for seed in (0, 1)])
    >>> nets(torch.zeros(2, 5, 3), masks).shape
    torch.Size([2, 5, 1])
    """

    nets: Sequence[MLP]

    def __init__(self, nets: Sequence[MLP]) -> None:
        super().__init__(nets)
        self.dropouts = list(self._calls())
        self.within = False

    @staticmethod
    def takes(net: nn.Module) -> bool:
        """Return whether a net is a plain `MLP`, with dropouts whose rates are not learned."""
        known = nn.Linear, nn.Dropout, *_ELEMENTWISE
        inputs = RobustScale, PeriodicEmbedding, nn.Identity
        return (
            type(net) is MLP
            and all(type(layer) in known for layer in net.layers)
            and type(net.scale) in inputs
            and type(net.embedding) in inputs
            and all(parameter.requires_grad for parameter in net.parameters())
        )

    def _calls(self) -> Iterator[DropoutCall]:
        width = 0
        for layers in zip(*(net.layers for net in self.nets), strict=True):
            if isinstance(layers[0], nn.Linear):
                width = layers[0].out_features
            elif _is_dropout(layers[0]):
                yield DropoutCall([float(layer.p) for layer in layers], (width,))

    def scaled(self, rows: Sequence[Tensor]) -> list[Tensor]:
        """Return the rows of each net with their columns scaled; see `StackedNets.scaled`."""
        nets = {id(part): net for part, net in zip(rows, self.nets, strict=True)}
        scaled = {id(part): nets[id(part)].scale(part) for part in rows}
        self.within = all(_is_within(nets[kind].embedding, x) for kind, x in scaled.items())
        return [scaled[id(part)] for part in rows]

    def __call__(self, x: Tensor, masks: Sequence[Tensor | None]) -> Tensor:
        """Compute the outputs of all nets for rows as `scaled` gives them; see `StackedNets`."""
        of_dropouts, parameters = iter(masks), self._parameters()
        h = self._embed(x, parameters)
        for k, layer in enumerate(self.nets[0].layers):
            if isinstance(layer, nn.Linear):
                bias = parameters[f"layers.{k}.bias"].unsqueeze(1)
                h = torch.baddbmm(bias, h, parameters[f"layers.{k}.weight"])
            elif _is_dropout(layer):
                mask = next(of_dropouts)
                h = h if mask is None else h * mask
            else:
                h = layer(h)
        return h

    def _embed(self, x: Tensor, parameters: dict[str, Tensor]) -> Tensor:
        part = "embedding."
        if not isinstance(self.nets[0].embedding, PeriodicEmbedding):
            return x
        own = {k.removeprefix(part): v for k, v in parameters.items() if k.startswith(part)}
        if self.within:
            return join_waves(x, **own, bounds=None)
        ends = ([getattr(net.embedding, end) for net in self.nets] for end in ("lower", "upper"))
        lower, upper = map(torch.stack, ends)
        return join_waves(x, **own, bounds=(lower, upper))

    def _laid_out(self, name: str, parameter: Tensor) -> Tensor:
        """Return a parameter as the products take it, or back: weights of layers are turned."""
        return parameter.mT if name.startswith("layers.") and parameter.ndim == 2 else parameter


def _is_within(embedding: nn.Module, x: Tensor) -> bool:
    """Return whether rows lie within the range that an embedding was fitted to."""
    if not isinstance(embedding, PeriodicEmbedding):
        return True
    return bool(((x >= embedding.lower) & (x <= embedding.upper)).all())


def _is_dropout(layer: Any) -> bool:
    return isinstance(layer, nn.Dropout)
