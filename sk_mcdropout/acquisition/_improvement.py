"""Where a function may be better than the best value seen: Bayesian optimisation."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, ndtr

from sk_mcdropout.metrics import knows, last_step

from ._answers import check_number, mean_and_std, one_for_each

__all__ = [
    "confidence_bound",
    "expected_improvement",
    "probability_of_improvement",
    "thompson_sampling",
]


def expected_improvement(
    estimator: Any, X: Any, best: float, *, maximize: bool, xi: float = 0.0
) -> NDArray:
    """Compute by how much each candidate is expected to improve on the best value.

    The mean of ``max(f - best - xi, 0)``, or of ``max(best - f - xi, 0)``, under a normal f [1]_.

    Parameters
    ----------
    estimator : object
        A fitted regressor with ``predict(X, return_std=True)``.
    X : array-like of shape (n_candidates, n_features) or (n_candidates, ...)
        The candidates.
    best : float
        The best value so far, in the units of y: the highest of those seen, or the lowest.
    maximize : bool
        Whether the highest value is looked for (True), or the lowest (False).
    xi : float, default=0.0
        Improvement that does not count yet, in the units of y; the higher, the more is explored.

    Returns
    -------
    ndarray of shape (n_candidates,)
        The expected improvement, in the units of y, at least 0.

    Raises
    ------
    TypeError
        If the estimator predicts no standard deviation.
    ValueError
        If it predicts several targets, or ``best`` or ``xi`` is not a finite number.

    References
    ----------
    .. [1] Jones, Schonlau & Welch (1998), "Efficient global optimization of expensive black-box
       functions", Journal of Global Optimization 13, eq. 15.

    Examples
    --------
    >>> from sklearn.gaussian_process import GaussianProcessRegressor
    >>> from sk_mcdropout.acquisition import expected_improvement
    >>> process = GaussianProcessRegressor().fit([[0.0], [1.0]], [0.0, 1.0])
    >>> scores = expected_improvement(process, [[-1.0], [0.5], [1.5]], best=1.0, maximize=True)
    >>> int(scores.argmax())
    2
    """
    gain, std = _gain_and_std(estimator, X, best, maximize, xi)
    z = _in_stds(gain, std)
    density = std * np.exp(-0.5 * np.minimum(np.abs(z), 40) ** 2) / math.sqrt(2 * math.pi)
    # The same sum for z below 0, where its terms would cancel each other out.
    below = np.clip(z, -40, 0)
    share = 1 + math.sqrt(math.pi / 2) * below * erfcx(-below / math.sqrt(2))
    return np.where(z < 0, density * share, gain * ndtr(z) + density)


def probability_of_improvement(
    estimator: Any, X: Any, best: float, *, maximize: bool, xi: float = 0.0
) -> NDArray:
    """Compute the probability that each candidate improves on the best value.

    That of ``f > best + xi``, or of ``f < best - xi``, under a normal f [1]_.

    Parameters
    ----------
    estimator : object
        A fitted regressor with ``predict(X, return_std=True)``.
    X : array-like of shape (n_candidates, n_features) or (n_candidates, ...)
        The candidates.
    best : float
        The best value so far, in the units of y: the highest of those seen, or the lowest.
    maximize : bool
        Whether the highest value is looked for (True), or the lowest (False).
    xi : float, default=0.0
        Improvement that does not count yet, in the units of y; the higher, the more is explored.

    Returns
    -------
    ndarray of shape (n_candidates,)
        The probability; 0 or 1 where the standard deviation is 0.

    Raises
    ------
    TypeError
        If the estimator predicts no standard deviation.
    ValueError
        If it predicts several targets, or ``best`` or ``xi`` is not a finite number.

    References
    ----------
    .. [1] Kushner (1964), "A new method of locating the maximum point of an arbitrary multipeak
       curve in the presence of noise", Journal of Basic Engineering 86.

    Examples
    --------
    >>> from sklearn.gaussian_process import GaussianProcessRegressor
    >>> from sk_mcdropout.acquisition import probability_of_improvement
    >>> process = GaussianProcessRegressor(optimizer=None).fit([[0.0], [1.0]], [0.0, 1.0])
    >>> probability_of_improvement(process, [[9.0]], best=0.0, maximize=False).round(2)
    array([0.5])
    """
    gain, std = _gain_and_std(estimator, X, best, maximize, xi)
    return np.where((gain == 0) & (std == 0), 0.0, ndtr(_in_stds(gain, std)))


def confidence_bound(estimator: Any, X: Any, *, maximize: bool, kappa: float = 1.96) -> NDArray:
    """Compute the upper confidence bound, or the lower one with its sign turned.

    ``mean + kappa * std`` where the highest value is looked for (GP-UCB [1]_), and
    ``-(mean - kappa * std)`` where the lowest is, so that a high score is always the better.

    Parameters
    ----------
    estimator : object
        A fitted regressor with ``predict(X, return_std=True)``.
    X : array-like of shape (n_candidates, n_features) or (n_candidates, ...)
        The candidates.
    maximize : bool
        Whether the highest value is looked for (True), or the lowest (False).
    kappa : float, default=1.96
        Number of standard deviations, at least 0; the higher, the more is explored.

    Returns
    -------
    ndarray of shape (n_candidates,)
        The bound, in the units of y.

    Raises
    ------
    TypeError
        If the estimator predicts no standard deviation.
    ValueError
        If it predicts several targets, or ``kappa`` is not a finite number of at least 0.

    References
    ----------
    .. [1] Srinivas, Krause, Kakade & Seeger (2010), "Gaussian process optimization in the bandit
       setting: no regret and experimental design", ICML, eq. 6.

    Examples
    --------
    >>> from sklearn.gaussian_process import GaussianProcessRegressor
    >>> from sk_mcdropout.acquisition import confidence_bound
    >>> process = GaussianProcessRegressor(optimizer=None).fit([[0.0], [1.0]], [0.0, 1.0])
    >>> confidence_bound(process, [[0.0], [9.0]], maximize=False).round(2)
    array([0.  , 1.96])
    """
    kappa = check_number("kappa", kappa, least=0)
    mean, std = mean_and_std(estimator, X)
    return _sign(maximize) * mean + kappa * std


def thompson_sampling(
    estimator: Any, X: Any, *, maximize: bool, random_state: Any = None
) -> NDArray:
    """Draw one function and return its values at the candidates: Thompson sampling.

    The candidate of the highest score is where this function is best [1]_. For a batch, call it
    once for each choice. The functions of `MCDropoutRegressor` are drawn without its noise.

    Parameters
    ----------
    estimator : object
        A fitted regressor with ``sample_y(X, n_samples, random_state)``.
    X : array-like of shape (n_candidates, n_features) or (n_candidates, ...)
        The candidates.
    maximize : bool
        Whether the highest value is looked for (True), or the lowest (False).
    random_state : int, RandomState instance or None, default=None
        Seed of the function.

    Returns
    -------
    ndarray of shape (n_candidates,)
        The values, in the units of y, with their sign turned where the lowest is looked for.

    Raises
    ------
    TypeError
        If the estimator has no ``sample_y``.
    ValueError
        If it predicts several targets.

    References
    ----------
    .. [1] Thompson (1933), "On the likelihood that one unknown probability exceeds another in
       view of the evidence of two samples", Biometrika 25.

    Examples
    --------
    >>> from sklearn.gaussian_process import GaussianProcessRegressor
    >>> from sk_mcdropout.acquisition import thompson_sampling
    >>> process = GaussianProcessRegressor().fit([[0.0], [1.0]], [0.0, 1.0])
    >>> thompson_sampling(process, [[0.0], [1.0]], maximize=True, random_state=0).round(2)
    array([0., 1.])
    """
    model, inputs = last_step(estimator, X)
    if not hasattr(model, "sample_y"):
        raise TypeError(
            "`estimator` must have `sample_y(X, n_samples, random_state)`. Got "
            f"{type(model).__name__}, which draws no functions. Give an MCDropoutRegressor or a "
            "GaussianProcessRegressor."
        )
    options = {"noise": False} if knows(model, "sample_y", "noise") else {}
    drawn = model.sample_y(inputs, n_samples=1, random_state=random_state, **options)
    return _sign(maximize) * one_for_each("function", drawn[..., 0])


def _gain_and_std(
    estimator: Any, X: Any, best: float, maximize: bool, xi: float
) -> tuple[NDArray, NDArray]:
    """Return by how much the mean is better than the best value, and the standard deviation."""
    best, xi = check_number("best", best), check_number("xi", xi)
    mean, std = mean_and_std(estimator, X)
    return _sign(maximize) * (mean - best) - xi, std


def _in_stds(gain: NDArray, std: NDArray) -> NDArray:
    """Divide, where without a spread all but 0 is infinitely far."""
    with np.errstate(divide="ignore", over="ignore"):
        return np.divide(gain, std, out=np.zeros_like(gain), where=gain != 0)


def _sign(maximize: bool) -> float:
    if not isinstance(maximize, bool | np.bool_):
        raise ValueError(f"`maximize` must be True or False. Got {maximize!r}.")
    return 1.0 if maximize else -1.0
