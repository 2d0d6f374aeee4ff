"""Whether the rows with the largest standard deviation are those with the largest error.

Rows are left out one after the other, the least certain first, and the mean absolute error of
the rest should fall as fast as if the largest errors were left out first (Ilg et al., 2018).
Only the order of the standard deviations counts. Rows of the same one leave together, each by
the same part, so that their order in the data does not matter.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._in_order import add_up, area_of_first, mean_of_first, removed_shares
from ._validation import check_like, check_numbers, check_std, over_targets, weights_or_ones

__all__ = ["area_under_sparsification_error", "sparsification_curve"]


def sparsification_curve(
    y_true: ArrayLike,
    mean: ArrayLike,
    std: ArrayLike,
    *,
    n_points: int = 100,
    sample_weight: ArrayLike | None = None,
) -> tuple[NDArray, NDArray, NDArray]:
    """Compute the error that is left when the least certain rows are left out.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_targets)
        What was observed.
    mean, std : array-like of the shape of y_true
        Mean and standard deviation of the forecasts.
    n_points : int, default=100
        Number of points of the curves.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.

    Returns
    -------
    removed : ndarray of shape (n_points,)
        The share of the rows that is left out: even steps from 0, all below 1.
    error : ndarray of shape (n_points,) or (n_points, n_targets)
        The mean absolute error of the other rows, as a share of that of all rows, hence 1 at
        first. A standard deviation unrelated to the errors gives 1 throughout, and no error 0.
    oracle_error : ndarray of shape (n_points,) or (n_points, n_targets)
        The same when the largest errors are left out first: no standard deviation does better.

    Raises
    ------
    ValueError
        If shapes differ, a number is not finite, a standard deviation is negative, or
        ``n_points`` is below 1.

    References
    ----------
    Ilg et al. (2018), "Uncertainty estimates and multi-hypotheses networks for optical flow",
    ECCV.

    Examples
    --------
    >>> from sk_mcdropout.metrics import sparsification_curve
    >>> y, mean, std = [1.0, 2.0, 3.0], [0.0, 0.0, 0.0], [1.0, 2.0, 3.0]
    >>> sparsification_curve(y, mean, std, n_points=3)[1]
    array([1.  , 0.75, 0.5 ])
    """
    removed = removed_shares(n_points)
    errors, std, weights = _check_forecast(y_true, mean, std, sample_weight)
    curves = [
        [
            mean_of_first(1 - removed, *_shared_out(error, order, weights))
            for order in (uncertainty, error)
        ]
        for error, uncertainty in _targets(errors, std)
    ]
    shape = (n_points, *errors.shape[1:])
    error, oracle_error = np.transpose(curves, (1, 2, 0)).reshape(2, *shape)
    return removed, error, oracle_error


def area_under_sparsification_error(
    y_true: ArrayLike,
    mean: ArrayLike,
    std: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    multioutput: str | ArrayLike = "uniform_average",
) -> float | NDArray:
    """Compute the area under the sparsification error (AUSE).

    How far the order of the standard deviations is from that of the errors. Small is good: 0
    where the largest errors have the largest standard deviations. The area between the two
    curves of `sparsification_curve`, exact between its points. It does not depend on the size
    of the standard deviations, and is no proper score.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_targets)
        What was observed.
    mean, std : array-like of the shape of y_true
        Mean and standard deviation of the forecasts.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.
    multioutput : {"raw_values", "uniform_average"} or array-like of shape (n_targets,), \
            default="uniform_average"
        One area for each target, or their mean, or their mean with these weights.

    Returns
    -------
    float or ndarray of shape (n_targets,)
        The area, without a unit.

    Raises
    ------
    ValueError
        If shapes differ, a number is not finite, or a standard deviation is negative.

    References
    ----------
    Ilg et al. (2018), "Uncertainty estimates and multi-hypotheses networks for optical flow",
    ECCV.

    Examples
    --------
    >>> from sk_mcdropout.metrics import area_under_sparsification_error
    >>> y, mean = [1.0, 2.0, 3.0], [0.0, 0.0, 0.0]
    >>> area_under_sparsification_error(y, mean, std=[0.1, 0.2, 0.3])
    0.0
    """
    errors, std, weights = _check_forecast(y_true, mean, std, sample_weight)
    areas = [
        area_of_first(*_shared_out(error, uncertainty, weights))
        - area_of_first(*_shared_out(error, error, weights))
        for error, uncertainty in _targets(errors, std)
    ]
    return over_targets(np.array(areas), multioutput)


def _check_forecast(
    y_true: ArrayLike, mean: ArrayLike, std: ArrayLike, sample_weight: ArrayLike | None
) -> tuple[NDArray, NDArray, NDArray]:
    y = check_numbers("y_true", y_true)
    errors = np.abs(y - check_like(y, "mean", mean))
    weights = weights_or_ones(sample_weight, len(y))
    return errors, check_std(check_like(y, "std", std)), weights


def _targets(errors: NDArray, std: NDArray) -> zip:
    n_samples = len(errors)
    return zip(errors.reshape(n_samples, -1).T, std.reshape(n_samples, -1).T, strict=True)


def _shared_out(error: NDArray, order: NDArray, weights: NDArray) -> tuple[NDArray, NDArray]:
    """Return the shares of all rows and of all error, added up from the lowest in order."""
    rows, sums = add_up(error, order, weights)
    # Without any error there is nothing to share out, and both curves are 0.
    return rows, sums / (sums[-1] or 1.0)
