"""Scorers for searches and cross-validation, of regressors that predict a standard deviation."""

from copy import copy
from inspect import Parameter, signature

import numpy as np
from scipy.special import ndtri
from scipy.stats import norm
from sklearn import get_config
from sklearn.compose import TransformedTargetRegressor
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    RobustScaler,
    StandardScaler,
)
from sklearn.utils.metadata_routing import MetadataRequest
from sklearn.utils.validation import check_is_fitted

from ._calibration import calibration_error
from ._density import crps_normal, negative_log_density_normal
from ._interval import interval_score
from ._predictions import last_step
from ._validation import check_numbers, check_std

__all__ = [
    "neg_calibration_error_scorer",
    "neg_crps_scorer",
    "neg_interval_score_scorer",
    "neg_log_predictive_density_scorer",
]

_COVERAGE = 0.9

_DOCSTRING = """Score a regressor by {what}; greater is better.

The regressor answers ``predict(X, return_std=True)``: `MCDropoutRegressor`, scikit-learn's
``GaussianProcessRegressor``, ``BayesianRidge`` and the like. The forecast is the normal of that
mean and standard deviation. A pipeline or a search around the regressor is looked through, and a
``TransformedTargetRegressor`` too where its transformer only shifts and scales the target.

Parameters
----------
estimator : estimator
    The fitted regressor.
X : array-like of shape (n_samples, n_features) or (n_samples, ...)
    Inputs, as for its ``predict``.
y : array-like of shape (n_samples,) or (n_samples, n_targets)
    What was observed. The score of several targets is their mean.
sample_weight : array-like of shape (n_samples,), default=None
    Weights of the rows. With scikit-learn's metadata routing they are asked for by
    ``{name}.set_score_request(sample_weight=True)``, which answers another scorer.

Returns
-------
float
    Minus what `{metric}` answers{detail}.

Raises
------
TypeError
    If the regressor predicts no standard deviation.
ValueError
    If its target is transformed by more than shifts and scales.

Examples
--------
>>> from sklearn.datasets import load_diabetes
>>> from sklearn.linear_model import BayesianRidge
>>> from sklearn.model_selection import cross_val_score
>>> from sk_mcdropout.metrics import {name}
>>> X, y = load_diabetes(return_X_y=True)
>>> cross_val_score(BayesianRidge(), X, y, scoring={name}).shape
(5,)
"""


class _Scorer:
    """A loss of the mean and the standard deviation, as scikit-learn's ``scoring`` takes it."""

    def __init__(self, name, loss, **words):
        self.__name__ = name
        self.__doc__ = _DOCSTRING.format(name=name, **words)
        self._loss = loss
        self._wants_weights = None

    def __call__(self, estimator, X, y, sample_weight=None):
        y = check_numbers("y", y)
        mean, std = (_in_shape_of(y, answer) for answer in _mean_and_std(estimator, X))
        return -self._loss(y, mean, std, sample_weight)

    def __repr__(self):
        if self._wants_weights is None:
            return self.__name__
        return f"{self.__name__}.set_score_request(sample_weight={self._wants_weights!r})"

    def set_score_request(self, *, sample_weight):
        """Answer a scorer that asks for ``sample_weight``: True, False, None or another name."""
        if not get_config()["enable_metadata_routing"]:
            raise RuntimeError(
                "metadata routing must be on to ask for weights. Got it off. Call "
                "`sklearn.set_config(enable_metadata_routing=True)`."
            )
        scorer = copy(self)
        scorer._wants_weights = sample_weight
        return scorer

    def get_metadata_routing(self):
        """Answer what scikit-learn's metadata routing should pass."""
        request = MetadataRequest(owner=self.__name__)
        request.score.add_request(param="sample_weight", alias=self._wants_weights)
        return request

    def _accept_sample_weight(self):
        return True  # scikit-learn asks its scorers so when metadata routing is off


# -- the mean and the standard deviation, in the units of y --------------------------------------


