"""Whether a classifier errs on the rows that it is least sure of.

These rows are rejected one after the other, left to a person for instance, and the accuracy on the
others should rise (Nadeem et al., 2009). Only the order of the uncertainties counts. Rows of the
same one are rejected together, each by the same part, so that their order in the data does not
matter.
"""

from numpy.typing import ArrayLike, NDArray

from ._in_order import add_up, area_of_first, mean_of_first, removed_shares
from ._labels import check_classes
from ._validation import check_numbers, weights_or_ones

__all__ = ["accuracy_rejection_curve", "area_under_accuracy_rejection_curve"]


def accuracy_rejection_curve(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    uncertainty: ArrayLike,
    *,
    n_points: int = 100,
    sample_weight: ArrayLike | None = None,
) -> tuple[NDArray, NDArray]:
    """Compute the accuracy on the rows that are kept when the least certain are rejected.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        The classes that were observed: strings, booleans or integers.
    y_pred : array-like of shape (n_samples,)
        The classes that were predicted.
    uncertainty : array-like of shape (n_samples,)
        Any number for each row that is greater where the classifier is less sure: an entropy, a
        mutual information, 1 less the highest probability.
    n_points : int, default=100
        Number of points of the curve.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.

    Returns
    -------
    rejected : ndarray of shape (n_points,)
        The share of the rows that is rejected: even steps from 0, all below 1.
    accuracy : ndarray of shape (n_points,)
        The accuracy on the other rows. With an uncertainty unrelated to the errors it is that on
        all rows throughout.

    Raises
    ------
    ValueError
        If shapes differ, labels are of unlike kinds, an uncertainty is not finite, or ``n_points``
        is below 1.

    References
    ----------
    Nadeem, Zucker & Hanczar (2009), "Accuracy-rejection curves (ARCs) for comparing classification
    methods with a reject option", PMLR 8.

    Examples
    --------
    >>> from sk_mcdropout.metrics import accuracy_rejection_curve
    >>> y_true, y_pred = ["a", "b", "b", "a"], ["a", "b", "b", "b"]
    >>> accuracy_rejection_curve(y_true, y_pred, [0.1, 0.3, 0.2, 0.9], n_points=4)[1]
    array([0.75, 1.  , 1.  , 1.  ])
    """
    rejected = removed_shares(n_points)
    return rejected, mean_of_first(1 - rejected, *_hits(y_true, y_pred, uncertainty, sample_weight))


def area_under_accuracy_rejection_curve(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    uncertainty: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Compute the area under the curve of accuracy against the share of rows rejected.

    Great is good: 1 where no row is misclassified; with an uncertainty unrelated to the errors it
    is the accuracy. So it rewards both few errors and that they are where the uncertainty is
    great; compare classifiers of unlike accuracy by the curve. Exact between the points of
    `accuracy_rejection_curve`; 1 less the area is that under the curve of risk against coverage.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        The classes that were observed: strings, booleans or integers.
    y_pred : array-like of shape (n_samples,)
        The classes that were predicted.
    uncertainty : array-like of shape (n_samples,)
        Any number for each row that is greater where the classifier is less sure.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.

    Returns
    -------
    float
        The area, in [0, 1].

    Raises
    ------
    ValueError
        If shapes differ, labels are of unlike kinds, or an uncertainty is not finite.

    References
    ----------
    Nadeem, Zucker & Hanczar (2009), "Accuracy-rejection curves (ARCs) for comparing classification
    methods with a reject option", PMLR 8.

    Examples
    --------
    >>> from sk_mcdropout.metrics import area_under_accuracy_rejection_curve
    >>> y_true, y_pred = ["a", "b", "b", "a"], ["a", "b", "b", "b"]
    >>> round(area_under_accuracy_rejection_curve(y_true, y_pred, [0.1, 0.3, 0.2, 0.9]), 3)
    0.966
    """
    return float(area_of_first(*_hits(y_true, y_pred, uncertainty, sample_weight)))


def _hits(
    y_true: ArrayLike, y_pred: ArrayLike, uncertainty: ArrayLike, sample_weight: ArrayLike | None
) -> tuple[NDArray, NDArray]:
    """Return the shares of the rows and of the hits, added up from the most certain row."""
    order = check_numbers("uncertainty", uncertainty, (1,))
    _, y_true, y_pred = check_classes(y_true, y_pred)
    if not len(y_true) == len(y_pred) == len(order):
        raise ValueError(
            "`y_true`, `y_pred` and `uncertainty` must have the same rows. Got "
            f"{len(y_true)}, {len(y_pred)} and {len(order)}."
        )
    hits = (y_true == y_pred).astype(float)
    return add_up(hits, order, weights_or_ones(sample_weight, len(order)))
