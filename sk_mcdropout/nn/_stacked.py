"""Default nets of one architecture, trained as one."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import stack_module_state

from ._inputs import PeriodicEmbedding, RobustScale, join_waves, scale_columns, waves_of
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
    generators : sequence of torch.Generator
        A generator for each, on the device of the nets.

    Attributes
    ----------
    parameters : dict of str to Tensor
        The stacked parameters, by their names in a net.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.nn import MLP, StackedMLP
    >>> nets = [MLP(3), MLP(3)]
    >>> generators = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
    >>> StackedMLP(nets, generators)(torch.zeros(2, 5, 3), [5, 5]).shape
    torch.Size([2, 5, 1])
    """

    def __init__(self, nets: Sequence[MLP], generators: Sequence[torch.Generator]) -> None:
        self.nets, self.generators = nets, generators
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

    def __call__(self, x: Tensor, n_rows: Sequence[int]) -> Tensor:
        """Compute the outputs of all nets in training, with dropout.

        Parameters
        ----------
        x : Tensor of shape (n_nets, n_samples, n_features)
            The rows of each net.
        n_rows : sequence of int
            How many of the rows count, for each net. The others get no mask, and their outputs are
            to be left alone.

        Returns
        -------
        Tensor of shape (n_nets, n_samples, n_outputs)
            The outputs.
        """
        net, h = self.nets[0], x
        if isinstance(net.scale, RobustScale):
            h = scale_columns(h, *self._rows("scale", "center", "scale", "lower", "upper"))
        if isinstance(net.embedding, PeriodicEmbedding):
            bounds = self._rows("embedding", "lower", "upper")
            waves = waves_of(h, *bounds, *self._rows("embedding", "frequencies", "phases"))
            weight, bias = self.parameters["embedding.weight"], self._rows("embedding", "bias")[0]
            h = join_waves(h, waves, weight, bias)
        for k, layer in enumerate(net.layers):
            if isinstance(layer, nn.Linear):
                weight, (bias,) = (
                    self.parameters[f"layers.{k}.weight"],
                    self._rows(f"layers.{k}", "bias"),
                )
                h = torch.baddbmm(bias, h, weight.transpose(1, 2))
            elif isinstance(layer, nn.Dropout):
                h = self._drop(h, k, n_rows)
            else:
                h = layer(h)
        return h

    def _rows(self, part: str, *names: str) -> list[Tensor]:
        """Return stacked parameters or buffers with an axis for the rows."""
        known = (self.parameters, self._buffers)
        paths = [f"{part}.{name}" for name in names]
        return [known[path in self._buffers][path].unsqueeze(1) for path in paths]

    def _drop(self, h: Tensor, k: int, n_rows: Sequence[int]) -> Tensor:
        kept = torch.ones_like(h)
        for member, net in enumerate(self.nets):
            layer, some = net.layers[k], kept[member, : n_rows[member]]
            rate = layer.p if isinstance(layer, nn.Dropout) else 0.0
            if 0 < rate < 1:
                some.bernoulli_(1 - rate, generator=self.generators[member]).div_(1 - rate)
            elif rate == 1:
                some.zero_()
        return h * kept

    @torch.no_grad()
    def put_back(self) -> None:
        """Copy the stacked parameters into the nets."""
        for member, net in enumerate(self.nets):
            for name, parameter in net.named_parameters():
                parameter.copy_(self.parameters[name][member])
