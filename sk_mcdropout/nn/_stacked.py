"""Default nets of one architecture, trained as one."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

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
    flat : Tensor of shape (n_nets, n_parameters)
        The stacked parameters, those of a net in a row.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.nn import MLP, StackedMLP
    >>> nets = StackedMLP([MLP(3), MLP(3)])
    >>> (masks,) = nets.masks([[5, 5]], [torch.Generator().manual_seed(seed) for seed in (0, 1)])
    >>> nets(torch.zeros(2, 5, 3), masks).shape
    torch.Size([2, 5, 1])
    """

    def __init__(self, nets: Sequence[MLP]) -> None:
        self.nets = nets
        rows = [[_laid_out(*item) for item in net.named_parameters()] for net in nets]
        names = [name for name, _ in nets[0].named_parameters()]
        self._shapes = {name: part.shape for name, part in zip(names, rows[0], strict=True)}
        flat = torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])
        self.flat = flat.detach().requires_grad_()

    def _parameters(self) -> dict[str, Tensor]:
        """Return the parameters by their names in a net: parts of the flat ones."""
        parts = self.flat.split([shape.numel() for shape in self._shapes.values()], dim=1)
        return {
            name: part.unflatten(1, shape)
            for part, (name, shape) in zip(parts, self._shapes.items(), strict=True)
        }

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
        self, n_rows: Sequence[Sequence[int]], generators: Sequence[torch.Generator]
    ) -> list[list[Tensor | None]]:
        """Draw the masks of some steps, number by number as the nets would, in few calls.

        Parameters
        ----------
        n_rows : sequence of (sequence of int)
            For each step the number of rows of each net. Those with fewer than the others get
            zeros for the rest, whose outputs are to be left alone.
        generators : sequence of torch.Generator
            A generator for each net.

        Returns
        -------
        list of list of Tensor of shape (n_nets, n_samples, width) or None
            For each step the masks of each dropout, with the kept ones divided by their share;
            None for rates of 0.
        """
        layers = list(self.dropouts())
        if not layers:
            return [[] for _ in n_rows]
        numbers = []
        for k, generator in enumerate(generators):
            runs = [(step[k] * width, nets[k].p) for step in n_rows for nets, width in layers]
            numbers.append(_draw(runs, generator, self.flat.dtype))
        flat, starts = pad_sequence(numbers, batch_first=True), [0] * len(generators)
        masks = [[_masks(flat, starts, step, width) for _, width in layers] for step in n_rows]
        dropped = [any(float(part.p) for part in nets) for nets, _ in layers]
        return [
            [mask if some else None for mask, some in zip(of_step, dropped, strict=True)]
            for of_step in masks
        ]

    def dropouts(self) -> Iterator[tuple[list[Any], int]]:
        """Yield the dropouts of all nets, layer by layer, with their widths.

        Yields
        ------
        layers : list of nn.Dropout
            The layer of each net.
        width : int
            The number of numbers that it drops for a row.
        """
        width = 0
        for layers in zip(*(net.layers for net in self.nets), strict=True):
            if isinstance(layers[0], nn.Linear):
                width = layers[0].out_features
            elif _is_dropout(layers[0]):
                yield list(layers), width

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
        of_dropouts, parameters = iter(masks), self._parameters()
        h = self._embed(x, parameters, within)
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

    def _embed(self, x: Tensor, parameters: dict[str, Tensor], within: bool) -> Tensor:
        part = "embedding."
        if not isinstance(self.nets[0].embedding, PeriodicEmbedding):
            return x
        own = {k.removeprefix(part): v for k, v in parameters.items() if k.startswith(part)}
        if within:
            return join_waves(x, **own, bounds=None)
        ends = ([getattr(net.embedding, end) for net in self.nets] for end in ("lower", "upper"))
        lower, upper = map(torch.stack, ends)
        return join_waves(x, **own, bounds=(lower, upper))

    @torch.no_grad()
    def put_back(self) -> None:
        """Copy the stacked parameters into the nets."""
        for name, parameters in self._parameters().items():
            for net, parameter in zip(self.nets, parameters, strict=True):
                own = net.get_parameter(name)
                own.copy_(_laid_out(name, parameter))


def _draw(
    runs: Sequence[tuple[int, float]], generator: torch.Generator, dtype: torch.dtype
) -> Tensor:
    """Draw runs of numbers that are kept or not, each run with a rate: 0, or 1 / (1 - rate)."""
    drawn = torch.empty(sum(size for size, _ in runs), dtype=dtype)
    start = 0
    for rate, together in groupby(runs, key=lambda run: float(run[1])):
        some = drawn[start : (start := start + sum(size for size, _ in together))]
        if 0 < rate < 1:
            some.bernoulli_(1 - rate, generator=generator).div_(1 - rate)
        else:
            some.fill_(1 - rate)
    return drawn


def _masks(flat: Tensor, starts: list[int], n_rows: Sequence[int], width: int) -> Tensor:
    """Take the masks of all nets from their numbers, and move the starts behind them."""
    ends = [start + n * width for start, n in zip(starts, n_rows, strict=True)]
    if min(n_rows) == max(n_rows) and min(starts) == max(starts):
        masks = flat[:, starts[0] : ends[0]].unflatten(1, (n_rows[0], width))
    else:
        parts = [
            row[a:b].unflatten(0, (-1, width)) for row, a, b in zip(flat, starts, ends, strict=True)
        ]
        masks = pad_sequence(parts, batch_first=True)
    starts[:] = ends
    return masks


def _laid_out(name: str, parameter: Tensor) -> Tensor:
    """Return a parameter as the products take it, or back: the weights of a layer are turned."""
    return parameter.mT if name.startswith("layers.") and parameter.ndim == 2 else parameter


def _is_dropout(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Dropout)