def _mean_and_std(model, X):
    """Ask a model, or the regressor inside of it, which metadata routing could not reach."""
    model, X = last_step(model, X)
    if isinstance(model, TransformedTargetRegressor):
        check_is_fitted(model)
        scale = _scale_of(model.transformer_)
        mean, std = _mean_and_std(model.regressor_, X)
        mean_in_units = model.transformer_.inverse_transform(_columns(mean))
        return mean_in_units.reshape(mean.shape), (_columns(std) * scale).reshape(std.shape)
    return _predicted(model, X)


def _predicted(model, X):
    answer = model.predict(X, return_std=True) if _takes_return_std(model) else None
    if not isinstance(answer, tuple) or len(answer) != 2:
        raise TypeError(
            "the estimator must have `predict(X, return_std=True)` for this scorer. Got "
            f"{type(model).__name__}, which predicts no standard deviation. Use "
            "MCDropoutRegressor, or a scorer of the mean such as 'r2'."
        )
    return tuple(map(np.asarray, answer))


def _takes_return_std(model):
    parameters = signature(model.predict).parameters if hasattr(model, "predict") else {}
    takes_any = any(p.kind is Parameter.VAR_KEYWORD for p in parameters.values())
    return takes_any or "return_std" in parameters


def _scale_of(transformer):
    """Answer by what a transformer of the target multiplies when it is inverted."""
    if type(transformer) in (StandardScaler, RobustScaler, MaxAbsScaler):
        return 1.0 if transformer.scale_ is None else transformer.scale_
    if type(transformer) is MinMaxScaler:
        return 1 / transformer.scale_
    if type(transformer) is FunctionTransformer and transformer.inverse_func is None:
        return 1.0
    raise ValueError(
        "the target must be transformed by shifts and scales alone, such as StandardScaler's, for "
        "the standard deviation to follow. Got "
        f"{getattr(transformer, 'inverse_func', None) or type(transformer).__name__}. Transform y "
        "before the fit, and score in its new units."
    )


def _columns(answer):
    return answer.reshape(len(answer), -1)


def _in_shape_of(y, answer):
    """Answer one target in the shape of y, which regressors may have flattened."""
    return answer.reshape(y.shape) if answer.size == len(answer) == y.size else answer


# -- the scorers ---------------------------------------------------------------------------------


def _negative_log_density(y, mean, std, sample_weight):
    return negative_log_density_normal(y, mean, std, sample_weight=sample_weight)


def _crps(y, mean, std, sample_weight):
    return crps_normal(y, mean, std, sample_weight=sample_weight)


def _interval_score(y, mean, std, sample_weight):
    reach = ndtri((1 + _COVERAGE) / 2) * std
    interval = np.stack([mean - reach, mean + reach], axis=-1)
    return interval_score(y, interval, coverage=_COVERAGE, sample_weight=sample_weight)


def _calibration_error(y, mean, std, sample_weight):
    cdf = norm.cdf(y, mean, check_std(std, positive=True))
    return calibration_error(cdf, sample_weight=sample_weight)


neg_log_predictive_density_scorer = _Scorer(
    "neg_log_predictive_density_scorer",
    _negative_log_density,
    what="the logarithm of its predictive density where y lies",
    metric="negative_log_density_normal",
    detail=": the mean log density",
)
neg_crps_scorer = _Scorer(
    "neg_crps_scorer",
    _crps,
    what="minus its CRPS, in the units of y",
    metric="crps_normal",
    detail="",
)
neg_interval_score_scorer = _Scorer(
    "neg_interval_score_scorer",
    _interval_score,
    what="minus the score of its intervals, in the units of y",
    metric="interval_score",
    detail=f" to the normal intervals of coverage {_COVERAGE}",
)
neg_calibration_error_scorer = _Scorer(
    "neg_calibration_error_scorer",
    _calibration_error,
    what="minus its calibration error",
    metric="calibration_error",
    detail="",
)

_SCORERS = (
    neg_log_predictive_density_scorer,
    neg_crps_scorer,
    neg_interval_score_scorer,
    neg_calibration_error_scorer,
)
__test__ = {scorer.__name__: scorer.__doc__ for scorer in _SCORERS}  # what doctest runs
