"""The default net, and the rates of the dropouts of any net."""

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor, nn

from ._concrete import ConcreteDropout

__all__ = ["MLP", "set_rates"]


class MLP(nn.Module):
    """Fully connected net with a dropout after each hidden layer.

    Parameters
    ----------
    n_features : int
        Width of the input.
    n_outputs : int
        Width of the output.
    hidden : sequence of int
        Widths of the hidden layers; their number is the depth.
    activation : callable
        Makes the activation of a hidden layer, as the class ``torch.nn.ReLU`` does.
    dropout : float or "concrete"
        Rate of the dropouts, in [0, 1]; or rates that are learned, one for each hidden layer, by
        `ConcreteDropout`.

    Raises
    ------
    ValueError
        If a width is not positive or the rate is outside [0, 1] and not "concrete".

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout import MLP
    >>> net = MLP(n_features=8, n_outputs=1, hidden=(50, 50), dropout=0.05)
    >>> net(torch.zeros(3, 8)).shape
    torch.Size([3, 1])
    """

    def __init__(
        self,
        n_features: int,
        n_outputs: int = 1,
        hidden: Sequence[int] = (100, 100),
        activation: Callable[[], nn.Module] = nn.ReLU,
        dropout: float | str = 0.05,
    ) -> None:
        super().__init__()
        widths = (n_features, *hidden, n_outputs)
        if min(widths) < 1:
            raise ValueError(f"the widths of all layers must be at least 1. Got {widths!r}.")
        learned = isinstance(dropout, str) and dropout == "concrete"
        if not learned and (isinstance(dropout, str) or not 0 <= dropout <= 1):
            raise ValueError(f"`dropout` must be a rate in [0, 1] or 'concrete'. Got {dropout!r}.")
        layers: list[nn.Module] = [nn.Linear(widths[0], widths[1])]
        for before, after in pairwise(widths[1:]):
            layer = nn.Linear(before, after)
            dropped = [ConcreteDropout(layer)] if learned else [nn.Dropout(float(dropout)), layer]
            layers += [activation(), *dropped]
        self.layers = nn.Sequential(*layers)

    def forward(self, X: Tensor) -> Tensor:
        """Answer the outputs, of shape (n_samples, n_outputs)."""
        return self.layers(X)


def set_rates(module: nn.Module, rate: float) -> None:
    """Set the rate of each dropout module.

    Parameters
    ----------
    module : nn.Module
        The module to change; its attention and recurrent modules are among its dropout modules.
    rate : float
        The rate, in [0, 1]; that of `ConcreteDropout` starts from it.

    Raises
    ------
    ValueError
        If the module has none; at 0 or 1 for one with `ConcreteDropout`.
    """
    found = False
    for part in module.modules():
        if isinstance(part, ConcreteDropout):
            part.set_rate(rate)
            found = True
        name = "p" if isinstance(part, nn.modules.dropout._DropoutNd) else "dropout"
        recurrent = isinstance(part, nn.RNNBase) and part.num_layers > 1
        if name == "p" or recurrent or isinstance(part, nn.MultiheadAttention):
            setattr(part, name, rate)
            found = True
    if not found:
        raise ValueError(
            f"`dropout` must be None for a module without dropout layers. Got {rate!r} for "
            f"{type(module).__name__}. Add a dropout layer, or set the rate where it is used."
        )
