"""Scorers for searches and cross-validation, of regressors that predict a std and of classifiers.

The forecast of a regressor is the normal of the mean and standard deviation of
``predict(X, return_std=True)``: of `MCDropoutRegressor`, scikit-learn's
``GaussianProcessRegressor``, ``BayesianRidge`` and the like, alone or inside of a pipeline, a
search, or a ``TransformedTargetRegressor`` whose transformer only shifts and scales the target.
That of a classifier is its ``predict_proba``.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from ._calibration import calibration_error
from ._class_predictions import predict_probabilities
from ._density import crps_normal, negative_log_density_normal
from ._interval import interval_score
from ._predictions import predict_mean_and_std
from ._probabilities import brier_score, expected_calibration_error
from ._validation import check_numbers, check_std

__all__ = [
    "neg_brier_score_scorer",
    "neg_calibration_error_scorer",
    "neg_crps_scorer",
    "neg_expected_calibration_error_scorer",
    "neg_interval_score_scorer",
    "neg_log_predictive_density_scorer",
]

_COVERAGE = 0.9


def neg_log_predictive_density_scorer(
    estimator: Any, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Compute the mean log density of a regressor's forecasts at y; greater is better.

    Parameters
    ----------
    estimator : object
        A fitted regressor that predicts a standard deviation.
    X : array-like of shape (n_samples, n_features) or (n_samples, ...)
        Inputs, as for its ``predict``.
    y : array-like of shape (n_samples,) or (n_samples, n_targets)
        What was observed. The score of several targets is their mean.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.

    Returns
    -------
    float
        Minus `negative_log_density_normal`, of normals with the predicted mean and std.

    Raises
    ------
    TypeError
        If the regressor predicts no standard deviation.
    ValueError
        If a standard deviation is 0, or the target is transformed by more than shifts and scales.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import BayesianRidge
    >>> from sklearn.model_selection import cross_val_score
    >>> from sk_mcdropout.metrics import neg_log_predictive_density_scorer
    >>> X, y = load_diabetes(return_X_y=True)
    >>> cross_val_score(BayesianRidge(), X, y, scoring=neg_log_predictive_density_scorer).shape
    (5,)
    """
    y, mean, std = _forecast(estimator, X, y)
    return -float(negative_log_density_normal(y, mean, std, sample_weight=sample_weight))


