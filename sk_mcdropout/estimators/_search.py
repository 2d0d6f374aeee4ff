"""The settings that a cross-fitted ensemble tries, and the table of their scores."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.special import logsumexp
from scipy.stats import rankdata
from skorch.utils import multi_indexing

__all__ = [
    "Fold",
    "Setting",
    "best_of",
    "default_grid",
    "folds_of",
    "pool_of",
    "results_of",
]

_LEAST_GAIN = 1e-3  # nats for each row, that one more setting in a pool has to bring


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
    learners: list[Any]
    errors: list[ValueError | None] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    score_times: list[float] = field(default_factory=list)
    log_densities: list[np.ndarray] = field(default_factory=list)

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

    def score(
        self,
        scorer: Any,
        log_densities: Callable[[Any, Any, np.ndarray], np.ndarray],
        folds: Sequence[Fold],
        **params: Any,
    ) -> None:
        """Score the estimator of each fold on its held-out rows; NaN where that cannot be done.

        Without a scorer the score is the mean log density, and the rows keep theirs.
        """
        for learner, fold in zip(self.learners, folds, strict=True):
            begin = perf_counter()
            weights = {} if fold.weights is None else {"sample_weight": fold.weights}
            own = {name: np.asarray(value)[fold.rows] for name, value in params.items()}
            value = np.nan
            if self.is_whole:
                try:
                    if scorer is None:
                        self.log_densities.append(log_densities(learner, fold.X, fold.y))
                        value = float(np.average(self.log_densities[-1], weights=fold.weights))
                    else:
                        value = float(scorer(learner, fold.X, fold.y, **weights, **own))
                except ValueError as error:
                    self.errors.append(error)
            self.scores.append(value)
            self.score_times.append(perf_counter() - begin)


def default_grid(
    estimator: Any, rates: Sequence[float], decays: Sequence[float | None]
) -> list[dict[str, list[Any]]]:
    """Return the settings to try: rates, and for the default net its embedding and its decay.

    What the estimator was given is left as it is.

    Parameters
    ----------
    estimator : MCDropoutNet
        The net.
    rates : sequence of float
        The rates of dropout.
    decays : sequence of (float or None)
        Decays of the weights; None for that of the estimator.

    Returns
    -------
    list of dict
        The settings, as ``GridSearchCV`` takes them.
    """
    given = vars(estimator)
    grid: dict[str, list[Any]] = {}
    if estimator.dropout is None and "module__dropout" not in given:
        grid["dropout"] = list(rates)
    if estimator._is_default_net() and "module__embedding" not in given:
        grid["module__embedding"] = [None, "periodic"]
    has_a_decay = estimator._is_default_net() and estimator.optimizer is torch.optim.AdamW
    if not has_a_decay or "optimizer__weight_decay" in given:
        return [grid]
    return [
        grid if decay is None else {**grid, "optimizer__weight_decay": [decay]} for decay in decays
    ]


def best_of(settings: Sequence[Setting]) -> int:
    """Return the place of the highest mean score, the first of equal ones."""
    means = np.array([np.mean(setting.scores) for setting in settings])
    if np.isnan(means).all():
        raise next(error for setting in settings for error in setting.errors if error is not None)
    return int(np.nanargmax(means))


def pool_of(settings: Sequence[Setting], first: Setting, folds: Sequence[Fold]) -> list[Setting]:
    """Return the settings whose nets, pooled, make the held-out rows likeliest: greedily.

    Each in turn is the one that brings most, as long as one brings anything.

    Parameters
    ----------
    settings : sequence of Setting
        The settings that may be added, with the log densities of their nets at the held-out rows.
    first : Setting
        The best one.
    folds : sequence of Fold
        The folds.

    Returns
    -------
    list of Setting
        The best setting, and those that were added to it; it alone where the scores are not log
        densities.

    References
    ----------
    Caruana, Niculescu-Mizil, Crew & Ksikes (2004), "Ensemble selection from libraries of models",
    ICML; Wenzel, Snoek, Tran & Jenatton (2020), "Hyperparameter ensembles for robustness and
    uncertainty quantification", NeurIPS, which pools nets of several settings in this way.
    """
    pool = [first]
    known = [other for other in settings if len(other.log_densities) == len(folds)]
    left = [other for other in known if other is not first]
    so_far = _pooled_score(pool, folds) if left else np.nan
    while left:
        scores = [_pooled_score([*pool, other], folds) for other in left]
        if not max(scores) > so_far + _LEAST_GAIN:
            break
        so_far = max(scores)
        pool.append(left.pop(int(np.argmax(scores))))
    return pool


def _pooled_score(pool: Sequence[Setting], folds: Sequence[Fold]) -> float:
    """Return the mean over the folds of the log density of the nets of some settings, pooled."""
    scores = []
    for k, fold in enumerate(folds):
        each = [setting.log_densities[k] for setting in pool]
        pooled = logsumexp(each, axis=0) - np.log(len(each))
        scores.append(np.average(pooled, weights=fold.weights))
    return float(np.mean(scores))


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
