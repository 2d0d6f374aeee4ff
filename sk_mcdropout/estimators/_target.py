"""The target of a regression: its shape, and the scale it is trained on."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from sk_mcdropout.nn import BetaNLLLoss, uncompiled

__all__ = [
    "ELEMENTWISE",
    "align",
    "compares_numbers",
    "mean_and_scale",
    "standardise",
    "target_array",
]

# Losses that compare the output with y number by number, so that their shapes must agree.
ELEMENTWISE = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss)


def target_array(y: Any) -> np.ndarray | None:
    """Return a target of one or two axes as an array of floats; None for any other."""
    if sparse.issparse(y):
        raise TypeError(
            f"y must be a dense array. Got a {type(y).__name__} of shape {y.shape}. "
            "Pass y.toarray()."
        )
    if isinstance(y, Tensor):
        y = y.detach().cpu().numpy()
    if y is None or isinstance(y, Mapping) or np.ndim(y) not in (1, 2):
        return None
    return np.asarray(y, dtype=np.float64)


def mean_and_scale(
    y: np.ndarray | None, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the scale of a target; 0 and 1 for None."""
    if y is None:
        return np.zeros(()), np.ones(())
    with np.errstate(over="ignore", invalid="ignore"):
        if weights is None:
            mean, scale = np.asarray(y.mean(axis=0)), np.asarray(y.std(axis=0))
        else:
            mean = np.asarray(np.average(y, axis=0, weights=weights))
            variance = np.average((y - mean) ** 2, axis=0, weights=weights)
            scale = np.asarray(np.sqrt(variance))
    if not np.isfinite(scale).all():
        raise ValueError(
            f"the standard deviation of y must be finite. Got {scale.tolist()!r}. Remove the rows "
            "without a target, or scale y."
        )
    tiny = scale < np.sqrt(np.finfo(scale.dtype).tiny)
    if (tiny & (np.ptp(y, axis=0) > 0)).any():
        raise ValueError(
            f"the square of the standard deviation of y must be above 0. Got {scale.tolist()!r}. "
            "Scale y."
        )
    # The standard deviation of equal numbers is 0 up to the rounding of their mean.
    rounding = 10 * np.finfo(scale.dtype).eps * np.abs(mean)
    return mean, np.where(scale > rounding, scale, 1.0)


def standardise(
    y: Tensor, mean: np.ndarray, scale: np.ndarray, dtype: torch.dtype | None = None
) -> Tensor:
    """Subtract the mean from a target and divide it by its scale; cast what was changed."""
    if not mean.any() and (scale == 1).all():
        return y
    return ((y - torch.as_tensor(mean).to(y)) / torch.as_tensor(scale).to(y)).to(dtype)


def align(y: Tensor, output: Tensor, criterion: Any) -> Tensor:
    """Give a target the shape and the dtype of the output of the net.

    Parameters
    ----------
    y : Tensor of shape (n_samples,) or (n_samples, n_targets)
        The target.
    output : Tensor of shape (n_samples, ...)
        The output.
    criterion : callable
        The loss. One that compares number by number would broadcast a target of another size,
        which is refused then.

    Returns
    -------
    Tensor
        The target.
    """
    if y.is_floating_point():
        y = y.to(output.dtype)
    if y.shape[:1] == output.shape[:1] and y.numel() == output.numel():
        return y.reshape(output.shape)
    if compares_numbers(criterion):
        raise ValueError(
            "the output of the net must have the shape of y. Got an output of shape "
            f"{tuple(output.shape)} for a y of shape {tuple(y.shape)}. Give the net one "
            "output for each target."
        )
    return y


def compares_numbers(criterion: Any) -> bool:
    """Return whether a loss compares a tensor with y, number by number."""
    return isinstance(uncompiled(criterion), (*ELEMENTWISE, BetaNLLLoss))