def neg_crps_scorer(
    estimator: Any, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Compute minus the CRPS of a regressor's forecasts; greater is better.

    Parameters
    ----------
    estimator : object
        A fitted regressor that predicts a standard deviation; it may be 0.
    X : array-like of shape (n_samples, n_features) or (n_samples, ...)
        Inputs, as for its ``predict``.
    y : array-like of shape (n_samples,) or (n_samples, n_targets)
        What was observed. The score of several targets is their mean.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.

    Returns
    -------
    float
        Minus `crps_normal` of the predicted mean and std, in the units of y.

    Raises
    ------
    TypeError
        If the regressor predicts no standard deviation.
    ValueError
        If the target is transformed by more than shifts and scales.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import BayesianRidge
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sk_mcdropout.metrics import neg_crps_scorer
    >>> X, y = load_diabetes(return_X_y=True)
    >>> search = GridSearchCV(BayesianRidge(), {"tol": [1e-3, 1e-1]}, scoring=neg_crps_scorer)
    >>> round(float(search.fit(X, y).best_score_), 1)
    -31.1
    """
    y, mean, std = _forecast(estimator, X, y)
    return -float(crps_normal(y, mean, std, sample_weight=sample_weight))


def neg_interval_score_scorer(
    estimator: Any, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Compute minus the score of a regressor's intervals of coverage 0.9; greater is better.

    Parameters
    ----------
    estimator : object
        A fitted regressor that predicts a standard deviation; it may be 0.
    X : array-like of shape (n_samples, n_features) or (n_samples, ...)
        Inputs, as for its ``predict``.
    y : array-like of shape (n_samples,) or (n_samples, n_targets)
        What was observed. The score of several targets is their mean.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.

    Returns
    -------
    float
        Minus `interval_score` of the central intervals of normals with the predicted mean and
        std, in the units of y. To score intervals of another kind, call `interval_score`.

    Raises
    ------
    TypeError
        If the regressor predicts no standard deviation.
    ValueError
        If the target is transformed by more than shifts and scales.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import BayesianRidge
    >>> from sk_mcdropout.metrics import neg_interval_score_scorer
    >>> X, y = load_diabetes(return_X_y=True)
    >>> round(neg_interval_score_scorer(BayesianRidge().fit(X, y), X, y), 1)
    -214.0
    """
    y, mean, std = _forecast(estimator, X, y)
    half = norm.ppf((1 + _COVERAGE) / 2) * std
    interval = np.stack([mean - half, mean + half], axis=-1)
    score = interval_score(y, interval, coverage=_COVERAGE, sample_weight=sample_weight)
    return -float(score)


def neg_calibration_error_scorer(
    estimator: Any, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Compute minus the calibration error of a regressor's forecasts; greater is better.

    Parameters
    ----------
    estimator : object
        A fitted regressor that predicts a standard deviation.
    X : array-like of shape (n_samples, n_features) or (n_samples, ...)
        Inputs, as for its ``predict``.
    y : array-like of shape (n_samples,) or (n_samples, n_targets)
        What was observed. The score of several targets is their mean.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.

    Returns
    -------
    float
        Minus `calibration_error` of normals with the predicted mean and std. Not a score to
        choose models by alone: what is calibrated may still know nothing of X.

    Raises
    ------
    TypeError
        If the regressor predicts no standard deviation.
    ValueError
        If a standard deviation is 0, or the target is transformed by more than shifts and scales.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import BayesianRidge
    >>> from sklearn.model_selection import cross_validate
    >>> from sk_mcdropout.metrics import neg_calibration_error_scorer, neg_crps_scorer
    >>> X, y = load_diabetes(return_X_y=True)
    >>> scoring = {"crps": neg_crps_scorer, "calibration": neg_calibration_error_scorer}
    >>> cross_validate(BayesianRidge(), X, y, scoring=scoring)["test_calibration"].shape
    (5,)
    """
    y, mean, std = _forecast(estimator, X, y)
    cdf = norm.cdf(y, mean, check_std(std, positive=True))
    return -float(calibration_error(cdf, sample_weight=sample_weight))


def neg_brier_score_scorer(
    estimator: Any, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Compute minus the Brier score of a classifier's probabilities; greater is better.

    For the logarithmic score, ``scoring="neg_log_loss"`` is scikit-learn's. It takes the columns
    for sorted by their classes, and each class for observed in y; this one asks for ``classes_``.

    Parameters
    ----------
    estimator : object
        A fitted classifier with ``predict_proba``, of two classes or more.
    X : array-like of shape (n_samples, n_features) or (n_samples, ...)
        Inputs, as for its ``predict_proba``.
    y : array-like of shape (n_samples,)
        The classes that were observed, all or some of those of its ``classes_``.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.

    Returns
    -------
    float
        Minus `brier_score`, in [-2, 0].

    Raises
    ------
    TypeError
        If the classifier predicts no probabilities.
    ValueError
        If y has a class that the classifier does not know.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sk_mcdropout.metrics import neg_brier_score_scorer
    >>> X, y = load_iris(return_X_y=True)
    >>> model = LogisticRegression(max_iter=1000)
    >>> search = GridSearchCV(model, {"C": [0.1, 1.0]}, scoring=neg_brier_score_scorer)
    >>> search.fit(X, y).best_params_
    {'C': 1.0}
    """
    return -brier_score(**_class_forecast(estimator, X, y), sample_weight=sample_weight)


def neg_expected_calibration_error_scorer(
    estimator: Any, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Compute minus the expected calibration error of a classifier; greater is better.

    To watch calibration beside a proper score, not to choose by alone; see
    `expected_calibration_error`.

    Parameters
    ----------
    estimator : object
        A fitted classifier with ``predict_proba``, of two classes or more.
    X : array-like of shape (n_samples, n_features) or (n_samples, ...)
        Inputs, as for its ``predict_proba``.
    y : array-like of shape (n_samples,)
        The classes that were observed, all or some of those of its ``classes_``.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.

    Returns
    -------
    float
        Minus `expected_calibration_error` of 15 bins of equal width, in [-1, 0].

    Raises
    ------
    TypeError
        If the classifier predicts no probabilities.
    ValueError
        If y has a class that the classifier does not know.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import cross_validate
    >>> from sk_mcdropout.metrics import neg_expected_calibration_error_scorer
    >>> scoring = {"log": "neg_log_loss", "ece": neg_expected_calibration_error_scorer}
    >>> model, (X, y) = LogisticRegression(max_iter=1000), load_iris(return_X_y=True)
    >>> cross_validate(model, X, y, scoring=scoring)["test_ece"].shape
    (5,)
    """
    forecast = _class_forecast(estimator, X, y)
    return -expected_calibration_error(**forecast, sample_weight=sample_weight)


def _forecast(estimator: Any, X: Any, y: ArrayLike) -> tuple[NDArray, NDArray, NDArray]:
    """Return y and its predicted mean and standard deviation, in the shape of y."""
    y = check_numbers("y", y)
    # A regressor may have flattened a target of one column.
    mean, std = (
        values.reshape(y.shape) if values.size == len(values) == y.size else values
        for values in predict_mean_and_std(estimator, X)
    )
    return y, mean, std


def _class_forecast(estimator: Any, X: Any, y: ArrayLike) -> dict[str, Any]:
    """Return y, its predicted probabilities and the classes of their columns."""
    proba, classes = predict_probabilities(estimator, X)
    return {"y_true": y, "y_proba": proba, "labels": classes}
