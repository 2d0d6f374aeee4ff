"""The scorers in scikit-learn's searches, around regressors that predict a standard deviation."""

import pickle

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose
from scipy.stats import norm
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import make_regression
from sklearn.ensemble import StackingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.linear_model import BayesianRidge, Ridge
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    PowerTransformer,
    RobustScaler,
    StandardScaler,
)

from sk_mcdropout import MCDropoutRegressor, metrics
from sk_mcdropout.metrics import neg_crps_scorer, neg_log_predictive_density_scorer


def interval(mean, std):
    return np.stack(norm.interval(0.9, mean, std), axis=-1)


# Minus the metric that each scorer stands for, of y, a mean and a standard deviation.
BY_HAND = {
    "neg_log_predictive_density_scorer": metrics.negative_log_density_normal,
    "neg_crps_scorer": metrics.crps_normal,
    "neg_interval_score_scorer": lambda y, mean, std, **weights: metrics.interval_score(
        y, interval(mean, std), coverage=0.9, **weights
    ),
    "neg_calibration_error_scorer": lambda y, mean, std, **weights: metrics.calibration_error(
        norm.cdf(y, mean, std), **weights
    ),
}
all_scorers = pytest.mark.parametrize("name", BY_HAND)


def by_hand(name, y, mean, std, **weights):
    return -BY_HAND[name](y, mean, std, **weights)


class Fixed(RegressorMixin, BaseEstimator):
    """A regressor whose mean is X and whose standard deviation is 2."""

    def fit(self, X, y):
        self.fitted_ = True
        return self

    def predict(self, X, return_std=False):
        return (X[:, 0], np.full(len(X), 2.0)) if return_std else X[:, 0]


class Deaf(Fixed):
    """A regressor that takes any argument and answers the mean all the same."""

    def predict(self, X, **kwargs):
        return X[:, 0]


@pytest.fixture
def data():
    return make_regression(60, 3, noise=20.0, random_state=0)


@pytest.fixture
def X(data):
    return data[0]


@pytest.fixture
def y(data):
    return data[1]


@pytest.fixture
def weights(y):
    return np.arange(len(y)) % 3


@pytest.fixture(params=[False, True], ids=["routing off", "routing on"])
def routing(request):
    with sklearn.config_context(enable_metadata_routing=request.param):
        yield request.param


def gaussian_process():
    return GaussianProcessRegressor(RBF(3.0) + WhiteKernel(0.1), optimizer=None, normalize_y=True)


# -- what they answer ------------------------------------------------------------------------------


@all_scorers
@pytest.mark.parametrize("model", [BayesianRidge(), gaussian_process()], ids=["ridge", "GP"])
def test_a_scorer_answers_minus_its_metric(name, model, X, y, weights):
    model = clone(model).fit(X, y)
    mean, std = model.predict(X, return_std=True)
    scorer = getattr(metrics, name)
    assert_allclose(scorer(model, X, y), by_hand(name, y, mean, std), rtol=1e-12)
    weighted = by_hand(name, y, mean, std, sample_weight=weights)
    assert_allclose(scorer(model, X, y, sample_weight=weights), weighted, rtol=1e-12)
    assert isinstance(scorer(model, X, y), float)


def test_the_log_density_scorer_answers_the_mean_log_density(X):
    expected = norm.logpdf(X[:, 1], X[:, 0], 2.0).mean()
    actual = neg_log_predictive_density_scorer(Fixed(), X, X[:, 1])
    assert_allclose(actual, expected, rtol=1e-12)


@all_scorers
def test_several_targets_are_averaged(name, X, y):
    Y = np.stack([y, X[:, 0]], axis=1)
    model = gaussian_process().fit(X, Y)
    mean, std = model.predict(X, return_std=True)
    alone = [by_hand(name, Y[:, i], mean[:, i], std[:, i]) for i in range(2)]
    assert_allclose(getattr(metrics, name)(model, X, Y), np.mean(alone), rtol=1e-12)


@all_scorers
def test_one_column_scores_like_one_axis(name, X, y):
    scorer, column = getattr(metrics, name), y[:, None]
    flat, of_column = gaussian_process().fit(X, y), gaussian_process().fit(X, column)
    assert_allclose(scorer(of_column, X, column), scorer(flat, X, y), rtol=1e-9)
    assert scorer(flat, X, column) == scorer(flat, X, y)


@all_scorers
def test_the_dropout_regressor_is_scored(name, X, y):
    net = MCDropoutRegressor(max_epochs=3, n_draws=20, random_state=0).fit(X, y)
    mean, std = net.predict(X, return_std=True)
    expected = by_hand(name, y, mean, std)
    assert_allclose(getattr(metrics, name)(net, X, y), expected, rtol=1e-9)


