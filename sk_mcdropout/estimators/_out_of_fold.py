"""What rows tell that nets were not trained on: the noise, the mean of each row, a calibration."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from skorch.utils import multi_indexing
from torch import Tensor

from sk_mcdropout.predictive import (
    CALIBRATIONS,
    ConformalCalibration,
    CrossConformalCalibration,
    GaussianLikelihood,
    PredictiveDistribution,
    Uncalibrated,
    likeliest_noise,
)
from sk_mcdropout.sampling import ChainedDraws, PooledDraws

from ._batches import evenly_spaced
from ._held_out import MOST_ROWS
from ._parameters import n_training_rows
from ._search import Fold

__all__ = [
    "calibration_from",
    "chained",
    "mean_out_of_fold",
    "noise_out_of_fold",
    "pooled_draws",
    "scales_to",
]


def pooled_draws(
    learners: Sequence[Any],
    X: Any,
    convert: Sequence[Callable[[Tensor], Tensor]],
    n_draws: int,
    seed: int,
    masks: str | None = None,
    verbose: bool = False,
) -> PooledDraws:
    """Return the draws of fitted estimators for some rows, pooled.

    Parameters
    ----------
    learners : sequence of MCDropoutNet
        The estimators.
    X : array, tensor, frame, or mapping or list of these
        The rows.
    convert : sequence of callable
        For each estimator what brings its outputs to those that all have in common.
    n_draws : int
        Number of draws of all together.
    seed : int
        Seed of the draws.
    masks : str, optional
        The law of the masks; by default that of the estimators.
    verbose : bool
        Whether to show a progress bar of the rows.

    Returns
    -------
    PooledDraws
        The draws.
    """
    members = [learner._draws(learner._check_inputs(X)) for learner in learners]
    if masks is not None:
        members = [replace(member, masks=masks) for member in members]
    members = [replace(member, verbose=False) for member in members]
    n_rows = n_training_rows(X) if verbose else None
    return PooledDraws(members, n_draws, seed, convert, verbose, n_rows)


def scales_to(
    likelihood: GaussianLikelihood, learners: Sequence[Any]
) -> list[Callable[[Tensor], Tensor]]:
    """Return for each regressor what brings its outputs to the scale of a likelihood."""
    own = [learner._likelihood(noise=False) for learner in learners]
    return [partial(likelihood.convert, other=other) for other in own]


def chained(draws: Sequence[PooledDraws], folds: Sequence[Fold]) -> tuple[Any, Any, Any]:
    """Return the draws of the rows of all folds, one after the other, their y and weights."""
    each = [fold.weights for fold in folds if fold.weights is not None]
    weights = np.concatenate(each) if each else None
    y = np.concatenate([fold.y for fold in folds])
    return ChainedDraws(draws, draws[0].n_draws, draws[0].seed), y, weights


def noise_out_of_fold(
    nets: Sequence[Sequence[Any]], folds: Sequence[Fold], n_draws: int, seed: int
) -> np.ndarray:
    """Return the noise that the held-out rows are likeliest under, 10,000 of them at most.

    Parameters
    ----------
    nets : sequence of (sequence of MCDropoutRegressor)
        The estimators that were trained without each fold.
    folds : sequence of Fold
        The folds.
    n_draws, seed : int
        Number of draws of the nets of a fold, and their seed.

    Returns
    -------
    ndarray of shape () or (n_targets,)
        The standard deviation of the noise, in the units of y.
    """
    targets, draws, weights = [], [], []
    for learners, fold in zip(nets, folds, strict=True):
        rows = evenly_spaced(len(fold.y), max(1, MOST_ROWS // len(folds)))
        likelihood = learners[0]._likelihood(noise=False)
        some, convert = multi_indexing(fold.X, rows), scales_to(likelihood, learners)
        drawn = pooled_draws(learners, some, convert, n_draws, seed)
        draws.append(torch.from_numpy(PredictiveDistribution(drawn, likelihood).functions()))
        targets.append(torch.from_numpy(fold.y[rows]).reshape(draws[-1].shape[1:]))
        weights += [] if fold.weights is None else [fold.weights[rows]]
    known = torch.from_numpy(np.concatenate(weights)) if weights else None
    return likeliest_noise(torch.cat(targets), torch.cat(draws, dim=1), known)


def mean_out_of_fold(means: Sequence[np.ndarray], folds: Sequence[Fold], n_rows: int) -> np.ndarray:
    """Return the mean for each row by the nets that were trained without it.

    Parameters
    ----------
    means : sequence of ndarray
        The means for the rows of each fold.
    folds : sequence of Fold
        The folds.
    n_rows : int
        The number of all rows.

    Returns
    -------
    ndarray of shape (n_rows, ...)
        The means: that of several folds for a row that they all hold out, NaN for one that none
        holds out.
    """
    total, times = np.zeros((n_rows, *means[0].shape[1:])), np.zeros(n_rows)
    for fold, mean in zip(folds, means, strict=True):
        np.add.at(total, fold.rows, mean)
        np.add.at(times, fold.rows, 1)
    with np.errstate(invalid="ignore"):
        return total / times.reshape(-1, *[1] * (total.ndim - 1))


def calibration_from(
    method: str,
    draws: Sequence[PooledDraws],
    folds: Sequence[Fold],
    likelihood: GaussianLikelihood,
) -> Uncalibrated:
    """Learn a calibration from all held-out rows.

    Parameters
    ----------
    method : {"std", "parts", "isotonic", "conformal"}
        The kind of calibration.
    draws : sequence of PooledDraws
        The draws for the rows of each fold.
    folds : sequence of Fold
        The folds.
    likelihood : GaussianLikelihood
        What the draws mean, with the noise.

    Returns
    -------
    StdCalibration, PartsCalibration, IsotonicCalibration or CrossConformalCalibration
        The calibration.
    """
    if method == "conformal":
        pairs = zip(draws, folds, strict=True)
        parts = ((PredictiveDistribution(part, likelihood), fold) for part, fold in pairs)
        errors = [ConformalCalibration.fit(part, fold.y, fold.weights) for part, fold in parts]
        return CrossConformalCalibration(errors, draws[0].n_draws)
    if method == "isotonic" and not likelihood.has_noise:
        raise ValueError(
            "`noise` must be given for isotonic calibration, since no draw lies beyond the draws. "
            "Got no noise. Set `noise`, or use `calibration='conformal'`."
        )
    every, y, weights = chained(draws, folds)
    return CALIBRATIONS[method].fit(PredictiveDistribution(every, likelihood), y, weights)
