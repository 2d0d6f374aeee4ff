"""Tables in, tensors out: what is validated, how it is cast, how batches are fetched."""

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from inspect import signature
from typing import Any

import numpy as np
import torch
from scipy import sparse
from skorch.dataset import Dataset
from skorch.utils import multi_indexing
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler, Subset

from ._optimizer import order_of_rows

__all__ = [
    "TABLE",
    "BatchDataset",
    "BatchLoader",
    "OneBatch",
    "as_is",
    "batch_loader",
    "by_rows",
    "cast",
    "fetches_batches",
    "first_output",
    "is_plain_table",
    "is_table",
    "takes_columns",
]


# How scikit-learn is to validate a table; images and sequences have more than two axes.
TABLE: dict[str, Any] = {"dtype": "numeric", "allow_nd": True}


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
    >>> from sk_mcdropout.estimators._validation import BatchDataset
    >>> X, y = BatchDataset(np.zeros((5, 2)), np.arange(5)).__getitems__([0, 3])
    >>> X.shape, y
    (torch.Size([2, 2]), tensor([0, 3]))
    """

    def __getitems__(self, rows: Sequence[int]) -> tuple[Any, Any]:
        """Answer the inputs and targets of some rows; torch's data loader calls this."""
        at = np.asarray(rows)
        X = self.X
        if self.X_is_ndframe:
            X = {name: X[name].values.reshape(-1, 1) for name in X}
        X = _take(X, at, self.X_indexing)
        y = torch.zeros(len(at), 1) if self.y is None else _take(self.y, at, self.y_indexing)
        return _as_tensors(X), _as_tensors(y)


class OneBatch(BatchDataset):
    """A batch in the place of a dataset, to be yielded whole by the net's iterator."""


