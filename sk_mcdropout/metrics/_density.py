"""Scores of whole predictive distributions: the log density, the CRPS, the energy score.

All are proper: a forecaster does best, on average, by saying what they believe (Gneiting &
Raftery, 2007, "Strictly proper scoring rules, prediction, and estimation", JASA). Draws come
first: they have the shape (n_draws, n_samples, ...).
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import pdist
from scipy.special import erf, logsumexp

from ._validation import average, check_draws, check_like, check_numbers, check_std

__all__ = [
    "crps_draws",
    "crps_normal",
    "energy_score",
    "negative_log_density_mixture",
    "negative_log_density_normal",
]

_LOG_ROOT_TWO_PI = 0.5 * math.log(2 * math.pi)


def negative_log_density_normal(
    y_true: ArrayLike,
    mean: ArrayLike,
    std: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    multioutput: str | ArrayLike = "uniform_average",
) -> float | NDArray:
    """Compute minus the log density of normal forecasts at y.

    Small is good. The score may be negative, and moves by ``log(c)`` when y is multiplied by c.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_targets)
        What was observed.
    mean, std : array-like of the shape of y_true
        Mean and standard deviation of the forecasts, in the units of y; std above 0.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.
    multioutput : {"raw_values", "uniform_average"} or array-like of shape (n_targets,), \
            default="uniform_average"
        One score for each target, or their mean, or their mean with these weights.

    Returns
    -------
    float or ndarray of shape (n_targets,)
        The mean over the rows, in natural logarithms.

    Raises
    ------
    ValueError
        If shapes differ, a number is not finite, or a standard deviation is not above 0.

    Examples
    --------
    >>> from sk_mcdropout.metrics import negative_log_density_normal
    >>> round(negative_log_density_normal([0.0, 1.0], mean=[0.0, 0.0], std=[1.0, 1.0]), 4)
    1.1689
    """
    y = check_numbers("y_true", y_true)
    mean = check_like(y, "mean", mean)
    std = check_std(check_like(y, "std", std), positive=True)
    return average(-_log_normal(y, mean, std), sample_weight, multioutput)


def negative_log_density_mixture(
    y_true: ArrayLike,
    draws: ArrayLike,
    noise_std: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    multioutput: str | ArrayLike = "uniform_average",
) -> float | NDArray:
    """Compute minus the log density of the mixture over draws at y.

    Each draw is the mean of a normal, and all weigh the same: minus the predictive
    log-likelihood of Gal & Ghahramani (2016), eq. 8 [1]_. Small is good.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_targets)
        What was observed.
    draws : array-like of shape (n_draws, n_samples) or (n_draws, n_samples, n_targets)
        Draws of the mean, in the units of y.
    noise_std : float or array-like
        Standard deviation of the noise, above 0 and in the units of y: one number, or one for
        each target, or an array of the shape of y_true or of draws.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.
    multioutput : {"raw_values", "uniform_average"} or array-like of shape (n_targets,), \
            default="uniform_average"
        One score for each target, or their mean, or their mean with these weights. Each target
        is scored by itself; ``log_prob`` of the regressor returns the density of all together.

    Returns
    -------
    float or ndarray of shape (n_targets,)
        The mean over the rows, in natural logarithms.

    Raises
    ------
    ValueError
        If shapes do not fit, a number is not finite, or a noise is not above 0.

    References
    ----------
    .. [1] Gal & Ghahramani (2016), "Dropout as a Bayesian approximation: representing model
       uncertainty in deep learning", ICML.

    Examples
    --------
    >>> from sk_mcdropout.metrics import negative_log_density_mixture
    >>> draws = [[0.0, 1.0], [0.0, -1.0]]
    >>> round(negative_log_density_mixture([0.0, 0.0], draws, noise_std=1.0), 4)
    1.1689
    """
    y = check_numbers("y_true", y_true)
    draws = check_draws(y, draws)
    noise = check_std(_noise_like(draws, noise_std), "noise_std", positive=True)
    # Log-mean-exp: the largest density is taken out before the exponential.
    logs = logsumexp(_log_normal(y, draws, noise), axis=0) - math.log(len(draws))
    return average(-logs, sample_weight, multioutput)


def crps_normal(
    y_true: ArrayLike,
    mean: ArrayLike,
    std: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    multioutput: str | ArrayLike = "uniform_average",
) -> float | NDArray:
    """Compute the continuous ranked probability score (CRPS) of normal forecasts.

    Small is good, and 0 is perfect. The score is in the units of y, and that of a forecast
    without spread is its absolute error. It forgives outliers more than the log density does.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_targets)
        What was observed.
    mean, std : array-like of the shape of y_true
        Mean and standard deviation of the forecasts, in the units of y.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.
    multioutput : {"raw_values", "uniform_average"} or array-like of shape (n_targets,), \
            default="uniform_average"
        One score for each target, or their mean, or their mean with these weights.

    Returns
    -------
    float or ndarray of shape (n_targets,)
        The mean over the rows: the closed form of Gneiting & Raftery (2007), section 4.2.

    Raises
    ------
    ValueError
        If shapes differ, a number is not finite, or a standard deviation is negative.

    Examples
    --------
    >>> from sk_mcdropout.metrics import crps_normal
    >>> round(crps_normal([0.0, 1.0], mean=[0.0, 0.0], std=[1.0, 0.0]), 4)
    0.6168
    """
    y = check_numbers("y_true", y_true)
    error = y - check_like(y, "mean", mean)
    std = check_std(check_like(y, "std", std))
    with np.errstate(over="ignore"):  # far out, the score is the absolute error
        z = np.divide(error, std, out=np.copysign(np.inf, error), where=std > 0)
        twice_density = math.sqrt(2 / math.pi) * np.exp(-0.5 * z**2)
    scores = error * erf(z / math.sqrt(2)) + std * (twice_density - 1 / math.sqrt(math.pi))
    return average(scores, sample_weight, multioutput)


def crps_draws(
    y_true: ArrayLike,
    draws: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    multioutput: str | ArrayLike = "uniform_average",
) -> float | NDArray:
    """Compute the continuous ranked probability score (CRPS) of draws.

    The estimator is the fair one [1]_, whose expectation does not depend on the number of draws
    [2]_; it may be slightly negative. Small is good. The score is in the units of y.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_targets)
        What was observed.
    draws : array-like of shape (n_draws, n_samples) or (n_draws, n_samples, n_targets)
        At least 2 draws of y. Those of the regressor are draws of its mean; ``sample_y`` adds
        the noise, with the draws on the last axis.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.
    multioutput : {"raw_values", "uniform_average"} or array-like of shape (n_targets,), \
            default="uniform_average"
        One score for each target, or their mean, or their mean with these weights.

    Returns
    -------
    float or ndarray of shape (n_targets,)
        The mean over the rows.

    Raises
    ------
    ValueError
        If shapes do not fit, a number is not finite, or there is a single draw.

    References
    ----------
    .. [1] Ferro (2014), "Fair scores for ensemble forecasts", Quarterly Journal of the Royal
       Meteorological Society 140.
    .. [2] Zamo & Naveau (2018), "Estimation of the continuous ranked probability score with
       limited information and applications to ensemble weather forecasts", Mathematical
       Geosciences 50.

    Examples
    --------
    >>> from sk_mcdropout.metrics import crps_draws
    >>> crps_draws([0.0, 1.0], draws=[[0.0, -1.0], [2.0, 3.0], [4.0, 7.0]])
    0.6667
    """
    y = check_numbers("y_true", y_true)
    errors = np.sort(check_draws(y, draws, least=2) - y, axis=0)
    n_draws = len(errors)
    # Half the mean distance of two draws: in order, a draw is added once for each draw below it
    # and taken away once for each draw above it.
    ranks = np.arange(1 - n_draws, n_draws, 2) / (n_draws * (n_draws - 1))
    scores = np.abs(errors).mean(axis=0) - np.tensordot(ranks, errors, axes=1)
    return average(scores, sample_weight, multioutput)


def energy_score(
    y_true: ArrayLike, draws: ArrayLike, *, sample_weight: ArrayLike | None = None
) -> float:
    """Compute the energy score of draws of several targets, dependence included.

    The CRPS with distances between points in place of numbers: Gneiting & Raftery (2007),
    eq. 22, by the fair estimator of `crps_draws`. Small is good. Bring targets of different
    units to one scale before.

    Parameters
    ----------
    y_true : array-like of shape (n_samples, n_targets)
        What was observed.
    draws : array-like of shape (n_draws, n_samples, n_targets)
        At least 2 draws of y. The time grows with the square of their number.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.

    Returns
    -------
    float
        The mean over the rows, in the units of y.

    Raises
    ------
    ValueError
        If y_true has one axis, shapes do not fit, a number is not finite, or there is a single
        draw.

    Examples
    --------
    >>> from sk_mcdropout.metrics import energy_score
    >>> energy_score([[0.0, 0.0]], draws=[[[3.0, 4.0]], [[-3.0, -4.0]], [[3.0, 4.0]]])
    1.6667
    """
    y = check_numbers("y_true", y_true, n_axes=(2,))
    errors = check_draws(y, draws, least=2) - y
    distance = np.linalg.norm(errors, axis=-1).mean(axis=0)
    spread = np.array([pdist(errors[:, row]).mean() for row in range(len(y))])
    return float(average(distance - 0.5 * spread, sample_weight, "uniform_average"))


def _log_normal(y: NDArray, mean: NDArray, std: NDArray) -> NDArray:
    with np.errstate(over="ignore"):  # a density of 0 far out, whose logarithm is -inf
        return -0.5 * ((y - mean) / std) ** 2 - np.log(std) - _LOG_ROOT_TWO_PI


def _noise_like(draws: NDArray, noise_std: ArrayLike) -> NDArray:
    """Return the noise; check that its axes are the last ones of the draws."""
    if np.ndim(noise_std) == 0:
        return check_numbers("noise_std", np.atleast_1d(noise_std))
    noise = check_numbers("noise_std", noise_std, (1, 2, 3))
    if noise.ndim > draws.ndim or noise.shape != draws.shape[draws.ndim - noise.ndim :]:
        shapes = " or ".join(str(draws.shape[axis:]) for axis in range(draws.ndim))
        raise ValueError(
            f"`noise_std` must be one number or have the shape {shapes}. Got {noise.shape}."
        )
    return noise
