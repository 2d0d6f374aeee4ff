"""Dropout functions that torch does not have; the masks of sampling take their place, too."""

import math

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

__all__ = ["gaussian_dropout", "masked_in_turn", "number_of_draw"]


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


def masked_in_turn(x: Tensor, masks: Tensor, p: float) -> Tensor:
    """Multiply the units of each row by the mean of some masks; while sampling, by one of them.

    Parameters
    ----------
    x : Tensor of shape (n_samples, n_features, ...)
        The units.
    masks : Tensor of shape (n_masks, n_features)
        The masks. Draw t has the one of number t modulo ``n_masks``.
    p : float
        The share of the units that a mask drops.

    Returns
    -------
    Tensor of shape (n_samples, n_features, ...)
        The units that are kept.

    References
    ----------
    Durasov, Bagautdinov, Baque & Fua (2021), "Masksembles for uncertainty estimation", CVPR.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.sampling import masked_in_turn
    >>> masked_in_turn(torch.ones(1, 2), torch.tensor([[1.0, 0.0], [1.0, 1.0]]), 0.25)
    tensor([[1.0000, 0.5000]])
    """
    if has_torch_function((x,)):
        return handle_torch_function(masked_in_turn, (x,), x, masks, p)
    return x * masks.mean(0).unflatten(0, (len(masks[0]), *[1] * (x.ndim - 2)))


def number_of_draw(ones: Tensor, p: float) -> Tensor:
    """Stand for the number of a draw, which takes the place of the ones as a mask does."""
    if has_torch_function((ones,)):
        return handle_torch_function(number_of_draw, (ones,), ones, p)
    return ones
