"""Predictive distributions of dask arrays and frames, which answer lazily, block by block.

An answer is that of the model as it was when it was asked. The model is one task of the graph, on
which those of the blocks depend, so that a worker gets it once.
"""

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any, NoReturn
from uuid import uuid4

import numpy as np

from sk_mcdropout.predictive import ClassUncertainty, seed_of

from ._table import frame_of

__all__ = ["ClassesByBlocks", "RegressionByBlocks", "stand_in"]


def stand_in(X: Any) -> Any:
    """Return one made-up row of the columns and types of a dask array or frame.

    Parameters
    ----------
    X : dask array or dask dataframe
        The rows.

    Returns
    -------
    ndarray or pandas.DataFrame of one row
        The row, for what can be told of X before it is computed.

    Raises
    ------
    TypeError
        If X is another collection of dask's.
    ValueError
        If the number of columns is not known.
    """
    if _is_frame(X):
        return X._meta_nonempty.iloc[:1]
    if not hasattr(X, "_meta"):
        raise TypeError(
            "X must be a dask array or a dask dataframe to be predicted block by block. Got a "
            f"{type(X).__module__}.{type(X).__name__}. Make one of it, or call `X.compute()`."
        )
    if np.isnan(X.shape[1:]).any():
        raise ValueError(
            "X must have a known number of columns, the same in all blocks. Got the shape "
            f"{X.shape}. Call `X.compute_chunk_sizes()`."
        )
    return np.zeros((1, *X.shape[1:]), dtype=X.dtype)


class _ByBlocks:
    """What the distributions of numbers and of classes have in common.

    Parameters
    ----------
    model : estimator
        What has ``_predictive``, for the rows of a block.
    X : dask array or dask dataframe
        The rows.
    like : PredictiveDistribution or CategoricalDistribution
        The distribution of a made-up row, which is asked first: so what is wrong with a question is
        said at once, and the shape and the type of the answer are known.
    **options : dict
        What ``_predictive`` is told.
    """

    def __init__(self, model: Any, X: Any, like: Any, **options: Any) -> None:
        self._model, self._X, self._like, self._options = model, X, like, options

    def _ask(self, question: str, *args: Any, axis: int = 0) -> Any:
        """Return the answer to a question, an array or several, with the rows on this axis."""
        like = getattr(self._like, question)(*args)
        parts = self._parts(like, question, args, axis)
        return tuple(parts[k] for k in range(len(like))) if isinstance(like, tuple) else parts[0]

    def _parts(self, like: Any, question: str, args: tuple, axis: int) -> Any:
        """Return an answer as one dask array, for which the draws are made once: its parts first.

        Parameters
        ----------
        like : ndarray or tuple of ndarray
            The answer for one row.
        question : str
            Name of the method of the distribution.
        args : tuple
            Its arguments.
        axis : int
            The axis of the rows in the arrays.

        Returns
        -------
        dask array of shape (n_parts, ...)
            The arrays.
        """
        import dask.array as da

        none = _stacked(like, axis)[:0]
        name = f"{question}-{uuid4().hex}"
        answer = partial(
            _answer, options=self._options, question=question, args=args, axis=axis, none=none
        )
        model = self._delayed_model()
        if _is_frame(self._X):
            answers = self._X.map_partitions(
                answer, model, meta=none, enforce_metadata=False, token=name
            )
        else:
            rows = self._whole_rows()
            answers = da.map_blocks(
                answer,
                rows,
                model=model,
                drop_axis=list(range(1, rows.ndim)),
                new_axis=list(range(1, none.ndim)),
                chunks=(rows.chunks[0], *((size,) for size in none.shape[1:])),
                meta=none,
                name=name,
            )
        return da.moveaxis(answers, 0, axis + 1)

    def frame(self, columns: Callable[[Any], dict[str, np.ndarray]]) -> Any:
        """Return a dask dataframe of the columns that a function makes of a distribution."""
        import dask.dataframe as dd
        from dask import delayed

        none = frame_of(columns(self._like), stand_in(self._X))[:0]
        table = partial(_table, options=self._options, columns=columns, none=none)
        model = self._delayed_model()
        if _is_frame(self._X):
            return self._X.map_partitions(table, model, meta=none)
        rows = self._whole_rows()
        sizes = np.array(rows.chunks[0])
        starts = np.concatenate([[0], np.nan_to_num(sizes.cumsum())]).astype(int)
        divisions = None if np.isnan(sizes).any() else (*starts[:-1].tolist(), int(starts[-1]) - 1)
        blocks = zip(rows.to_delayed().ravel(), starts.tolist(), strict=False)
        parts = [delayed(table)(block, model, start) for block, start in blocks]
        return dd.from_delayed(parts, meta=none, divisions=divisions, verify_meta=False)

    def _delayed_model(self) -> Any:
        from dask import delayed

        name = f"{type(self._model).__name__}-{uuid4().hex}"
        return delayed(deepcopy(self._model), name=name, traverse=False)

    def _whole_rows(self) -> Any:
        return self._X.rechunk(dict.fromkeys(range(1, self._X.ndim), -1))


