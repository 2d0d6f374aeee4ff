"""Sums and means over the first rows in some order.

Rows at one place of the order are taken together, each by the same part: as the mean over all
ways to sort them, so that their order in the data does not matter.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["add_up", "area_of_first", "mean_of_first", "removed_shares", "sum_of_first"]


def add_up(values: NDArray, order: NDArray, weights: NDArray) -> tuple[NDArray, NDArray]:
    """Return the shares of the rows, and their values by this share, added up from the lowest.

    The shares end at 1, the values at their mean over all rows.
    """
    present = weights > 0
    _, place = np.unique(order[present], return_inverse=True)
    rows = np.cumsum(np.bincount(place, weights[present]))
    sums = np.cumsum(np.bincount(place, (weights * values)[present]))
    return rows / rows[-1], sums / rows[-1]


def sum_of_first(shares: NDArray, rows: NDArray, sums: NDArray) -> NDArray:
    """Return what the values add up to over the first shares of the rows."""
    return np.interp(shares, np.append(0, rows), np.append(0, sums))


def mean_of_first(shares: NDArray, rows: NDArray, sums: NDArray) -> NDArray:
    """Compute the mean value of the first shares of the rows, which are above 0."""
    return sum_of_first(shares, rows, sums) / shares


def area_of_first(rows: NDArray, sums: NDArray) -> float:
    """Integrate the mean value of the first shares of the rows over these shares, from 0 to 1.

    Between two neighbours a and b the added-up value is ``sums(a) + slope * (share - a)``, and
    divided by the share its integral is ``slope * (b - a) + (sums(a) - slope * a) * log(b / a)``.
    The first terms add up to the last of the sums.
    """
    slopes = np.diff(sums) / np.diff(rows)
    return sums[-1] + np.sum((sums[:-1] - slopes * rows[:-1]) * np.log(rows[1:] / rows[:-1]))


def removed_shares(n_points: int) -> NDArray:
    """Return even steps from 0, all below 1; check that there is one."""
    if n_points < 1:
        raise ValueError(f"`n_points` must be at least 1. Got {n_points!r}.")
    return np.linspace(0, 1, n_points, endpoint=False)
