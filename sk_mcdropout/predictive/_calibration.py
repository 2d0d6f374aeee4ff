"""Recalibrate a predictive distribution on held-out rows.

Each method is a class of one interface, that of `Uncalibrated`, and calibrates the targets one by
one. A weight of 2 counts as two rows.
"""

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from scipy.optimize import minimize_scalar

from ._values import in_shape, numbers_of

__all__ = [
    "CALIBRATIONS",
    "ConformalCalibration",
    "IsotonicCalibration",
    "PartsCalibration",
    "StdCalibration",
    "Uncalibrated",
    "check_reach",
    "columns_of",
    "weighted_columns",
]


_LARGEST_RATIO = 100.0  # of the factors of the two parts, in the search


class Predictive(Protocol):
    """The methods of a predictive distribution that a calibration calls."""

    def mean_and_std(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation, of shape (n_samples, [n_targets])."""

    def decompose(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return mean, epistemic and aleatoric std, of shape (n_samples, [n_targets])."""

    def mixture_quantiles(self, levels: np.ndarray) -> np.ndarray:
        """Return the quantiles of the mixture, of shape (n_samples, [n_targets,] n_levels)."""

    def mixture_cdf(self, y: Any) -> np.ndarray:
        """Return the mixture's distribution function at y, of shape (n_samples, [n_targets])."""


class Uncalibrated:
    """The mixture over the draws as it is: the interface of all calibrations.

    Examples
    --------
    >>> from sk_mcdropout.predictive import Uncalibrated
    >>> Uncalibrated().factors
    array([1., 1.])
    """

    method: ClassVar[str] = "none"
    has_density: ClassVar[bool] = True

    @property
    def factors(self) -> np.ndarray:
        """Factors of the epistemic and the aleatoric std, of shape (2,) or (2, n_targets)."""
        return np.ones(2)

    def quantiles(self, predictive: Predictive, levels: np.ndarray) -> np.ndarray:
        """Return quantiles, of shape (n_samples, [n_targets,] n_levels)."""
        return predictive.mixture_quantiles(levels)

    def interval(self, predictive: Predictive, coverages: np.ndarray) -> np.ndarray:
        """Return central intervals, of shape (n_samples, [n_targets,] n_coverages, 2)."""
        tails = np.stack([(1 - coverages) / 2, (1 + coverages) / 2], axis=-1)
        ends = self.quantiles(predictive, tails.ravel())
        return ends.reshape(*ends.shape[:-1], *tails.shape)

    def cdf(self, predictive: Predictive, y: Any) -> np.ndarray:
        """Return the probability of a value up to y, of shape (n_samples, [n_targets])."""
        return predictive.mixture_cdf(y)


@dataclass(frozen=True, eq=False)
class _Fitted(Uncalibrated):
    """A calibration learned from held-out rows.

    Parameters
    ----------
    values : ndarray
        What was learned: one factor or two, or numbers sorted for each target.
    weights : ndarray of the same shape, optional
        Their weights.
    """

    values: np.ndarray
    weights: np.ndarray | None = None

    @classmethod
    @abstractmethod
    def fit(cls, predictive: Predictive, y: Any, sample_weight: np.ndarray | None = None) -> Self:
        """Learn from the uncalibrated distribution of held-out rows and their targets."""


class StdCalibration(_Fitted):
    """Recalibration by one factor of the standard deviations for each target.

    Parameters
    ----------
    values : ndarray of shape () or (n_targets,)
        The factors.
    weights : ndarray of the same shape, optional
        Not used.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sk_mcdropout import MCDropoutRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> net = MCDropoutRegressor(noise=50.0, max_epochs=10, random_state=0).fit(X[:300], y[:300])
    >>> net.calibrate(X[300:], y[300:], method="std").calibration_.factor.shape
    ()
    """

    method = "std"

    @property
    def factor(self) -> np.ndarray:
        """Factor of the standard deviations, of shape () or (n_targets,)."""
        return self.values

    @property
    def factors(self) -> np.ndarray:
        """That factor twice, of shape (2,) or (2, n_targets)."""
        return np.stack([self.values, self.values])

    @classmethod
    def fit(cls, predictive: Predictive, y: Any, sample_weight: np.ndarray | None = None) -> Self:
        """Learn the factor under which normal errors are likeliest.

        Parameters
        ----------
        predictive : PredictiveDistribution
            The uncalibrated distribution of the held-out rows.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Their targets.
        sample_weight : ndarray of shape (n_samples,), optional
            Weights of the rows.

        Returns
        -------
        StdCalibration
            The calibration.

        Raises
        ------
        ValueError
            If a predicted standard deviation is 0.
        """
        squares = _scores(predictive, y) ** 2
        return cls(np.asarray(np.sqrt(np.average(squares, axis=0, weights=sample_weight))))


class PartsCalibration(_Fitted):
    """Recalibration by two factors for each target: of the epistemic and of the aleatoric std.

    The draws are stretched about their mean by the first and the noise by the second, so that the
    variance of new y is the sum of both parts, each times the square of its factor.

    Two factors are the idea of Azizi, Bodik, Heiss & Yu (2025), "CLEAR: calibrated learning for
    epistemic and aleatoric risk". There, widths of intervals of one coverage add up; the ratio of
    the factors has the least quantile loss, and their size is conformal. Here variances add up,
    and both factors are the likeliest for normal errors under a weak prior, so that all that is
    predicted has them, and no coverage is guaranteed.

    Parameters
    ----------
    values : ndarray of shape (2,) or (2, n_targets)
        The factors.
    weights : ndarray of the same shape, optional
        Not used.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sk_mcdropout import MCDropoutRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> net = MCDropoutRegressor(noise=50.0, max_epochs=10, random_state=0).fit(X[:300], y[:300])
    >>> net.calibrate(X[300:], y[300:], method="parts").calibration_.factors.shape
    (2,)
    """

    method = "parts"

    @property
    def factors(self) -> np.ndarray:
        """Factors of the epistemic and the aleatoric std, of shape (2,) or (2, n_targets)."""
        return self.values

    @classmethod
    def fit(cls, predictive: Predictive, y: Any, sample_weight: np.ndarray | None = None) -> Self:
        """Learn the two factors under which normal errors are likeliest.

        Few rows tell the ratio of the two badly, and rows none at all where one part is a constant
        multiple of the other. So it has a prior: its natural logarithm is standard normal, which
        weighs little beside many rows, and leaves one factor, that of `StdCalibration`, where
        there is nothing to tell.

        Parameters
        ----------
        predictive : PredictiveDistribution
            The uncalibrated distribution of the held-out rows.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Their targets.
        sample_weight : ndarray of shape (n_samples,), optional
            Weights of the rows.

        Returns
        -------
        PartsCalibration
            The calibration.

        Raises
        ------
        ValueError
            If a predicted standard deviation is 0, or one of its parts in all rows.
        """
        mean, epistemic, aleatoric = predictive.decompose()
        errors = _errors(y, mean, np.hypot(epistemic, aleatoric))
        for name, part in (("epistemic", epistemic), ("aleatoric", aleatoric)):
            if not part.any(axis=0).all():
                raise ValueError(
                    "both parts of the standard deviation must be above 0 for the method 'parts'. "
                    f"Got an {name} part of 0. Give `noise` and a dropout rate above 0, or use "
                    "the method 'std'."
                )
        columns = zip(columns_of(errors), columns_of(epistemic), columns_of(aleatoric), strict=True)
        each = [_likeliest_factors(*column, sample_weight) for column in columns]
        factors = np.stack(each, axis=-1)
        return cls(factors.reshape(2, *mean.shape[1:]))


class IsotonicCalibration(_Fitted):
    """Recalibration by a map from the predicted probabilities to those observed.

    Kuleshov et al. (2018), "Accurate uncertainties for deep learning using calibrated
    regression", section 3.2: the observed frequencies rise with the predicted probabilities by
    themselves, so that isotonic regression leaves them as they are. Their levels are i / (n + 1),
    the chances of a new row, where the paper has i / n.

    Parameters
    ----------
    values : ndarray of shape (n_samples,) or (n_samples, n_targets)
        Predicted probabilities of the held-out y, sorted for each target.
    weights : ndarray of the same shape, optional
        Their weights.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sk_mcdropout import MCDropoutRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> net = MCDropoutRegressor(noise=50.0, max_epochs=10, random_state=0).fit(X[:300], y[:300])
    >>> net.calibrate(X[300:], y[300:], method="isotonic").calibration_.values.shape
    (142,)
    """

    method = "isotonic"
    has_density = False

    @classmethod
    def fit(cls, predictive: Predictive, y: Any, sample_weight: np.ndarray | None = None) -> Self:
        """Learn the map; see `StdCalibration.fit`."""
        return cls(*_sorted(predictive.mixture_cdf(y), sample_weight))

    def quantiles(self, predictive: Predictive, levels: np.ndarray) -> np.ndarray:
        """Return quantiles, of shape (n_samples, [n_targets,] n_levels)."""
        mapped = self._each_target(lambda known, shares: np.interp(levels, shares, known))
        # Errors beyond eight deviations have a probability of 0 or 1, where no quantile is finite.
        eps = np.finfo(np.float64).eps
        shape = *self.values.shape[1:], len(levels)
        return predictive.mixture_quantiles(np.reshape(mapped, shape).clip(eps, 1 - eps))

    def cdf(self, predictive: Predictive, y: Any) -> np.ndarray:
        """Return the probability of a value up to y, of shape (n_samples, [n_targets])."""
        predicted = predictive.mixture_cdf(y)
        columns = iter(columns_of(predicted))
        mapped = self._each_target(lambda known, shares: np.interp(next(columns), known, shares))
        return np.stack(mapped, axis=-1).reshape(predicted.shape)

    def _each_target(self, function: Callable) -> list[np.ndarray]:
        pairs = (_ranks(*column) for column in weighted_columns(self))
        return [function(np.r_[0.0, known, 1.0], shares) for known, shares in pairs]


class ConformalCalibration(_Fitted):
    """Recalibration by quantiles of the held-out errors, in units of the standard deviation.

    Lei et al. (2018), "Distribution-free predictive inference for regression", sections 2.2 and
    5.2.

    Parameters
    ----------
    values : ndarray of shape (n_samples,) or (n_samples, n_targets)
        Held-out errors in units of the standard deviation, sorted for each target.
    weights : ndarray of the same shape, optional
        Their weights.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sk_mcdropout import MCDropoutRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> net = MCDropoutRegressor(noise=50.0, max_epochs=10, random_state=0).fit(X[:300], y[:300])
    >>> net.calibrate(X[300:], y[300:], method="conformal").calibration_.values.shape
    (142,)
    """

    method = "conformal"
    has_density = False

    @classmethod
    def fit(cls, predictive: Predictive, y: Any, sample_weight: np.ndarray | None = None) -> Self:
        """Learn the errors; see `StdCalibration.fit`."""
        return cls(*_sorted(_scores(predictive, y), sample_weight))

    def quantiles(self, predictive: Predictive, levels: np.ndarray) -> np.ndarray:
        """Return quantiles, of shape (n_samples, [n_targets,] n_levels)."""
        mean, std = predictive.mean_and_std()
        return mean[..., None] + std[..., None] * self.score_quantiles(levels)

    def interval(self, predictive: Predictive, coverages: np.ndarray) -> np.ndarray:
        """Return intervals about the mean, of shape (n_samples, [n_targets,] n_coverages, 2)."""
        mean, std = (part[..., None, None] for part in predictive.mean_and_std())
        reach = self.reach(coverages)
        return mean + std * np.stack([-reach, reach], axis=-1)

    def cdf(self, predictive: Predictive, y: Any) -> np.ndarray:
        """Return the probability of a value up to y, of shape (n_samples, [n_targets])."""
        scores = _scores(predictive, y)
        shares = []
        for column, (known, weights) in zip(
            columns_of(scores), weighted_columns(self), strict=True
        ):
            total = np.concatenate([[0.0], np.cumsum(weights)])
            share = total[np.searchsorted(known, column, side="right")] / (total[-1] + 1)
            shares.append(share)
        return np.stack(shares, axis=-1).reshape(scores.shape)

    def score_quantiles(self, levels: np.ndarray) -> np.ndarray:
        """Return quantiles of a new error in units of the standard deviation.

        Of shape (n_levels,) or (n_targets, n_levels). Between the i-th and the next of n errors
        lies a new one with probability 1 / (n + 1).
        """
        quantiles = []
        for known, weights in weighted_columns(self):
            _, shares = _ranks(known, weights)
            outside = (levels < shares[1]) | (levels > shares[-2])
            check_reach(levels, outside, weights.sum(), "Calibrate")
            quantiles.append(np.interp(levels, shares[1:-1], np.repeat(known, 2)))
        return np.stack(quantiles).reshape(*self.values.shape[1:], len(levels))

    def reach(self, coverages: np.ndarray) -> np.ndarray:
        """Return how many standard deviations cover a new error.

        The ceil((n + 1) coverage)-th smallest of n absolute errors, of shape (n_coverages,) or
        (n_targets, n_coverages).
        """
        reaches = []
        for known, weights in weighted_columns(self):
            order = np.argsort(np.abs(known))
            total = np.cumsum(weights[order])
            # 0.9 * 10 is 9, not a little more
            ranks = np.ceil((total[-1] + 1) * coverages - 1e-9)
            check_reach(coverages, ranks > total[-1] + 1e-9, weights.sum(), "Calibrate")
            place = np.searchsorted(total, ranks - 1e-9).clip(0, len(known) - 1)
            reaches.append(np.abs(known)[order][place])
        return np.stack(reaches).reshape(*self.values.shape[1:], len(coverages))


def check_reach(asked: np.ndarray, beyond: np.ndarray, n_rows: float, remedy: str) -> None:
    """Refuse levels that a number of held-out rows cannot tell; a remedy begins with a verb."""
    if np.any(beyond):
        raise ValueError(
            "conformal calibration must have been given enough rows for what is asked. Got "
            f"{n_rows:g} rows for {np.asarray(asked).tolist()!r}. {remedy} with more rows, or ask "
            "for less."
        )


CALIBRATIONS: dict[str, type[_Fitted]] = {
    kind.method: kind
    for kind in (StdCalibration, PartsCalibration, IsotonicCalibration, ConformalCalibration)
}


def _scores(predictive: Predictive, y: Any) -> np.ndarray:
    """Return the errors in units of the standard deviation."""
    mean, std = predictive.mean_and_std()
    return _errors(y, mean, std) / std


def _errors(y: Any, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Return the errors of predictions whose standard deviations are above 0."""
    if not (std > 0).all():
        raise ValueError(
            "the predicted standard deviations must be above 0 to be calibrated. Got "
            f"{np.count_nonzero(std <= 0)} of {std.size} that are 0. Raise the dropout rate, or "
            "give `noise`."
        )
    return in_shape(numbers_of(y), mean.shape) - mean


def _likeliest_factors(
    errors: np.ndarray,
    epistemic: np.ndarray,
    aleatoric: np.ndarray,
    sample_weight: np.ndarray | None,
) -> np.ndarray:
    """Return the factors of the two parts of the standard deviation, for one target.

    For a given ratio of the two the likeliest size has a closed form, that of `StdCalibration`, so
    that only the ratio is searched: on a grid, then between its points.
    """
    weights = np.ones_like(errors) if sample_weight is None else sample_weight

    def with_size(log_ratio: float) -> tuple[np.ndarray, np.ndarray]:
        std = np.hypot(np.exp(log_ratio) * epistemic, aleatoric)
        return std, np.sqrt(np.average((errors / std) ** 2, weights=weights))

    def loss(log_ratio: float) -> float:
        std, size = with_size(log_ratio)
        return (weights * np.log(size * std)).sum() + 0.5 * log_ratio**2

    log_ratio, most = 0.0, math.log(_LARGEST_RATIO)
    if errors.any():  # without an error, any ratio is infinitely likely
        grid, step = np.linspace(-most, most, 15, retstep=True)
        best = min(grid, key=loss)
        bounds = best - step, best + step
        found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-9})
        log_ratio = found.x
    return with_size(log_ratio)[1] * np.array([math.exp(log_ratio), 1.0])


def _sorted(
    values: np.ndarray, sample_weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Sort the values of each target, with their weights."""
    if sample_weight is None:
        return np.sort(values, axis=0), None
    values, sample_weight = values[sample_weight > 0], sample_weight[sample_weight > 0]
    order = np.argsort(values, axis=0)
    return np.take_along_axis(values, order, axis=0), sample_weight[order]


def columns_of(values: np.ndarray) -> np.ndarray:
    """Return the values of each target in a row."""
    return values.reshape(len(values), -1).T


def weighted_columns(fitted: _Fitted) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return what was learned for each target, with its weights."""
    values = columns_of(fitted.values)
    weights = np.ones_like(values) if fitted.weights is None else columns_of(fitted.weights)
    return list(zip(values, weights, strict=True))


def _ranks(known: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each known value twice, and the shares of new rows below: i / (n + 1), with 0 and 1.

    A value of weight w stands for w equal ones, whose first and last ranks are given.
    """
    last = np.cumsum(weights)
    first = last - weights + np.minimum(weights, 1)
    shares = np.stack([first, last], axis=-1).ravel() / (last[-1] + 1)
    return np.repeat(known, 2), np.r_[0.0, shares, 1.0]