class RegressionByBlocks(_ByBlocks):
    """Predictive distribution of a regressor for the rows of a dask array or frame.

    Its methods are those of `PredictiveDistribution`, and return dask arrays.
    """

    def mean(self) -> Any:
        """Compute the mean; see `PredictiveDistribution.mean`."""
        return self._ask("mean")

    def std(self) -> Any:
        """Compute the standard deviation; see `PredictiveDistribution.std`."""
        return self._ask("std")

    def var(self) -> Any:
        """Compute the variance; see `PredictiveDistribution.var`."""
        return self._ask("var")

    def epistemic_std(self) -> Any:
        """Compute the epistemic part; see `PredictiveDistribution.epistemic_std`."""
        return self._ask("epistemic_std")

    def aleatoric_std(self) -> Any:
        """Compute the aleatoric part; see `PredictiveDistribution.aleatoric_std`."""
        return self._ask("aleatoric_std")

    def mean_and_std(self) -> Any:
        """Compute mean and std at once; see `PredictiveDistribution.mean_and_std`."""
        return self._ask("mean_and_std")

    def decompose(self) -> Any:
        """Compute mean and both parts; see `PredictiveDistribution.decompose`."""
        return self._ask("decompose")

    def cov(self) -> NoReturn:
        """Refuse: a covariance is between all rows."""
        self.mean_and_cov()

    def mean_and_cov(self) -> NoReturn:
        """Refuse: a covariance is between all rows."""
        raise ValueError(
            "X must be in memory for a covariance, which is between all rows. Got rows in blocks. "
            "Call `X.compute()`, or take the covariance of `draws(X)`, whose rows are in blocks, "
            "for those that matter."
        )

    def functions(self, size: int | None = None, random_state: Any = None) -> Any:
        """Draw functions, the same in all blocks; see `PredictiveDistribution.functions`."""
        seed = None if random_state is None else seed_of(random_state, 0)
        return self._ask("functions", size, seed, axis=1)

    def rvs(self, size: int = 1, random_state: Any = None) -> Any:
        """Draw functions, where there is no noise; see `PredictiveDistribution.rvs`."""
        if self._like.aleatoric_std().any():
            raise ValueError(
                "`noise` must be False to draw by blocks: the noise of a row hangs on how many "
                "there are. Got True, and rows in blocks. Draw functions, by "
                "`sample_y(X, noise=False)`, and add noise of the std that "
                "`predict_decomposed(X)` returns last."
            )
        return self.functions(size, random_state)

    def ppf(self, q: Any) -> Any:
        """Compute quantiles; see `PredictiveDistribution.ppf`."""
        return self._ask("ppf", q)

    def interval(self, confidence: Any = 0.9) -> Any:
        """Compute central intervals; see `PredictiveDistribution.interval`."""
        return self._ask("interval", confidence)

    def ends(self, confidence: Any) -> Any:
        """Compute the ends of intervals as one array, which these are on the last axis of."""
        import dask.array as da

        like = self._like.interval(confidence)
        return da.moveaxis(self._parts(like, "interval", (confidence,), 0), 0, -1)

    def cdf(self, y: Any) -> Any:
        """Compute the probability of a new y up to a number; see `PredictiveDistribution.cdf`."""
        return self._ask("cdf", _one_number(y))

    def logpdf(self, y: Any) -> Any:
        """Compute the log density at a number; see `PredictiveDistribution.logpdf`."""
        return self._ask("logpdf", _one_number(y))

    def normal_logpdf(self, y: Any) -> Any:
        """Compute that of a normal; see `PredictiveDistribution.normal_logpdf`."""
        return self._ask("normal_logpdf", _one_number(y))


class ClassesByBlocks(_ByBlocks):
    """Predictive distribution of a classifier for the rows of a dask array or frame.

    Its methods are those of `CategoricalDistribution`, and return dask arrays.
    """

    def mean(self) -> Any:
        """Compute the mean probabilities; see `CategoricalDistribution.mean`."""
        return self._ask("mean")

    def mean_and_std(self) -> Any:
        """Compute mean and std; see `CategoricalDistribution.mean_and_std`."""
        return self._ask("mean_and_std")

    def draws(self) -> Any:
        """Return the probabilities of each draw; see `CategoricalDistribution.draws`."""
        return self._ask("draws", axis=1)

    def uncertainty(self) -> ClassUncertainty:
        """Compute how unsure each row is; see `CategoricalDistribution.uncertainty`."""
        return ClassUncertainty(*self._ask("uncertainty"))


# -- what is done for each block ---------------------------------------------------------------


def _answer(
    block: Any,
    model: Any,
    *,
    options: dict[str, Any],
    question: str,
    args: tuple,
    axis: int,
    none: np.ndarray,
) -> np.ndarray:
    if not block.shape[0]:
        return none
    return _stacked(getattr(model._predictive(block, **options), question)(*args), axis)


def _table(
    block: Any, model: Any, start: int = 0, *, options: dict[str, Any], columns: Any, none: Any
) -> Any:
    if not block.shape[0]:
        return none
    frame = frame_of(columns(model._predictive(block, **options)), block)
    return frame.set_index(frame.index + start) if start else frame


def _stacked(answer: Any, axis: int) -> np.ndarray:
    """Return one array of an answer: its rows, then its parts, then what a row has of each."""
    return np.moveaxis(np.stack(answer if isinstance(answer, tuple) else [answer]), axis + 1, 0)


def _is_frame(X: Any) -> bool:
    return hasattr(X, "_meta_nonempty")  # which no Delayed has, as it has each public name


def _one_number(y: Any) -> Any:
    if np.ndim(y):
        raise ValueError(
            "y must be one number where X is in blocks. Got a y with a number for each row. Map a "
            "function over the blocks of both, by `dask.array.map_blocks`, or call `X.compute()`."
        )
    return y