class BatchLoader(DataLoader):
    """A ``DataLoader`` that cuts its batches out of many rows fetched at once.

    It does so for the rows of a table in a `BatchDataset`, or in a subset of one, in an order of
    torch's own; else it is an ordinary ``DataLoader``. The batches are the same.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_mcdropout.estimators._validation import BatchDataset, BatchLoader, as_is
    >>> data = BatchDataset(np.zeros((5, 2)), np.arange(5))
    >>> [y for X, y in BatchLoader(data, batch_size=3, collate_fn=as_is)]
    [tensor([0, 1, 2]), tensor([3, 4])]
    """

    def __iter__(self) -> Any:
        return self._cut() if self._can_cut() else super().__iter__()

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
        rows = order_of_rows(self.sampler)
        size = self.batch_size or 1
        if self.drop_last:
            rows = rows[: len(rows) // size * size]
        whole, rows = _unwrap(self.dataset, rows)
        at_once = size * max(1, _FETCHED // max(1, whole.X[:1].nbytes * size))
        for start in range(0, len(rows), at_once):
            X, y = whole.__getitems__(rows[start : start + at_once])
            yield from zip(X.split(size), y.split(size), strict=True)


# Bytes of the rows that a `BatchLoader` fetches at once.
_FETCHED = 32 * 2**20


def batch_loader(dataset: Any, params: dict[str, Any]) -> BatchLoader:
    """Answer the loader for a dataset, by the batch where the user has no collate of his own.

    A sampler of the user's own orders the rows: they are not shuffled then.
    """
    params = dict(params)
    if params["batch_size"] == -1:
        params["batch_size"] = len(dataset)
    if "collate_fn" in params:
        dataset = by_rows(dataset)
    elif fetches_batches(dataset) and params["batch_size"] is not None:
        params["collate_fn"] = as_is
    if "batch_sampler" in params:
        del params["batch_size"]
    if "sampler" in params or "batch_sampler" in params:
        params.pop("shuffle", None)
    return BatchLoader(dataset, **params)


def _unwrap(dataset: Any, rows: Any) -> tuple[Any, Any]:
    """Answer the dataset that one is a subset of, and where in it some rows are."""
    while type(dataset) is Subset:
        dataset, rows = dataset.dataset, np.asarray(dataset.indices)[rows]
    return dataset, rows


def _take(data: Any, rows: np.ndarray, indexing: Any) -> Any:
    """Answer some rows; of a table, without the checks that scikit-learn makes each time."""
    if type(data) is np.ndarray or isinstance(data, Tensor):
        return data[rows]
    data = multi_indexing(data, rows, indexing)
    return data.toarray() if sparse.issparse(data) else data


def _as_tensors(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {name: _as_tensors(part) for name, part in data.items()}
    if isinstance(data, list | tuple) and not np.isscalar(data[0]):
        return [_as_tensors(part) for part in data]
    return torch.as_tensor(np.asarray(data) if not isinstance(data, Tensor) else data)


def as_is(batch: Any) -> Any:
    """Answer the batch unchanged: the collate function for whole batches."""
    return batch


def fetches_batches(dataset: Any) -> bool:
    """Tell whether a dataset, or the one it is a subset of, is a `BatchDataset`."""
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return isinstance(dataset, BatchDataset)


def by_rows(dataset: Any) -> Any:
    """Answer the dataset with its rows fetched one by one, as a user's own collate expects."""
    if not fetches_batches(dataset):
        return dataset
    dataset = copy(dataset)
    if isinstance(dataset, Subset):
        dataset.dataset = by_rows(dataset.dataset)
    else:
        vars(dataset)["__getitems__"] = None  # torch's data loader looks here first
    return dataset


def is_table(X: Any) -> bool:
    """Tell whether X is to be validated as scikit-learn does.

    Everything else is skorch's: datasets, tensors, mappings, and lists of several inputs.
    """
    if sparse.issparse(X) or isinstance(X, np.ndarray):  # scipy's dok_array is a Mapping
        return True
    if isinstance(X, torch.utils.data.Dataset | Tensor | Mapping):
        return False
    if isinstance(X, list | tuple) and len(X):
        return not (isinstance(X[0], Tensor) or (hasattr(X[0], "shape") and np.ndim(X[0]) > 0))
    return True


def is_plain_table(X: Any) -> bool:
    """Tell whether scikit-learn's validation, which takes longer than one row, has nothing to do.

    It answers floats as they are; all else, and every error, is left to it.
    """
    if type(X) is not np.ndarray or X.ndim != 2 or X.dtype not in _FLOATS or 0 in X.shape:
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(X.sum()))


_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def first_output(output):
    """Answer the prediction among the outputs of a net: the first one."""
    return output[0] if isinstance(output, tuple | list) else output


def takes_columns(module: Any, X: Any) -> bool:
    """Tell whether the module's ``forward`` takes the columns of the frame X by their names."""
    if not hasattr(X, "columns") or not hasattr(module, "forward"):
        return False
    return set(map(str, X.columns)) <= set(signature(module.forward).parameters)


def cast(X: np.ndarray, module: nn.Module) -> np.ndarray:
    """Cast a validated array to the dtype of a module's parameters.

    Integers stay integers if the module has an embedding to look them up in.
    """
    if X.dtype.kind in "iu" and _has_embedding(module):
        dtype: np.dtype[Any] = np.dtype(np.int64)
    else:
        floats = (p.dtype for p in module.parameters() if p.is_floating_point())
        # numpy knows no bfloat16: such a module gets single precision and casts for itself.
        dtype = np.dtype(_NUMPY_DTYPES.get(next(floats, torch.float32), np.float32))
    with np.errstate(over="ignore"):
        narrow = np.require(X, dtype=dtype, requirements=["C", "W"])
    if narrow.dtype.itemsize < X.dtype.itemsize and not np.isfinite(narrow).all():
        raise ValueError(
            f"the values of X must fit into the net's {narrow.dtype}. Got a largest magnitude of "
            f"{float(np.abs(X).max())!r}. Scale X, or give the net parameters of higher precision."
        )
    return narrow


_NUMPY_DTYPES: dict[torch.dtype, type] = {torch.float64: np.float64, torch.float16: np.float16}


def _has_embedding(module: nn.Module) -> bool:
    return any(isinstance(m, nn.Embedding | nn.EmbeddingBag) for m in module.modules())
