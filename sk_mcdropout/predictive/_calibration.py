"""Mend a predictive distribution by rows held out of training. NumPy only.

Each method keeps one array of numbers, and calibrates the targets one by one.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["METHODS", "Calibration", "calibration"]

METHODS = ("std", "isotonic", "conformal")


@dataclass(frozen=True)
class Calibration:
    """What was learned from held-out rows; `calibration` makes it.

    Parameters
    ----------
    method : str
        ``"std"``, ``"isotonic"`` or ``"conformal"``.
    values : ndarray of shape (), (n_targets,), (n_samples,) or (n_samples, n_targets)
        The factor of the standard deviations; or, sorted for each target, the predicted
        probabilities of values up to y, or the errors in units of the standard deviation.
    """

    method: str
    values: np.ndarray

    @property
    def factor(self) -> np.ndarray:
        """What the standard deviations are multiplied by, of shape () or (n_targets,)."""
        return self.values if self.method == "std" else np.ones(())

    def levels(self, levels: np.ndarray) -> np.ndarray:
        """Answer the levels, of shape (n_levels,) or (n_targets, n_levels), to predict for some."""
        if self.method != "isotonic":
            return levels
        mapped = _each_target(lambda p: np.interp(levels, *_ranks(p)), self.values)
        # Errors beyond eight deviations have a probability of 0 or 1, where no quantile is finite.
        return mapped.clip(np.finfo(np.float64).eps, 1 - np.finfo(np.float64).eps)

    def probability(self, predicted: np.ndarray) -> np.ndarray:
        """Answer the probabilities for predicted ones, of shape (n_samples, [n_targets])."""
        if self.method != "isotonic":
            return predicted
        known = self.values.reshape(len(self.values), -1).T
        columns = predicted.reshape(len(predicted), -1).T
        mapped = [np.interp(u, *_ranks(p)[::-1]) for u, p in zip(columns, known, strict=True)]
        return np.stack(mapped, axis=-1).reshape(predicted.shape)

    def score_quantiles(self, levels: np.ndarray) -> np.ndarray:
        """Answer quantiles of an error in units of the standard deviation.

        Of shape (n_levels,) or (n_targets, n_levels); for ``"conformal"``. Between the i-th
        and the next of n errors lies a new one with probability 1 / (n + 1).
        """
        n = len(self.values)
        self._check_reach(levels, np.minimum(levels, 1 - levels) * (n + 1) < 1)
        quantiles = np.quantile(self.values, levels, axis=0, method="weibull")
        return np.moveaxis(quantiles, 0, -1)

    def score_probability(self, scores: np.ndarray) -> np.ndarray:
        """Answer the probability of an error up to some, of shape (n_samples, [n_targets])."""
        known = self.values.reshape(len(self.values), -1).T
        columns = scores.reshape(len(scores), -1).T
        counts = [np.searchsorted(p, z, side="right") for p, z in zip(known, columns, strict=True)]
        return (np.stack(counts, axis=-1) / (len(self.values) + 1)).reshape(scores.shape)

    def reach(self, coverage: float) -> np.ndarray:
        """Answer how many standard deviations cover a new error; for ``"conformal"``.

        Lei et al. (2018), "Distribution-free predictive inference for regression", section 2.2:
        the ceil((n + 1) coverage)-th smallest of n absolute errors. Of shape () or (n_targets,).
        """
        n = len(self.values)
        rank = math.ceil((n + 1) * coverage - 1e-9)  # 0.9 * 10 is 9, not a little more
        self._check_reach(coverage, rank > n)
        return np.sort(np.abs(self.values), axis=0)[rank - 1]

    def _check_reach(self, asked: Any, beyond: Any) -> None:
        if np.any(beyond):
            raise ValueError(
                "conformal calibration must have been given enough rows for what is asked. Got "
                f"{len(self.values)} rows for {np.asarray(asked).tolist()!r}. Calibrate with more "
                "rows, or ask for less."
            )


def calibration(
    method: str,
    y: np.ndarray,
    mean: np.ndarray,
    std: np.ndarray,
    predicted: np.ndarray | None = None,
) -> Calibration:
    """Learn from held-out rows.

    Parameters
    ----------
    method : str
        ``"std"``, ``"isotonic"`` or ``"conformal"``.
    y, mean, std : ndarray of shape (n_samples,) or (n_samples, n_targets)
        The target, and the mean and the standard deviation that were predicted for it.
    predicted : ndarray of the same shape, optional
        The predicted probabilities of values up to y; for ``"isotonic"``.

    Returns
    -------
    Calibration
        What to change.

    Raises
    ------
    ValueError
        If a standard deviation is 0.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_mcdropout.predictive._calibration import calibration
    >>> float(calibration("std", np.array([2.0, -2.0]), np.zeros(2), np.ones(2)).factor)
    2.0
    """
    if predicted is not None:
        return Calibration(method, np.sort(predicted, axis=0))
    if not (std > 0).all():
        raise ValueError(
            "the predicted standard deviations must be above 0 to be calibrated. Got "
            f"{np.count_nonzero(std <= 0)} of {std.size} that are 0. Raise the dropout rate, or "
            "give `noise`."
        )
    scores = (y - mean) / std
    if method == "std":  # the factor under which normal errors are likeliest
        return Calibration(method, np.sqrt((scores**2).mean(axis=0)))
    return Calibration(method, np.sort(scores, axis=0))


def _ranks(predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Answer levels and the predicted probabilities below which they were observed.

    Kuleshov et al. (2018), section 3.2: the observed frequencies rise with the predicted
    probabilities by themselves, so that isotonic regression leaves them as they are. Their
    levels are i / (n + 1), the chances of a new row, where the paper has i / n.
    """
    n = len(predicted)
    return np.arange(n + 2) / (n + 1), np.concatenate([[0.0], predicted, [1.0]])


def _each_target(function: Callable, values: np.ndarray) -> np.ndarray:
    if values.ndim == 1:
        return function(values)
    return np.stack([function(column) for column in values.T])
