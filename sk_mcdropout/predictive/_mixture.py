"""The mixture over draws: each draw is a normal, and all have the same weight.

``means`` are the draws, of shape (n_draws, n_samples, ...), and ``stds`` the standard deviation
of the noise, of any shape that broadcasts with them. Where it is 0 a draw is a step, a normal
with all its mass at the mean. A row with a NaN has NaN for an answer, and changes no other.
"""

import math

import torch
from torch import Tensor
from torch.special import ndtr, ndtri

__all__ = ["mixture_cdf", "mixture_log_prob", "mixture_quantiles"]

_ROOT_TWO_PI = math.sqrt(2 * math.pi)
_MOST_STEPS = 200
_NEAR = 1e-8
_TINY = 1e-5  # has still 11 digits when computed by ndtr, which is twice as fast
_EPS = torch.finfo(torch.float64).eps
_NARROWEST = 1e-100  # beside the spread of the draws, a normal of this width is a step


def mixture_cdf(y: Tensor, means: Tensor, stds: Tensor) -> Tensor:
    """Compute the probability of a value up to y.

    Parameters
    ----------
    y : Tensor of shape (n_samples, ...)
        The values.
    means : Tensor of shape (n_draws, n_samples, ...)
        The draws.
    stds : Tensor
        The standard deviations of the noise. A draw without noise has the probability 1 from its
        mean on.

    Returns
    -------
    Tensor of shape (n_samples, ...), in double precision
        The probabilities, to 10 digits also where they are tiny.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.predictive._mixture import mixture_cdf
    >>> mixture_cdf(torch.zeros(1), torch.tensor([[-1.0], [1.0]]), torch.tensor(0.5))
    tensor([0.5000], dtype=torch.float64)
    """
    above, stds = y.double() - means.double(), stds.double()
    steps = stds == 0
    if steps.all():
        return (above >= 0).double().mean(0).masked_fill_(above.isnan().any(0), torch.nan)
    if steps.any():
        above.masked_fill_(steps & (above == 0), 1.0)  # a step has been climbed at its place
    return _lower_tail(above.div_(stds)).mean(0)


def mixture_log_prob(y: Tensor, means: Tensor, stds: Tensor) -> Tensor:
    """Compute the logarithm of the density at y, row by row.

    Parameters
    ----------
    y : Tensor of shape (n_samples, ...)
        The values.
    means : Tensor of shape (n_draws, n_samples, ...)
        The draws.
    stds : Tensor
        The standard deviations of the noise. A draw without noise has the log density infinity at
        its mean and minus infinity elsewhere.

    Returns
    -------
    Tensor of shape (n_samples,), in double precision
        The log densities, Gal & Ghahramani (2016), eq. 8. The density of several targets is
        that of all of them together: minus infinity where any target is at an impossible value.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.predictive._mixture import mixture_log_prob
    >>> mixture_log_prob(torch.zeros(1), torch.zeros(10, 1), torch.tensor(1.0))
    tensor([-0.9189], dtype=torch.float64)
    """
    errors, stds = y.double() - means.double(), stds.double()
    logs = -0.5 * (errors / stds) ** 2 - torch.log(stds) - math.log(_ROOT_TWO_PI)
    steps = stds == 0
    if steps.any():
        logs.masked_fill_(steps & (errors == 0), torch.inf)
        logs.masked_fill_(steps & (errors.abs() > 0), -torch.inf)
    if logs.ndim > 2:
        impossible = logs.flatten(2).amin(2) == -torch.inf  # also where another is infinite
        logs = torch.where(impossible, -torch.inf, logs.flatten(2).sum(2))
    return torch.logsumexp(logs, 0) - math.log(len(means))


def mixture_quantiles(means: Tensor, stds: Tensor, levels: Tensor) -> Tensor:
    """Compute the quantiles of the mixture.

    Parameters
    ----------
    means : Tensor of shape (n_draws, n_samples, ...)
        The draws.
    stds : Tensor
        The standard deviations of the noise. Where those of all draws are 0, the quantiles are
        those of the draws, with linear interpolation.
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
    means, stds = means.double(), stds.double()
    steps = stds == 0
    steps = steps.all(0) if steps.ndim == means.ndim else steps
    if steps.all():
        return _of_draws(means, levels.double())
    stds = stds.masked_fill(steps, torch.nan)  # not to be searched
    each = levels.double().unbind(-1)
    quantiles = torch.stack([_root(means, stds, level) for level in each], -1)
    if steps.any():
        return torch.where(steps[..., None], _of_draws(means, levels.double()), quantiles)
    return quantiles


def _lower_tail(scores: Tensor) -> Tensor:
    """Compute normal probabilities with the digits of tiny ones, which ndtr rounds away."""
    return torch.erfc(scores * -math.sqrt(0.5)).div_(2)


def _of_draws(means: Tensor, levels: Tensor) -> Tensor:
    """Compute the quantiles of the draws themselves."""
    ordered = means.sort(0).values
    quantiles = torch.stack([_between(ordered, level) for level in levels.unbind(-1)], -1)
    return quantiles.masked_fill(ordered[-1].isnan()[..., None], torch.nan)  # NaN is sorted last


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
    stds = torch.maximum(stds, _NARROWEST * (high - low))
    narrowest = stds.amin(0) if stds.ndim == means.ndim else stds
    spread = torch.minimum(means.std(0, correction=0), high - low)  # its squares may overflow
    y = means.mean(0) + ndtri(level) * torch.hypot(spread, narrowest)
    y, before = torch.maximum(torch.minimum(y, high), low), high - low
    below = _lower_tail if (level < _TINY).any() else ndtr
    for _ in range(_MOST_STEPS):
        scores = (y - means).div_(stds)
        excess = below(scores).mean(0) - level
        density = scores.square_().mul_(-0.5).exp_().div_(stds).mean(0) / _ROOT_TWO_PI
        low, high = torch.where(excess <= 0, y, low), torch.where(excess >= 0, y, high)
        # The error after a step of Newton's goes with its square; bounds have to meet.
        least = 4 * _EPS * (y.abs() + narrowest)
        move = torch.where(high - low <= least, 0.0, -excess / density)
        done = ~(move.abs() > _NEAR * narrowest + least)  # as is a NaN
        if done.all():
            return y + move
        inside = (y + move >= low) & (y + move <= high) & (move.abs() <= 0.5 * before)
        following = torch.where(inside | done, y + move, 0.5 * (low + high))
        y, before = following, (following - y).abs()
    return y
