"""Batches whose labels tell most together: BatchBALD, by the chain rule of mutual information.

The information of a batch is the sum of what each of its labels tells when those before it are
known, and the greedy choice is the candidate that tells most next.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr
from sklearn.compose import TransformedTargetRegressor
from sklearn.utils import check_random_state

from sk_mcdropout.metrics import check_numbers, knows, last_step

from ._answers import (
    check_batch_size,
    check_number,
    probabilities_of_draws,
    std_and_noise,
)
from ._uncertainty import refuse_noise

__all__ = ["batch_bald"]

_NUMBERS_AT_ONCE = 2**22  # 32 MiB of probabilities
_TIED = 1e-12  # nats, of which rounding makes up less


def batch_bald(
    estimator: Any,
    X: Any,
    batch_size: int,
    *,
    noise_std: float | None = None,
    max_outcomes: int = 1000,
    return_scores: bool = False,
    random_state: Any = None,
) -> NDArray | tuple[NDArray, NDArray]:
    """Choose the candidates whose labels together tell most about the estimator: BatchBALD.

    Rows that are alike tell the same, so the best batch is not that of the highest single scores.
    It is chosen greedily by the mutual information of all its labels and the draw [1]_, which
    reaches at least 1 - 1/e of that of the best batch. For a regressor of normal noise this
    information is half the log determinant of its covariance, in units of the noise [2]_.

    Parameters
    ----------
    estimator : object
        A fitted classifier with ``draws(X)``, of shape (n_draws, n_candidates, n_classes), whose
        draws are functions of all rows; or a regressor with ``predict(X, return_cov=True)``, and
        ``predict_decomposed(X)`` or ``predict(X, return_std=True)``.
    X : array-like of shape (n_candidates, n_features) or (n_candidates, ...)
        The candidates.
    batch_size : int
        Number of candidates to choose.
    noise_std : float, optional
        Standard deviation of the noise of y, for regressors; see `mutual_information`.
    max_outcomes : int, default=1000
        All combinations of labels of the rows that are chosen already are gone through as long as
        they are so many at most; beyond, about so many are drawn, one by each draw at least.
        Numbers have none.
    return_scores : bool, default=False
        Whether to return the information of the batch, too.
    random_state : int, RandomState instance or None, default=None
        Seed of the combinations that are drawn.

    Returns
    -------
    indices : ndarray of shape (batch_size,)
        Rows of X, in the order in which they were chosen; the first of those that tie. The first
        is that of the highest `mutual_information`.
    scores : ndarray of shape (batch_size,), optional
        The mutual information of the first, of the first two and so on, in nats.

    Raises
    ------
    TypeError
        If a classifier has no draws, or a regressor predicts no standard deviation.
    ValueError
        If there are fewer candidates than are to be chosen, and as for `mutual_information`.

    References
    ----------
    .. [1] Kirsch, van Amersfoort & Gal (2019), "BatchBALD: efficient and diverse batch
       acquisition for deep Bayesian active learning", NeurIPS.
    .. [2] Kirsch (2023), "Black-box batch active learning for regression", TMLR.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sk_mcdropout import MCDropoutClassifier
    >>> from sk_mcdropout.acquisition import batch_bald
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MCDropoutClassifier(max_epochs=10, random_state=0).fit(X[::2], y[::2])
    >>> batch_bald(net, X[1::2], batch_size=5).shape
    (5,)
    """
    model, inputs = last_step(estimator, X)
    if hasattr(model, "predict_proba"):
        refuse_noise(noise_std)
        proba = probabilities_of_draws(model, inputs)
        size = check_batch_size(batch_size, proba.shape[1])
        limit = int(check_number("max_outcomes", max_outcomes, least=1))
        chosen, gains = _most_of_classes(proba, size, limit, check_random_state(random_state))
    else:
        std, noise = std_and_noise(estimator, X, noise_std)
        size = check_batch_size(batch_size, len(std))
        cov = _covariance(model, inputs, len(std)) / noise / noise[:, None]
        np.fill_diagonal(cov, (std / noise) ** 2)
        chosen, gains = _most_of_normals(cov, size)
    indices = np.array(chosen)
    return (indices, np.cumsum(gains)) if return_scores else indices


def _first_best(gains: NDArray, chosen: list[int]) -> int:
    """Return the first candidate of those that tell most and are not chosen yet."""
    left = gains.copy()
    left[chosen] = -np.inf
    return int(np.flatnonzero(left >= left.max() - _TIED)[0])


# -- normals -----------------------------------------------------------------------------------


def _covariance(model: Any, X: Any, n_candidates: int) -> NDArray:
    transforms = isinstance(model, TransformedTargetRegressor)  # and takes any option of predict
    if transforms or not knows(model, "predict", "return_cov"):
        raise TypeError(
            "`estimator` must have `predict(X, return_cov=True)`. Got "
            f"{type(model).__name__}, which predicts no covariance. Give an MCDropoutRegressor or "
            "a GaussianProcessRegressor."
        )
    cov = np.asarray(model.predict(X, return_cov=True)[1])
    return check_numbers("predicted cov", cov.reshape(n_candidates, n_candidates), (2,))


def _most_of_normals(cov: NDArray, size: int) -> tuple[list[int], list[float]]:
    """Choose by the covariance of a function in units of the noise, a step of Cholesky's each."""
    variance, factor = cov.diagonal().copy(), np.zeros((len(cov), size))
    chosen: list[int] = []
    gains: list[float] = []
    for step in range(size):
        information = 0.5 * np.log1p(np.maximum(variance, 0))
        best = _first_best(information, chosen)
        gains.append(float(information[best]))
        chosen.append(best)
        left = cov[:, best] - factor @ factor[best]
        factor[:, step] = left / np.sqrt(1 + max(variance[best], 0))
        variance -= factor[:, step] ** 2
    return chosen, gains


