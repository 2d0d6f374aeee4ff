"""The public predictions of a regressor, each one question to its predictive distribution."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from sk_mcdropout.predictive import PredictiveDistribution, check_shares

from ._by_blocks import RegressionByBlocks, stand_in
from ._table import frame_of, regression_columns
from ._validation import Integral, Interval, StrOptions, check_params, is_lazy, refuse_lazy

__all__ = ["PredictiveRegressorMixin"]


class PredictiveRegressorMixin:
    """Predictions of any estimator that has ``_predictive(X)``, a `PredictiveDistribution`.

    ``_predictive`` may be told ``noise=False``, for questions about the draws alone, and
    ``spread=False``, for those about their mean.
    """

    _predictive: Callable[..., PredictiveDistribution]

    def _distribution(self, X: Any, **options: Any) -> Any:
        """Return the predictive distribution; that of rows of dask answers by its blocks."""
        if not is_lazy(X):
            return self._predictive(X, **options)
        return RegressionByBlocks(
            self, X, self._distribution_like(stand_in(X), **options), **options
        )

    def _distribution_like(self, row: Any, **options: Any) -> PredictiveDistribution:
        """Return the distribution of a made-up row, where it can be without a pass of the net."""
        of_row = self._predictive(row, **options)
        return of_row.of_made_up_row() or of_row

    def predict(self, X, return_std=False, return_cov=False):
        """Predict using the mean over Monte-Carlo dropout draws, optionally with std or cov.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Inputs, as for `fit`. Predictions of a dask array or dataframe are dask arrays, made
            lazily and block by block; those of blocks are those of all rows together.
        return_std : bool, default=False
            Whether to return the standard deviation: that of the draws (``ddof=1``), and with
            ``noise`` that of a new observation.
        return_cov : bool, default=False
            Whether to return the covariance between the rows: that of the draws, and with
            ``noise`` its variance on the diagonal, as a Gaussian process with a ``WhiteKernel``
            has it.

        Returns
        -------
        y_mean : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Mean of the draws, in the units of y.
        y_std : ndarray of shape (n_samples,) or (n_samples, n_targets), optional
            Standard deviation, in the units of y.
        y_cov : ndarray of shape (n_samples, n_samples) or (n_samples, n_samples, n_targets), \
                optional
            Covariance, in the squared units of y.

        Raises
        ------
        RuntimeError
            If both are asked for.
        NotFittedError
            Before `fit`, `initialize` or `load_params`.
        """
        if return_std and return_cov:
            raise RuntimeError("At most one of return_std or return_cov can be requested.")
        if return_cov:
            return self._distribution(X).mean_and_cov()
        if return_std:
            return self._distribution(X).mean_and_std()
        return self._distribution(X, noise=False, spread=False).mean()

    def predict_distribution(self, X):
        """Predict the distribution of new y: an equal mixture over the draws.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Inputs, as for `fit`.

        Returns
        -------
        PredictiveDistribution
            The distribution of each row, with the methods of ``scipy.stats``: ``mean``, ``std``,
            ``var``, ``cdf``, ``ppf``, ``logpdf``, ``interval``, ``rvs``; and ``cov``,
            ``epistemic_std``, ``aleatoric_std``, ``functions``. It draws when it is asked, so the
            estimator should not be fitted anew in the meantime.
        """
        return self._distribution(X)

    def predict_decomposed(self, X):
        """Predict the mean and decompose its uncertainty into epistemic and aleatoric parts.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Inputs, as for `fit`.

        Returns
        -------
        y_mean : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Mean of the draws, in the units of y.
        epistemic_std : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Standard deviation of the draws, in the units of y.
        aleatoric_std : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Standard deviation of the noise, in the units of y. Its square and that of the
            epistemic one add up to the square of ``predict(X, return_std=True)[1]``: Kendall &
            Gal (2017), "What uncertainties do we need in Bayesian deep learning", eq. 9.
        """
        return self._distribution(X).decompose()

    def draws(self, X):
        """Draw predictions: one for each Monte-Carlo draw.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Inputs, as for `fit`.

        Returns
        -------
        ndarray of shape (n_draws, n_samples) or (n_draws, n_samples, n_targets)
            The draws whose mean `predict` returns, without noise, in the units of y. Draw ``t``
            is one function of X.
        """
        return self._distribution(X, noise=False).functions()

    def sample_y(self, X, n_samples=1, random_state=0, noise=True):
        """Draw functions and evaluate them at X, as ``GaussianProcessRegressor.sample_y`` does.

        Parameters
        ----------
        X : array-like of shape (n_samples_X, n_features) or (n_samples_X, ...)
            Inputs, as for `fit`.
        n_samples : int, default=1
            Number of functions.
        random_state : int, RandomState instance or None, default=0
            Seed of the functions.
        noise : bool, default=True
            Whether to add the noise of the estimator, where it has one, to each value: new
            observations in the place of functions.

        Returns
        -------
        ndarray of shape (n_samples_X, n_samples) or (n_samples_X, n_targets, n_samples)
            Their values, in the units of y.
        """
        count = {"n_samples": [Interval(Integral, 1, None, closed="left")]}
        check_params(count, {"n_samples": n_samples}, "sample_y")
        seed = int(check_random_state(random_state).randint(2**31 - 1))
        predictive = self._distribution(X, noise=noise)
        draw = predictive.rvs if noise else predictive.functions
        return np.moveaxis(draw(n_samples, seed), 0, -1)

    def predict_quantiles(self, X, quantiles):
        """Predict quantiles of the mixture over the draws, noise included.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Inputs, as for `fit`.
        quantiles : float or array-like of shape (n_quantiles,)
            Their levels, in (0, 1).

        Returns
        -------
        ndarray of shape (n_samples, n_quantiles) or (n_samples, n_targets, n_quantiles)
            The quantiles, in the units of y and the order of the levels. Without noise they are
            those of the draws, with linear interpolation.

        Raises
        ------
        ValueError
            If a level is not in (0, 1), or too far out for the rows of a conformal calibration.
        """
        levels = np.atleast_1d(check_shares("quantiles", quantiles))
        return self._distribution(X).ppf(levels)

    def predict_interval(self, X, coverage=0.9):
        """Predict an interval that holds a new observation with a given probability.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Inputs, as for `fit`.
        coverage : float or array-like of shape (n_levels,), default=0.9
            The probability, in (0, 1), or several of them.

        Returns
        -------
        ndarray of shape (n_samples, 2) or (n_samples, n_targets, 2), with an axis of n_levels \
                before the last for several levels
            Lower and upper ends, in the units of y: the quantiles that leave out the same
            probability at both sides, or, with conformal calibration, the same number of standard
            deviations from the mean at both sides.

        Raises
        ------
        ValueError
            If the coverage is not in (0, 1), or too large for the rows of a conformal calibration.
        """
        levels = check_shares("coverage", coverage)
        distribution = self._distribution(X)
        if is_lazy(X):
            return distribution.ends(levels)
        return np.stack(distribution.interval(levels), axis=-1)

    def predict_cdf(self, X, y):
        """Predict the probability that a new observation is at most y.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Inputs, as for `fit`.
        y : float or array-like of shape (n_samples,) or (n_samples, n_targets)
            A value for each row, in the units of y, or one for all rows.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_targets)
            The probabilities, for each target by itself.
        """
        refuse_lazy(y=y)
        return self._distribution(X).cdf(y)

    def log_prob(self, X, y, distribution="mixture"):
        """Compute the logarithm of the predictive density at y, row by row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Inputs, as for `fit`.
        y : float or array-like of shape (n_samples,) or (n_samples, n_targets)
            The observations, in the units of y, or one value for all rows.
        distribution : {"mixture", "normal"}, default="mixture"
            The mixture over the draws, whose mean over test rows is the test log-likelihood of
            Gal & Ghahramani (2016), eq. 8; or the normal of the same mean and standard deviation,
            for each target by itself.

        Returns
        -------
        ndarray of shape (n_samples,)
            The log densities, in units of 1 over y; of several targets, that of all together.

        Raises
        ------
        ValueError
            If the estimator has no noise, for the mixture; if a standard deviation is 0, for the
            normal; after isotonic or conformal calibration, which give no density.
        """
        options: dict[str, Any] = {"distribution": [StrOptions({"mixture", "normal"})]}
        check_params(options, {"distribution": distribution}, "log_prob")
        refuse_lazy(y=y)
        predictive = self._distribution(X)
        return predictive.logpdf(y) if distribution == "mixture" else predictive.normal_logpdf(y)

    def predict_table(self, X, quantiles=None, coverage=None):
        """Predict a table with named columns: the mean, the std and its parts, and what is asked.

        It is the form that ``map_partitions`` of Dask, ``mapInPandas`` of Spark and MLflow take.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Inputs, as for `fit`.
        quantiles : float or array-like of shape (n_quantiles,), default=None
            Levels in (0, 1), each of which has a column, as ``quantile_0.05``.
        coverage : float or array-like of shape (n_levels,), default=None
            Probabilities in (0, 1), for each of which there are the ends of an interval, as
            ``lower_0.9`` and ``upper_0.9``.

        Returns
        -------
        pandas.DataFrame of n_samples rows
            The columns ``mean``, ``std``, ``epistemic`` and ``aleatoric``, as in
            `predict_decomposed`, then the ends of intervals and the quantiles, in the units of y.
            Several targets have these columns each, as ``y0_mean`` and ``y1_mean``. The index is
            that of X, where X is a frame of pandas. Of a dask array or dataframe it is a dask
            dataframe.

        Raises
        ------
        ImportError
            Without pandas.
        """
        levels, coverages = map(_shares_or_none, ("quantiles", "coverage"), (quantiles, coverage))
        columns = partial(regression_columns, quantiles=levels, coverages=coverages)
        distribution = self._distribution(X)
        return distribution.frame(columns) if is_lazy(X) else frame_of(columns(distribution), X)

    def score(self, X, y, sample_weight=None):
        """Compute the coefficient of determination of the mean, as scikit-learn's regressors do.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Inputs, as for `fit`.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Their targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        float
            The coefficient.
        """
        refuse_lazy(X=X, y=y, sample_weight=sample_weight)
        return super().score(X, y, sample_weight)  # type: ignore[misc]

    @property
    def predict_proba(self):
        """Not there: a regressor predicts no probabilities."""
        raise AttributeError(f"{type(self).__name__} has no 'predict_proba'. Use `predict`.")


def _shares_or_none(name: str, values: Any) -> np.ndarray:
    return np.atleast_1d(check_shares(name, [] if values is None else values))
