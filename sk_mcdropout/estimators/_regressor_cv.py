"""Regression by a cross-fitted ensemble of nets, whose settings are searched on the way."""

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.model_selection import KFold

from sk_mcdropout.predictive import (
    CALIBRATIONS,
    CrossConformalCalibration,
    CrossFittedDistribution,
    GaussianLikelihood,
    PredictiveDistribution,
)

from ._cross_fitted import CrossFittedNets
from ._noiseless import DistributionOfMean
from ._out_of_fold import (
    calibration_from,
    mean_out_of_fold,
    noise_out_of_fold,
    scales_to,
)
from ._predict import PredictiveRegressorMixin
from ._regressor import MCDropoutRegressor
from ._search import default_grid
from ._target import mean_and_scale, target_array
from ._validation import Real, StrOptions, validate_table

__all__ = ["MCDropoutRegressorCV"]

_RATES = (0.005, 0.05, 0.2)
_DECAYS = (None, 0.01)  # a net alone may need more, and a pool of nets does not


class MCDropoutRegressorCV(PredictiveRegressorMixin, RegressorMixin, CrossFittedNets):
    """Ensemble of dropout nets, each trained without a fold, with settings chosen on these folds.

    `fit` trains a net for each setting and fold, as one stack where it can. The rows that a net was
    not trained on tell how good its setting is. The nets of all folds of the best setting stay, and
    those of more settings as long as they make the held-out rows likelier together [1]_; their
    draws are pooled: each is still one function of X. Noise and calibration are learned from the
    same held-out rows, so that no row is spent.

    Parameters
    ----------
    estimator : MCDropoutRegressor, default=None
        The net; None for the default one. Its ``noise``, ``n_draws``, ``masks`` and
        ``random_state`` are those given here.
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
    calibration : {"std", "parts", "isotonic", "conformal"} or None, default=None
        How the predictive distribution is recalibrated on the held-out rows; see
        `MCDropoutRegressor.calibrate`. ``"conformal"`` is CV+ [2]_: an interval of coverage c
        holds new rows like these with a probability of at least about ``2 c - 1``, and for nets
        that do not hang on single rows of about c; see `CrossConformalCalibration`.
    n_draws : int, default=100
        Number of Monte-Carlo draws, of all nets together; fewer than there are nets leave some out.
    masks : {"iid", "qmc"}, default='iid'
        What the draws of a unit of a net have to do with each other; see `sample`.
    random_state : int, RandomState instance or None, default=None
        Seed of the folds, the nets and the draws.
    n_jobs : int, default=None
        Number of processes, which share out the nets; None is one.
    verbose : int, default=0
        Above 0 a bar shows the steps of a stack, and the rows of a prediction that takes more than
        a second.

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
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
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

    _NET = MCDropoutRegressor
    _FOLDS = KFold
    _GIVEN_HERE = {"noise": None}
    _parameter_constraints = {
        **CrossFittedNets._parameter_constraints,
        "estimator": [MCDropoutRegressor, None],
        "noise": MCDropoutRegressor._parameter_constraints["noise"],
        "calibration": [StrOptions(set(CALIBRATIONS)), None],
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
        masks="iid",
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
        self.masks = masks
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    # -- fitting -----------------------------------------------------------------------------

    def _check_own_params(self):
        super()._check_own_params()
        if self.calibration == "conformal" and not self.ensemble:
            raise ValueError(
                "`ensemble` must be True for conformal calibration, which asks the nets of the "
                "folds. Got False. Leave it out, or calibrate by 'std' or 'isotonic'."
            )

    def _check_target(self, base, X, y):
        X, y = validate_table(self, X, y) if self._takes_table else (X, y)
        return X, np.asarray(y)

    def _default_grid(self, base):
        return default_grid(base, _RATES, _DECAYS)

    def _noise_of(self, params):
        return params.get("noise", self.noise)

    def _params_of_net(self, params):
        noise = self._noise_of(params)
        return {**params, "noise": None if noise == "estimate" else noise}

    def _before_scores(self, setting, folds):
        """Find the noise that the held-out rows are likeliest under."""
        if self._noise_of(setting.params) == "estimate" and setting.is_whole:
            nets = [[learner] for learner in setting.learners]
            found = noise_out_of_fold(nets, folds, self.n_draws, self.seed_)
            for learner in setting.learners:
                learner.set_params(noise="estimate").noise_std_ = found

    def _log_densities(self, learner, X, y):
        """Return the log density at each y: of the mixture, without noise of the normal."""
        distribution = "mixture" if learner._likelihood().has_noise else "normal"
        return learner.log_prob(X, y, distribution)

    def _can_be_pooled(self, setting, best):
        """Return whether there is noise, and whether the nets mean alike by their outputs."""
        one, other = best.learners[0], setting.learners[0]
        return (
            one._likelihood().has_noise
            and self._noise_of(setting.params) == self._noise_of(best.params)
            and one._nonlinearity() is other._nonlinearity()
        )

    def _learn_from_held_out(self, best, folds, data):
        """Learn the noise, the mean of each row by the nets that do not know it, a calibration."""
        _, y, weights = data
        scaled = target_array(y) if best.learners[0].normalize_y else None
        self.y_mean_, self.y_scale_ = mean_and_scale(scaled, weights)
        self.noise_ = self._noise_of(best.params)
        if self.noise_ == "estimate":
            n_folds, known = len(folds), best.learners[0].noise_std_
            of_folds = [self.estimators_[k::n_folds] for k in range(n_folds)]
            args = of_folds, folds, self.n_draws, self.seed_
            more = len(self.estimators_) > n_folds  # else `known` is of the same nets
            self.noise_std_ = noise_out_of_fold(*args) if more else known
        draws = self._draws_of_folds([fold.X for fold in folds], self.n_draws)
        likelihood = self._likelihood()
        means = [PredictiveDistribution(part, likelihood).mean() for part in draws]
        self.oof_prediction_ = mean_out_of_fold(means, folds, len(y))
        self.__dict__.pop("calibration_", None)
        if self.calibration is not None:
            self.calibration_ = calibration_from(self.calibration, draws, folds, likelihood)

    def _conversions(self, learners):
        return scales_to(self._likelihood(noise=False), learners)

    # -- predicting --------------------------------------------------------------------------

    def _predictive(self, X, noise=True, spread=True):
        """Return the predictive distribution of inputs that were not validated yet."""
        X = self._check_inputs(X)
        likelihood = self._likelihood(noise)
        calibration = getattr(self, "calibration_", None)
        draws = self._pooled(self.estimators_, X, self.n_draws)
        if noise and self.noise_ is None and calibration is None:
            return DistributionOfMean(self, draws, likelihood)
        folds = []
        if isinstance(calibration, CrossConformalCalibration):
            folds = self._draws_of_folds([X] * self.n_splits_, calibration.n_draws)
        return CrossFittedDistribution(draws, likelihood, calibration, folds)

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
