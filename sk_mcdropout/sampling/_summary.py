"""Summaries of Monte-Carlo draws: mean, standard deviation and covariance.

Draws come first: they have the shape (n_draws, n_samples, ...). Everything is taken about the
first draw, in two passes: the difference of squares would lose all digits where the spread is
small beside the mean, and equal draws have exactly no spread.
"""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["cov_over_draws", "mean_and_std_over_draws", "mean_over_draws"]

# The squares of a smaller standard deviation lose digits at the lower end of double precision.
_LEAST = 1e-140


def mean_over_draws(draws: Tensor) -> Tensor:
    """Compute the mean over Monte-Carlo draws.

    Parameters
    ----------
    draws : Tensor of shape (n_draws, n_samples, ...)
        The draws.

    Returns
    -------
    Tensor of shape (n_samples, ...), in double precision
        Their mean; not finite where a draw is not.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.sampling import mean_over_draws
    >>> mean_over_draws(torch.tensor([[1.0, 2.0], [3.0, 2.0]]))
    tensor([2., 2.], dtype=torch.float64)
    """
    (mean,) = _mean(draws)
    if draws.dtype == torch.float64 and draws.numel():
        _redo_lost(_mean, draws, (mean,), least=-torch.inf)
    return mean


def mean_and_std_over_draws(draws: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the mean and standard deviation over Monte-Carlo draws.

    Parameters
    ----------
    draws : Tensor of shape (n_draws, n_samples, ...)
        The draws, at least 2.

    Returns
    -------
    mean, std : Tensor of shape (n_samples, ...), in double precision
        Their mean and their standard deviation with ``ddof=1``; not finite where a draw is not.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.sampling import mean_and_std_over_draws
    >>> mean_and_std_over_draws(torch.tensor([[1.0, 2.0], [3.0, 2.0]]))[1]
    tensor([1.4142, 0.0000], dtype=torch.float64)
    """
    mean, std = _mean_and_std(draws)
    if draws.dtype == torch.float64 and draws.numel():
        _redo_lost(_mean_and_std, draws, (mean, std), least=_LEAST)
    return mean, std


def cov_over_draws(draws: Tensor) -> Tensor:
    """Compute the covariance over Monte-Carlo draws between all pairs of rows.

    Parameters
    ----------
    draws : Tensor of shape (n_draws, n_samples) or (n_draws, n_samples, n_targets)
        The draws, at least 2.

    Returns
    -------
    Tensor of shape (n_samples, n_samples) or (n_samples, n_samples, n_targets)
        Their covariance with ``ddof=1``, for each target, in double precision.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.sampling import cov_over_draws
    >>> cov_over_draws(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
    tensor([[2., 4.],
            [4., 8.]], dtype=torch.float64)
    """
    offsets = _offsets(draws)
    centred = offsets - offsets.mean(0)
    return torch.einsum("ti...,tj...->ij...", centred, centred) / (len(draws) - 1)


def _mean(draws: Tensor) -> tuple[Tensor]:
    return (draws[0].double() + _offsets(draws).mean(0),)


def _mean_and_std(draws: Tensor) -> tuple[Tensor, Tensor]:
    offsets = _offsets(draws)
    shift = offsets.mean(0)
    squares = offsets.sub_(shift).square_()  # in place: new memory would take most of the time
    return draws[0].double() + shift, squares.sum(0).div_(len(draws) - 1).sqrt_()


def _offsets(draws: Tensor) -> Tensor:
    """Subtract the first draw, in double precision."""
    if draws.dtype == torch.float64:
        return draws - draws[0]
    offsets = draws.double()
    return offsets.sub_(offsets[0].clone())


def _redo_lost(summarise: Callable, draws: Tensor, summaries: tuple, least: float) -> None:
    """Replace summaries that overflowed or underflowed by those of the draws in a unit near 1.

    Not needed below double precision, which holds the sums and squares of all other types.
    """
    lowest, highest = summaries[-1].aminmax()
    if lowest > least and highest < torch.inf:  # in one pass, for nearly all draws
        return
    lost = ~((summaries[-1] > least) & (summaries[-1] < torch.inf))
    largest = draws[:, lost].abs().amax(0).clamp_min(torch.finfo(torch.float64).tiny)
    unit = largest / (2 * torch.frexp(largest).mantissa)  # a power of 2, which rounds nothing
    for summary, redone in zip(summaries, summarise(draws[:, lost] / unit), strict=True):
        summary[lost] = unit * redone
