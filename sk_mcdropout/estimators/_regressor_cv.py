"""Regression by a cross-fitted ensemble of nets, whose settings are searched on the way."""

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.metrics import check_scoring
from sklearn.model_selection import KFold, check_cv
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data
from skorch.dataset import get_len
from skorch.utils import is_dataset

from sk_mcdropout.predictive import (
    CALIBRATIONS,
    CrossConformalCalibration,
    CrossFittedDistribution,
    GaussianLikelihood,
)

from ._cv_training import base_of, learner_of, routed_metadata, train, train_settings
from ._noiseless import DistributionOfMean
from ._out_of_fold import (
    calibration_from,
    mean_out_of_fold,
    noise_out_of_fold,
    pooled_draws,
)
from ._predict import PredictiveRegressorMixin
from ._refit import forget_warnings, note, warn_of_changes
from ._regressor import MCDropoutRegressor
from ._search import best_of, folds_of, pool_of, results_of
from ._target import mean_and_scale, target_array
from ._together import Task
from ._validation import (
    TABLE,
    Integral,
    Interval,
    Real,
    StrOptions,
    check_is_data,
    check_params,
    is_table,
    seed_from,
    takes_columns,
    validate_table,
)
from ._weights import check_weights

__all__ = ["MCDropoutRegressorCV"]


