"""The noise of the observations: its likeliest size, and its mean over draws."""

import math

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from ._mixture import mixture_log_prob

__all__ = ["likeliest_noise", "noise_over_draws"]


def noise_over_draws(log_variance: Tensor) -> Tensor:
    """Compute the aleatoric standard deviation, whose variance is the mean over the draws.

    Parameters
    ----------
    log_variance : Tensor of shape (n_draws, n_samples, ...)
        The log variance of each Monte-Carlo draw.

    Returns
    -------
    Tensor of shape (n_samples, ...), in double precision
        The square root of the mean variance: the second term of Kendall & Gal (2017), "What
        uncertainties do we need in Bayesian deep learning for computer vision?", eq. 9.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.predictive._noise import noise_over_draws
    >>> noise_over_draws(torch.zeros(10, 2))
    tensor([1., 1.], dtype=torch.float64)
    """
    logs = log_variance.double()
    most = logs.amax(0).nan_to_num(torch.nan)  # infinities become the largest numbers
    return (logs - most).exp().mean(0).sqrt() * (0.5 * most).exp()


def likeliest_noise(y: Tensor, draws: Tensor, sample_weight: Tensor | None = None) -> np.ndarray:
    """Compute the noise under which held-out rows are likeliest.

    The likelihood is that of the mixture over the draws, each a normal of the same standard
    deviation: Gal & Ghahramani (2016), "Dropout as a Bayesian approximation", eq. 8, maximised
    over the model precision.

    Parameters
    ----------
    y : Tensor of shape (n_samples,) or (n_samples, ..., n_targets)
        The target.
    draws : Tensor of shape ``(n_draws, *y.shape)``
        Monte-Carlo draws of its mean.
    sample_weight : Tensor of shape (n_samples,), optional
        Weights of the rows, not all of them 0.

    Returns
    -------
    ndarray of shape () or (..., n_targets)
        The standard deviation of the noise, for each target, in the units of y. It is 0 where
        each row has a draw that is equal to its target, whose likelihood has no bound, and NaN
        where there is a NaN.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.predictive import likeliest_noise
    >>> float(likeliest_noise(torch.tensor([1.0, -1.0]), torch.zeros(10, 2)))
    1.000
    """
    if y.ndim > 1:
        columns = zip(y.unbind(-1), draws.unbind(-1), strict=True)
        return np.stack([likeliest_noise(*column, sample_weight) for column in columns], axis=-1)
    errors, weights = draws.double() - y.double(), torch.ones(len(y), dtype=torch.float64)
    if sample_weight is not None:
        counted = sample_weight > 0
        errors, weights = errors[:, counted], sample_weight[counted].double()
    unit = errors.abs().max().item()
    if not 0 < unit < math.inf:
        return np.asarray(0.0 if unit == 0 else math.nan)
    return np.asarray(unit * _likeliest_noise(errors / unit, weights / weights.mean()))


def _likeliest_noise(errors: Tensor, weights: Tensor) -> float:
    """Compute the likeliest noise for errors of at most 1 and weights of mean 1."""

    def loss(log_noise: float) -> float:
        noise = torch.tensor(math.exp(log_noise), dtype=torch.float64)
        log_probs = mixture_log_prob(torch.zeros_like(errors[0]), errors, noise)
        return -(weights * log_probs).sum().item()

    # At the maximum the variance is the mean over the rows of a weighted mean over their squared
    # errors, with the more weight the smaller the error: it lies between the mean of their
    # smallest and of all. A grid in steps of a factor 2 finds the highest hill in between.
    squares = errors.square()
    means = (weights * squares.amin(0)).mean(), (weights * squares).mean()
    least, most = (mean.sqrt().item() for mean in means)
    if least == 0:
        return 0.0
    grid = np.append(np.arange(math.log(least), math.log(most), math.log(2)), math.log(most))
    best = min(grid, key=loss)
    bounds = best - math.log(2), best + math.log(2)
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-9})
    return math.exp(found.x)
