"""Where an estimator is unsure, and where a label would tell it most."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from sk_mcdropout.metrics import last_step

from ._answers import (
    check_probabilities,
    mean_and_std,
    one_for_each,
    probabilities_of_draws,
    std_and_noise,
)

__all__ = ["maximum_std", "mutual_information", "predictive_entropy"]


def maximum_std(estimator: Any, X: Any) -> NDArray:
    """Return the standard deviation that a regressor predicts: uncertainty sampling.

    Parameters
    ----------
    estimator : object
        A fitted regressor with ``predict(X, return_std=True)``.
    X : array-like of shape (n_candidates, n_features) or (n_candidates, ...)
        The candidates.

    Returns
    -------
    ndarray of shape (n_candidates,)
        The standard deviation of the function, in the units of y; that which ``predict`` returns
        where the estimator does not tell the noise apart.

    Raises
    ------
    TypeError
        If the estimator predicts no standard deviation.
    ValueError
        If it predicts several targets.

    Examples
    --------
    >>> from sklearn.gaussian_process import GaussianProcessRegressor
    >>> from sk_mcdropout.acquisition import maximum_std
    >>> process = GaussianProcessRegressor().fit([[0.0], [1.0]], [0.0, 1.0])
    >>> int(maximum_std(process, [[0.5], [1.0], [3.0]]).argmax())
    2
    """
    return mean_and_std(estimator, X)[1]


def predictive_entropy(estimator: Any, X: Any) -> NDArray:
    """Compute the entropy of the probabilities that a classifier predicts.

    It is high where classes overlap, too, which no label will change: `mutual_information` leaves
    that out.

    Parameters
    ----------
    estimator : object
        A fitted classifier with ``predict_proba(X)``.
    X : array-like of shape (n_candidates, n_features) or (n_candidates, ...)
        The candidates.

    Returns
    -------
    ndarray of shape (n_candidates,)
        The entropy, in nats.

    Raises
    ------
    ValueError
        If they are no probabilities of shape (n_candidates, n_classes).

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sk_mcdropout.acquisition import predictive_entropy
    >>> model = LogisticRegression().fit([[-1.0], [1.0]], [0, 1])
    >>> int(predictive_entropy(model, [[-3.0], [0.0], [5.0]]).argmax())
    1
    """
    return entr(check_probabilities("predicted proba", estimator.predict_proba(X), 2)).sum(axis=1)


def mutual_information(estimator: Any, X: Any, *, noise_std: float | None = None) -> NDArray:
    """Compute how much the label of each candidate would tell about the estimator: BALD.

    For a classifier it is the entropy of the mean probabilities less the mean entropy of those of
    the draws [1]_. For a regressor of normal noise it is ``0.5 * log(1 + std**2 / noise**2)``,
    with the standard deviation of the function taken for that of a normal. For both it is the
    mutual information of the label and the draw, at least 0.

    Parameters
    ----------
    estimator : object
        A fitted classifier with ``predict_uncertainty(X)`` or ``draws(X)``, of shape (n_draws,
        n_candidates, n_classes); or a regressor with ``predict_decomposed(X)`` or
        ``predict(X, return_std=True)``.
    X : array-like of shape (n_candidates, n_features) or (n_candidates, ...)
        The candidates.
    noise_std : float, optional
        Standard deviation of the noise of y, in its units, for regressors. By default it is that
        which ``predict_decomposed`` tells; one that is given takes its place. The standard
        deviation of a regressor without this method must be that of the function alone.

    Returns
    -------
    ndarray of shape (n_candidates,)
        The mutual information, in nats.

    Raises
    ------
    TypeError
        If a classifier has no draws, or a regressor predicts no standard deviation.
    ValueError
        If the noise of a regressor is 0 or unknown, if it predicts several targets, or if a
        classifier is given a noise.

    References
    ----------
    .. [1] Houlsby, Huszár, Ghahramani & Lengyel (2011), "Bayesian active learning for
       classification and preference learning", eq. 2.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sk_mcdropout import MCDropoutClassifier
    >>> from sk_mcdropout.acquisition import mutual_information
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MCDropoutClassifier(max_epochs=10, random_state=0).fit(X[:120], y[:120])
    >>> mutual_information(net, X[120:]).shape
    (30,)
    """
    model, inputs = last_step(estimator, X)
    if not hasattr(model, "predict_proba"):
        std, noise = std_and_noise(estimator, X, noise_std)
        return 0.5 * np.log1p((std / noise) ** 2)
    refuse_noise(noise_std)
    if hasattr(model, "predict_uncertainty"):
        scores = model.predict_uncertainty(inputs).mutual_information
        return one_for_each("mutual information", scores)
    proba = probabilities_of_draws(model, inputs)
    return np.maximum(
        entr(proba.mean(axis=0)).sum(axis=1) - entr(proba).sum(axis=2).mean(axis=0), 0
    )


def refuse_noise(noise_std: float | None) -> None:
    """Refuse a noise for a classifier, whose classes have one already."""
    if noise_std is not None:
        raise ValueError(
            f"`noise_std` must be None for a classifier. Got {noise_std!r}. Leave it out."
        )