class MCDropoutRegressorCV(PredictiveRegressorMixin, RegressorMixin, BaseEstimator):
    """Ensemble of dropout nets, each trained without a fold, with settings chosen on these folds.

    `fit` trains a net for each setting and fold, as one stack where it can. The rows that a net was
    not trained on tell how good its setting is. The nets of all folds of the best setting stay, and
    those of more settings as long as they make the held-out rows likelier together [1]_; their
    draws are pooled: each is still one function of X. Noise and calibration are learned from the
    same held-out rows, so that no row is spent.

    Parameters
    ----------
    estimator : MCDropoutRegressor, default=None
        The net; None for the default one. Its ``noise``, ``n_draws`` and ``random_state`` are
        those given here.
    param_grid : dict or list of dict, default=None
        The settings to try, as for ``GridSearchCV``: parameters of the estimator, ``noise`` among
        them, and lists of values. None tries dropout rates from 0.005 to 0.2, for the default net
        with and without its embedding, and with a decay of weights that follows the noise and with
        next to none, but leaves alone what `estimator` was given. ``{}`` tries the estimator as it
        is.
    cv : int, splitter or iterable, default=5
        The folds: their number, for which the rows are shuffled, or what ``GridSearchCV`` takes.
    scoring : str or callable, default=None
        What is to be highest on the held-out rows: a scorer, such as those in
        `sk_mcdropout.metrics`. None takes the mean log density of the mixture over the draws;
        without noise that of the normal of the same mean and standard deviation. With a scoring of
        yours, and without noise, the best setting stays alone.
    ensemble : bool, default=True
        Whether the nets of the folds predict, of the best setting and of those that are added to
        it. With False nets are trained anew on all rows, with the best setting, and predict in
        their place.
    members : int, default=1
        Nets for each setting that stays and each fold, or with ``ensemble=False`` on all rows. More
        than the first are trained for these settings alone.
    noise : float, {"estimate", "heteroscedastic"} or None, default='heteroscedastic'
        The noise, as for `MCDropoutRegressor`. ``"estimate"`` finds the one under which the
        held-out rows are likeliest.
    calibration : {"std", "isotonic", "conformal"} or None, default=None
        How the predictive distribution is recalibrated on the held-out rows; see
        `MCDropoutRegressor.calibrate`. ``"conformal"`` is CV+ [2]_: an interval of coverage c
        holds new rows like these with a probability of at least about ``2 c - 1``, and for nets
        that do not hang on single rows of about c; see `CrossConformalCalibration`.
    n_draws : int, default=100
        Number of Monte-Carlo draws, of all nets together; fewer than there are nets leave some out.
    random_state : int, RandomState instance or None, default=None
        Seed of the folds, the nets and the draws.
    n_jobs : int, default=None
        Number of processes, which share out the nets; None is one.
    verbose : int, default=0
        Above 0 the steps of a stack are shown.

    Attributes
    ----------
    estimators_ : list of MCDropoutRegressor
        The nets that predict: those of all folds of the best setting, of the next one, ...
    best_params_ : dict
        The best setting.
    pooled_params_ : list of dict
        The settings whose nets predict, the best one first.
    best_score_ : float
        Its mean score over the folds.
    best_index_ : int
        Its place in `cv_results_`.
    cv_results_ : dict of ndarray
        The scores of all settings, as in ``GridSearchCV``. The time of a fit in a stack is its
        share of the time of the stack.
    oof_prediction_ : ndarray of shape (n_samples,) or (n_samples, n_targets)
        The mean for each row by the nets that were trained without it, in the units of y; NaN for
        rows that no fold holds out.
    n_splits_ : int
        Number of folds.
    noise_std_ : ndarray of shape () or (n_targets,)
        The standard deviation of the noise, in the units of y, of ``noise="estimate"``.
    calibration_ : object
        How the distribution is recalibrated, where it is.
    y_mean_, y_scale_ : ndarray of shape () or (n_targets,)
        The scale of y that the draws are pooled in.
    n_features_in_ : int
        Number of columns of X, where it is a table.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, where X is a frame.

    See Also
    --------
    MCDropoutRegressor : One net, of one setting.

    References
    ----------
    .. [1] Caruana, Niculescu-Mizil, Crew & Ksikes (2004), "Ensemble selection from libraries of
       models", ICML.
    .. [2] Barber, Candès, Ramdas & Tibshirani (2021), "Predictive inference with the jackknife+",
       Annals of Statistics, section 3.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sk_mcdropout import MCDropoutRegressor, MCDropoutRegressorCV
    >>> X, y = load_diabetes(return_X_y=True)
    >>> grid = {"dropout": [0.05, 0.2]}
    >>> net = MCDropoutRegressor(max_epochs=20)
    >>> model = MCDropoutRegressorCV(net, param_grid=grid, random_state=0).fit(X, y)
    >>> mean, std = model.predict(X[:5], return_std=True)
    >>> mean.shape, std.shape, len(model.estimators_)
    ((5,), (5,), 5)
    """

    _parameter_constraints = {
        "estimator": [MCDropoutRegressor, None],
        "param_grid": [dict, list, None],
        "cv": ["cv_object"],
        "scoring": [str, callable, None],
        "ensemble": ["boolean"],
        "members": [Interval(Integral, 1, None, closed="left")],
        "noise": MCDropoutRegressor._parameter_constraints["noise"],
        "calibration": [StrOptions(set(CALIBRATIONS)), None],
        "n_draws": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
        "n_jobs": [Integral, None],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        estimator=None,
        *,
        param_grid=None,
        cv=5,
        scoring=None,
        ensemble=True,
        members=1,
        noise="heteroscedastic",
        calibration=None,
        n_draws=100,
        random_state=None,
        n_jobs=None,
        verbose=0,
    ):
        self.estimator = estimator
        self.param_grid = param_grid
        self.cv = cv
        self.scoring = scoring
        self.ensemble = ensemble
        self.members = members
        self.noise = noise
        self.calibration = calibration
        self.n_draws = n_draws
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.input_tags.sparse = True
        return tags

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
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, at least 0, in training, scores, noise and calibration.
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
            if setting.noise == "estimate" and setting.is_whole:
                nets = [[learner] for learner in setting.learners]
                setting.know_noise(noise_out_of_fold(nets, folds, self.n_draws, self.seed_))
            setting.score(scorer, folds, **routed.scorer.score)
        self.best_index_ = best_of(settings)
        self.cv_results_ = results_of(settings)
        best = settings[self.best_index_]
        self.best_params_, self.best_score_ = best.params, float(np.mean(best.scores))
        pool = pool_of(settings, self.best_index_, folds) if self.ensemble else [best]
        self.pooled_params_ = [setting.params for setting in pool]
        self.y_mean_, self.y_scale_ = mean_and_scale(
            target_array(y) if best.learners[0].normalize_y else None, weights
        )
        self._keep(base, pool, folds, (X, y, weights))

    def _check_own_params(self):
        check_params(self._parameter_constraints, self.get_params(deep=False), type(self).__name__)
        if self.calibration == "conformal" and not self.ensemble:
            raise ValueError(
                "`ensemble` must be True for conformal calibration, which asks the nets of the "
                "folds. Got False. Leave it out, or calibrate by 'std' or 'isotonic'."
            )

    def _check_training_data(self, base, X, y):
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None."
            )
        check_is_data(X)
        if is_dataset(X):
            raise TypeError(
                "X must be data that can be cut into folds, such as an array. Got a "
                f"{type(X).__name__}. Pass its arrays."
            )
        self._takes_table = is_table(X) and not takes_columns(base.module, X)
        if not self._takes_table:
            check_consistent_length(np.zeros(get_len(X)), y)
            return X, np.asarray(y)
        X, y = validate_table(self, X, y)
        return X, np.asarray(y)

    def _splits(self, y, params):
        if isinstance(self.cv, Integral):
            return list(KFold(self.cv, shuffle=True, random_state=self.seed_).split(y))
        return list(check_cv(self.cv).split(np.zeros(len(y)), y, **params))

    def _scorer(self, base):
        return None if self.scoring is None else check_scoring(base, self.scoring)

    # -- training ----------------------------------------------------------------------------

    def _keep(self, base, pool, folds, data):
        """Train what is missing for the settings that stay, and learn noise and calibration."""
        best, n_folds = pool[0], len(folds)
        self.noise_ = best.noise
        nets = [learner for setting in pool for learner in setting.learners]
        for m in range(1, self.members):
            places = [(setting, k) for setting in pool for k in range(n_folds)]
            more = [learner_of(self, base, s.params, s.noise, k, m) for s, k in places]
            rows = [folds[k].training for _, k in places]
            train(self, [Task(net, *some) for net, some in zip(more, rows, strict=True)])
            nets += more
        if best.noise == "estimate":
            of_folds = [nets[k::n_folds] for k in range(n_folds)]
            known = best.learners[0].noise_std_  # by the same nets, where these are all
            args = of_folds, folds, self.n_draws, self.seed_
            self.noise_std_ = noise_out_of_fold(*args) if len(nets) > n_folds else known
        self.estimators_ = nets
        draws = self._draws_of_folds([fold.X for fold in folds], self.n_draws)
        likelihood = self._likelihood()
        self.oof_prediction_ = mean_out_of_fold(draws, folds, likelihood, len(data[1]))
        self.__dict__.pop("calibration_", None)
        if self.calibration is not None:
            self.calibration_ = calibration_from(self.calibration, draws, folds, likelihood)
        if not self.ensemble:
            self.estimators_ = [
                learner_of(self, base, best.params, best.noise, n_folds, m)
                for m in range(self.members)
            ]
            train(self, [Task(net, *data) for net in self.estimators_])
        note(self, "noise", "calibration", "ensemble")

    def _draws_of_folds(self, xs, n_draws):
        """Return for each fold the draws of its nets, for rows of its own."""
        likelihood, n_folds = self._likelihood(noise=False), len(xs)
        return [
            pooled_draws(self.estimators_[k::n_folds], x, likelihood, n_draws, self.seed_)
            for k, x in enumerate(xs)
        ]

    # -- predicting --------------------------------------------------------------------------

    def _predictive(self, X, noise=True, spread=True):
        """Return the predictive distribution of inputs that were not validated yet."""
        X = self._check_inputs(X)
        likelihood = self._likelihood(noise)
        calibration = getattr(self, "calibration_", None)
        draws = pooled_draws(self.estimators_, X, likelihood, self.n_draws, self.seed_)
        if noise and self.noise_ is None and calibration is None:
            return DistributionOfMean(self, draws, likelihood)
        folds = []
        if isinstance(calibration, CrossConformalCalibration):
            folds = self._draws_of_folds([X] * self.n_splits_, calibration.n_draws)
        return CrossFittedDistribution(draws, likelihood, calibration, folds)

    def _check_inputs(self, X):
        check_is_fitted(self, "estimators_")
        check_params(
            {"n_draws": self._parameter_constraints["n_draws"]},
            {"n_draws": self.n_draws},
            type(self).__name__,
        )
        warn_of_changes(self)
        check_is_data(X)
        return validate_data(self, X, reset=False, **TABLE) if self._takes_table else X

    def _likelihood(self, noise=True):
        one = self.estimators_[0]
        return GaussianLikelihood(
            loc=self.y_mean_,
            scale=self.y_scale_,
            noise_std=self._noise_std() if noise else np.zeros(()),
            heteroscedastic=one.heteroscedastic_,
            nonlinearity=one._nonlinearity(),
            n_targets=getattr(one, "n_outputs_", None),
        )

    def _noise_std(self):
        if self.noise_ == "estimate":
            return self.noise_std_
        known = isinstance(self.noise_, Real)
        return np.asarray(float(self.noise_)) if known else np.zeros(())
