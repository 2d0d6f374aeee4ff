"""How a fitted regressor is asked for its mean and standard deviation.

Scorers and displays ask in the same way: searches and pipelines, whose own ``predict`` hides the
standard deviation, are looked through, and so is a ``TransformedTargetRegressor`` whose
transformer only shifts and scales the target.
"""

from inspect import Parameter, signature

import numpy as np
from sklearn import get_config
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    RobustScaler,
    StandardScaler,
)
from sklearn.utils.metadata_routing import process_routing
from sklearn.utils.validation import check_is_fitted

__all__ = ["is_calibrated", "knows", "last_step", "one_target", "predict_mean_and_std"]


def last_step(estimator, X=None, metadata=None):
    """Return the model at the end of searches and pipelines, and X as it reaches the model.

    Parameters
    ----------
    estimator : object
        A fitted estimator.
    X : array-like of shape (n_samples, n_features) or (n_samples, ...), default=None
        Inputs of the estimator.
    metadata : dict, default=None
        What the steps ask for, with scikit-learn's metadata routing switched on.

    Returns
    -------
    model : object
        The last step of the pipeline, of the best one in a search; or the estimator itself.
    X : array-like or None
        The inputs after the steps before it; steps that only resample in training are skipped.

    Examples
    --------
    >>> from sklearn.linear_model import BayesianRidge
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import MinMaxScaler
    >>> from sk_mcdropout.metrics import last_step
    >>> pipe = make_pipeline(MinMaxScaler(), BayesianRidge()).fit([[0], [2]], [0, 1])
    >>> last_step(pipe, [[1]])
    (BayesianRidge(), array([[0.5]]))
    """
    if hasattr(estimator, "best_estimator_"):
        return last_step(estimator.best_estimator_, X, metadata)
    if not isinstance(estimator, Pipeline):
        return estimator, X
    if metadata and not get_config()["enable_metadata_routing"]:
        raise ValueError(
            "metadata routing must be switched on for steps to get metadata. Got "
            f"{sorted(metadata)!r} without. Call "
            "`sklearn.set_config(enable_metadata_routing=True)`."
        )
    routed = process_routing(estimator, "predict", **(metadata or {}))
    *steps, (name, model) = estimator.steps
    for step, transformer in [] if X is None else steps:
        if transformer not in (None, "passthrough") and not hasattr(transformer, "fit_resample"):
            X = transformer.transform(X, **routed[step].transform)
    return last_step(model, X, routed[name].predict)


def knows(model, method, parameter):
    """Return whether a model has a method that takes such a keyword.

    Parameters
    ----------
    model : object
        Any object.
    method, parameter : str
        Name of the method, and of its parameter. A method with ``**kwargs`` takes any.

    Returns
    -------
    bool
        Whether it does.

    Examples
    --------
    >>> from sklearn.linear_model import BayesianRidge, Ridge
    >>> from sk_mcdropout.metrics import knows
    >>> [knows(model, "predict", "return_std") for model in (BayesianRidge(), Ridge())]
    [True, False]
    """
    parameters = signature(getattr(model, method)).parameters if hasattr(model, method) else {}
    takes_any = any(p.kind is Parameter.VAR_KEYWORD for p in parameters.values())
    return takes_any or parameter in parameters


def is_calibrated(model):
    """Return whether the intervals of a model were recalibrated on held-out data.

    Parameters
    ----------
    model : object
        A regressor. One that was calibrated has a ``calibration_`` with a ``method``.

    Returns
    -------
    bool
        Whether it was.

    Examples
    --------
    >>> from sk_mcdropout import MCDropoutRegressor
    >>> from sk_mcdropout.metrics import is_calibrated
    >>> is_calibrated(MCDropoutRegressor())
    False
    """
    return getattr(getattr(model, "calibration_", None), "method", "none") != "none"


def predict_mean_and_std(estimator, X):
    """Predict the mean and the standard deviation, in the units of y.

    Parameters
    ----------
    estimator : object
        A fitted regressor with ``predict(X, return_std=True)``, alone or inside of pipelines,
        searches and a ``TransformedTargetRegressor``.
    X : array-like of shape (n_samples, n_features) or (n_samples, ...)
        Inputs.

    Returns
    -------
    mean, std : ndarray of shape (n_samples,) or (n_samples, n_targets)
        Mean and standard deviation.

    Raises
    ------
    TypeError
        If the regressor predicts no standard deviation.
    ValueError
        If its target is transformed by more than shifts and scales.

    Examples
    --------
    >>> from sklearn.linear_model import BayesianRidge
    >>> from sk_mcdropout.metrics import predict_mean_and_std
    >>> model = BayesianRidge().fit([[0], [1], [2]], [0, 1, 1])
    >>> mean, std = predict_mean_and_std(model, [[1], [3]])
    >>> mean.shape, std.shape
    ((2,), (2,))
    """
    model, X = last_step(estimator, X)
    if isinstance(model, TransformedTargetRegressor):
        check_is_fitted(model)
        scale = _scale_of(model.transformer_)
        mean, std = predict_mean_and_std(model.regressor_, X)
        mean_in_units = model.transformer_.inverse_transform(_columns(mean))
        return mean_in_units.reshape(mean.shape), (_columns(std) * scale).reshape(std.shape)
    prediction = model.predict(X, return_std=True) if knows(model, "predict", "return_std") else ()
    if not isinstance(prediction, tuple) or len(prediction) != 2:
        raise TypeError(
            "`estimator` must have `predict(X, return_std=True)`. Got "
            f"{type(model).__name__}, which predicts no standard deviation. Give an "
            "MCDropoutRegressor, a GaussianProcessRegressor, a BayesianRidge or a pipeline that "
            "ends in one."
        )
    return tuple(map(np.asarray, prediction))


def one_target(values, target, axis=1, ndim=2):
    """Return the values of one target, where they have an axis for the targets.

    Parameters
    ----------
    values : array-like
        Values for one target or for several.
    target : int or None
        Index of the target; None takes the only one.
    axis, ndim : int, default=1 and 2
        Where values of several targets have the axis of the targets, of how many axes.

    Returns
    -------
    ndarray
        The values without that axis.

    Raises
    ------
    ValueError
        If there is no such target, or if there are several and none is named.

    Examples
    --------
    >>> from sk_mcdropout.metrics import one_target
    >>> one_target([[1, 2], [3, 4]], target=1)
    array([2, 4])
    """
    values = np.asarray(values)
    n_targets = values.shape[axis] if values.ndim == ndim else 1
    index = 0 if target is None and n_targets == 1 else target
    if index not in range(n_targets):
        raise ValueError(
            f"`target` must be the index of one of {n_targets} targets. Got {target!r}. Give one, "
            "such as `target=0`."
        )
    return values.take(index, axis) if values.ndim == ndim else values


def _scale_of(transformer):
    """Return what a transformer of the target multiplies by when it is inverted."""
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
        "before the fit, and use its new units."
    )


def _columns(values):
    return values.reshape(len(values), -1)
