"""Ensembles of nets that are each trained without a fold, on which their settings are chosen."""

from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.metrics import check_scoring
from sklearn.model_selection import check_cv
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping
from sklearn.utils.validation import check_consistent_length, check_is_fitted
from skorch.dataset import get_len
from skorch.utils import is_dataset

from sk_mcdropout.sampling import MASK_LAWS

from ._cv_training import base_of, learner_of, routed_metadata, train, train_settings
from ._out_of_fold import pooled_draws
from ._parameters import refuse_params_of_nets
from ._refit import forget_warnings, note, warn_of_changes
from ._search import best_of, folds_of, pool_of, results_of
from ._showing import ShownWithDropouts
from ._together import Task
from ._validation import (
    Integral,
    Interval,
    StrOptions,
    check_is_data,
    check_params,
    is_table,
    seed_from,
    takes_columns,
    validated,
)
from ._versions import stamped, without_stamp
from ._weights import check_weights

__all__ = ["CrossFittedNets"]


class CrossFittedNets(ShownWithDropouts):
    """Base class: train a net for each setting and fold, and keep those of the best settings.

    A subclass says what its nets and its folds are, what the held-out rows tell, and predicts.
    """

    _NET: Any  # the class of the nets
    _FOLDS: Any  # the splitter that a number of folds stands for
    _GIVEN_HERE: dict[str, Any] = {}  # parameters of the nets that the ensemble has, and no values

    _parameter_constraints: dict[str, Any] = {
        "param_grid": [dict, list, None],
        "cv": ["cv_object"],
        "scoring": [str, callable, None],
        "ensemble": ["boolean"],
        "members": [Interval(Integral, 1, None, closed="left")],
        "n_draws": [Interval(Integral, 1, None, closed="left")],
        "masks": [StrOptions(set(MASK_LAWS))],
        "random_state": ["random_state"],
        "n_jobs": [Integral, None],
        "verbose": ["verbose"],
    }

    # What subclasses declare in their signatures.
    cv: Any
    scoring: Any
    ensemble: bool
    members: int
    n_draws: int
    masks: str
    random_state: Any
    verbose: int

    def __new__(cls, *args, **params):
        refuse_params_of_nets(cls, cls._NET, params)
        return super().__new__(cls)

    def __getstate__(self):
        return stamped(super().__getstate__())

    def __setstate__(self, state):
        super().__setstate__(without_stamp(self, state))

    def _shown_sites(self):
        return self.estimators_[0].dropout_sites_ if "estimators_" in vars(self) else None

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def set_params(self, **params):
        """Set parameters, as scikit-learn does; those of the nets by ``estimator__...``.

        Parameters
        ----------
        **params : dict
            The parameters.

        Returns
        -------
        self : object
            The estimator.
        """
        given = [name for name in params if not name.startswith("estimator__")]
        refuse_params_of_nets(type(self), self._NET, given)
        return super().set_params(**params)

    def get_metadata_routing(self):
        """Return what metadata `fit` wants, and where it goes: to the splitter and the scorer.

        Returns
        -------
        MetadataRouter
            The routing.
        """
        to = MethodMapping().add
        router = MetadataRouter(owner=self).add_self_request(self)
        router.add(splitter=self.cv, method_mapping=to(caller="fit", callee="split"))
        to = MethodMapping().add
        scorer = self._scorer(base_of(self))
        return router.add(scorer=scorer, method_mapping=to(caller="fit", callee="score"))

    # -- fitting -----------------------------------------------------------------------------

    def fit(self, X, y, sample_weight=None, **params):
        """Train a net for each setting and fold, and keep those of the best setting.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features) or (n_samples, ...)
            Training inputs; a mapping or list of inputs goes to the nets as it is.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets; for a classifier the class of each row.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, at least 0, in training, scores and what else is learned.
        **params : dict
            ``groups`` for the splitter; with metadata routing whatever splitter and scorer ask for.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If the data or the parameters are not as they must be, or each setting fails.
        """
        before = vars(self).copy()
        try:
            self._fit(X, y, sample_weight, params)
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise
        return self

    def _fit(self, X, y, sample_weight, params):
        self._check_own_params()
        base = base_of(self)
        X, y = self._check_training_data(base, X, y)
        weights = None if sample_weight is None else check_weights(sample_weight, len(y))
        routed = routed_metadata(self, sample_weight, params)
        forget_warnings(self)
        self.seed_ = seed_from(self.random_state)
        folds = folds_of(X, y, weights, self._splits(y, routed.splitter.split))
        self.n_splits_ = len(folds)
        settings = train_settings(self, base, folds)
        scorer = self._scorer(base)
        for setting in settings:
            self._before_scores(setting, folds)
            setting.score(scorer, self._log_densities, folds, **routed.scorer.score)
        self.best_index_ = best_of(settings)
        self.cv_results_ = results_of(settings)
        best = settings[self.best_index_]
        self.best_params_, self.best_score_ = best.params, float(np.mean(best.scores))
        whole = [setting for setting in settings if setting.is_whole]
        alike = [setting for setting in whole if self._can_be_pooled(setting, best)]
        pool = pool_of(alike, best, folds) if self.ensemble else [best]
        self.pooled_params_ = [setting.params for setting in pool]
        self._keep(base, pool, folds, (X, y, weights))

    def _check_own_params(self):
        check_params(self._parameter_constraints, self.get_params(deep=False), type(self).__name__)

    def _check_training_data(self, base, X, y):
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None."
            )
        check_is_data(X, y)
        if is_dataset(X):
            raise TypeError(
                "X must be data that can be cut into folds, such as an array. Got a "
                f"{type(X).__name__}. Pass its arrays."
            )
        self._takes_table = is_table(X) and not takes_columns(base.module, X)
        if not self._takes_table:
            check_consistent_length(np.zeros(get_len(X)), y)
        return self._check_target(base, X, y)

    def _check_target(self, base, X, y):
        """Return the data, those of a table validated, and y as the nets are to get it."""
        raise NotImplementedError

    def _splits(self, y, params):
        rows = np.zeros(len(y))
        if isinstance(self.cv, Integral):
            folds = self._FOLDS(self.cv, shuffle=True, random_state=self.seed_)
            return list(folds.split(rows, y))
        return list(check_cv(self.cv, y, classifier=is_classifier(self)).split(rows, y, **params))

    def _scorer(self, base):
        return None if self.scoring is None else check_scoring(base, self.scoring)

    # -- settings ----------------------------------------------------------------------------

    def _default_grid(self, base):
        """Return the settings to try where none are given."""
        raise NotImplementedError

    def _params_of_net(self, params):
        """Return the parameters of a net of a setting, and those that all have in common."""
        raise NotImplementedError

    def _before_scores(self, setting, folds):
        """Learn what the nets of a setting must know before they are scored."""

    def _log_densities(self, learner, X, y):
        """Return the logarithm of the density, or probability, of y in each row."""
        raise NotImplementedError

    def _can_be_pooled(self, setting, best):
        """Return whether the nets of a setting may be pooled with those of the best one."""
        return True

    # -- training ----------------------------------------------------------------------------

    def _keep(self, base, pool, folds, data):
        """Train what is missing for the settings that stay, and learn from the held-out rows."""
        best, n_folds = pool[0], len(folds)
        nets = [learner for setting in pool for learner in setting.learners]
        for m in range(1, self.members):
            places = [(setting, k) for setting in pool for k in range(n_folds)]
            more = [learner_of(self, base, setting.params, k, m) for setting, k in places]
            rows = [folds[k].training for _, k in places]
            train(self, [Task(net, *some) for net, some in zip(more, rows, strict=True)])
            nets += more
        self.estimators_ = nets
        self._learn_from_held_out(best, folds, data)
        if not self.ensemble:
            self.estimators_ = [
                learner_of(self, base, best.params, n_folds, m) for m in range(self.members)
            ]
            train(self, [Task(net, *data) for net in self.estimators_])
        note(self, "calibration", "ensemble", *self._GIVEN_HERE)

    def _learn_from_held_out(self, best, folds, data):
        """Learn the prediction out of fold, and a calibration, from the nets of the folds."""
        raise NotImplementedError

    def _draws_of_folds(self, xs, n_draws):
        """Return for each fold the draws of its nets, for rows of its own."""
        n_folds = len(xs)
        return [self._pooled(self.estimators_[k::n_folds], x, n_draws) for k, x in enumerate(xs)]

    def _pooled(self, learners, X, n_draws):
        """Return the draws of some nets for some rows, pooled."""
        convert, verbose = self._conversions(learners), bool(self.verbose)
        return pooled_draws(learners, X, convert, n_draws, self.seed_, self.masks, verbose)

    def _conversions(self, learners):
        """Return for each net what brings its outputs to those that all have in common."""
        raise NotImplementedError

    # -- predicting --------------------------------------------------------------------------

    def _check_inputs(self, X):
        check_is_fitted(self, "estimators_")
        check_params(
            {name: self._parameter_constraints[name] for name in ("n_draws", "masks")},
            {"n_draws": self.n_draws, "masks": self.masks},
            type(self).__name__,
        )
        warn_of_changes(self)
        check_is_data(X)
        return validated(self, X, reset=False) if self._takes_table else X