def test_the_regressor_answers_the_density_that_the_score_of_draws_is_minus_of(X, y):
    net = MCDropoutRegressor(noise=30.0, max_epochs=3, n_draws=20, random_state=0).fit(X, y)
    score = metrics.negative_log_density_mixture(y, net.draws(X), 30.0)
    assert_allclose(score, -net.log_prob(X, y).mean(), rtol=1e-6)


# -- where they are used ---------------------------------------------------------------------------


@pytest.mark.usefixtures("routing")
def test_several_scorers_cross_validate_at_once(X, y):
    scoring = {name: getattr(metrics, name) for name in BY_HAND}
    options = {"cv": 3, "params": {}}  # scikit-learn 1.6 wants them with metadata routing
    scores = cross_validate(BayesianRidge(), X, y, scoring=scoring, **options)
    for name, scorer in scoring.items():
        alone = cross_val_score(BayesianRidge(), X, y, scoring=scorer, **options)
        assert np.array_equal(scores[f"test_{name}"], alone)


@all_scorers
def test_a_search_finds_the_noise_of_the_data(name):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 1))
    y = np.sin(X[:, 0]) + 0.3 * rng.normal(size=80)
    grid = {"alpha": [1e-4, 0.09, 4.0]}

    class NoisyProcess(GaussianProcessRegressor):
        def predict(self, X, return_std=False):
            mean, std = super().predict(X, return_std=True)
            return (mean, np.sqrt(std**2 + self.alpha)) if return_std else mean

    model = NoisyProcess(RBF(1.0), optimizer=None)
    search = GridSearchCV(model, grid, scoring=getattr(metrics, name), cv=4).fit(X, y)
    assert search.best_params_ == {"alpha": 0.09}


@pytest.mark.usefixtures("routing")
def test_a_pipeline_is_looked_through(X, y):
    pipe = make_pipeline(StandardScaler(), RobustScaler(), BayesianRidge()).fit(X, y)
    mean, std = pipe[-1].predict(pipe[:-1].transform(X), return_std=True)
    assert_allclose(neg_crps_scorer(pipe, X, y), -metrics.crps_normal(y, mean, std), rtol=1e-12)
    alone = make_pipeline(BayesianRidge()).fit(X, y)
    assert neg_crps_scorer(alone, X, y) == neg_crps_scorer(alone[-1], X, y)


@pytest.mark.usefixtures("routing")
def test_a_search_is_looked_through(X, y):
    pipe = make_pipeline(StandardScaler(), BayesianRidge())
    search = GridSearchCV(pipe, {"bayesianridge__tol": [1e-3, 1e-2]}, scoring=neg_crps_scorer)
    search.fit(X, y)
    assert neg_crps_scorer(search, X, y) == neg_crps_scorer(search.best_estimator_, X, y)
    scores = cross_val_score(search, X, y, scoring=neg_crps_scorer, cv=2, params={})
    assert np.isfinite(scores).all()


TRANSFORMERS = [
    StandardScaler(),
    StandardScaler(with_std=False),
    RobustScaler(),
    RobustScaler(with_scaling=False),
    MinMaxScaler((-3, 5)),
    MaxAbsScaler(),
    None,
]


@pytest.mark.usefixtures("routing")
@pytest.mark.parametrize("transformer", TRANSFORMERS, ids=repr)
def test_a_shifted_and_scaled_target_is_scored_in_its_own_units(X, y, transformer):
    Y = 5 + np.stack([y, X[:, 0]], axis=1)
    model = TransformedTargetRegressor(gaussian_process(), transformer=transformer).fit(X, Y)
    mean, std = model.regressor_.predict(X, return_std=True)
    inverse = model.transformer_.inverse_transform
    # One standard deviation above the mean stays one standard deviation above the mean.
    expected = by_hand("neg_crps_scorer", Y, inverse(mean), inverse(mean + std) - inverse(mean))
    assert_allclose(neg_crps_scorer(model, X, Y), expected, rtol=1e-9)


def test_a_scaled_target_is_one_axis_or_a_column(X, y):
    pipe = make_pipeline(MinMaxScaler(), gaussian_process())
    model = TransformedTargetRegressor(pipe, transformer=StandardScaler())
    flat = neg_crps_scorer(model.fit(X, y), X, y)
    assert flat == neg_crps_scorer(model.fit(X, y[:, None]), X, y[:, None])
    moved = MinMaxScaler().fit_transform(X)
    # The process brings y to one scale by itself, so that it answers the same without.
    alone = gaussian_process().fit(moved, y)
    assert_allclose(flat, neg_crps_scorer(alone, moved, y), rtol=1e-9)


