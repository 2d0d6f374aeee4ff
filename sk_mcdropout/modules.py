"""The default net, and the rates of the dropouts of any net."""

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor, nn

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
    dropout : float
        Rate of the dropouts, in [0, 1].

    Raises
    ------
    ValueError
        If a width is not positive or the rate is outside [0, 1].

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
        dropout: float = 0.05,
    ) -> None:
        super().__init__()
        widths = (n_features, *hidden, n_outputs)
        if min(widths) < 1:
            raise ValueError(f"the widths of all layers must be at least 1. Got {widths!r}.")
        if not 0 <= dropout <= 1:
            raise ValueError(f"`dropout` must be a rate in [0, 1]. Got {dropout!r}.")
        layers: list[nn.Module] = []
        for before, after in pairwise(widths[:-1]):
            layers += [nn.Linear(before, after), activation(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1]))

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
        The rate, in [0, 1].

    Raises
    ------
    ValueError
        If the module has none.
    """
    found = False
    for part in module.modules():
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
