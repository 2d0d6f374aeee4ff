"""What is asked of the predictive distribution: quantiles, probabilities, and its calibration."""

import numpy as np
import torch
from scipy.stats import norm
from sklearn.utils import assert_all_finite
from sklearn.utils._param_validation import StrOptions, validate_parameter_constraints

from sk_mcdropout.predictive import (
    METHODS,
    calibration,
    mixture_cdf,
    mixture_log_prob,
    mixture_quantiles,
)

__all__ = ["DistributionMixin"]


class DistributionMixin:
    """Ask for quantiles, intervals, probabilities and densities, and calibrate them.

    The distribution is the mixture over the draws, each with the noise of the estimator.
    """

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
        levels = _levels("quantiles", quantiles)
        X = self._check_inputs(X)
        kept = getattr(self, "calibration_", None)
        if kept is None:
            return self._quantiles(X, levels)
        if kept.method == "conformal":
            return self._at_scores(X, kept.score_quantiles(levels))
        return self._quantiles(X, kept.levels(levels))

    def predict_interval(self, X, coverage=0.9):
        """Predict an interval that holds a new observation with some probability.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Inputs, as for `fit`.
        coverage : float, default=0.9
            The probability, in (0, 1).

        Returns
        -------
        ndarray of shape (n_samples, 2) or (n_samples, n_targets, 2)
            Lower and upper ends, in the units of y: the quantiles that leave out the same
            probability at both sides, or, with conformal calibration, the same number of standard
            deviations from the mean at both sides.

        Raises
        ------
        ValueError
            If the coverage is not in (0, 1), or too large for the rows of a conformal calibration.
        """
        coverage = float(_levels("coverage", coverage, n_axes=0)[0])
        kept = getattr(self, "calibration_", None)
        if kept is None or kept.method != "conformal":
            return self.predict_quantiles(X, [(1 - coverage) / 2, (1 + coverage) / 2])
        reach = np.asarray(kept.reach(coverage))
        return self._at_scores(self._check_inputs(X), np.stack([-reach, reach], axis=-1))

    def predict_cdf(self, X, y):
        """Predict the probability that a new observation is at most y.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Inputs, as for `fit`.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            A value for each row, in the units of y.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_targets)
            The probabilities, for each target by itself.
        """
        X = self._check_inputs(X)
        kept = getattr(self, "calibration_", None)
        if kept is not None and kept.method == "conformal":
            mean, std = self._mean_and_std(X)
            return kept.score_probability((_in_shape(_values(y), mean.shape) - mean) / std)
        probability = self._of_values(X, y, mixture_cdf)
        return probability if kept is None else kept.probability(probability)

    def log_prob(self, X, y, distribution="mixture"):
        """Answer the logarithm of the predictive density at y, row by row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Inputs, as for `fit`.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            The observations, in the units of y.
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
        options = {"distribution": [StrOptions({"mixture", "normal"})]}
        validate_parameter_constraints(options, {"distribution": distribution}, "log_prob")
        X = self._check_inputs(X)
        kept = getattr(self, "calibration_", None)
        if kept is not None and kept.method != "std":
            raise ValueError(
                "a calibration with a density must be used for `log_prob`. Got "
                f"{kept.method!r}. Call `calibrate` with `method='std'`."
            )
        if distribution == "normal":
            mean, std = self._mean_and_std(X)
            logs = norm.logpdf(_in_shape(_values(y), mean.shape), mean, std)
            return logs.reshape(len(logs), -1).sum(axis=1)
        if not self._has_noise():
            raise ValueError(
                "`noise` must be given for the density of the mixture. Got "
                f"{self.noise!r}. Set `noise`, or ask for `distribution='normal'`."
            )
        return self._of_values(X, y, mixture_log_prob)

    def calibrate(self, X, y, method="std"):
        """Mend the predictive distribution by rows that were not trained on.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Inputs held out of training.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Their targets.
        method : {"std", "isotonic", "conformal"}, default="std"
            ``"std"`` multiplies the deviations from the mean by one factor for each target, the
            likeliest one for normal errors; everything that is predicted but the mean changes.
            ``"isotonic"`` maps the predicted probabilities to those observed (Kuleshov et al.,
            2018, "Accurate uncertainties for deep learning using calibrated regression").
            ``"conformal"`` places quantiles and intervals by the held-out errors in units of the
            standard deviation; intervals cover new rows like the held-out ones with at least the
            probability asked for (Lei et al., 2018, section 5.2). These two change quantiles,
            intervals and `predict_cdf`; the standard deviations stay.

        Returns
        -------
        self : object
            The estimator, with ``calibration_``. An earlier calibration is replaced; `fit`
            and `partial_fit` take it away.

        Raises
        ------
        ValueError
            If a predicted standard deviation is 0; for ``"isotonic"``, without noise.
        """
        options = {"method": [StrOptions(set(METHODS))]}
        validate_parameter_constraints(options, {"method": method}, "calibrate")
        X = self._check_inputs(X)
        if method == "isotonic" and not self._has_noise():
            raise ValueError(
                "`noise` must be given for isotonic calibration, since no draw lies beyond the "
                f"draws. Got {self.noise!r}. Set `noise`, or use `method='conformal'`."
            )
        mean, epistemic, aleatoric = self._moments(X, calibrated=False)
        y = _in_shape(_values(y), mean.shape)
        predicted = None
        if method == "isotonic":
            predicted = self._of_values(X, y, mixture_cdf, factor=1.0)
        std = np.hypot(epistemic, aleatoric)
        self.calibration_ = calibration(method, y, mean, std, predicted)
        return self

    # -- on the mixture ----------------------------------------------------------------------

    def _quantiles(self, X, levels):
        self._check_params("n_draws")
        levels = torch.from_numpy(levels)

        def reduce(draws):
            mixture = self._means(draws), self._noise_of(draws)
            return (mixture_quantiles(*mixture, levels.to(draws.device)).cpu(),)

        return self._over_draws(X, reduce, self.n_draws, self.seed_)[0].numpy()

    def _of_values(self, X, y, function, factor=None):
        """Answer a function of a value for each row and of the mixture at this row."""
        self._check_params("n_draws")
        y, start = torch.from_numpy(_values(y)), 0

        def reduce(draws):  # comes for some rows after the other
            nonlocal start
            means, stds = self._means(draws, factor), self._noise_of(draws, factor)
            rows = slice(start, start := start + means.shape[1])
            some = _in_shape(y[rows], tuple(means.shape[1:])).to(means.device)
            return (function(some, means, stds).cpu(),)

        (answers,) = self._over_draws(X, reduce, self.n_draws, self.seed_)
        _in_shape(y, (start, *y.shape[1:]))
        return answers.numpy()

    def _mean_and_std(self, X):
        mean, epistemic, aleatoric = self._moments(X)
        std = np.hypot(epistemic, aleatoric)
        if not (std > 0).all():
            raise ValueError(
                "the predicted standard deviations must be above 0. Got "
                f"{np.count_nonzero(std <= 0)} of {std.size} that are 0. Raise the dropout rate, "
                "or give `noise`."
            )
        return mean, std

    def _at_scores(self, X, scores):
        """Answer the mean plus so many standard deviations, on a last axis."""
        mean, epistemic, aleatoric = self._moments(X)
        return mean[..., None] + np.hypot(epistemic, aleatoric)[..., None] * scores


def _levels(name, levels, n_axes=1):
    levels = np.asarray(levels, dtype=np.float64)
    if levels.ndim > n_axes or not ((levels > 0) & (levels < 1)).all():
        raise ValueError(f"`{name}` must lie in (0, 1). Got {levels.tolist()!r}.")
    return np.atleast_1d(levels)


def _values(y):
    """Answer values of y as numbers in double precision."""
    y = y.detach().cpu().numpy() if isinstance(y, torch.Tensor) else y
    y = np.array(y, dtype=np.float64)
    assert_all_finite(y, input_name="y")
    return y


def _in_shape(y, shape):
    """Bring values of y to the shape of an answer, which may lack the axis of a single target."""
    if tuple(y.shape) != shape and tuple(y.shape) != (*shape, 1):
        raise ValueError(
            "y must have one value for each row and target. Got the shape "
            f"{tuple(y.shape)} for predictions of shape {shape}."
        )
    return y.reshape(shape)
