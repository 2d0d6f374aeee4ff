"""Weights of the rows: how they are checked, go with their rows, and weigh the loss."""

from copy import copy
from numbers import Real
from typing import Any

import numpy as np
from sklearn.utils import check_array
from skorch.utils import is_dataset
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from sk_mcdropout.nn import uncompiled

from ._batches import BatchDataset, whole_of
from ._validation import refuse_lazy

__all__ = [
    "check_can_weigh",
    "check_weights",
    "count_weighted",
    "give_weights",
    "mean_weight",
    "training_weights",
    "weighted_loss",
    "weights_of",
    "weights_of_batch",
]


def check_weights(sample_weight: Any, n_rows: int) -> np.ndarray:
    """Return the weights of the rows as an array of floats, validated.

    Parameters
    ----------
    sample_weight : float or array-like of shape (n_rows,)
        The weights; a number is that of each row.
    n_rows : int
        Number of rows.

    Returns
    -------
    ndarray of shape (n_rows,)
        The weights.
    """
    refuse_lazy(sample_weight=sample_weight)
    if isinstance(sample_weight, Real):
        sample_weight = np.full(n_rows, float(sample_weight))
    weights = check_array(
        sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight"
    )
    if weights.shape != (n_rows,):
        raise ValueError(
            "`sample_weight` must be a number for each row. Got the shape "
            f"{weights.shape} for {n_rows} rows. Pass one weight for each row of X."
        )
    if weights.min() < 0 or not weights.any():
        raise ValueError(
            "`sample_weight` must be at least 0, and above 0 for some row. Got "
            f"{'zeros' if weights.min() == 0 else repr(float(weights.min()))}. Leave out rows "
            "that are not to count."
        )
    return weights


def training_weights(sample_weight: Any, X: Any, y: Any) -> np.ndarray | None:
    """Return weights of mean 1 for training rows; None for equal ones, which change nothing."""
    if sample_weight is None:
        return None
    if is_dataset(X) or not isinstance(y, np.ndarray | Tensor):
        raise ValueError(
            "`sample_weight` must come with an array y, whose rows it weighs. Got a "
            f"{type(X).__name__} and a y of type {type(y).__name__}. Pass arrays or tensors X "
            "and y."
        )
    weights = check_weights(sample_weight, len(y))
    if (weights == weights[0]).all():
        return None
    weights = weights / weights.max()  # whose sum is finite
    return weights / weights.mean()


def give_weights(dataset: Any, weights: np.ndarray) -> None:
    """Give weights to the `BatchDataset` that a dataset is, or is a subset of."""
    dataset = whole_of(dataset)
    if not isinstance(dataset, BatchDataset) or len(dataset) != len(weights):
        raise ValueError(
            "`train_split` must return subsets of the dataset for rows with weights. Got a "
            f"{type(dataset).__name__} of {len(dataset)} rows for {len(weights)} weights. Use "
            "`skorch.dataset.ValidSplit`, or return `torch.utils.data.Subset`s."
        )
    dataset.sample_weight = weights


def weights_of(dataset: Any) -> np.ndarray | None:
    """Return the weights of the rows of a dataset, of shape (n_rows,); None if it has none."""
    rows: Any = slice(None)
    while isinstance(dataset, Subset):
        dataset, rows = dataset.dataset, np.asarray(dataset.indices)[rows]
    known = dataset.sample_weight if isinstance(dataset, BatchDataset) else None
    return None if known is None else known[rows]


def mean_weight(dataset: Any) -> float | None:
    """Return the mean weight of the rows of a dataset, None if they have none."""
    weights = weights_of(dataset)
    if weights is None:
        return None
    if not weights.any():
        raise ValueError(
            "the rows to train on, and those held out, must have a weight above 0 among them. Got "
            f"{len(weights)} rows of weight 0. Split the rows in another way, or leave out those "
            "that are not to count."
        )
    return float(weights.mean())


def count_weighted(dataset: Any) -> int:
    """Return the number of rows that count."""
    weights = weights_of(dataset)
    return len(dataset) if weights is None else int(np.count_nonzero(weights))


def weights_of_batch(y: Any) -> Tensor:
    """Return the weights that the target of a batch brings with it."""
    weights = getattr(y, "sample_weight", None)
    if weights is None:
        raise ValueError(
            "the target of each batch must bring the weights of its rows. Got a target without "
            "its attribute `sample_weight`, which something between the dataset and the loss has "
            "dropped. Use the default `dataset` and iterators, or fit without `sample_weight`."
        )
    return weights


def check_can_weigh(net: Any) -> None:
    """Refuse, before training, what would lose the weights of the rows or cannot use them."""
    criterion = uncompiled(net.criterion_)
    reduction = getattr(criterion, "reduction", None)
    if reduction not in ("mean", "sum"):
        raise ValueError(
            "`criterion` must have a `reduction`, 'mean' or 'sum', for rows with weights. Got "
            f"{reduction!r} of {type(criterion).__name__}. Use a loss of torch, or "
            "give yours a `reduction` that may be 'none', for a loss of each row."
        )
    if not (isinstance(net.dataset, type) and issubclass(net.dataset, BatchDataset)):
        raise _lost("dataset", net.dataset)
    for name in ("iterator_train", "iterator_valid")[: 1 + net._splits_rows()]:
        if getattr(net, name) is not DataLoader:
            raise _lost(name, getattr(net, name))
        if "collate_fn" in (params := net.get_params_for(name)):
            raise _lost(f"{name}__collate_fn", params["collate_fn"])


def _lost(name: str, value: Any) -> ValueError:
    return ValueError(
        f"`{name}` must be the default one for rows with weights. Got {value!r}, whose batches "
        "would lose them. Leave it out, or fit without `sample_weight`."
    )


def weighted_loss(criterion: nn.Module, output: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """Compute the loss of a batch whose rows have weights.

    Parameters
    ----------
    criterion : nn.Module
        The loss, with a ``reduction`` as torch's have it.
    output : Tensor of shape (n_samples, ...)
        The output of the net.
    y : Tensor of shape (n_samples, ...)
        The target.
    weights : Tensor of shape (n_samples,)
        The weights.

    Returns
    -------
    Tensor of shape ()
        The mean, or sum, of the losses times the weights of their rows.
    """
    each = copy(uncompiled(criterion))
    each.reduction, reduction = "none", each.reduction
    losses = each(output, y)
    if losses.ndim == 0 or len(losses) != len(weights):
        raise ValueError(
            "`criterion` must return a loss for each row with `reduction='none'`, for rows with "
            f"weights. Got the shape {tuple(losses.shape)} of {type(each).__name__} for "
            f"{len(weights)} rows. Use a loss of torch, or let yours heed its `reduction`."
        )
    losses = losses * weights.to(losses).reshape(-1, *[1] * (losses.ndim - 1))
    return losses.mean() if reduction == "mean" else losses.sum()
