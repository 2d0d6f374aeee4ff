"""Classification by a cross-fitted ensemble of nets, whose settings are searched on the way."""

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.model_selection import StratifiedKFold

from sk_mcdropout.predictive import (
    CategoricalDistribution,
    CategoricalLikelihood,
    likeliest_temperature,
)

from ._classification import codes_of, labels_of
from ._classifier import MCDropoutClassifier
from ._cross_fitted import CrossFittedNets
from ._out_of_fold import chained, mean_out_of_fold
from ._predict_classes import PredictiveClassifierMixin
from ._search import default_grid
from ._validation import StrOptions, validate_table

__all__ = ["MCDropoutClassifierCV"]

_RATES = (0.05, 0.2)
_DECAYS = (0.3, 3.0)


class MCDropoutClassifierCV(PredictiveClassifierMixin, ClassifierMixin, CrossFittedNets):
    """Ensemble of dropout nets, each trained without a fold, with settings chosen on these folds.

    `fit` trains a net for each setting and fold, as one stack where it can. The rows that a net was
    not trained on tell how good its setting is. The nets of all folds of the best setting stay, and
    those of more settings as long as they make the held-out rows likelier together [1]_; their
    draws are pooled: each is still one function of X.

    Parameters
    ----------
    estimator : MCDropoutClassifier, default=None
        The net; None for the default one. Its ``n_draws``, ``masks`` and ``random_state``
        are those given here.
    param_grid : dict or list of dict, default=None
        The settings to try, as for ``GridSearchCV``: parameters of the estimator and lists of
        values. None tries dropout rates of 0.05 and 0.2, for the default net with and without its
        embedding, and with little and much decay of its weights, but leaves alone what `estimator`
        was given. ``{}`` tries the estimator as it is.
    cv : int, splitter or iterable, default=5
        The folds: their number, for which the rows are shuffled and each class is shared out, or
        what ``GridSearchCV`` takes.
    scoring : str or callable, default=None
        What is to be highest on the held-out rows: a scorer, such as ``"accuracy"``. None takes
        the mean logarithm of the probability of the class, as ``"neg_log_loss"`` does. With a
        scoring of yours the best setting stays alone.
    ensemble : bool, default=True
        Whether the nets of the folds predict, of the best setting and of those that are added to
        it. With False nets are trained anew on all rows, with the best setting, and predict in
        their place.
    members : int, default=1
        Nets for each setting that stays and each fold, or with ``ensemble=False`` on all rows. More
        than the first are trained for these settings alone.
    calibration : {"temperature"} or None, default=None
        Whether the probabilities are recalibrated on the held-out rows, by a temperature; see
        `MCDropoutClassifier.calibrate`.
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
    classes_ : ndarray of shape (n_classes,)
        The classes, in the order of the columns of the probabilities.
    estimators_ : list of MCDropoutClassifier
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
    oof_proba_ : ndarray of shape (n_samples, n_classes)
        The probabilities for each row by the nets that were trained without it; NaN for rows that
        no fold holds out.
    n_splits_ : int
        Number of folds.
    temperature_ : float
        What the logarithms of the probabilities of each draw are divided by, where they are
        recalibrated.
    n_features_in_ : int
        Number of columns of X, where it is a table.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, where X is a frame.

    See Also
    --------
    MCDropoutClassifier : One net, of one setting.
    MCDropoutRegressorCV : The same for numbers.

    References
    ----------
    .. [1] Caruana, Niculescu-Mizil, Crew & Ksikes (2004), "Ensemble selection from libraries of
       models", ICML.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sk_mcdropout import MCDropoutClassifier, MCDropoutClassifierCV
    >>> X, y = load_iris(return_X_y=True)
    >>> grid = {"dropout": [0.05, 0.2]}
    >>> net = MCDropoutClassifier(max_epochs=10)
    >>> model = MCDropoutClassifierCV(net, param_grid=grid, random_state=0).fit(X, y)
    >>> proba, std = model.predict_proba(X[:5], return_std=True)
    >>> proba.shape, std.shape, len(model.estimators_)
    ((5, 3), (5, 3), 5)
    """

    _NET = MCDropoutClassifier
    _FOLDS = StratifiedKFold
    _parameter_constraints = {
        **CrossFittedNets._parameter_constraints,
        "estimator": [MCDropoutClassifier, None],
        "calibration": [StrOptions({"temperature"}), None],
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
        self.calibration = calibration
        self.n_draws = n_draws
        self.masks = masks
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    # -- fitting -----------------------------------------------------------------------------

    def _check_target(self, base, X, y):
        labels = labels_of(y)
        given = np.unique(labels) if base.classes is None else np.asarray(base.classes)
        codes = codes_of(labels, given)
        X, _ = validate_table(self, X, codes) if self._takes_table else (X, codes)
        self.classes_ = given
        return X, labels

    def _default_grid(self, base):
        return default_grid(base, _RATES, _DECAYS)

    def _params_of_net(self, params):
        return {**params, "classes": self.classes_}  # of which a fold may have none

    def _log_densities(self, learner, X, y):
        return learner.log_prob(X, y)

    def _learn_from_held_out(self, best, folds, data):
        """Learn the probabilities by the nets that do not know a row, and a temperature."""
        draws = self._draws_of_folds([fold.X for fold in folds], self.n_draws)
        self.__dict__.pop("temperature_", None)
        if self.calibration is not None:
            every, y, weights = chained(draws, folds)
            codes = codes_of(y, self.classes_)
            self.temperature_ = likeliest_temperature(every, self._likelihood(), codes, weights)
        means = [CategoricalDistribution(part, self._likelihood()).mean() for part in draws]
        self.oof_proba_ = mean_out_of_fold(means, folds, len(data[1]))

    def _conversions(self, learners):
        return [learner._likelihood().probabilities for learner in learners]

    # -- predicting --------------------------------------------------------------------------

    def _predictive(self, X):
        """Return the predictive distribution of inputs that were not validated yet."""
        X = self._check_inputs(X)
        draws = self._pooled(self.estimators_, X, self.n_draws)
        return CategoricalDistribution(draws, self._likelihood())

    def _likelihood(self):
        return CategoricalLikelihood(None, getattr(self, "temperature_", 1.0))
