"""Scores of prediction intervals and of quantiles."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._validation import average, check_ends, check_numbers, check_shares

__all__ = ["coverage_score", "interval_score", "mean_interval_width", "pinball_loss"]


def interval_score(
    y_true: ArrayLike,
    interval: ArrayLike,
    *,
    coverage: float = 0.9,
    sample_weight: ArrayLike | None = None,
    multioutput: str | ArrayLike = "uniform_average",
) -> float | NDArray:
    """Compute the interval score (Winkler): the width, and how far y lies outside.

    Small is good. With ``alpha = 1 - coverage``, each unit by which y is missed costs
    ``2 / alpha`` units of width: Gneiting & Raftery (2007), eq. 43 [1]_. A proper score: the
    best interval leaves out ``alpha / 2`` at both sides.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_targets)
        What was observed.
    interval : array-like of shape (n_samples, 2) or (n_samples, n_targets, 2)
        Lower and upper ends, as ``predict_interval`` returns them.
    coverage : float, default=0.9
        The probability that the intervals were made for, in (0, 1).
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.
    multioutput : {"raw_values", "uniform_average"} or array-like of shape (n_targets,), \
            default="uniform_average"
        One score for each target, or their mean, or their mean with these weights.

    Returns
    -------
    float or ndarray of shape (n_targets,)
        The mean over the rows, in the units of y.

    Raises
    ------
    ValueError
        If shapes do not fit, a number is not finite, a lower end is above its upper end, or
        coverage is not in (0, 1).

    References
    ----------
    .. [1] Gneiting & Raftery (2007), "Strictly proper scoring rules, prediction, and
       estimation", Journal of the American Statistical Association 102.

    Examples
    --------
    >>> from sk_mcdropout.metrics import interval_score
    >>> interval_score([0.0, 2.0], [[-1.0, 1.0], [-1.0, 1.0]], coverage=0.5)
    4.0
    """
    (coverage,) = check_shares("coverage", [coverage])
    y, low, high = _check_interval(y_true, interval)
    missed = np.maximum(low - y, 0) + np.maximum(y - high, 0)
    return average(high - low + 2 / (1 - coverage) * missed, sample_weight, multioutput)


def coverage_score(
    y_true: ArrayLike,
    interval: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    multioutput: str | ArrayLike = "uniform_average",
) -> float | NDArray:
    """Compute the share of rows whose y lies in its interval, ends included.

    Good is what the intervals were made for; a wide interval always reaches 1. To compare
    models by one number, take `interval_score`.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_targets)
        What was observed.
    interval : array-like of shape (n_samples, 2) or (n_samples, n_targets, 2)
        Lower and upper ends, as ``predict_interval`` returns them.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.
    multioutput : {"raw_values", "uniform_average"} or array-like of shape (n_targets,), \
            default="uniform_average"
        One share for each target, or their mean, or their mean with these weights.

    Returns
    -------
    float or ndarray of shape (n_targets,)
        The share, in [0, 1].

    Raises
    ------
    ValueError
        If shapes do not fit, a number is not finite, or a lower end is above its upper end.

    Examples
    --------
    >>> from sk_mcdropout.metrics import coverage_score
    >>> coverage_score([0.0, 2.0], [[-1.0, 1.0], [-1.0, 1.0]])
    0.5
    """
    y, low, high = _check_interval(y_true, interval)
    return average(((low <= y) & (y <= high)).astype(float), sample_weight, multioutput)


def mean_interval_width(
    interval: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    multioutput: str | ArrayLike = "uniform_average",
) -> float | NDArray:
    """Compute the mean width of intervals.

    Of intervals that cover as they should, the narrower are the better.

    Parameters
    ----------
    interval : array-like of shape (n_samples, 2) or (n_samples, n_targets, 2)
        Lower and upper ends, as ``predict_interval`` returns them.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.
    multioutput : {"raw_values", "uniform_average"} or array-like of shape (n_targets,), \
            default="uniform_average"
        One width for each target, or their mean, or their mean with these weights.

    Returns
    -------
    float or ndarray of shape (n_targets,)
        The mean over the rows, in the units of y.

    Raises
    ------
    ValueError
        If the last axis is not of length 2, a number is not finite, or a lower end is above its
        upper end.

    Examples
    --------
    >>> from sk_mcdropout.metrics import mean_interval_width
    >>> mean_interval_width([[-1.0, 1.0], [0.0, 4.0]])
    3.0
    """
    low, high = _check_order(check_ends("interval", interval, 2))
    return average(high - low, sample_weight, multioutput)


def pinball_loss(
    y_true: ArrayLike,
    y_quantiles: ArrayLike,
    *,
    quantiles: ArrayLike,
    sample_weight: ArrayLike | None = None,
    multioutput: str | ArrayLike = "uniform_average",
) -> float | NDArray:
    """Compute the mean pinball loss over several quantiles at once.

    Small is good. For one quantile this is scikit-learn's ``mean_pinball_loss``; twice the loss
    of many even levels is the CRPS (Gneiting & Ranjan, 2011 [1]_).

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_targets)
        What was observed.
    y_quantiles : array-like of shape (n_samples, n_quantiles) or \
            (n_samples, n_targets, n_quantiles)
        The predicted quantiles, as ``predict_quantiles`` returns them.
    quantiles : float or array-like of shape (n_quantiles,)
        Their levels, in (0, 1).
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.
    multioutput : {"raw_values", "uniform_average"} or array-like of shape (n_targets,), \
            default="uniform_average"
        One loss for each target, or their mean, or their mean with these weights.

    Returns
    -------
    float or ndarray of shape (n_targets,)
        The mean over the quantiles and the rows, in the units of y.

    Raises
    ------
    ValueError
        If shapes do not fit, a number is not finite, or a level is not in (0, 1).

    References
    ----------
    .. [1] Gneiting & Ranjan (2011), "Comparing density forecasts using threshold- and
       quantile-weighted scoring rules", Journal of Business & Economic Statistics 29.

    Examples
    --------
    >>> from sk_mcdropout.metrics import pinball_loss
    >>> pinball_loss([1.0], [[0.0, 3.0]], quantiles=[0.1, 0.9])
    0.15
    """
    levels = check_shares("quantiles", np.atleast_1d(quantiles))
    y = check_numbers("y_true", y_true)
    errors = y[..., None] - check_ends("y_quantiles", y_quantiles, len(levels), y)
    losses = np.maximum(levels * errors, (levels - 1) * errors).mean(axis=-1)
    return average(losses, sample_weight, multioutput)


def _check_interval(y_true: ArrayLike, interval: ArrayLike) -> tuple[NDArray, NDArray, NDArray]:
    y = check_numbers("y_true", y_true)
    return y, *_check_order(check_ends("interval", interval, 2, y))


def _check_order(interval: NDArray) -> tuple[NDArray, NDArray]:
    low, high = np.moveaxis(interval, -1, 0)
    if (low > high).any():
        raise ValueError(
            "`interval` must have its lower end first. Got a lower end above the upper one in "
            f"{np.sum(low > high)} of {low.size} places. Swap them."
        )
    return low, high
