"""Scores of the predicted probabilities of classes: how good they are, and whether they come true.

The logarithmic score is ``sklearn.metrics.log_loss``.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._in_order import add_up, sum_of_first
from ._labels import check_probabilities
from ._validation import weights_or_ones

__all__ = ["brier_score", "expected_calibration_error", "reliability_curve"]


def brier_score(
    y_true: ArrayLike,
    y_proba: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Compute the Brier score of the probabilities of two classes or more.

    Small is good: 0 is sure and right, 2 sure and wrong, and equal probabilities of K classes give
    ``1 - 1 / K``. A proper score. It is on the scale of Brier (1950) [1]_ for any number of
    classes: of two, it is twice the mean of ``(y - p) ** 2``, which is scikit-learn's
    ``brier_score_loss``.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        The classes that were observed: strings, booleans or integers.
    y_proba : array-like of shape (n_samples, n_classes) or (n_samples,)
        The probabilities of the classes, as ``predict_proba`` returns them; with one axis, those
        of the second of two classes.
    labels : array-like of shape (n_classes,), default=None
        The classes in the order of the columns, as a classifier has them in ``classes_``; None
        takes those of ``y_true``, sorted.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.

    Returns
    -------
    float
        The mean over the rows of the squared differences between the probabilities and 1 for the
        class that was observed, 0 for the others, added up over the classes.

    Raises
    ------
    ValueError
        If rows are no probabilities, or the classes and the columns do not go together.

    References
    ----------
    .. [1] Brier (1950), "Verification of forecasts expressed in terms of probability", Monthly
       Weather Review 78.

    Examples
    --------
    >>> from sk_mcdropout.metrics import brier_score
    >>> round(brier_score(["ash", "oak"], [[0.9, 0.1, 0.0]] * 2, labels=["ash", "elm", "oak"]), 2)
    0.92
    """
    columns, proba = check_probabilities(y_true, y_proba, labels)
    weights = weights_or_ones(sample_weight, len(columns))
    errors = proba - np.eye(proba.shape[1])[columns]
    return float(np.average(np.sum(errors**2, axis=1), weights=weights))


def reliability_curve(
    y_true: ArrayLike,
    y_proba: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    n_bins: int = 15,
    strategy: str = "uniform",
    sample_weight: ArrayLike | None = None,
) -> tuple[NDArray, NDArray, NDArray]:
    """Compute how often the likeliest class is right, over how probable it was said to be.

    Of calibrated probabilities both are the same: the reliability diagram of Guo et al. (2017)
    [1]_. The likeliest class is the first of those with the highest probability, as `predict` of
    classifiers has it.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        The classes that were observed: strings, booleans or integers.
    y_proba : array-like of shape (n_samples, n_classes) or (n_samples,)
        The probabilities of the classes, as ``predict_proba`` returns them; with one axis, those
        of the second of two classes.
    labels : array-like of shape (n_classes,), default=None
        The classes in the order of the columns, as a classifier has them in ``classes_``; None
        takes those of ``y_true``, sorted.
    n_bins : int, default=15
        Number of bins that the rows are put in by their confidence, the highest probability.
    strategy : {"uniform", "quantile"}, default="uniform"
        Bins of equal width in [0, 1], each with its upper end, of which empty ones are left out;
        or bins of equal numbers of rows [2]_, between which a row, and rows of equal confidence by
        equal parts, are shared out where they do not come out even.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.

    Returns
    -------
    confidence : ndarray of shape (n_bins,)
        The mean confidence of the rows in each bin, ascending; of bins that hold rows.
    accuracy : ndarray of shape (n_bins,)
        The share of them whose likeliest class was observed.
    share : ndarray of shape (n_bins,)
        The share of all rows that they are, of sum 1.

    Raises
    ------
    ValueError
        If rows are no probabilities, the classes and the columns do not go together, ``n_bins`` is
        not a whole number above 0, or there is no such strategy.

    References
    ----------
    .. [1] Guo, Pleiss, Sun & Weinberger (2017), "On calibration of modern neural networks", ICML.
    .. [2] Nguyen & O'Connor (2015), "Posterior calibration and exploratory analysis for natural
       language processing models", EMNLP.

    Examples
    --------
    >>> from sk_mcdropout.metrics import reliability_curve
    >>> reliability_curve([0, 0, 1, 1], [0.1, 0.3, 0.3, 0.9], n_bins=4)
    (array([0.7, 0.9]), array([0.5, 1. ]), array([0.5, 0.5]))
    """
    if strategy not in _STRATEGIES:
        raise ValueError(f"`strategy` must be one of {list(_STRATEGIES)}. Got {strategy!r}.")
    if not isinstance(n_bins, int | np.integer) or n_bins < 1:
        raise ValueError(f"`n_bins` must be a whole number, at least 1. Got {n_bins!r}.")
    columns, proba = check_probabilities(y_true, y_proba, labels)
    weights = weights_or_ones(sample_weight, len(columns))
    hits = (proba.argmax(axis=1) == columns).astype(float)
    return _STRATEGIES[strategy](proba.max(axis=1), hits, weights, n_bins)


