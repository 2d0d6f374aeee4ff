"""Rows fetched by the batch: a dataset, a loader, and the order of the rows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from typing import Any

import numpy as np
import torch
from scipy import sparse
from skorch.dataset import Dataset
from skorch.utils import multi_indexing
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
)

__all__ = [
    "BatchDataset",
    "BatchLoader",
    "OneBatch",
    "as_is",
    "batch_loader",
    "by_rows",
    "dense_chunks",
    "evenly_spaced",
    "some_rows",
    "some_targets",
    "whole_of",
    "with_weights",
]


class BatchDataset(Dataset):
    """A skorch ``Dataset`` that indexes a whole batch at once, not row by row.

    Parameters
    ----------
    X, y : array, tensor, frame, or mapping or list of these
        As for ``skorch.dataset.Dataset``.
    length : int, optional
        Number of rows, if it cannot be told from the data.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_mcdropout.estimators._batches import BatchDataset
    >>> X, y = BatchDataset(np.zeros((5, 2)), np.arange(5)).__getitems__([0, 3])
    >>> X.shape, y
    (torch.Size([2, 2]), tensor([0, 3]))
    """

    # Weights of the rows, where the net was fitted with some. A batch stays a pair: its target
    # brings them along, as an attribute of the same name.
    sample_weight: np.ndarray | None = None
    # Makes a target what the net is trained on, which it brings along as ``standardised``.
    standardise: Callable[[Tensor], Tensor] | None = None

    def __getitems__(self, rows: Sequence[int]) -> tuple[Any, Any]:
        """Return the inputs and targets of a batch of rows; torch's data loader calls this."""
        at = np.asarray(rows)
        X = self.X
        if self.X_is_ndframe:
            X = {name: X[name].values.reshape(-1, 1) for name in X}
        X = _take(X, at, self.X_indexing)
        y = torch.zeros(len(at), 1) if self.y is None else _take(self.y, at, self.y_indexing)
        X, y = _as_tensors(X), _as_tensors(y)
        if self.standardise is not None:
            vars(y)["standardised"] = self.standardise(y)
        return X, y if self.sample_weight is None else with_weights(y, self.sample_weight[at])


class OneBatch(BatchDataset):
    """A batch in the place of a dataset, to be yielded whole by the net's iterator."""


