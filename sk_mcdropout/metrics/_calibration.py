"""Whether predicted probabilities come true, and how narrow the forecasts are.

Both are needed: forecasts should be as sharp as they can be while they stay calibrated
(Gneiting, Balabdaoui & Raftery, 2007, "Probabilistic forecasts, calibration and sharpness",
Journal of the Royal Statistical Society B 69).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._validation import average, check_numbers, check_std, check_weights, over_targets

__all__ = ["calibration_curve", "calibration_error", "sharpness"]


def calibration_curve(
    cdf: ArrayLike,
    *,
    levels: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> tuple[NDArray, NDArray]:
    """Compute how often y lay below its predicted quantiles.

    For calibrated forecasts the frequencies are the levels: Kuleshov et al. (2018) [1]_.

    Parameters
    ----------
    cdf : array-like of shape (n_samples,) or (n_samples, n_targets)
        The predicted probability that a new observation is at most the one observed, in [0, 1]:
        what ``predict_cdf(X, y)`` returns, or ``scipy.stats.norm.cdf(y, mean, std)``.
    levels : array-like of shape (n_levels,), default=None
        The levels of the quantiles, in [0, 1]; None takes 0.01, 0.02, ..., 0.99.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.

    Returns
    -------
    levels : ndarray of shape (n_levels,)
        The levels.
    frequencies : ndarray of shape (n_levels,) or (n_levels, n_targets)
        The share of rows whose y is at most the predicted quantile of each level.

    Raises
    ------
    ValueError
        If a probability or a level is not in [0, 1].

    References
    ----------
    .. [1] Kuleshov, Fenner & Ermon (2018), "Accurate uncertainties for deep learning using
       calibrated regression", ICML.

    Examples
    --------
    >>> from sk_mcdropout.metrics import calibration_curve
    >>> calibration_curve([0.1, 0.4, 0.6, 0.9], levels=[0.25, 0.5, 0.75])[1]
    array([0.25, 0.5 , 0.75])
    """
    cdf = _check_probabilities("cdf", check_numbers("cdf", cdf))
    levels = np.arange(1, 100) / 100 if levels is None else check_numbers("levels", levels, (1,))
    levels = _check_probabilities("levels", levels)
    weights = check_weights(sample_weight, len(cdf))
    shares = [np.average(cdf <= level, axis=0, weights=weights) for level in levels]
    return levels, np.stack(shares)


def calibration_error(
    cdf: ArrayLike,
    *,
    levels: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    multioutput: str | ArrayLike = "uniform_average",
) -> float | NDArray:
    """Compute how far predicted probabilities are from the observed frequencies.

    Small is good, and 0 is perfect; n calibrated rows come to about ``1 / (6 n)`` by chance. Not
    a score to choose models by alone: what is calibrated may still know nothing of X.

    Parameters
    ----------
    cdf : array-like of shape (n_samples,) or (n_samples, n_targets)
        The predicted probability that a new observation is at most the one observed, in [0, 1]:
        what ``predict_cdf(X, y)`` returns, or ``scipy.stats.norm.cdf(y, mean, std)``.
    levels : array-like of shape (n_levels,), default=None
        The levels of the quantiles, in [0, 1]; None takes 0.01, 0.02, ..., 0.99.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.
    multioutput : {"raw_values", "uniform_average"} or array-like of shape (n_targets,), \
            default="uniform_average"
        One error for each target, or their mean, or their mean with these weights.

    Returns
    -------
    float or ndarray of shape (n_targets,)
        The mean over the levels of the squared difference between the level and its frequency:
        Kuleshov et al. (2018) [1]_ with equal weights of sum 1.

    Raises
    ------
    ValueError
        If a probability or a level is not in [0, 1].

    References
    ----------
    .. [1] Kuleshov, Fenner & Ermon (2018), "Accurate uncertainties for deep learning using
       calibrated regression", ICML.

    Examples
    --------
    >>> from sk_mcdropout.metrics import calibration_error
    >>> calibration_error([0.5, 0.5, 0.5, 0.5], levels=[0.25, 0.5, 0.75])
    0.125
    """
    levels, shares = calibration_curve(cdf, levels=levels, sample_weight=sample_weight)
    squares = (shares.T - levels) ** 2
    return over_targets(squares.mean(axis=-1), multioutput)


def sharpness(
    std: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    multioutput: str | ArrayLike = "uniform_average",
) -> float | NDArray:
    """Compute the sharpness of forecasts: the root of their mean variance.

    Of calibrated forecasts, the smaller is the better; y does not enter.

    Parameters
    ----------
    std : array-like of shape (n_samples,) or (n_samples, n_targets)
        The standard deviations of the forecasts.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.
    multioutput : {"raw_values", "uniform_average"} or array-like of shape (n_targets,), \
            default="uniform_average"
        One number for each target, or their mean, or their mean with these weights.

    Returns
    -------
    float or ndarray of shape (n_targets,)
        The root of the mean variance (Kuleshov et al., 2018), in the units of y.

    Raises
    ------
    ValueError
        If a standard deviation is negative or not finite.

    Examples
    --------
    >>> from sk_mcdropout.metrics import sharpness
    >>> sharpness([1.0, 7.0])
    5.0
    """
    std = check_std(check_numbers("std", std))
    variances = average(std**2, sample_weight, "raw_values")
    return over_targets(np.sqrt(variances), multioutput)


def _check_probabilities(name: str, values: NDArray) -> NDArray:
    if values.min() < 0 or values.max() > 1:
        raise ValueError(
            f"`{name}` must lie in [0, 1]. Got numbers from {float(values.min())!r} to "
            f"{float(values.max())!r}."
        )
    return values
