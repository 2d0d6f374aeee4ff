"""Dropout of the weights of a layer: Wan et al. (2013), ICML."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin

__all__ = ["DropConnect"]


class DropConnect(nn.Module):
    """A layer whose weights are dropped, each by itself, and not the units before it.

    In eval mode it is the layer; `sample` and the estimators draw one mask of the weights for all
    rows.

    Parameters
    ----------
    layer : nn.Linear, nn.Conv1d, nn.Conv2d or nn.Conv3d
        The layer. Its bias is kept.
    p : float
        The rate, in [0, 1]. What is kept is divided by 1 - p.

    Raises
    ------
    TypeError
        If the layer is of another kind, or is lazy.
    ValueError
        If the rate is outside [0, 1].

    Notes
    -----
    Wan et al. draw a mask for each row in training, drop the biases, too, and predict by normal
    numbers of the mean and the variance that the masks give the units. Here a pass in training has
    one mask for all its rows, and predictions are made from draws. The masks of all draws are there
    at once, and take ``n_draws`` times the memory of the weights.

    References
    ----------
    Wan, Zeiler, Zhang, LeCun & Fergus (2013), "Regularization of neural networks using
    DropConnect", ICML.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout import sample
    >>> from sk_mcdropout.nn import DropConnect
    >>> net = torch.nn.Sequential(torch.nn.ReLU(), DropConnect(torch.nn.Linear(2, 8), p=0.1))
    >>> sample(net, torch.ones(3, 2), n_draws=10).shape
    torch.Size([10, 3, 8])
    """

    def __init__(self, layer: nn.Module, p: float = 0.5) -> None:
        super().__init__()
        known = isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)
        if not known or isinstance(layer, LazyModuleMixin):
            raise TypeError(
                "`layer` must be a linear layer or a convolution that knows its widths. Got a "
                f"{type(layer).__name__}. Give such a layer, or drop units by `torch.nn.Dropout`."
            )
        self.layer = layer
        self.set_rate(p)

    def set_rate(self, p: float) -> None:
        """Set the rate.

        Parameters
        ----------
        p : float
            The rate, in [0, 1].

        Raises
        ------
        ValueError
            If it is outside [0, 1].
        """
        if not 0 <= p <= 1:
            raise ValueError(f"the rate of DropConnect must lie in [0, 1]. Got {p!r}.")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer, in training mode with weights dropped.

        Parameters
        ----------
        x : Tensor of shape (n_samples, ...)
            The input of the layer.

        Returns
        -------
        Tensor of shape (n_samples, ...)
            Its output.
        """
        layer: Any = self.layer
        weight = F.dropout(layer.weight, self.p, self.training)
        if isinstance(layer, nn.Linear):
            return F.linear(x, weight, layer.bias)
        return layer._conv_forward(x, weight, layer.bias)

    def extra_repr(self) -> str:
        """Return what ``repr`` shows: the rate.

        Returns
        -------
        str
            The rate.
        """
        return f"p={self.p:g}"
