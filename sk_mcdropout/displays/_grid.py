"""Rows along some features of a table, with the other features held at what is typical."""

from collections import Counter

import numpy as np
from sklearn.utils import check_array

__all__ = ["columns_of", "key_of", "name_of_feature", "rows_along"]


def columns_of(X):
    """Return the columns of a frame by their names, those of an array by their indices."""
    if hasattr(X, "columns"):
        return {name: np.asarray(X[name]) for name in X.columns}
    return dict(enumerate(check_array(X, ensure_all_finite=False).T))


def key_of(feature, columns):
    """Return the name or the index of the column that is meant."""
    keys = list(columns)
    if feature not in keys and feature in range(len(keys)):
        feature = keys[feature]
    if feature not in keys:
        raise ValueError(
            f"`feature` must be one of {keys}, or an index below {len(keys)}. Got {feature!r}. "
            "Give one of these."
        )
    if not _holds_numbers(columns[feature]):
        raise ValueError(
            f"`feature` must be one that holds numbers. Got {feature!r} of dtype "
            f"{columns[feature].dtype}. Give another one."
        )
    return feature


def name_of_feature(key):
    """Return the name of a column, or which one it is."""
    return key if isinstance(key, str) else f"feature {key}"


def rows_along(X, columns, grid):
    """Return rows in the form of X with some features on a grid and the others held."""
    n_rows = len(next(iter(grid.values())))
    held = {
        name: _like(column, grid[name]) if name in grid else np.full(n_rows, _typical(column))
        for name, column in columns.items()
    }
    return type(X)(held) if hasattr(X, "columns") else np.column_stack(list(held.values()))


def _like(column, values):
    """Return values in the precision of a column, which a net may insist on."""
    return values.astype(column.dtype) if column.dtype.kind == "f" else values


def _typical(column):
    """Return the median, or of what are no numbers the most frequent value that is known."""
    if _holds_numbers(column):
        return np.nanmedian(column)
    counts = Counter(value for value in column if _is_known(value))
    return counts.most_common(1)[0][0] if counts else None


def _is_known(value):
    """Return whether a value is there: not None, NaN, NaT or the NA of pandas."""
    itself = value == value  # false of NaN and NaT, and NA of NA
    return value is not None and isinstance(itself, bool | np.bool_) and bool(itself)


def _holds_numbers(column):
    return np.issubdtype(column.dtype, np.number)
