"""Default nets of one architecture, trained as one."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import stack_module_state

from ._inputs import PeriodicEmbedding, RobustScale, join_waves
from ._mlp import MLP

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


class StackedMLP:
    """Nets of one architecture whose passes are one pass of batched products.

    The parameters are copies, stacked on a new first axis. Each net draws its dropout from a
    generator of its own, number by number as it would alone, and is not changed by its neighbours.

    Parameters
    ----------
    nets : sequence of MLP
        The nets, that `takes` takes, of the same widths and activations; their rates may differ.

    Attributes
    ----------
    parameters : dict of str to Tensor
        The stacked parameters, by their names in a net.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.nn import MLP, StackedMLP
    >>> nets = StackedMLP([MLP(3), MLP(3)])
    >>> masks = nets.masks([5, 5], [torch.Generator().manual_seed(seed) for seed in (0, 1)])
    >>> nets(torch.zeros(2, 5, 3), masks).shape
    torch.Size([2, 5, 1])
    """

    def __init__(self, nets: Sequence[MLP]) -> None:
        self.nets = nets
        stacked, self._buffers = stack_module_state(list(nets))
        self.parameters = {k: v.detach().requires_grad_() for k, v in stacked.items()}

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

    def masks(
        self, n_rows: Sequence[int], generators: Sequence[torch.Generator]
    ) -> list[Tensor | None]:
        """Draw the masks of a step.

        Parameters
        ----------
        n_rows : sequence of int
            The number of rows of each net. Those with fewer than the others get no mask for the
            rest, whose outputs are to be left alone.
        generators : sequence of torch.Generator
            A generator for each net.

        Returns
        -------
        list of Tensor of shape (n_nets, n_samples, width) or None
            The masks of each dropout, with the kept ones divided by their share; None for rates
            of 0.
        """
        return [self._mask(layers, width, n_rows, generators) for layers, width in self._dropouts()]

    def _dropouts(self) -> Iterator[tuple[list[nn.Module], int]]:
        """Yield the dropouts of all nets, layer by layer, with their widths."""
        width = 0
        for layers in zip(*(net.layers for net in self.nets), strict=True):
            if isinstance(layers[0], nn.Linear):
                width = layers[0].out_features
            elif _is_dropout(layers[0]):
                yield list(layers), width

    def _mask(
        self,
        layers: Sequence[Any],
        width: int,
        n_rows: Sequence[int],
        generators: Sequence[torch.Generator],
    ) -> Tensor | None:
        rates = [float(layer.p) for layer in layers]
        if not any(rates):
            return None
        one = next(iter(self.parameters.values()))
        kept = one.new_ones(len(layers), max(n_rows), width)
        for mask, n, rate, generator in zip(kept, n_rows, rates, generators, strict=True):
            if 0 < rate < 1:
                mask[:n].bernoulli_(1 - rate, generator=generator)
            elif rate == 1:
                mask.zero_()
        shares = [1 - rate if rate < 1 else 1.0 for rate in rates]
        return kept.div_(kept.new_tensor(shares)[:, None, None])

    def __call__(self, x: Tensor, masks: Sequence[Tensor | None], within: bool = False) -> Tensor:
        """Compute the outputs of all nets in training, with dropout.

        Parameters
        ----------
        x : Tensor of shape (n_nets, n_samples, n_features)
            The rows of each net, as its ``scale`` gives them, which does not change in training.
        masks : list of Tensor of shape (n_nets, n_samples, width) or None
            What `masks` gave.
        within : bool
            Whether all rows lie in the range of those that the embeddings were fitted to, where
            there is less to compute.

        Returns
        -------
        Tensor of shape (n_nets, n_samples, n_outputs)
            The outputs.
        """
        of_dropouts, h = iter(masks), self._embed(x, within)
        for k, layer in enumerate(self.nets[0].layers):
            if isinstance(layer, nn.Linear):
                weight, bias = (
                    self.parameters[f"layers.{k}.{part}"] for part in ("weight", "bias")
                )
                h = torch.baddbmm(bias.unsqueeze(1), h, weight.transpose(1, 2))
            elif _is_dropout(layer):
                mask = next(of_dropouts)
                h = h if mask is None else h * mask
            else:
                h = layer(h)
        return h

    def _embed(self, x: Tensor, within: bool) -> Tensor:
        part = "embedding."
        if not isinstance(self.nets[0].embedding, PeriodicEmbedding):
            return x
        own = {k.removeprefix(part): v for k, v in self.parameters.items() if k.startswith(part)}
        lower, upper = (self._buffers[part + end] for end in ("lower", "upper"))
        return join_waves(x, **own, bounds=None if within else (lower, upper))

    @torch.no_grad()
    def put_back(self) -> None:
        """Copy the stacked parameters into the nets."""
        for member, net in enumerate(self.nets):
            for name, parameter in net.named_parameters():
                parameter.copy_(self.parameters[name][member])


def _is_dropout(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Dropout)
