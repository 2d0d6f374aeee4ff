"""Conformal calibration by the nets of folds: CV+."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sk_mcdropout.sampling import AnyDraws

from ._calibration import (
    ConformalCalibration,
    Uncalibrated,
    check_reach,
    columns_of,
    weighted_columns,
)
from ._distribution import PredictiveDistribution
from ._likelihood import GaussianLikelihood
from ._values import in_shape, numbers_of

__all__ = ["CrossConformalCalibration", "CrossFittedDistribution"]

_HALVINGS = 64
_ROUNDING = 1e-9  # of ranks


class CrossFittedDistribution(PredictiveDistribution):
    """Predictive distribution of an ensemble of nets that were trained without a fold each.

    Parameters
    ----------
    draws : PooledDraws
        The draws of all nets.
    likelihood : GaussianLikelihood
        What their outputs mean.
    calibration : Uncalibrated, optional
        How the distribution is recalibrated.
    folds : sequence of PooledDraws
        For each fold the draws of the nets that were trained without it, for the same rows.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sk_mcdropout import MCDropoutRegressor, MCDropoutRegressorCV
    >>> X, y = load_diabetes(return_X_y=True)
    >>> net = MCDropoutRegressor(dropout=0.1, max_epochs=5)
    >>> model = MCDropoutRegressorCV(net, param_grid={}, calibration="conformal", random_state=0)
    >>> model = model.fit(X, y)
    >>> len(model.predict_distribution(X[:5]).mean_and_std_of_folds())
    5
    """

    def __init__(
        self,
        draws: AnyDraws,
        likelihood: GaussianLikelihood,
        calibration: Uncalibrated | None = None,
        folds: Sequence[AnyDraws] = (),
    ) -> None:
        super().__init__(draws, likelihood, calibration)
        self._folds = folds

    def mean_and_std_of_folds(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Compute mean and standard deviation by the nets of each fold.

        Returns
        -------
        list of (mean, std), each an ndarray of shape (n_samples,) or (n_samples, n_targets)
            They are not recalibrated, in the units of y.
        """
        of_folds = (PredictiveDistribution(draws, self._likelihood) for draws in self._folds)
        return [distribution.mean_and_std() for distribution in of_folds]

    def _with_draws(self, draws: Any) -> Self:
        other = super()._with_draws(draws)
        other._folds = [draws] * len(self._folds)
        return other


class CrossConformalCalibration(Uncalibrated):
    """Recalibration by the errors of all rows, each by the nets that were trained without it.

    The rows with their errors vote: row i, of fold k(i), says that new y lies within the mean of
    the nets of fold k(i) and as many of their standard deviations as its own error was. The ends
    of an interval are quantiles of these votes: CV+ of Barber, Candès, Ramdas & Tibshirani (2021),
    "Predictive inference with the jackknife+", with errors in units of the standard deviation as
    in Gupta, Kuchibhotla & Ramdas (2022), "Nested conformal prediction and quantile out-of-bag
    ensemble methods".

    An interval of coverage c holds new rows like those of the folds with a probability of at least
    ``1 - 2 (1 - c) - min(2 (1 - 1/K) / (n/K + 1), (1 - K/n) / (K + 1))`` for K folds of n rows in
    all (theorem 4 there), and about c for nets that do not hang on single rows.

    Parameters
    ----------
    folds : sequence of ConformalCalibration
        The errors of each fold.
    n_draws : int
        The number of draws that the mean and the standard deviation of a fold are of.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sk_mcdropout import MCDropoutRegressor, MCDropoutRegressorCV
    >>> X, y = load_diabetes(return_X_y=True)
    >>> net = MCDropoutRegressor(dropout=0.1, max_epochs=5)
    >>> model = MCDropoutRegressorCV(net, param_grid={}, calibration="conformal", random_state=0)
    >>> model.fit(X, y).predict_interval(X[:5], coverage=0.9).shape
    (5, 2)
    """

    method = "conformal"
    has_density = False

    def __init__(self, folds: Sequence[ConformalCalibration], n_draws: int = 100) -> None:
        self.folds = folds
        self.n_draws = n_draws

    def quantiles(self, predictive: Any, levels: np.ndarray) -> np.ndarray:
        """Return quantiles, of shape (n_samples, [n_targets,] n_levels)."""
        shape, of_targets = self._votes(predictive)
        results = []
        for votes in of_targets:
            ranks = levels * (votes.total + 1)
            beyond = (ranks < 1 - _ROUNDING) | (ranks > votes.total + _ROUNDING)
            check_reach(levels, beyond, votes.total, "Fit")
            results.append([votes.between(rank) for rank in ranks])
        return _in_shape(results, shape)

    def interval(self, predictive: Any, coverages: np.ndarray) -> np.ndarray:
        """Return intervals, of shape (n_samples, [n_targets,] n_coverages, 2)."""
        shape, of_targets = self._votes(predictive)
        results = []
        for votes in of_targets:
            # 0.9 * 10 is 9, not a little more
            ranks = np.ceil((votes.total + 1) * coverages - _ROUNDING)
            check_reach(coverages, ranks > votes.total + _ROUNDING, votes.total, "Fit")
            upper = votes.of_sizes()
            lower = upper.mirrored()
            results.append([end for rank in ranks for end in (-lower.at(rank), upper.at(rank))])
        return _in_shape(results, shape).reshape(*shape, len(coverages), 2)

    def cdf(self, predictive: Any, y: Any) -> np.ndarray:
        """Return the probability of a value up to y, of shape (n_samples, [n_targets])."""
        shape, of_targets = self._votes(predictive)
        columns = columns_of(in_shape(numbers_of(y), shape))
        pairs = zip(of_targets, columns, strict=True)
        shares = [[votes.weight_up_to(column) / (votes.total + 1)] for votes, column in pairs]
        return _in_shape(shares, shape)[..., 0]

    def _votes(self, predictive: Any) -> tuple[tuple[int, ...], list["_Votes"]]:
        """Return the shape of predictions, and for each target what all rows say about it."""
        of_folds = predictive.mean_and_std_of_folds()
        means, stds = (np.stack([columns_of(m) for m in ms]) for ms in zip(*of_folds, strict=True))
        errors = zip(*map(weighted_columns, self.folds), strict=True)
        votes = [_Votes(means[:, t], stds[:, t], of_target) for t, of_target in enumerate(errors)]
        return of_folds[0][0].shape, votes