def expected_calibration_error(
    y_true: ArrayLike,
    y_proba: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    n_bins: int = 15,
    strategy: str = "uniform",
    sample_weight: ArrayLike | None = None,
) -> float:
    """Compute the expected calibration error (ECE) of the highest probability.

    Small is good, and 0 is perfect; calibrated probabilities come to more than that by chance,
    roughly as the root of ``n_bins / n_samples``. Not a score to choose models by alone: the
    shares of the classes in the data are calibrated, and know nothing of X.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        The classes that were observed: strings, booleans or integers.
    y_proba : array-like of shape (n_samples, n_classes) or (n_samples,)
        The probabilities of the classes, as ``predict_proba`` returns them; with one axis, those
        of the second of two classes.
    labels : array-like of shape (n_classes,), default=None
        The classes in the order of the columns, as a classifier has them in ``classes_``; None
        takes those of ``y_true``, sorted.
    n_bins : int, default=15
        Number of bins.
    strategy : {"uniform", "quantile"}, default="uniform"
        Bins of equal width [1]_, or of equal numbers of rows [2]_; see `reliability_curve`.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.

    Returns
    -------
    float
        The mean over the rows of how far accuracy and confidence are apart in their bin.

    Raises
    ------
    ValueError
        If rows are no probabilities, the classes and the columns do not go together, ``n_bins`` is
        not a whole number above 0, or there is no such strategy.

    References
    ----------
    .. [1] Naeini, Cooper & Hauskrecht (2015), "Obtaining well calibrated probabilities using
       Bayesian binning", AAAI.
    .. [2] Nixon, Dusenberry, Zhang, Jerfel & Tran (2019), "Measuring calibration in deep
       learning", CVPR workshops.

    Examples
    --------
    >>> from sk_mcdropout.metrics import expected_calibration_error
    >>> round(expected_calibration_error([0, 0, 1, 1], [0.1, 0.3, 0.3, 0.9], n_bins=4), 2)
    0.15
    """
    confidence, accuracy, share = reliability_curve(
        y_true,
        y_proba,
        labels=labels,
        n_bins=n_bins,
        strategy=strategy,
        sample_weight=sample_weight,
    )
    return float(np.sum(share * np.abs(accuracy - confidence)))


def _of_equal_width(
    confidence: NDArray, hits: NDArray, weights: NDArray, n_bins: int
) -> tuple[NDArray, NDArray, NDArray]:
    # Comparing with the quotients themselves puts 0.7 below the edge 7 / 10, as written.
    place = np.searchsorted(np.arange(1, n_bins) / n_bins, confidence)
    rows = np.bincount(place, weights)
    filled = rows > 0
    sums = (np.bincount(place, weights * values)[filled] for values in (confidence, hits))
    mean, accuracy = (total / rows[filled] for total in sums)
    return mean, accuracy, rows[filled] / rows.sum()


def _of_equal_mass(
    confidence: NDArray, hits: NDArray, weights: NDArray, n_bins: int
) -> tuple[NDArray, NDArray, NDArray]:
    edges = np.arange(n_bins + 1) / n_bins
    mean, accuracy = (
        np.diff(sum_of_first(edges, *add_up(values, confidence, weights))) * n_bins
        for values in (confidence, hits)
    )
    return mean, accuracy, np.full(n_bins, 1 / n_bins)


_STRATEGIES = {"uniform": _of_equal_width, "quantile": _of_equal_mass}
