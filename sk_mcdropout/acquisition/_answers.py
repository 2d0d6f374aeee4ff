"""What an estimator says of candidates, checked: one number for each, and no noise in it."""

import math
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sk_mcdropout.metrics import check_numbers, last_step, predict_mean_and_std

__all__ = [
    "check_batch_size",
    "check_number",
    "check_probabilities",
    "mean_and_std",
    "one_for_each",
    "probabilities_of_draws",
    "std_and_noise",
]

# How far from one the probabilities of a row may add up to, in single precision and less.
_OFF = 1e-2


def mean_and_std(estimator: Any, X: Any) -> tuple[NDArray, NDArray]:
    """Return mean and standard deviation of the function, each of shape (n_candidates,)."""
    return _mean_std_noise(estimator, X)[:2]


def std_and_noise(
    estimator: Any, X: Any, noise_std: float | None = None
) -> tuple[NDArray, NDArray]:
    """Return the standard deviations of the function and of the noise, which must be above 0."""
    _, std, noise = _mean_std_noise(estimator, X)
    if noise_std is not None:
        noise = np.full_like(std, check_number("noise_std", noise_std))
    if not (noise > 0).all():
        raise ValueError(
            "the noise of y must be above 0 for a mutual information, which is infinite without. "
            f"Got {float(noise.min())!r}. Give `noise_std`, or an estimator with a noise."
        )
    return std, noise


def _mean_std_noise(estimator: Any, X: Any) -> tuple[NDArray, NDArray, NDArray]:
    model, inputs = last_step(estimator, X)
    if hasattr(model, "predict_decomposed"):
        mean, std, noise = model.predict_decomposed(inputs)
    else:
        mean, std = predict_mean_and_std(model, inputs)
        noise = np.zeros(len(mean))
    return one_for_each("mean", mean), one_for_each("std", std), one_for_each("noise", noise)


def one_for_each(name: str, values: Any) -> NDArray:
    """Return predictions of one target as finite numbers of shape (n_candidates,)."""
    values = np.asarray(values)
    if values.ndim > 1 and values.shape[1:] != (1,):
        raise ValueError(
            "`estimator` must predict one number for each candidate. Got a predicted "
            f"{name} of shape {values.shape}. Fit an estimator for each target."
        )
    return check_numbers(f"predicted {name}", values.reshape(len(values)), (1,))


def probabilities_of_draws(model: Any, X: Any) -> NDArray:
    """Return the probabilities of a classifier's draws, (n_draws, n_candidates, n_classes)."""
    if not hasattr(model, "draws"):
        raise TypeError(
            "`estimator` must have `draws(X)`, of shape (n_draws, n_candidates, n_classes). Got "
            f"{type(model).__name__}, which has none. Give an MCDropoutClassifier, or call "
            "`predictive_entropy`, which needs no draws."
        )
    return check_probabilities("draws", model.draws(X), 3)


def check_probabilities(name: str, values: Any, n_axes: int) -> NDArray:
    """Return probabilities of classes, the last axis, in double precision."""
    proba = check_numbers(name, values, (n_axes,))
    sums = proba.sum(axis=-1)
    if proba.min() < 0 or np.abs(sums - 1).max() > _OFF:
        raise ValueError(
            f"`{name}` must be probabilities: at least 0, and of sum 1 over the classes. Got "
            f"numbers from {float(proba.min()):.3g} and sums from {float(sums.min()):.3g} to "
            f"{float(sums.max()):.3g}. Let the estimator end in a softmax."
        )
    return proba


def check_number(name: str, value: Any, least: float = -math.inf) -> float:
    """Return one finite number of at least so much."""
    if not isinstance(value, Real) or not math.isfinite(value) or value < least:
        bound = "" if least == -math.inf else f" of at least {least:g}"
        raise ValueError(f"`{name}` must be a finite number{bound}. Got {value!r}.")
    return float(value)


def check_batch_size(batch_size: Any, n_candidates: int) -> int:
    """Return the number of candidates to choose, of so many."""
    if not isinstance(batch_size, int | np.integer) or not 1 <= batch_size <= n_candidates:
        raise ValueError(
            f"`batch_size` must be a whole number from 1 to {n_candidates}, the number of "
            f"candidates. Got {batch_size!r}."
        )
    return int(batch_size)