class BatchLoader(DataLoader):
    """A ``DataLoader`` that cuts its batches out of many rows fetched at once.

    It does so for the rows of a table in a `BatchDataset`, or in a subset of one, in an order of
    torch's own; else it is an ordinary ``DataLoader``. The batches are the same.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_mcdropout.estimators._batches import BatchDataset, BatchLoader, as_is
    >>> data = BatchDataset(np.zeros((5, 2)), np.arange(5))
    >>> [y for X, y in BatchLoader(data, batch_size=3, collate_fn=as_is)]
    [tensor([0, 1, 2]), tensor([3, 4])]
    """

    def __iter__(self) -> Any:
        if self._can_cut():
            return self._cut()
        batches = super().__iter__()
        return map(_together, batches) if self.collate_fn is _apart else batches

    def _can_cut(self) -> bool:
        whole, _ = _unwrap(self.dataset, slice(0))
        return (
            self.collate_fn is as_is
            and self.num_workers == 0
            and not self.pin_memory
            and type(self.sampler) in (RandomSampler, SequentialSampler)
            and type(self.batch_sampler) is BatchSampler
            and type(whole) is BatchDataset
            and isinstance(whole.X, np.ndarray | Tensor)
            and isinstance(whole.y, np.ndarray | Tensor | None)
        )

    def _cut(self) -> Iterator[tuple[Tensor, Tensor]]:
        # torch's iterator draws a seed for its workers, also where it has none.
        torch.empty((), dtype=torch.int64).random_(generator=self.generator)
        rows = np.fromiter(self.sampler, np.int64)
        size = self.batch_size or 1
        if self.drop_last:
            rows = rows[: len(rows) // size * size]
        whole, rows = _unwrap(self.dataset, rows)
        at_once = size * max(1, _FETCHED // max(1, whole.X[:1].nbytes * size))
        for start in range(0, len(rows), at_once):
            X, y = whole.__getitems__(rows[start : start + at_once])
            yield from zip(X.split(size), _split(y, size), strict=True)


# Bytes of the rows that are fetched, or made dense, at once.
_FETCHED = 32 * 2**20


def batch_loader(dataset: Any, params: dict[str, Any]) -> BatchLoader:
    """Return the loader for a dataset, by the batch where the user has no collate of their own.

    A sampler of the user's own orders the rows: they are not shuffled then.
    """
    params = dict(params)
    if "collate_fn" in params:
        dataset = by_rows(dataset)
    elif fetches_batches(dataset) and params["batch_size"] is not None:
        moved = params.get("num_workers") or params.get("pin_memory")
        params["collate_fn"] = _apart if moved else as_is
    if "batch_sampler" in params:
        del params["batch_size"]
    if "sampler" in params or "batch_sampler" in params:
        params.pop("shuffle", None)
    return BatchLoader(dataset, **params)


def _unwrap(dataset: Any, rows: Any) -> tuple[Any, Any]:
    """Return the dataset that one is a subset of, and the places of rows in it."""
    while type(dataset) is Subset:
        dataset, rows = dataset.dataset, np.asarray(dataset.indices)[rows]
    return dataset, rows


def _take(data: Any, rows: np.ndarray, indexing: Any) -> Any:
    """Take rows; of a table, without the checks that scikit-learn makes each time."""
    if type(data) is np.ndarray or isinstance(data, Tensor):
        return data[rows]
    if sparse.issparse(data):
        return data[rows].toarray()
    return multi_indexing(data, rows, indexing)


def dense_chunks(X: Any) -> Iterator[Tensor]:
    """Yield the rows of a sparse matrix as tensors, some at a time.

    Parameters
    ----------
    X : sparse matrix or array of shape (n_samples, n_features)
        The rows, in a format whose rows can be taken.

    Yields
    ------
    Tensor of shape (n_some_samples, n_features)
        The next rows: 32 MiB of them.
    """
    at_once = max(1, _FETCHED // max(1, X.shape[1] * X.dtype.itemsize))
    for start in range(0, X.shape[0], at_once):
        yield torch.from_numpy(X[start : start + at_once].toarray())


def some_rows(dataset: Any) -> tuple[Tensor | None, np.ndarray | slice]:
    """Return rows of a table, evenly spaced, all of them but of a large one.

    Parameters
    ----------
    dataset : Dataset
        The rows, those of a table in a `BatchDataset` or a subset of one; others have a length.

    Returns
    -------
    X : Tensor of shape (n_rows, n_features) or None
        The rows, 32 MiB of them at most; None where nobody knows what they are.
    rows : ndarray or slice
        Their places in the dataset.
    """
    if isinstance(dataset, IterableDataset):
        return None, slice(0)
    whole = whole_of(dataset)
    if not isinstance(whole, BatchDataset):
        rows = evenly_spaced(len(dataset), _FEW)
        return torch.stack([torch.as_tensor(dataset[row][0]).flatten() for row in rows]), rows
    if getattr(whole.X, "ndim", 0) != 2:
        return None, slice(0)
    rows = evenly_spaced(len(dataset), max(1, _FETCHED // max(1, 8 * whole.X.shape[1])))
    X, _ = whole.__getitems__(_unwrap(dataset, rows)[1])
    return (X if isinstance(X, Tensor) else None), rows


def some_targets(dataset: Any) -> np.ndarray | None:
    """Return targets of a dataset of the user's, of rows that are evenly spaced."""
    if isinstance(dataset, IterableDataset) or fetches_batches(dataset):
        return None
    rows = evenly_spaced(len(dataset), _FEW)
    return np.stack([np.asarray(dataset[row][1], dtype=np.float64) for row in rows])


# Rows of a dataset of the user's, fetched one by one, that tell what the columns are like.
_FEW = 1_000


def evenly_spaced(n_rows: int, most: int) -> np.ndarray:
    """Return the places of all rows, or of as many as are wanted at most."""
    return np.linspace(0, n_rows - 1, min(n_rows, most)).astype(int)


def _as_tensors(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {name: _as_tensors(part) for name, part in data.items()}
    if isinstance(data, list | tuple) and not np.isscalar(data[0]):
        return [_as_tensors(part) for part in data]
    return torch.as_tensor(np.asarray(data) if not isinstance(data, Tensor) else data)


def as_is(batch: Any) -> Any:
    """Return the batch unchanged: the collate function for whole batches."""
    return batch


def with_weights(y: Tensor, weights: Any) -> Tensor:
    """Return a target that brings the weights of its rows along."""
    vars(y)["sample_weight"] = torch.as_tensor(weights)
    return y


def _split(y: Tensor, size: int) -> Sequence[Tensor]:
    """Split a target and what it brings along."""
    parts = y.split(size)
    for name, rows in vars(y).items():
        for part, some in zip(parts, rows.split(size), strict=True):
            vars(part)[name] = some
    return parts


def _apart(batch: tuple[Any, Any]) -> tuple[Any, ...]:
    """Put the weights beside their target: a process or a pinned memory takes no attributes."""
    return (*batch, batch[1].sample_weight) if hasattr(batch[1], "sample_weight") else batch


def _together(batch: tuple[Any, ...]) -> tuple[Any, Any]:
    X, y, *weights = batch
    return X, with_weights(y, *weights) if weights else y


def whole_of(dataset: Any) -> Any:
    """Return the dataset that one is a subset of, or a dataset that is none."""
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return dataset


def fetches_batches(dataset: Any) -> bool:
    """Return whether a dataset, or the one it is a subset of, is a `BatchDataset`."""
    return isinstance(whole_of(dataset), BatchDataset)


def by_rows(dataset: Any) -> Any:
    """Return the dataset with its rows fetched one by one, as a user's own collate expects."""
    if not fetches_batches(dataset):
        return dataset
    dataset = copy(dataset)
    if isinstance(dataset, Subset):
        dataset.dataset = by_rows(dataset.dataset)
    else:
        vars(dataset)["__getitems__"] = None  # torch's data loader looks here first
    return dataset