@pytest.mark.parametrize(
    ("how", "got"),
    [
        ({"func": np.sinh, "inverse_func": np.arcsinh}, "arcsinh"),
        ({"transformer": PowerTransformer()}, "PowerTransformer"),
        ({"transformer": make_pipeline(StandardScaler())}, "Pipeline"),
    ],
)
def test_a_bent_target_is_refused(X, y, how, got):
    model = TransformedTargetRegressor(BayesianRidge(), **how).fit(X, y / 100)
    with pytest.raises(ValueError, match=f"by shifts and scales alone.* Got .*{got}.*Transform y"):
        neg_crps_scorer(model, X, y)


def test_an_estimator_that_is_not_fitted_says_so(X, y):
    for model in (BayesianRidge(), make_pipeline(StandardScaler(), BayesianRidge())):
        with pytest.raises(NotFittedError):
            neg_crps_scorer(model, X, y)
    with pytest.raises(NotFittedError):
        neg_crps_scorer(TransformedTargetRegressor(BayesianRidge()), X, y)


@pytest.mark.parametrize(
    ("model", "got"),
    [
        (Ridge(), "Ridge"),
        (make_pipeline(StandardScaler(), Ridge()), "Ridge"),
        (Deaf(), "Deaf"),
        (StandardScaler(), "StandardScaler"),
    ],
    ids=["no argument", "in a pipeline", "any argument", "no predict"],
)
def test_an_estimator_without_standard_deviation_is_named(X, y, model, got):
    with pytest.raises(TypeError, match=rf"predict\(X, return_std=True\)`.* Got {got}, which"):
        neg_crps_scorer(model.fit(X, y), X, y)


def test_a_stack_that_hands_the_standard_deviation_on_is_scored(X, y):
    stack = StackingRegressor([("ridge", Ridge())], final_estimator=BayesianRidge()).fit(X, y)
    mean, std = stack.predict(X, return_std=True)
    assert neg_crps_scorer(stack, X, y) == -metrics.crps_normal(y, mean, std)


@pytest.mark.parametrize(
    "name", ["neg_log_predictive_density_scorer", "neg_calibration_error_scorer"]
)
def test_a_forecast_without_spread_has_no_density(name, X, y, monkeypatch):
    monkeypatch.setattr(Fixed, "predict", lambda self, X, return_std: (X[:, 0], 0 * X[:, 0]))
    with pytest.raises(ValueError, match=r"`std` must be above 0 .* Got 0 in 60 of 60 places"):
        getattr(metrics, name)(Fixed(), X, y)


# -- scikit-learn's contract -----------------------------------------------------------------------


def cloned(scorer):
    return clone(scorer, safe=False)


def pickled(scorer):
    return pickle.loads(pickle.dumps(scorer))


@all_scorers
@pytest.mark.parametrize("again", [cloned, pickled])
def test_a_scorer_is_cloned_and_pickled(name, again, X, y):
    scorer = getattr(metrics, name)
    copied = again(scorer)
    model = BayesianRidge().fit(X, y)
    assert copied.__name__ == scorer.__name__ == name
    assert copied(model, X, y) == scorer(model, X, y)


def test_a_search_shows_its_scorer_by_name():
    search = clone(GridSearchCV(BayesianRidge(), {}, scoring=neg_crps_scorer))
    assert "scoring=<function neg_crps_scorer" in repr(search)


@pytest.mark.skipif(
    not hasattr(GridSearchCV, "_check_scorers_accept_sample_weight"),
    reason="this scikit-learn, older than 1.7, scores the rows of a search without weights",
)
def test_the_weights_of_a_search_reach_the_scorer(X, y, weights):
    search = GridSearchCV(BayesianRidge(), {}, scoring=neg_crps_scorer, cv=KFold(2))
    search.fit(X, y, sample_weight=weights)
    expected = [
        neg_crps_scorer(
            BayesianRidge().fit(X[train], y[train], weights[train]),
            X[test],
            y[test],
            weights[test],
        )
        for train, test in KFold(2).split(X)
    ]
    actual = [search.cv_results_[f"split{i}_test_score"][0] for i in range(2)]
    assert_allclose(actual, expected, rtol=1e-12)


@pytest.mark.usefixtures("routing")
def test_a_search_takes_several_scorers(X, y):
    scoring = {name: getattr(metrics, name) for name in BY_HAND}
    pipe = make_pipeline(StandardScaler(), BayesianRidge())
    grid = {"bayesianridge__tol": [1e-3, 1e-2]}
    search = GridSearchCV(pipe, grid, scoring=scoring, refit="neg_crps_scorer", cv=3).fit(X, y)
    for name, scorer in scoring.items():
        alone = GridSearchCV(pipe, grid, scoring=scorer, cv=3).fit(X, y).cv_results_
        actual = search.cv_results_[f"mean_test_{name}"]
        assert_allclose(actual, alone["mean_test_score"], rtol=1e-12)