# -- classes -----------------------------------------------------------------------------------


def _most_of_classes(
    proba: NDArray, size: int, limit: int, random_state: np.random.RandomState
) -> tuple[list[int], list[float]]:
    """Choose by the probabilities of the draws, of shape (n_draws, n_candidates, n_classes)."""
    chosen: list[int] = []
    gains: list[float] = []
    for _ in range(size):
        if proba.shape[2] ** len(chosen) <= limit:
            shares, weights = _all_outcomes(proba[:, chosen])
        else:
            shares, weights = _drawn_outcomes(proba[:, chosen], limit, random_state)
        information = _information(proba, shares, weights)
        best = _first_best(information, chosen)
        gains.append(float(information[best]))
        chosen.append(best)
    return chosen, gains


def _all_outcomes(proba: NDArray) -> tuple[NDArray, NDArray]:
    """Return the probability of each combination of labels, and the weights of the draws then.

    By Bayes' rule a draw weighs the more, the likelier it made the labels.
    """
    n_draws = len(proba)
    joint = np.full((1, n_draws), 1 / n_draws)
    for row in proba.swapaxes(0, 1):
        joint = (joint[:, None] * row.T).reshape(-1, n_draws)
    shares = joint.sum(axis=1)
    possible = shares > 0
    return shares[possible], joint[possible] / shares[possible, None]


def _drawn_outcomes(
    proba: NDArray, limit: int, random_state: np.random.RandomState
) -> tuple[NDArray, NDArray]:
    """Return what `_all_outcomes` does for labels that are drawn, as many from each draw."""
    n_draws = len(proba)
    by = np.repeat(np.arange(n_draws), max(limit // n_draws, 1))
    weights = np.full((len(by), n_draws), 1 / n_draws)
    for row in proba.swapaxes(0, 1):
        below = np.cumsum(row, axis=1)[by]
        scores = random_state.uniform(size=(len(by), 1)) * below[:, -1:]
        labels = (scores >= below[:, :-1]).sum(axis=1)
        weights *= row.T[labels]
        weights /= weights.sum(axis=1, keepdims=True)
    return np.full(len(by), 1 / len(by)), weights


def _information(proba: NDArray, shares: NDArray, weights: NDArray) -> NDArray:
    """Compute what the label of each candidate tells when those of the chosen rows are known.

    The mean over their outcomes of the mutual information under the weights that the draws then
    have.
    """
    # NOTE[DIFF] Kirsch et al. (2019) estimate the joint entropy of all labels by the same
    # outcomes. Its part of the next label alone, with the entropies of the draws under the same
    # weights, is never below 0, varies less, and takes no products of many probabilities.
    n_draws, n_candidates, n_classes = proba.shape
    before = shares @ weights
    information = np.empty(n_candidates)
    for rows in _chunks(n_candidates, n_classes * len(shares)):
        chunk = proba[:, rows]
        after = entr(weights @ chunk.reshape(n_draws, -1))
        total = (shares @ after).reshape(-1, n_classes).sum(axis=1)
        information[rows] = total - before @ entr(chunk).sum(axis=2)
    return np.maximum(information, 0)


def _chunks(n_candidates: int, numbers_of_each: int) -> Iterator[slice]:
    step = max(_NUMBERS_AT_ONCE // numbers_of_each, 1)
    return (slice(start, start + step) for start in range(0, n_candidates, step))
