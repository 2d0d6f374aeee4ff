"""Summaries of draws: mean, standard deviation, covariance. Torch only.

Draws come first: they have the shape (n_draws, n_samples, ...). Everything is taken about the
first draw, in two passes: the difference of squares would lose all digits where the spread is
small beside the mean, and equal draws have exactly no spread.
"""

import torch
from torch import Tensor

__all__ = ["cov_over_draws", "mean_and_std_over_draws", "mean_over_draws"]


def mean_over_draws(draws: Tensor) -> Tensor:
    """Answer the mean over the draws.

    Parameters
    ----------
    draws : Tensor of shape (n_draws, n_samples, ...)
        The draws.

    Returns
    -------
    Tensor of shape (n_samples, ...), in double precision
        Their mean.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.sampling._summary import mean_over_draws
    >>> mean_over_draws(torch.tensor([[1.0, 2.0], [3.0, 2.0]]))
    tensor([2., 2.], dtype=torch.float64)
    """
    return draws[0].double() + _offsets(draws).mean(0)


def mean_and_std_over_draws(draws: Tensor) -> tuple[Tensor, Tensor]:
    """Answer the mean and the standard deviation over the draws.

    Parameters
    ----------
    draws : Tensor of shape (n_draws, n_samples, ...)
        The draws, at least 2.

    Returns
    -------
    mean, std : Tensor of shape (n_samples, ...), in double precision
        Their mean and their standard deviation with ``ddof=1``.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.sampling._summary import mean_and_std_over_draws
    >>> mean_and_std_over_draws(torch.tensor([[1.0, 2.0], [3.0, 2.0]]))[1]
    tensor([1.4142, 0.0000], dtype=torch.float64)
    """
    offsets = _offsets(draws)
    shift = offsets.mean(0)
    squares = offsets.sub_(shift).square_()  # in place: new memory would take most of the time
    return draws[0].double() + shift, squares.sum(0).div_(len(draws) - 1).sqrt_()


def cov_over_draws(draws: Tensor) -> Tensor:
    """Answer the covariance over the draws between all pairs of rows.

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
    >>> from sk_mcdropout.sampling._summary import cov_over_draws
    >>> cov_over_draws(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
    tensor([[2., 4.],
            [4., 8.]], dtype=torch.float64)
    """
    offsets = _offsets(draws)
    centred = offsets - offsets.mean(0)
    return torch.einsum("ti...,tj...->ij...", centred, centred) / (len(draws) - 1)


def _offsets(draws: Tensor) -> Tensor:
    """Answer the draws less the first one, in double precision."""
    if draws.dtype == torch.float64:
        return draws - draws[0]
    offsets = draws.double()
    return offsets.sub_(offsets[0].clone())
