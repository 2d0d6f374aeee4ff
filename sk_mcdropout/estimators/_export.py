"""Mean and standard deviation of a fitted estimator as one graph, for programs without it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from sk_mcdropout.predictive import NormalDistribution
from sk_mcdropout.sampling import FrozenDraws

from ._cross_fitted import CrossFittedNets
from ._net import MCDropoutNet

__all__ = ["export"]

# How far the graph may be off, in the largest answer and in the largest mean: it adds up numbers in
# single precision in another order.
_OFF, _OFF_OF_MEAN = 1e-4, 1e-6
_NO_ROWS = (
    "`X` must be given where the estimator was not fitted to a table of numbers. Got None. Pass "
    "some rows, as to `predict`."
)


def export(estimator: Any, path: str | Path, X: Any = None) -> None:
    """Write a graph that predicts mean and standard deviation, as ONNX or as torch exports it.

    The graph takes raw rows, as `predict` does, and answers in the units of y: all that was learned
    is in it, scales, noise, calibration of the standard deviation, and the masks of the draws, so
    that it has the draws of the estimator. For other or more draws export again.

    Parameters
    ----------
    estimator : MCDropoutRegressor, MCDropoutClassifier or an ensemble of these
        A fitted estimator, on the CPU.
    path : str or Path
        The file, which is replaced: ``.onnx`` for ONNX, by packages onnx and onnxscript, or
        ``.pt2`` for `torch.export`. Its input is ``X``, of any number of rows, in the dtype of the
        net; its outputs are ``y_mean`` and ``y_std``, for classes ``proba`` and ``proba_std``, in
        double precision.
    X : array-like of shape (n_samples, n_features) or (n_samples, ...), default=None
        Some rows, by which the graph is made and held against the estimator; needed where these are
        no table of numbers. By default they are random.

    Raises
    ------
    NotImplementedError
        If the net cannot be in a graph: where rows are taken by themselves, where there is other
        randomness than masks, or where `torch.export` does not take the module, as that of torch
        2.6 does not take most; or if the graph does not predict what the estimator predicts.
    TypeError, ValueError
        If the estimator or the file is of another kind.

    Examples
    --------
    >>> import torch
    >>> from sklearn.datasets import load_diabetes
    >>> from sk_mcdropout import MCDropoutRegressor, export
    >>> X, y = load_diabetes(return_X_y=True)
    >>> net = MCDropoutRegressor(max_epochs=10, random_state=0).fit(X, y)
    >>> export(net, path := getfixture("tmp_path") / "net.pt2")
    >>> mean, std = torch.export.load(path).module()(torch.tensor(X[:5], dtype=torch.float32))
    >>> mean.shape, std.shape
    (torch.Size([5]), torch.Size([5]))
    """
    if not isinstance(estimator, MCDropoutNet | CrossFittedNets):
        raise TypeError(
            "`estimator` must be one of this package. Got a "
            f"{type(estimator).__name__}. Pass the last step of a pipeline, or the best estimator "
            "of a search; what comes before it is not in the graph."
        )
    path = Path(path)
    if path.suffix not in _WRITERS:
        raise ValueError(
            f"`path` must end in one of {sorted(_WRITERS)}. Got {str(path)!r}. Name the file so."
        )
    check_is_fitted(estimator)
    if path.suffix == ".onnx":
        _check_onnx()
    rows = _some_rows(estimator) if X is None else X
    distribution = estimator._predictive(rows)
    if isinstance(distribution, NormalDistribution):
        raise NotImplementedError(
            "`strategy` must be 'auto' to be exported. Got 'moments', which has no draws. Call "
            "`set_params(strategy='auto')`."
        )
    graph = _graph_of(distribution, X)
    x, expected = graph.draws.example, distribution.mean_and_std()
    program = _trace(graph, x)
    _check([part.numpy() for part in program.module()(x)], expected, "torch.export")
    names = ("proba", "proba_std") if is_classifier(estimator) else ("y_mean", "y_std")
    _WRITERS[path.suffix](program, path, names, x, expected)


class _MeanAndStd(nn.Module):
    """What an estimator predicts for its rows, from the draws to the units of y."""

    def __init__(self, distribution: Any) -> None:
        super().__init__()
        self.draws = FrozenDraws(distribution._draws)
        self.moments_of = distribution.moments_of
        self.training = False

    def forward(self, X: Tensor) -> tuple[Tensor, Tensor]:
        return self.moments_of(self.draws(X).detach())


def _graph_of(distribution: Any, X: Any) -> _MeanAndStd:
    try:
        return _MeanAndStd(distribution)
    except NotImplementedError:
        raise
    except RuntimeError as error:
        if X is None:  # the net is for rows of another kind
            raise ValueError(_NO_ROWS) from error
        raise


def _some_rows(estimator: Any) -> Any:
    """Return some random rows of a table, of the width that was fitted."""
    if not hasattr(estimator, "n_features_in_"):
        raise ValueError(_NO_ROWS)
    rows = np.random.default_rng(0).normal(size=(3, estimator.n_features_in_))
    names = getattr(estimator, "feature_names_in_", None)
    return rows if names is None else _frame(rows, names)


def _frame(rows: np.ndarray, names: np.ndarray) -> Any:
    import pandas

    return pandas.DataFrame(rows, columns=names)


def _trace(graph: _MeanAndStd, x: Any) -> ExportedProgram:
    if not isinstance(x, Tensor) or x.device.type != "cpu":
        got = f"a tensor on {x.device}" if isinstance(x, Tensor) else f"a {type(x).__name__}"
        raise NotImplementedError(
            f"`X` must become one tensor on the CPU to be exported. Got {got}. Save a net of a GPU "
            "and load it where there is none, or with `device='cpu'`; write a module of one input."
        )
    if len(x) == 1:  # of which exporters make a constant
        x = torch.cat([x, x])
    try:
        with graph.draws.held():
            rows = ({0: Dim("n_samples", min=1)},)
            program = torch.export.export(graph, (x,), dynamic_shapes=rows, strict=False)
            return program.run_decompositions({})
    except Exception as error:  # the exporter's own, of many kinds
        said = str(error).strip().partition("\n")[0]
        raise NotImplementedError(
            "the net must be one that `torch.export` takes, for any number of rows. Got "
            f"{type(error).__name__}: {said}. Write what it names without a look at values or "
            "sizes, or predict by the estimator."
        ) from error


def _check(actual: Any, expected: Any, by: str) -> None:
    """Refuse a graph that predicts something else than the estimator."""
    rounding = _OFF_OF_MEAN * np.abs(expected[0]).max()
    for one, other in zip(actual, expected, strict=True):
        off, largest = np.abs(one - other).max(), np.abs(other).max()
        if not off <= _OFF * largest + rounding:
            raise NotImplementedError(
                "the graph must predict what the estimator predicts. Got answers that are off by "
                f"{off:.2g} of {largest:.2g}, by {by}. Predict by the estimator."
            )


# -- formats -------------------------------------------------------------------------------------


def _write_pt2(program: ExportedProgram, path: Path, *_: Any) -> None:
    torch.export.save(program, path)


def _check_onnx() -> None:
    try:
        import onnxscript  # noqa: F401 - by which torch writes it
    except ImportError as error:
        raise ImportError(
            "onnx and onnxscript must be installed to write ONNX. Got neither or one of them. "
            'Call `pip install "sk-mcdropout[onnx]"`, or export to `.pt2`.'
        ) from error


def _write_onnx(
    program: ExportedProgram, path: Path, names: tuple[str, str], x: Tensor, expected: Any
) -> None:
    written = torch.onnx.export(
        program, input_names=["X"], output_names=list(names), dynamo=True, verbose=False
    )
    written.save(path)  # type: ignore[union-attr]
    try:
        import onnxruntime
    except ImportError:  # it is what `torch.export` has made, which was held against the estimator
        return
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    try:
        _check(session.run(list(names), {"X": x.numpy()}), expected, "onnxruntime")
    except NotImplementedError:
        path.unlink()
        raise


_WRITERS: dict[str, Callable[..., None]] = {".onnx": _write_onnx, ".pt2": _write_pt2}
