"""Tables in: what is validated as scikit-learn does, and how it is cast for the net."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
from sklearn.utils.validation import check_consistent_length, check_random_state, validate_data
from torch import Tensor, nn
from torch.utils.data import DataLoader

__all__ = [
    "Integral",
    "Interval",
    "Real",
    "StrOptions",
    "cast",
    "check_flat",
    "check_is_data",
    "check_params",
    "first_float",
    "floats_to",
    "is_half",
    "is_lazy",
    "is_plain_table",
    "is_table",
    "pair_of_a_dataset",
    "refuse_lazy",
    "rows_of_slices",
    "seed_from",
    "shape_said",
    "takes_columns",
    "validate_table",
    "validated",
]

# How scikit-learn is to validate a table; images and sequences have more than two axes.
_TABLE: dict[str, Any] = {"dtype": "numeric", "allow_nd": True, "accept_sparse": "csr"}


def is_table(X: Any) -> bool:
    """Return whether X is validated as a scikit-learn table.

    Everything else is skorch's: datasets, tensors, mappings, and lists of several inputs.
    """
    if sparse.issparse(X) or isinstance(X, np.ndarray):  # scipy's dok_array is a Mapping
        return True
    if isinstance(X, torch.utils.data.Dataset | Tensor | Mapping):
        return False
    if isinstance(X, list | tuple) and len(X) and hasattr(X[0], "shape"):
        return all(not isinstance(part, Tensor) and np.ndim(part) < 2 for part in X)
    return True


def is_lazy(X: Any) -> bool:
    """Return whether X is a collection of dask's, which is loaded then."""
    dask = sys.modules.get("dask.base")
    return dask is not None and dask.is_dask_collection(X)


def refuse_lazy(**data: Any) -> None:
    """Refuse collections of dask's, which would be computed without a word."""
    for name, values in data.items():
        if is_lazy(values):
            raise TypeError(
                f"`{name}` must be in memory to train, calibrate or score. Got a "
                f"{type(values).__module__}.{type(values).__name__}. Call `{name}.compute()`, if "
                "need be on a part of the rows; what is predicted may be larger."
            )


def check_is_data(X: Any, y: Any = None) -> None:
    """Refuse a loader, since the net makes its own of the data, and what is not computed yet."""
    refuse_lazy(X=X, y=y)
    if isinstance(X, DataLoader):
        raise TypeError(
            "X must be data or a dataset, of which the net makes its batches by itself. Got a "
            f"{type(X).__name__}. Pass its dataset, `loader.dataset`, and give the net "
            "`batch_size`."
        )


def rows_of_slices(data: Any) -> Any:
    """Return what a `SliceDataset` of skorch's takes from each row, as an array; else the data."""
    helper = sys.modules.get("skorch.helper")  # which loads pandas
    return np.asarray(data) if helper and isinstance(data, helper.SliceDataset) else data


def check_flat(shape: tuple[int, ...], params: Mapping[str, Any]) -> None:
    """Refuse images and the like for the default net, unless its parameters have its width."""
    if len(shape) > 2 and "n_features" not in params:
        raise ValueError(
            f"X must have two axes for the default net. Got the shape {tuple(shape)}. Flatten "
            "images and sequences, as `X.reshape(len(X), -1)` does, or give a `module` made for "
            "them, such as a convolutional one."
        )


def pair_of_a_dataset(dataset: Any) -> tuple[Any, Any]:
    """Return inputs and target of the first row of a dataset; refuse one without targets."""
    row = dataset[0]
    pair = isinstance(row, tuple | list) and len(row) == 2
    if not pair or getattr(dataset, "y", row) is None:
        length = f" of {len(row)}" if isinstance(row, tuple | list) else ""
        without = "without targets" if pair else f"whose rows are a {type(row).__name__}{length}"
        raise ValueError(
            "the rows of a dataset must be pairs of inputs and target. Got a "
            f"{type(dataset).__name__} {without}. Pass a dataset such as `TensorDataset(X, y)`."
        )
    return row[0], row[1]


def validate_table(estimator: Any, X: Any, y: Any, reset: bool = True) -> tuple[Any, Any]:
    """Return a table and its target, validated by scikit-learn; y may have more than two axes."""
    if getattr(y, "ndim", 0) > 2:
        check_consistent_length(X, y)
        return validated(estimator, X, reset=reset), y
    return validated(estimator, X, y, reset=reset, multi_output=True, y_numeric=True)


def validated(estimator: Any, *data: Any, **options: Any) -> Any:
    """Return a table, or a table and a target, validated by scikit-learn."""
    for name, values in zip("Xy", data, strict=False):
        if np.ma.is_masked(values):
            raise ValueError(
                f"{name} must have no masked values. Got {np.ma.count_masked(values)} of "
                f"{values.size}. Leave out their rows, or fill them, as `{name}.filled(0.0)` does."
            )
    try:
        return validate_data(estimator, *data, **_TABLE, **options)
    except ValueError as error:
        if "could not convert string" not in str(error):
            raise
        raise ValueError(
            f"X, and y of a regression, must hold numbers. Got words: {error}. Encode those of X, "
            "as by `OneHotEncoder` in a pipeline; for a y of classes take `MCDropoutClassifier`."
        ) from error


