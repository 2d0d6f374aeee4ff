"""The mixture over draws: each draw is a normal, all have the same weight. Torch only.

``means`` are the draws, of shape (n_draws, n_samples, ...), and ``stds`` the standard deviation
of the noise, of any shape that broadcasts with them; a noise of 0 leaves the draws themselves.
"""

import math

import torch
from torch import Tensor
from torch.special import ndtr, ndtri

__all__ = ["mixture_cdf", "mixture_log_prob", "mixture_quantiles"]

_LOG_ROOT_TWO_PI = 0.5 * math.log(2 * math.pi)
_MOST_STEPS = 200
_NEAR = 1e-8
_EPS = torch.finfo(torch.float64).eps


def mixture_cdf(y: Tensor, means: Tensor, stds: Tensor) -> Tensor:
    """Answer the probability of a value up to y.

    Parameters
    ----------
    y : Tensor of shape (n_samples, ...)
        The values.
    means : Tensor of shape (n_draws, n_samples, ...)
        The draws.
    stds : Tensor
        The standard deviations of the noise.

    Returns
    -------
    Tensor of shape (n_samples, ...), in double precision
        The probabilities.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.predictive._mixture import mixture_cdf
    >>> mixture_cdf(torch.zeros(1), torch.tensor([[-1.0], [1.0]]), torch.tensor(0.5))
    tensor([0.5000], dtype=torch.float64)
    """
    above = y.double() - means.double()
    stds = stds.double()
    if not stds.any():
        return (above >= 0).double().mean(0)
    return ndtr(above / stds).mean(0)


def mixture_log_prob(y: Tensor, means: Tensor, stds: Tensor) -> Tensor:
    """Answer the logarithm of the density at y, of each number by itself.

    Parameters
    ----------
    y : Tensor of shape (n_samples, ...)
        The values.
    means : Tensor of shape (n_draws, n_samples, ...)
        The draws.
    stds : Tensor
        The standard deviations of the noise, above 0.

    Returns
    -------
    Tensor of shape (n_samples,), in double precision
        The log densities, Gal & Ghahramani (2016), eq. 8. The density of several targets is
        that of all of them together.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.predictive._mixture import mixture_log_prob
    >>> mixture_log_prob(torch.zeros(1), torch.zeros(10, 1), torch.tensor(1.0))
    tensor([-0.9189], dtype=torch.float64)
    """
    stds = stds.double()
    scores = (y.double() - means.double()) / stds
    logs = -0.5 * scores**2 - torch.log(stds) - _LOG_ROOT_TWO_PI
    logs = logs.flatten(2).sum(2) if logs.ndim > 2 else logs
    return torch.logsumexp(logs, 0) - math.log(len(means))


def mixture_quantiles(means: Tensor, stds: Tensor, levels: Tensor) -> Tensor:
    """Answer the quantiles of the mixture.

    Parameters
    ----------
    means : Tensor of shape (n_draws, n_samples, ...)
        The draws.
    stds : Tensor
        The standard deviations of the noise. Where all are 0, the quantiles are those of the
        draws, with linear interpolation.
    levels : Tensor of shape (n_levels,) or (n_targets, n_levels)
        The levels, in (0, 1); those of one row for each target where they have two axes.

    Returns
    -------
    Tensor of shape (n_samples, ..., n_levels), in double precision
        The quantiles.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.predictive._mixture import mixture_quantiles
    >>> mixture_quantiles(torch.zeros(10, 1), torch.tensor(1.0), torch.tensor([0.5, 0.975]))
    tensor([[0.0000, 1.9600]], dtype=torch.float64)
    """
    means, stds, levels = means.double(), stds.double(), levels.double()
    if not stds.any():
        ordered = means.sort(0).values
        return torch.stack([_between(ordered, level) for level in levels.unbind(-1)], -1)
    # A noise far below the spread, or a target without any, is a step that halving still finds.
    stds = stds.clamp_min(torch.finfo(torch.float64).tiny ** 0.5)
    return torch.stack([_root(means, stds, level) for level in levels.unbind(-1)], -1)


def _between(ordered: Tensor, level: Tensor) -> Tensor:
    """Interpolate between the two draws next to a level, as ``numpy.quantile`` does."""
    place = level.expand(ordered.shape[1:]).unsqueeze(0) * (len(ordered) - 1)
    below = place.floor().long().clamp(0, len(ordered) - 1)
    above = (below + 1).clamp_max(len(ordered) - 1)
    low, high = ordered.gather(0, below), ordered.gather(0, above)
    return torch.lerp(low, high, place - below)[0]


def _root(means: Tensor, stds: Tensor, level: Tensor) -> Tensor:
    """Find where the distribution function reaches a level, by Newton's steps within bounds.

    A step that leaves the bounds, or is not half of the one before, halves the bounds instead.
    """
    of_each = means + stds * ndtri(level)
    low, high = of_each.amin(0), of_each.amax(0)  # one normal alone would have it here
    narrowest = stds.amin(0) if stds.ndim == means.ndim else stds
    y = means.mean(0) + ndtri(level) * torch.hypot(means.std(0, correction=0), narrowest)
    y, before = torch.maximum(torch.minimum(y, high), low), high - low
    for _ in range(_MOST_STEPS):
        scores = (y - means) / stds
        excess = ndtr(scores).mean(0) - level
        density = (torch.exp(-0.5 * scores**2) / stds).mean(0) / math.sqrt(2 * math.pi)
        low, high = torch.where(excess <= 0, y, low), torch.where(excess >= 0, y, high)
        # The error after a step of Newton's goes with its square; bounds have to meet.
        least = 4 * _EPS * (y.abs() + narrowest)
        move = torch.where(high - low <= least, 0.0, -excess / density)
        done = move.abs() <= _NEAR * narrowest + least
        if done.all():
            return y + move
        inside = (y + move >= low) & (y + move <= high) & (move.abs() <= 0.5 * before)
        following = torch.where(inside | done, y + move, 0.5 * (low + high))
        y, before = following, (following - y).abs()
    return y
