"""Checks of the classes of rows and of their predicted probabilities."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import unique_labels

from ._validation import check_numbers

__all__ = ["check_classes", "check_probabilities"]

# How far from one the probabilities of a row may add up to: they may be rounded.
_OFF = 1e-2


def check_classes(*targets: ArrayLike) -> tuple[NDArray, ...]:
    """Return all classes, sorted, and the targets as arrays; check that they are of one kind."""
    arrays = [column_or_1d(target) for target in targets]
    try:
        return unique_labels(*arrays), *arrays
    except TypeError as error:  # where strings and missing values cannot be sorted
        raise ValueError(
            f"labels must be all strings, or all numbers, and none may be missing. Got {error}. "
            "Leave out the rows without a label."
        ) from error


def check_probabilities(
    y_true: ArrayLike, y_proba: ArrayLike, labels: ArrayLike | None
) -> tuple[NDArray, NDArray]:
    """Return the column of the class of each row, and the probabilities of all columns."""
    proba = _check_shares_of_classes(check_numbers("y_proba", y_proba))
    known, y, *columns = check_classes(*((y_true,) if labels is None else (y_true, labels)))
    names = columns[0] if columns else known
    if len(known) > len(names) or len(np.unique(names)) < len(names):
        raise ValueError(
            "`labels` must name each class of `y_true`, and each once. Got "
            f"{names.tolist()!r} for {np.unique(y).tolist()!r}."
        )
    if len(names) != proba.shape[1]:
        raise ValueError(
            f"`y_proba` must have a column for each class. Got {proba.shape[1]} columns for "
            f"{names.tolist()!r}. Name the classes of all columns by `labels`."
        )
    if len(y) != len(proba):
        raise ValueError(
            f"`y_proba` must have a row for each of `y_true`, {len(y)}. Got {len(proba)}."
        )
    return np.argsort(names)[np.searchsorted(known, y)], proba


def _check_shares_of_classes(proba: NDArray) -> NDArray:
    proba = np.column_stack([1 - proba, proba]) if proba.ndim == 1 else proba
    sums = proba.sum(axis=1)
    if proba.min() < 0 or np.abs(sums - 1).max() > _OFF:
        raise ValueError(
            "`y_proba` must hold probabilities: at least 0, and of sum 1 in each row. Got numbers "
            f"from {float(proba.min())!r} and sums from {float(sums.min())!r} to "
            f"{float(sums.max())!r}. Give what `predict_proba` returns."
        )
    return proba
