"""The public predictions of a classifier, each one question to its predictive distribution."""

from collections.abc import Callable

import numpy as np
from sklearn.utils.validation import check_consistent_length

from sk_mcdropout.predictive import CategoricalDistribution

from ._classification import codes_of, labels_of
from ._table import class_columns, frame_of

__all__ = ["PredictiveClassifierMixin"]


class PredictiveClassifierMixin:
    """Predictions of any estimator that has ``_predictive(X)``, a `CategoricalDistribution`."""

    classes_: np.ndarray
    _predictive: Callable[..., CategoricalDistribution]

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
        return self.classes_[places]

    def predict_proba(self, X, return_std=False):
        """Predict the probabilities of the classes: their mean over the draws.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Inputs, as for `fit`.
        return_std : bool, default=False
            Whether to return the standard deviation over the draws, too.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            The mean probabilities, of sum 1 for each row.
        std : ndarray of shape (n_samples, n_classes), optional
            Their standard deviation over the draws (``ddof=1``).
        """
        distribution = self._predictive(X)
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
        return self._predictive(X).uncertainty()

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
        return self._predictive(X)

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
        return self._predictive(X).draws()

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
            of X, where X is a frame of pandas.

        Raises
        ------
        ImportError
            Without pandas.
        """
        return frame_of(class_columns(self._predictive(X), self.classes_), X)
