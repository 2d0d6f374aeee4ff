"""scikit-learn's searches, cross-validation and learning curves of our estimators."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from questions import small_classifier, small_net
from scipy.stats import norm, uniform
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - allows HalvingGridSearchCV
from sklearn.metrics import log_loss
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    KFold,
    RandomizedSearchCV,
    cross_val_predict,
    cross_val_score,
    learning_curve,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_mcdropout.metrics import neg_log_predictive_density_scorer


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


def test_probabilities_out_of_fold_are_those_of_fits_by_hand(X, labels):
    proba = cross_val_predict(small_classifier(), X, labels, cv=KFold(2), method="predict_proba")
    by_hand = small_classifier().fit(X[25:], labels[25:]).predict_proba(X[:25])
    assert_array_equal(proba[:25], by_hand)


def test_a_search_that_halves_gives_the_rest_more_epochs(X, y):
    grid = {"dropout": [0.05, 0.2, 0.5, 0.9]}
    epochs = {"resource": "max_epochs", "min_resources": 1, "max_resources": 4, "factor": 2}
    search = HalvingGridSearchCV(small_net(), grid, cv=2, random_state=0, **epochs).fit(X, y)
    assert search.n_candidates_ == [4, 2, 1]
    best = small_net(**search.best_params_)
    assert best.max_epochs == len(search.best_estimator_.history) == 4
    assert_allclose(search.best_score_, cross_val_score(best, X, y, cv=2).mean(), rtol=1e-5)


# -- learning curves -----------------------------------------------------------------------------


def test_a_learning_curve_scores_fits_of_the_first_rows(X, y):
    sizes, _, scores = learning_curve(small_net(), X, y, train_sizes=[10, 25], cv=KFold(2))
    by_hand = [
        small_net().fit(X[25 : 25 + size], y[25 : 25 + size]).score(X[:25], y[:25])
        for size in sizes
    ]
    assert_allclose(scores[:, 0], by_hand, rtol=1e-9)


def test_a_learning_curve_can_train_one_classifier_on(X, labels):
    curve = learning_curve(
        *(small_classifier(), X, labels),
        train_sizes=[10, 25],
        cv=KFold(2),
        exploit_incremental_learning=True,
        scoring="neg_log_loss",
    )
    net, by_hand = small_classifier(), []
    for rows in (slice(25, 35), slice(35, 50)):
        net.partial_fit(X[rows], labels[rows], classes=["high", "low"])
        by_hand.append(-log_loss(labels[:25], net.predict_proba(X[:25])))
    assert_allclose(curve[2][:, 0], by_hand, rtol=1e-9)


# -- by likelihood -------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_dropout_rate_is_chosen_by_likelihood(X, y):
    noisy = y + np.random.default_rng(1).normal(scale=3.0, size=50)
    pipe = make_pipeline(StandardScaler(), small_net(max_epochs=40, n_draws=50))
    grid = {"mcdropoutregressor__dropout": [0.05, 0.4]}
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
