"""The settings that a cross-fitted ensemble tries, and the table of their scores."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import rankdata
from skorch.utils import multi_indexing

__all__ = ["Fold", "Setting", "best_of", "default_grid", "folds_of", "log_density", "results_of"]

_RATES = (0.005, 0.02, 0.05, 0.1, 0.2)


class Fold(NamedTuple):
    """The rows of a fold, held out, and the rows that its nets are trained on."""

    rows: np.ndarray
    X: Any
    y: np.ndarray
    weights: np.ndarray | None
    X_train: Any
    y_train: np.ndarray
    weights_train: np.ndarray | None

    @property
    def training(self) -> tuple[Any, np.ndarray, np.ndarray | None]:
        """The rows to train on, their targets and weights."""
        return self.X_train, self.y_train, self.weights_train


def folds_of(
    X: Any, y: np.ndarray, weights: np.ndarray | None, splits: Sequence[tuple[Any, Any]]
) -> list[Fold]:
    """Return the folds that a splitter has made.

    Parameters
    ----------
    X : array, frame, sparse matrix, or mapping or list of these
        The inputs.
    y : ndarray of shape (n_samples, ...)
        The targets.
    weights : ndarray of shape (n_samples,) or None
        The weights of the rows.
    splits : sequence of (train, test)
        The places of the rows to train on and of those held out.

    Returns
    -------
    list of Fold
        The folds.
    """
    folds = []
    for train, test in splits:
        parts = [
            (multi_indexing(X, rows), y[rows], None if weights is None else weights[rows])
            for rows in (test, train)
        ]
        if weights is not None and not weights[test].any():
            raise ValueError(
                "`sample_weight` must be above 0 for some row of each fold. Got a fold of "
                f"{len(test)} rows of weight 0. Take fewer folds, or leave these rows out."
            )
        folds.append(Fold(np.arange(len(y))[test], *parts[0], *parts[1]))
    return folds


@dataclass
class Setting:
    """Parameters that are tried, with the estimator of each fold, and their scores."""

    params: dict[str, Any]
    noise: Any
    learners: list[Any]
    errors: list[ValueError | None] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    score_times: list[float] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether all nets were trained."""
        return all(hasattr(learner, "module_") for learner in self.learners)

    @property
    def fit_times(self) -> list[float]:
        """Seconds of each training, for a net of a stack its share."""
        return [
            sum(learner.history[:, "dur"]) if hasattr(learner, "module_") else np.nan
            for learner in self.learners
        ]

    def know_noise(self, noise_std: np.ndarray) -> None:
        """Let the estimators of all folds know the noise that was found."""
        for learner in self.learners:
            learner.set_params(noise="estimate").noise_std_ = noise_std

    def score(self, scorer: Any, folds: Sequence[Fold], **params: Any) -> None:
        """Score the estimator of each fold on its held-out rows; NaN where that cannot be done."""
        for learner, fold in zip(self.learners, folds, strict=True):
            begin = perf_counter()
            weights = {} if fold.weights is None else {"sample_weight": fold.weights}
            own = {name: np.asarray(value)[fold.rows] for name, value in params.items()}
            value = np.nan
            if self.is_whole:
                try:
                    value = float(scorer(learner, fold.X, fold.y, **weights, **own))
                except ValueError as error:
                    self.errors.append(error)
            self.scores.append(value)
            self.score_times.append(perf_counter() - begin)


def default_grid(estimator: Any) -> dict[str, list[Any]]:
    """Return the settings to try: rates, and for the default net with and without embedding.

    What the estimator was given is left as it is.
    """
    given = vars(estimator)
    grid: dict[str, list[Any]] = {}
    if estimator.dropout is None and "module__dropout" not in given:
        grid["dropout"] = list(_RATES)
    if estimator._is_default_net() and "module__embedding" not in given:
        grid["module__embedding"] = [None, "periodic"]
    return grid


def log_density(
    learner: Any, X: Any, y: np.ndarray, sample_weight: np.ndarray | None = None
) -> float:
    """Compute the mean log density at held-out y: of the mixture, without noise of the normal."""
    distribution = "mixture" if learner._likelihood().has_noise else "normal"
    return float(np.average(learner.log_prob(X, y, distribution), weights=sample_weight))


def best_of(settings: Sequence[Setting]) -> int:
    """Return the place of the highest mean score, the first of equal ones."""
    means = np.array([np.mean(setting.scores) for setting in settings])
    if np.isnan(means).all():
        raise next(error for setting in settings for error in setting.errors if error is not None)
    return int(np.nanargmax(means))


def results_of(settings: Sequence[Setting]) -> dict[str, Any]:
    """Return the table of all settings in the form of ``GridSearchCV.cv_results_``."""
    results: dict[str, Any] = {}
    for name in ("fit", "score"):
        seconds = np.array([getattr(setting, f"{name}_times") for setting in settings])
        results[f"mean_{name}_time"] = seconds.mean(axis=1)
        results[f"std_{name}_time"] = seconds.std(axis=1)
    for name in sorted({name for setting in settings for name in setting.params}):
        results[f"param_{name}"] = _column(name, [setting.params for setting in settings])
    results["params"] = [setting.params for setting in settings]
    scores = np.array([setting.scores for setting in settings])
    for fold, of_fold in enumerate(scores.T):
        results[f"split{fold}_test_score"] = of_fold
    mean = scores.mean(axis=1)
    results["mean_test_score"] = mean
    results["std_test_score"] = scores.std(axis=1)
    worst_last = -np.nan_to_num(mean, nan=np.nanmin(mean) - 1)
    results["rank_test_score"] = rankdata(worst_last, method="min").astype(np.int32)
    return results


def _column(name: str, params: Sequence[dict[str, Any]]) -> np.ma.MaskedArray:
    """Return the values of a parameter, masked where a setting has none."""
    column = np.ma.MaskedArray(np.empty(len(params), dtype=object), mask=True)
    for place, setting in enumerate(params):
        if name in setting:
            column[place] = setting[name]
    return column
