"""scikit-learn's searches and meta-estimators around the regressor."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import norm, uniform
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import BaggingRegressor
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_mcdropout import MCDropoutRegressor
from sk_mcdropout.metrics import neg_log_predictive_density_scorer


def small_net(**params):
    defaults = {"module__hidden": (16,), "max_epochs": 3, "n_draws": 10, "random_state": 0}
    return MCDropoutRegressor(**{**defaults, **params})


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(50, 3))


@pytest.fixture(scope="module")
def y(X):
    return 20 + 5 * X @ [1.0, -2.0, 0.5]


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_a_grid_of_dropout_rates_is_searched(X, y, n_jobs):
    pipe = make_pipeline(StandardScaler(), small_net(max_epochs=20))
    grid = {"mcdropoutregressor__dropout": [0.1, 0.95]}
    search = GridSearchCV(pipe, grid, cv=2, n_jobs=n_jobs).fit(X, y)
    low, high = search.cv_results_["mean_test_score"]
    # A net that keeps one unit in twenty learns next to nothing in 20 epochs.
    assert low > high + 0.1
    assert [site.p for site in search.best_estimator_[-1].dropout_sites_] == [0.1]
    expected = cross_val_score(pipe.set_params(mcdropoutregressor__dropout=0.1), X, y, cv=2)
    assert_allclose(low, expected.mean(), rtol=1e-5)


def test_rates_are_searched_at_random(X, y):
    rates = {"dropout": uniform(0.1, 0.3)}
    search = RandomizedSearchCV(small_net(), rates, n_iter=3, cv=2, random_state=0).fit(X, y)
    assert len(set(search.cv_results_["param_dropout"])) == 3
    sites = search.best_estimator_.dropout_sites_
    assert [site.p for site in sites] == [search.best_params_["dropout"]]


def test_cross_validation_scores_each_fold_like_a_fit_by_hand(X, y):
    scores = cross_val_score(small_net(), X, y, cv=2)
    half = len(X) // 2
    by_hand = [
        small_net().fit(X[half:], y[half:]).score(X[:half], y[:half]),
        small_net().fit(X[:half], y[:half]).score(X[half:], y[half:]),
    ]
    assert_allclose(scores, by_hand, rtol=1e-9)


def test_a_transformed_target_is_answered_in_its_own_units(X):
    y = np.exp(X[:, 0])
    model = TransformedTargetRegressor(small_net(), func=np.log, inverse_func=np.exp).fit(X, y)
    assert_allclose(model.predict(X), np.exp(small_net().fit(X, np.log(y)).predict(X)), rtol=1e-9)


def test_bagged_nets_predict_their_mean(X, y):
    bag = BaggingRegressor(small_net(), n_estimators=3, random_state=0).fit(X, y)
    members = [net.predict(X) for net in bag.estimators_]
    assert not np.allclose(members[0], members[1])
    assert_allclose(bag.predict(X), np.mean(members, axis=0), rtol=1e-9)


def test_a_dropout_rate_is_chosen_by_likelihood(X, y):
    noisy = y + np.random.default_rng(1).normal(scale=3.0, size=50)
    pipe = make_pipeline(StandardScaler(), small_net(max_epochs=40))
    grid = {"mcdropoutregressor__dropout": [0.01, 0.4]}
    folds = [(np.arange(25), np.arange(25, 50)), (np.arange(25, 50), np.arange(25))]
    scoring = neg_log_predictive_density_scorer
    search = GridSearchCV(pipe, grid, scoring=scoring, cv=folds).fit(X, noisy)
    expected = []
    for rate in grid["mcdropoutregressor__dropout"]:
        pipe.set_params(mcdropoutregressor__dropout=rate)
        logs = []
        for train, test in folds:
            mean, std = pipe.fit(X[train], noisy[train]).predict(X[test], return_std=True)
            logs.append(norm.logpdf(noisy[test], mean, std).mean())
        expected.append(np.mean(logs))
    assert_allclose(search.cv_results_["mean_test_score"], expected)
    # A std of nearly no dropout leaves out the noise, which costs likelihood.
    assert search.best_params_ == {"mcdropoutregressor__dropout": 0.4}
