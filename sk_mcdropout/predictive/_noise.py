"""The noise of the observations, fitted to rows held out of training."""

import math

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from ._mixture import mixture_log_prob

__all__ = ["likeliest_noise", "noise_over_draws"]


def noise_over_draws(log_variance: Tensor) -> Tensor:
    """Answer the standard deviation of the noise, whose variance is the mean over the draws.

    Parameters
    ----------
    log_variance : Tensor of shape (n_draws, n_samples, ...)
        The log variance of each draw.

    Returns
    -------
    Tensor of shape (n_samples, ...), in double precision
        The square root of the mean variance: the second term of Kendall & Gal (2017), eq. 9.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.predictive._noise import noise_over_draws
    >>> noise_over_draws(torch.zeros(10, 2))
    tensor([1., 1.], dtype=torch.float64)
    """
    return log_variance.double().exp().mean(0).sqrt()


def likeliest_noise(y: Tensor, draws: Tensor) -> np.ndarray:
    """Find the noise under which rows held out of training are likeliest.

    The likelihood is that of the mixture over the draws, each a normal of the same standard
    deviation: Gal & Ghahramani (2016), eq. 8, maximised over the model precision.

    Parameters
    ----------
    y : Tensor of shape (n_samples,) or (n_samples, n_targets)
        The target.
    draws : Tensor of shape (n_draws, *y.shape)
        Draws of its mean.

    Returns
    -------
    ndarray of shape () or (n_targets,)
        The standard deviation of the noise, for each target, in the units of y.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.predictive._noise import likeliest_noise
    >>> float(likeliest_noise(torch.tensor([1.0, -1.0]), torch.zeros(10, 2)))
    1.000
    """
    if y.ndim > 1:
        columns = zip(y.unbind(-1), draws.unbind(-1), strict=True)
        return np.stack([likeliest_noise(*column) for column in columns])
    y, draws = y.double(), draws.double()
    largest = math.sqrt(((y - draws) ** 2).mean())

    def loss(log_noise: float) -> float:
        return -mixture_log_prob(y, draws, torch.tensor(math.exp(log_noise))).sum().item()

    # At the maximum the noise is a weighted mean of the squared errors, hence at most their
    # largest; a coarse grid, in steps of a factor 2, finds the highest hill.
    if largest == 0:
        return np.zeros(())
    grid = math.log(largest) + math.log(2) * np.arange(-20, 3)
    best = min(grid, key=loss)
    bounds = best - math.log(2), best + math.log(2)
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return np.asarray(math.exp(found.x))
