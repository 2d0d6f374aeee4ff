"""Tables in, tensors out: what is validated, how it is cast, how batches are fetched."""

from collections.abc import Mapping, Sequence
from copy import copy
from inspect import signature
from typing import Any

import numpy as np
import torch
from scipy import sparse
from skorch.dataset import Dataset
from skorch.utils import multi_indexing
from torch import Tensor, nn
from torch.utils.data import Subset

__all__ = [
    "BatchDataset",
    "OneBatch",
    "as_is",
    "by_rows",
    "cast",
    "fetches_batches",
    "is_table",
    "takes_columns",
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
    >>> from sk_mcdropout._data import BatchDataset
    >>> X, y = BatchDataset(np.zeros((5, 2)), np.arange(5)).__getitems__([0, 3])
    >>> X.shape, y
    (torch.Size([2, 2]), tensor([0, 3]))
    """

    def __getitems__(self, rows: Sequence[int]) -> tuple[Any, Any]:
        """Answer the inputs and targets of some rows; torch's data loader calls this."""
        X = self.X
        if self.X_is_ndframe:
            X = {name: X[name].values.reshape(-1, 1) for name in X}
        at = np.asarray(rows)
        X = multi_indexing(X, at, self.X_indexing)
        if sparse.issparse(X):
            X = X.toarray()
        y = torch.zeros(len(rows), 1) if self.y is None else self._target(at)
        return _as_tensors(X), _as_tensors(y)

    def _target(self, rows: np.ndarray) -> Any:
        return multi_indexing(self.y, rows, self.y_indexing)


class OneBatch(BatchDataset):
    """A batch in the place of a dataset, to be yielded whole by the net's iterator."""


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
