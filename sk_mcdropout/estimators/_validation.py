"""Tables in: what is validated as scikit-learn does, and how it is cast for the net."""

from collections.abc import Mapping
from inspect import signature
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from scipy import sparse
from sklearn.utils._param_validation import (
    Interval,
    StrOptions,
    validate_parameter_constraints,
)
from torch import Tensor, nn

__all__ = [
    "TABLE",
    "Integral",
    "Interval",
    "Real",
    "StrOptions",
    "cast",
    "check_params",
    "check_shares",
    "first_output",
    "is_plain_table",
    "is_table",
    "takes_columns",
]

# How scikit-learn is to validate a table; images and sequences have more than two axes.
TABLE: dict[str, Any] = {"dtype": "numeric", "allow_nd": True}


def is_table(X: Any) -> bool:
    """Return whether X is validated as a scikit-learn table.

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
    """Return whether scikit-learn's validation, slower than predicting a row, has nothing to do.

    It returns floats as they are; all else, and every error, is left to it.
    """
    if type(X) is not np.ndarray or X.ndim != 2 or X.dtype not in _FLOATS or 0 in X.shape:
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(X.sum()))


_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def first_output(output):
    """Return the prediction among the outputs of a net: the first one."""
    return output[0] if isinstance(output, tuple | list) else output


def takes_columns(module: Any, X: Any) -> bool:
    """Return whether the module's ``forward`` takes the columns of the frame X by their names."""
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


def check_params(constraints: dict[str, Any], params: dict[str, Any], caller: str) -> None:
    """Check parameters against a table of constraints, in scikit-learn's words."""
    validate_parameter_constraints(constraints, params, caller)


def check_shares(name: str, values: Any) -> np.ndarray:
    """Return shares, one or several, as numbers in double precision that lie in (0, 1)."""
    shares = np.asarray(values, dtype=np.float64)
    if shares.ndim > 1 or not ((shares > 0) & (shares < 1)).all():
        raise ValueError(f"`{name}` must lie in (0, 1). Got {shares.tolist()!r}.")
    return shares
