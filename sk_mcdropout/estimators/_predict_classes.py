"""The public predictions of a classifier, each one question to its predictive distribution."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from sklearn.utils.validation import check_consistent_length

from sk_mcdropout.predictive import CategoricalDistribution

from ._by_blocks import ClassesByBlocks, stand_in
from ._classification import codes_of, labels_of
from ._table import class_columns, frame_of
from ._validation import is_lazy, refuse_lazy

__all__ = ["PredictiveClassifierMixin"]


class PredictiveClassifierMixin:
    """Predictions of any estimator that has ``_predictive(X)``, a `CategoricalDistribution`."""

    classes_: np.ndarray
    _predictive: Callable[..., CategoricalDistribution]

    def _distribution(self, X: Any) -> Any:
        """Return the predictive distribution; that of rows of dask answers by its blocks."""
        if not is_lazy(X):
            return self._predictive(X)
        return ClassesByBlocks(self, X, self._distribution_like(stand_in(X)))

    def _distribution_like(self, row: Any) -> CategoricalDistribution:
        """Return the distribution of a made-up row, without a pass of the net."""
        return self._predictive(row).of_made_up_row(len(self.classes_))

    def predict(self, X):
        """Predict the class that is likeliest in the mean over Monte-Carlo dropout draws.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Inputs, as for `fit`.

        Returns
        -------
        ndarray of shape (n_samples,)
            The classes.
        """
        places = self.predict_proba(X).argmax(axis=1)
        if is_lazy(places):
            return places.map_blocks(self.classes_.take, dtype=self.classes_.dtype)
        return self.classes_[places]

    def predict_proba(self, X, return_std=False):
        """Predict the probabilities of the classes: their mean over the draws.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Inputs, as for `fit`. Predictions of a dask array or dataframe are dask arrays, made
            lazily and block by block; those of blocks are those of all rows together.
        return_std : bool, default=False
            Whether to return the standard deviation over the draws, too.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            The mean probabilities, of sum 1 for each row.
        std : ndarray of shape (n_samples, n_classes), optional
            Their standard deviation over the draws (``ddof=1``).
        """
        distribution = self._distribution(X)
        return distribution.mean_and_std() if return_std else distribution.mean()

    def predict_log_proba(self, X):
        """Predict the logarithms of the probabilities of the classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Inputs, as for `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            The logarithms of `predict_proba`.
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def log_prob(self, X, y):
        """Compute the logarithm of the probability of the class of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Inputs, as for `fit`.
        y : array-like of shape (n_samples,)
            Their classes.

        Returns
        -------
        ndarray of shape (n_samples,)
            The logarithms, in nats; less their mean is the log loss.

        Raises
        ------
        ValueError
            If y has other classes than those of `fit`.
        """
        refuse_lazy(X=X, y=y)
        each = self.predict_log_proba(X)
        codes = codes_of(labels_of(y), self.classes_)
        check_consistent_length(each, codes)
        return each[np.arange(len(each)), codes]

    def predict_uncertainty(self, X):
        """Predict how unsure the classifier is of each row, and why.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Inputs, as for `fit`.

        Returns
        -------
        ClassUncertainty
            Predictive and expected entropy, their difference, the mutual information, variation
            ratio, margin and highest probability, each of shape (n_samples,).
        """
        return self._distribution(X).uncertainty()

    def predict_distribution(self, X):
        """Predict the distribution of the class of each row: an equal mixture over the draws.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Inputs, as for `fit`.

        Returns
        -------
        CategoricalDistribution
            The distribution. It draws when it is asked, so the estimator should not be fitted
            anew in the meantime.
        """
        return self._distribution(X)

    def draws(self, X):
        """Draw probabilities: those of each Monte-Carlo draw.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Inputs, as for `fit`.

        Returns
        -------
        ndarray of shape (n_draws, n_samples, n_classes)
            The draws whose mean `predict_proba` returns. Draw ``t`` is one function of X.
        """
        return self._distribution(X).draws()

    def predict_table(self, X):
        """Predict a table with named columns: the class, the probabilities and how unsure they are.

        It is the form that ``map_partitions`` of Dask, ``mapInPandas`` of Spark and MLflow take.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Inputs, as for `fit`.

        Returns
        -------
        pandas.DataFrame of n_samples rows
            The columns ``label``, then ``proba_...`` and ``std_...`` of each class, as in
            `predict_proba`, and those of `predict_uncertainty` by their names. The index is that
            of X, where X is a frame of pandas. Of a dask array or dataframe it is a dask dataframe.

        Raises
        ------
        ImportError
            Without pandas.
        """
        columns = partial(class_columns, classes=self.classes_)
        distribution = self._distribution(X)
        return distribution.frame(columns) if is_lazy(X) else frame_of(columns(distribution), X)

    def score(self, X, y, sample_weight=None):
        """Compute the share of rows whose class is predicted, as scikit-learn's classifiers do.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Inputs, as for `fit`.
        y : array-like of shape (n_samples,)
            Their classes.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        float
            The share.
        """
        refuse_lazy(X=X, y=y, sample_weight=sample_weight)
        return super().score(X, y, sample_weight)  # type: ignore[misc]
