"""scikit-activeml's strategies asked about our estimators: their scores are ours."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from questions import small_classifier, small_net
from sklearn.datasets import load_iris

from sk_mcdropout.acquisition import batch_bald, mutual_information, predictive_entropy

reason = 'scikit-activeml is not installed: pip install "sk-mcdropout[clients]"'
pool = pytest.importorskip("skactiveml.pool", reason=reason)
classifiers = pytest.importorskip("skactiveml.classifier", reason=reason)
regressors = pytest.importorskip("skactiveml.regressor", reason=reason)

FLOWERS, KINDS = load_iris(return_X_y=True)
POOL = np.delete(np.arange(150), np.arange(0, 150, 5))
SOME_KINDS = KINDS.astype(float)
SOME_KINDS[POOL] = np.nan
DRAWN = {"sample_predictions_method_name": "draws", "random_state": 0}


@pytest.fixture(scope="module")
def classifier():
    wrapped = classifiers.SklearnClassifier(small_classifier(), classes=np.unique(KINDS))
    return wrapped.fit(FLOWERS, SOME_KINDS)


def ask(strategy, classifier, **params):
    params |= {"return_utilities": True}
    return strategy.query(FLOWERS, SOME_KINDS, classifier, **params)


def test_batch_bald_takes_our_draws(classifier):
    strategy = pool.BatchBALD(n_MC_samples=10_000, **DRAWN)
    theirs, utilities = ask(strategy, classifier, fit_ensemble=False, batch_size=4)
    ours, scores = batch_bald(classifier, FLOWERS[POOL], 4, return_scores=True)
    assert_array_equal(POOL[ours], theirs)
    assert_allclose(scores, np.nanmax(utilities, axis=1), atol=1e-5)


def test_a_committee_of_our_draws_disagrees_by_the_mutual_information(classifier):
    strategy = pool.QueryByCommittee(method="KL_divergence", **DRAWN)
    _, utilities = ask(strategy, classifier, fit_ensemble=False)
    ours = mutual_information(classifier, FLOWERS[POOL])
    assert_allclose(utilities[0, POOL], ours, atol=1e-6)


def test_uncertainty_sampling_finds_our_entropy(classifier):
    strategy = pool.UncertaintySampling(method="entropy", random_state=0)
    chosen, utilities = ask(strategy, classifier, fit_clf=False, batch_size=3)
    ours = predictive_entropy(classifier, FLOWERS[POOL])
    assert_allclose(utilities[0, POOL], ours, rtol=1e-5)
    assert set(chosen) == set(POOL[np.argsort(ours)[-3:]])


# -- numbers -------------------------------------------------------------------------------------


@pytest.fixture
def some(y):
    return np.where(np.arange(50) < 20, y, np.nan)


def test_a_regressor_with_a_distribution_has_our_mean_and_std(X, y, some):
    wrapped = regressors.SklearnNormalRegressor(small_net(noise=1.0)).fit(X, some)
    by_hand = small_net(noise=1.0).fit(X[:20], y[:20]).predict(X, return_std=True)
    assert_array_equal(wrapped.predict(X, return_std=True), by_hand)


def test_a_committee_of_our_functions_disagrees_by_their_std(X, some):
    wrapped = regressors.SklearnRegressor(small_net()).fit(X, some)
    strategy = pool.QueryByCommittee(
        sample_predictions_method_name="sample_y",
        sample_predictions_dict={"n_samples": 7, "random_state": 0},
        random_state=0,
    )
    _, utilities = strategy.query(X, some, wrapped, fit_ensemble=False, return_utilities=True)
    functions = wrapped.estimator_.sample_y(X[20:], 7, random_state=0)
    assert_allclose(utilities[0, 20:], functions.std(axis=1), rtol=1e-6)


def test_greedy_sampling_goes_where_our_prediction_is_new(X, y, some):
    wrapped = regressors.SklearnRegressor(small_net())
    strategy = pool.GreedySamplingTarget(method="GSy", random_state=0)
    _, utilities = strategy.query(X, some, wrapped, return_utilities=True)
    predicted = small_net().fit(X[:20], y[:20]).predict(X[20:])
    nearest = np.abs(predicted[:, None] - y[:20]).min(axis=1)
    assert_allclose(utilities[0, 20:], nearest, rtol=1e-6)


@pytest.mark.parametrize("strategy", ["ExpectedModelVarianceReduction", "KLDivergenceMaximization"])
def test_strategies_that_train_copies_choose_among_the_candidates(X, some, strategy):
    wrapped = regressors.SklearnNormalRegressor(small_net(max_epochs=1))
    chosen, utilities = getattr(pool, strategy)(random_state=0).query(
        X, some, wrapped, candidates=[20, 21, 22], return_utilities=True
    )
    assert np.isfinite(utilities[0, 20:23]).all()
    assert chosen[0] == np.nanargmax(utilities[0])
