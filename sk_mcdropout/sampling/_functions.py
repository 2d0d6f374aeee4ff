"""Dropout functions that torch does not have; the masks of sampling take their place, too."""

import math

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

__all__ = ["gaussian_dropout"]


def gaussian_dropout(x: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """Multiply each unit by a normal number of mean 1 and variance p / (1 - p).

    Parameters
    ----------
    x : Tensor
        The units, of any shape.
    p : float
        The rate, in [0, 1).
    training : bool
        Whether to do so; while sampling it is done in any case, with one mask for all rows.

    Returns
    -------
    Tensor
        The units, of the same shape.

    References
    ----------
    Srivastava, Hinton, Krizhevsky, Sutskever & Salakhutdinov (2014), "Dropout: a simple way to
    prevent neural networks from overfitting", JMLR, section 10.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.sampling import gaussian_dropout
    >>> gaussian_dropout(torch.ones(2), 0.1, training=False)
    tensor([1., 1.])
    """
    if has_torch_function((x,)):
        return handle_torch_function(gaussian_dropout, (x,), x, p, training)
    if not training or p == 0:
        return x
    return x * (1 + math.sqrt(p / (1 - p)) * torch.randn_like(x))
