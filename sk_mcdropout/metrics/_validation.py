"""Checks of targets and forecasts, and averages over rows and targets."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array

__all__ = [
    "average",
    "check_draws",
    "check_ends",
    "check_like",
    "check_numbers",
    "check_shares",
    "check_std",
    "check_weights",
    "over_targets",
    "weights_or_ones",
]


def check_numbers(name: str, values: ArrayLike, n_axes: tuple[int, ...] = (1, 2)) -> NDArray:
    """Check that numbers are finite and have so many axes, and return them as an array.

    Parameters
    ----------
    name : str
        Name of the argument, for errors.
    values : array-like
        The numbers.
    n_axes : tuple of int, default=(1, 2)
        The numbers of axes that are allowed.

    Returns
    -------
    ndarray
        The numbers in double precision.

    Raises
    ------
    ValueError
        If a number is not finite, or if there are more axes or fewer.

    Examples
    --------
    >>> from sk_mcdropout.metrics import check_numbers
    >>> check_numbers("y_true", [1, 2])
    array([1., 2.])
    """
    array: NDArray = check_array(
        values, dtype=np.float64, ensure_2d=False, allow_nd=True, input_name=f"`{name}`"
    )
    if array.ndim not in n_axes:
        allowed = " or ".join(map(str, n_axes))
        raise ValueError(f"`{name}` must have {allowed} axes. Got the shape {array.shape}.")
    return array


def check_shares(name: str, shares: ArrayLike) -> NDArray:
    """Check that one share or several lie in (0, 1), and return them as an array.

    Parameters
    ----------
    name : str
        Name of the argument, for errors.
    shares : float or array-like of shape (n_shares,)
        The shares.

    Returns
    -------
    ndarray of shape (n_shares,)
        The shares; of one, an array of length 1.

    Raises
    ------
    ValueError
        If a share is not in (0, 1), such as a percentage.

    Examples
    --------
    >>> from sk_mcdropout.metrics import check_shares
    >>> check_shares("coverage", 0.9)
    array([0.9])
    """
    array = check_numbers(name, np.atleast_1d(shares), (1,))
    if not ((array > 0) & (array < 1)).all():
        raise ValueError(
            f"`{name}` must lie in (0, 1). Got {np.asarray(shares).tolist()!r}. Give shares, such "
            "as 0.9."
        )
    return array


def check_like(y: NDArray, name: str, values: ArrayLike) -> NDArray:
    """Check that there is one finite number for each of y, and return them as an array.

    Parameters
    ----------
    y : ndarray
        What was observed, checked.
    name : str
        Name of the argument, for errors.
    values : array-like of the shape of y
        The numbers; they are not broadcast.

    Returns
    -------
    ndarray of the shape of y
        The numbers in double precision.

    Raises
    ------
    ValueError
        If a number is not finite, or the shape is not that of y.

    Examples
    --------
    >>> from sk_mcdropout.metrics import check_like, check_numbers
    >>> check_like(check_numbers("y_true", [1, 2]), "mean", [0, 3])
    array([0., 3.])
    """
    values = check_numbers(name, values)
    if values.shape != y.shape:
        raise ValueError(
            f"`{name}` must have the shape of `y_true`, {y.shape}. Got {values.shape}. "
            "Reshape one of them."
        )
    return values


def check_std(std: NDArray, name: str = "std", positive: bool = False) -> NDArray:
    """Check that standard deviations are not negative, or all above 0, and return them.

    Parameters
    ----------
    std : ndarray
        The standard deviations.
    name : str, default="std"
        Name of the argument, for errors.
    positive : bool, default=False
        Whether all must be above 0, as for a density.

    Returns
    -------
    ndarray
        The standard deviations, as they are.

    Raises
    ------
    ValueError
        If one is negative; or 0, where all must be above 0.

    Examples
    --------
    >>> from sk_mcdropout.metrics import check_numbers, check_std
    >>> check_std(check_numbers("std", [0, 2]))
    array([0., 2.])
    """
    if std.min() < 0:
        raise ValueError(f"`{name}` must be at least 0. Got {float(std.min())!r}.")
    if positive and not std.all():
        raise ValueError(
            f"`{name}` must be above 0 for a density. Got 0 in {np.sum(std == 0)} of {std.size} "
            "places. Give the regressor a noise, or ask for the CRPS."
        )
    return std


def check_draws(y: NDArray, draws: ArrayLike, least: int = 1) -> NDArray:
    """Return finite draws of y; check that the draws come first."""
    draws = check_numbers("draws", draws, (y.ndim + 1,))
    if draws.shape[1:] != y.shape:
        words = ", ".join(map(str, y.shape))
        raise ValueError(
            f"`draws` must have the shape (n_draws, {words}). Got {draws.shape}. "
            "Put the draws first, such as by `np.moveaxis`."
        )
    if len(draws) < least:
        raise ValueError(
            f"`draws` must be at least {least} for this score. Got {len(draws)}. Draw more."
        )
    return draws


def check_ends(name: str, values: ArrayLike, width: int, y: NDArray | None = None) -> NDArray:
    """Return finite numbers; check that the last axis has so many for each number of y."""
    values = check_numbers(name, values, (2, 3) if y is None else (y.ndim + 1,))
    shape = (*(values.shape[:-1] if y is None else y.shape), width)
    if values.shape != shape:
        raise ValueError(f"`{name}` must have the shape {shape}. Got {values.shape}.")
    return values


def check_weights(sample_weight: ArrayLike | None, n_samples: int) -> NDArray | None:
    """Return one weight for each row; check that none is negative and not all are 0."""
    if sample_weight is None:
        return None
    weights = check_numbers("sample_weight", sample_weight)
    if weights.shape != (n_samples,):
        raise ValueError(
            f"`sample_weight` must have the shape {(n_samples,)}, one weight for each row. "
            f"Got {weights.shape}."
        )
    return _check_signs("sample_weight", weights)


def weights_or_ones(sample_weight: ArrayLike | None, n_samples: int) -> NDArray:
    """Return one weight for each row, which is 1 where none is given."""
    weights = check_weights(sample_weight, n_samples)
    return np.ones(n_samples) if weights is None else weights


def average(
    values: NDArray, sample_weight: ArrayLike | None, multioutput: str | ArrayLike
) -> float | NDArray:
    """Average what each row scores over the rows, then over the targets."""
    weights = check_weights(sample_weight, len(values))
    return over_targets(np.average(values, axis=0, weights=weights), multioutput)


def over_targets(scores: NDArray, multioutput: str | ArrayLike) -> float | NDArray:
    """Average the scores of the targets as asked for by ``multioutput``."""
    scores = np.atleast_1d(scores)
    if isinstance(multioutput, str):
        if multioutput == "raw_values":
            return scores
        if multioutput == "uniform_average":
            return float(scores.mean())
        raise ValueError(
            "`multioutput` must be 'raw_values', 'uniform_average' or one weight for each target. "
            f"Got {multioutput!r}."
        )
    weights = check_numbers("multioutput", multioutput)
    if weights.shape != scores.shape:
        raise ValueError(
            f"`multioutput` must have one weight for each target, the shape {scores.shape}. "
            f"Got {weights.shape}."
        )
    return float(np.average(scores, weights=_check_signs("multioutput", weights)))


def _check_signs(name: str, weights: NDArray) -> NDArray:
    if weights.min() < 0 or not weights.any():
        raise ValueError(
            f"`{name}` must be at least 0, and above 0 somewhere. Got weights from "
            f"{float(weights.min())!r} to {float(weights.max())!r}."
        )
    return weights