def _in_shape(results: list[list[NDArray]], shape: tuple[int, ...]) -> NDArray:
    """Bring numbers of each target and row into the shape of predictions, with one axis more."""
    return np.moveaxis(np.array(results), -1, 0).reshape(*shape, -1)


class _Votes:
    """What the rows of all folds say about new rows: mean + std * error, for one target.

    Parameters
    ----------
    means, stds : ndarray of shape (n_folds, n_samples)
        Those of the nets of each fold.
    errors : sequence of (ndarray, ndarray)
        The errors of each fold, sorted, and their weights.
    """

    def __init__(
        self, means: NDArray, stds: NDArray, errors: Sequence[tuple[NDArray, NDArray]]
    ) -> None:
        self.means, self.stds = means, np.maximum(stds, np.finfo(np.float64).tiny)
        self.errors = errors
        self.sums = [np.concatenate([[0.0], np.cumsum(weights)]) for _, weights in errors]
        self.total = sum(sums[-1] for sums in self.sums)

    def of_sizes(self) -> "_Votes":
        """Return the votes by the sizes of the errors."""
        errors = []
        for known, weights in self.errors:
            order = np.argsort(np.abs(known))
            errors.append((np.abs(known)[order], weights[order]))
        return _Votes(self.means, self.stds, errors)

    def mirrored(self) -> "_Votes":
        """Return the votes about minus the means."""
        return _Votes(-self.means, self.stds, self.errors)

    def weight_up_to(self, values: NDArray) -> NDArray:
        """Return the weight of the votes up to a value for each new row."""
        total = np.zeros(len(values))
        folds = zip(self.means, self.stds, self.errors, self.sums, strict=True)
        for mean, std, (known, _), sums in folds:
            total += sums[np.searchsorted(known, (values - mean) / std, side="right")]
        return total

    def at(self, rank: float) -> NDArray:
        """Return the least vote for each new row that a weight lies up to, by halving a range."""
        ends = [(known[0], known[-1]) for known, _ in self.errors]
        least, most = (np.array(end)[:, None] for end in zip(*ends, strict=True))
        low = (self.means + self.stds * least).min(axis=0)
        high = (self.means + self.stds * most).max(axis=0)
        for _ in range(_HALVINGS):
            middle = low + (high - low) / 2
            reached = self.weight_up_to(middle) >= rank - _ROUNDING
            low, high = np.where(reached, low, middle), np.where(reached, middle, high)
        return high

    def between(self, rank: float) -> NDArray:
        """Return the vote of a rank, by linear interpolation."""
        below = np.floor(rank + _ROUNDING)
        known = self.at(max(below, 1.0))
        share = rank - below
        if share <= _ROUNDING:
            return known
        return known + share * (self.at(min(below + 1, self.total)) - known)
