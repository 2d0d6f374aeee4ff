"""The last step of a fitted pipeline, asked with what the pipeline takes."""

import warnings
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from sk_mcdropout.estimators import (
    PredictiveClassifierMixin,
    PredictiveRegressorMixin,
    refuse_lazy,
)
from sk_mcdropout.metrics import last_step

__all__ = ["LastClassifier", "LastRegressor", "last"]


def last(pipeline, **metadata):
    """Return the last step of a fitted pipeline, whose methods take the X of the pipeline.

    scikit-learn's ``Pipeline`` has no ``predict_interval``, ``sample_y``, ``calibrate`` or the
    like. A function, and no pipeline of another class, since it takes every pipeline as it is:
    nested ones, the best one of a search, one of imbalanced-learn or out of a file.

    Parameters
    ----------
    pipeline : Pipeline, or a search over one
        A fitted pipeline whose last step, or that of whose last pipeline, is an estimator of this
        package. Steps that only resample in training are skipped, as in its own ``predict``.
    **metadata : dict
        What steps before the last ask for, with scikit-learn's metadata routing switched on; it is
        routed as ``pipeline.predict`` routes it.

    Returns
    -------
    LastRegressor or LastClassifier
        An estimator with all methods that predict, ``calibrate`` and ``score``. `calibrate` changes
        the last step of the pipeline itself. Once the pipeline is fitted anew it is asked anew.

    Raises
    ------
    NotFittedError
        If the pipeline is not fitted.
    TypeError
        If the last step is none of this package.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import SplineTransformer
    >>> from sk_mcdropout import MCDropoutRegressor
    >>> from sk_mcdropout.pipeline import last
    >>> X, y = load_diabetes(return_X_y=True)
    >>> net = MCDropoutRegressor(noise=50.0, max_epochs=10, random_state=0)
    >>> last(make_pipeline(SplineTransformer(), net).fit(X, y)).predict_interval(X[:5]).shape
    (5, 2)
    """
    check_is_fitted(pipeline)
    model, _ = last_step(pipeline)
    kinds = {PredictiveRegressorMixin: LastRegressor, PredictiveClassifierMixin: LastClassifier}
    for kind, of_step in kinds.items():
        if isinstance(model, kind):
            return of_step(pipeline, metadata)
    raise TypeError(
        "the last step must be an estimator of this package, such as an MCDropoutRegressor. Got a "
        f"{type(model).__name__}. Call the methods of the pipeline itself, or let it end in one; a "
        "search must have `refit=True`."
    )


class _Last:
    """What both kinds have in common.

    Parameters
    ----------
    pipeline : Pipeline, or a search over one
        The fitted pipeline.
    metadata : dict, default=None
        What steps before the last ask for.
    """

    def __init__(self, pipeline, metadata=None):
        self.pipeline = pipeline
        self.metadata = metadata

    @property
    def estimator_(self):
        """The last step."""
        return last_step(self.pipeline)[0]

    def __sklearn_is_fitted__(self):
        check_is_fitted(self.pipeline)
        return True

    def _predictive(self, X: Any, **options: Any) -> Any:
        model, inputs = last_step(self.pipeline, X, self.metadata)
        return model._predictive(inputs, **options)

    def _distribution_like(self, row: Any, **options: Any) -> Any:
        """Return that of the last step, since those before may refuse a made-up row."""
        model = self.estimator_
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="X does not have valid feature names")
            return model._distribution_like(np.zeros((1, model.n_features_in_)), **options)

    def _calibrate(self, X: Any, y: Any, **options: Any) -> Any:
        refuse_lazy(X=X, y=y)
        model, inputs = last_step(self.pipeline, X, self.metadata)
        if not hasattr(model, "calibrate"):
            raise TypeError(
                "the last step must have `calibrate`. Got a "
                f"{type(model).__name__}, which learns it in `fit`. Give it `calibration=...`."
            )
        model.calibrate(inputs, y, **options)
        return self


class LastRegressor(_Last, PredictiveRegressorMixin, RegressorMixin, BaseEstimator):
    """A regressor at the end of a fitted pipeline; `last` makes it.

    Parameters
    ----------
    pipeline : Pipeline, or a search over one
        The fitted pipeline.
    metadata : dict, default=None
        What steps before the last ask for.

    Attributes
    ----------
    estimator_ : MCDropoutRegressor or MCDropoutRegressorCV
        The last step.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import SplineTransformer
    >>> from sk_mcdropout import MCDropoutRegressor
    >>> from sk_mcdropout.pipeline import last
    >>> X, y = load_diabetes(return_X_y=True)
    >>> net = MCDropoutRegressor(max_epochs=10, random_state=0)
    >>> last(make_pipeline(SplineTransformer(), net).fit(X, y)).draws(X[:5]).shape
    (100, 5)
    """

    def calibrate(self, X, y, method="std", sample_weight=None):
        """Recalibrate the last step on held-out data; see `MCDropoutRegressor.calibrate`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs of the pipeline, held out of training.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Their targets.
        method : {"std", "parts", "isotonic", "conformal"}, default="std"
            How.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        self : object
            This very object, whose pipeline predicts as calibrated.
        """
        return self._calibrate(X, y, method=method, sample_weight=sample_weight)


class LastClassifier(_Last, PredictiveClassifierMixin, ClassifierMixin, BaseEstimator):
    """A classifier at the end of a fitted pipeline; `last` makes it.

    Parameters
    ----------
    pipeline : Pipeline, or a search over one
        The fitted pipeline.
    metadata : dict, default=None
        What steps before the last ask for.

    Attributes
    ----------
    estimator_ : MCDropoutClassifier or MCDropoutClassifierCV
        The last step.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import SplineTransformer
    >>> from sk_mcdropout import MCDropoutClassifier
    >>> from sk_mcdropout.pipeline import last
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MCDropoutClassifier(max_epochs=10, random_state=0)
    >>> last(make_pipeline(SplineTransformer(), net).fit(X, y)).predict_uncertainty(X).margin.shape
    (150,)
    """

    @property
    def classes_(self):  # type: ignore[override]
        """The classes of the last step."""
        return self.estimator_.classes_

    def calibrate(self, X, y, sample_weight=None):
        """Recalibrate the last step on held-out data; see `MCDropoutClassifier.calibrate`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs of the pipeline, held out of training.
        y : array-like of shape (n_samples,)
            Their classes.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        self : object
            This very object, whose pipeline predicts as calibrated.
        """
        return self._calibrate(X, y, sample_weight=sample_weight)