def seed_from(random_state: Any) -> int:
    """Return a seed; without a random state it is drawn from torch's global generator."""
    if random_state is None:
        return int(torch.randint(2**31 - 1, ()))
    return int(check_random_state(random_state).randint(2**31 - 1))


def is_plain_table(X: Any) -> bool:
    """Return whether scikit-learn's validation, slower than predicting a row, has nothing to do.

    It returns floats as they are; all else, and every error, is left to it.
    """
    if type(X) is not np.ndarray or X.ndim != 2 or X.dtype not in _FLOATS or 0 in X.shape:
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(X.sum()))


_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def takes_columns(module: Any, X: Any) -> bool:
    """Return whether the module's ``forward`` takes the columns of the frame X by their names.

    A frame whose only column has the name of the first parameter is a table of one column.
    """
    if not hasattr(X, "columns") or not hasattr(module, "forward"):
        return False
    columns = set(map(str, X.columns))
    parameters = list(signature(module.forward).parameters)[isinstance(module, type) :]
    return columns <= set(parameters) and columns != set(parameters[:1])


def cast(X: Any, module: nn.Module) -> Any:
    """Cast a validated array, a sparse one or a tensor to the dtype of a module's parameters.

    Integers stay integers if the module has an embedding to look them up in. Anything else is
    returned as it is.
    """
    if isinstance(X, Tensor):
        return _cast_tensor(X, module)
    if sparse.issparse(X):
        values = cast(X.data, module)
        return type(X)((values, X.indices, X.indptr), shape=X.shape)
    if not isinstance(X, np.ndarray):
        return X
    if X.dtype.kind in "iu" and _has_embedding(module):
        dtype: np.dtype[Any] = np.dtype(np.int64)
    else:
        # numpy knows no bfloat16: such a table is cast when it is a tensor.
        dtype = np.dtype(_NUMPY_DTYPES.get(_dtype_of(module), np.float32))
    if X.dtype == dtype and X.flags.carray:
        return X
    with np.errstate(over="ignore"):
        narrow = np.require(X, dtype=dtype, requirements=["C", "W"])
    if narrow.dtype.itemsize < X.dtype.itemsize and not np.isfinite(narrow).all():
        raise _too_large(str(narrow.dtype), float(np.abs(X).max()))
    return narrow


def _cast_tensor(x: Tensor, module: nn.Module) -> Tensor:
    if x.is_complex() or x.layout is not torch.strided:
        return x
    whole = not x.is_floating_point() and x.dtype is not torch.bool
    narrow = x.to(torch.int64 if whole and _has_embedding(module) else _dtype_of(module))
    if narrow.element_size() < x.element_size() and narrow.isinf().any() and not x.isinf().any():
        raise _too_large(str(narrow.dtype).removeprefix("torch."), float(x.abs().max()))
    return narrow


def _too_large(dtype: str, largest: float) -> ValueError:
    return ValueError(
        f"the values of X must fit into the net's {dtype}. Got a largest magnitude of "
        f"{largest!r}. Scale X, or give the net parameters of higher precision."
    )


_NUMPY_DTYPES: dict[torch.dtype, type] = {torch.float64: np.float64, torch.float16: np.float16}


def _dtype_of(module: nn.Module) -> torch.dtype:
    weights = first_float(module)
    return torch.float32 if weights is None else weights.dtype


def first_float(module: nn.Module) -> Tensor | None:
    """Return the first parameter of a module that holds floats, which tells its dtype."""
    return next((p for p in module.parameters() if p.is_floating_point()), None)


def is_half(dtype: torch.dtype) -> bool:
    """Return whether numbers of a dtype have half precision."""
    return dtype in (torch.bfloat16, torch.float16)


def floats_to(dtype: torch.dtype, x: Any) -> Any:
    """Cast the tensors of floats in the inputs of a net."""
    if isinstance(x, Tensor):
        return x.to(dtype) if x.is_floating_point() else x
    if isinstance(x, Mapping):
        return {name: floats_to(dtype, part) for name, part in x.items()}
    return [floats_to(dtype, part) for part in x] if isinstance(x, list) else x


def _has_embedding(module: nn.Module) -> bool:
    return any(isinstance(m, nn.Embedding | nn.EmbeddingBag) for m in module.modules())


def check_params(constraints: dict[str, Any], params: dict[str, Any], caller: str) -> None:
    """Check parameters against a table of constraints, in scikit-learn's words."""
    for name, value in params.items():
        if isinstance(value, bool | np.bool_) and not {"boolean", "verbose"} & _words(
            constraints[name]
        ):
            raise ValueError(
                f"`{name}` must not be a bool, which is no number. Got {value!r}. Write the number."
            )
    validate_parameter_constraints(constraints, params, caller)


def _words(kinds: list[Any]) -> set[str]:
    return {kind for kind in kinds if isinstance(kind, str)}


@contextmanager
def shape_said(x: Any) -> Iterator[None]:
    """Add to torch's errors about shapes of what shape the input was."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(x, Tensor) and "shape" in str(error):
            error.add_note(
                "the module must take X. Got an error of its own for an X of shape "
                f"{tuple(x.shape)}. Make its first layer for that many features."
            )
        raise
