"""Our estimators and functions inside the tools that people use for active learning.

A tool that is not installed is skipped; ``docs/acquisition.md`` says which versions were tried.
"""

from functools import partial

import numpy as np
import pytest
import sklearn
from sklearn.datasets import load_iris, make_regression
from sklearn.utils.fixes import parse_version

from sk_mcdropout import MCDropoutClassifier, MCDropoutRegressor
from sk_mcdropout.acquisition import (
    batch_bald,
    expected_improvement,
    maximum_std,
    mutual_information,
)

IRIS = load_iris(return_X_y=True)
START, POOL = np.arange(0, 150, 5), np.delete(np.arange(150), np.arange(0, 150, 5))
X, Y = make_regression(60, 2, noise=5.0, random_state=0)
teaches = pytest.mark.skipif(
    parse_version(sklearn.__version__) >= parse_version("1.8"),
    reason="modAL calls check_X_y(force_all_finite=...), which scikit-learn 1.8 took away",
)
classifier = partial(MCDropoutClassifier, module__dropout=0.3, max_epochs=5, random_state=0)
regressor = partial(MCDropoutRegressor, max_epochs=5, random_state=0)


# -- modAL ---------------------------------------------------------------------------------------


def test_a_learner_of_modal_asks_for_the_best_batch():
    models = pytest.importorskip("modAL.models")
    X, y = IRIS
    learner = models.ActiveLearner(
        classifier(),
        query_strategy=lambda learner, X, size: batch_bald(learner.estimator, X, size),
        X_training=X[START],
        y_training=y[START],
    )
    chosen, rows = learner.query(X[POOL], 4)
    np.testing.assert_array_equal(chosen, batch_bald(learner.estimator, X[POOL], 4))
    np.testing.assert_array_equal(rows, X[POOL][chosen])


@teaches
def test_a_learner_of_modal_is_taught_what_it_asked_for():
    models = pytest.importorskip("modAL.models")
    X, y = IRIS
    learner = models.ActiveLearner(classifier(), X_training=X[START], y_training=y[START])
    rows = POOL[batch_bald(learner.estimator, X[POOL], 4)]
    learner.teach(X[rows], y[rows])
    again = classifier().fit(X[[*START, *rows]], y[[*START, *rows]])
    np.testing.assert_array_equal(learner.predict_proba(X), again.predict_proba(X))


def test_a_learner_of_modal_asks_for_the_highest_scores():
    models = pytest.importorskip("modAL.models")
    from modAL.utils.combination import make_query_strategy
    from modAL.utils.selection import multi_argmax

    strategy = make_query_strategy(
        utility_measure=lambda learner, X: mutual_information(learner.estimator, X),
        selector=multi_argmax,
    )
    learner = models.ActiveLearner(
        classifier(), strategy, X_training=IRIS[0][START], y_training=IRIS[1][START]
    )
    (chosen,), _ = learner.query(IRIS[0][POOL])
    assert chosen == mutual_information(learner.estimator, IRIS[0][POOL]).argmax()


def test_a_committee_member_of_modal_may_be_a_regressor():
    models = pytest.importorskip("modAL.models")
    learner = models.ActiveLearner(
        regressor(),
        query_strategy=lambda learner, X: int(maximum_std(learner, X).argmax()),
        X_training=X[:20],
        y_training=Y[:20],
    )
    chosen, _ = learner.query(X)
    assert chosen == learner.estimator.predict(X, return_std=True)[1].argmax()


def test_the_optimizer_of_modal_asks_our_regressor_and_our_functions():
    models = pytest.importorskip("modAL.models")
    from modAL.acquisition import max_EI, optimizer_EI

    optimizer = models.BayesianOptimizer(
        regressor(), query_strategy=max_EI, X_training=X[:20], y_training=Y[:20]
    )
    chosen, _ = optimizer.query(X)
    ours = expected_improvement(optimizer, X, float(optimizer.y_max), maximize=True)
    np.testing.assert_allclose(ours, optimizer_EI(optimizer, X), atol=1e-12)
    assert chosen == ours.argmax()


# -- scikit-activeml -----------------------------------------------------------------------------


def half_known(y):
    y = y.astype(float)
    y[POOL] = np.nan
    return y


def test_batch_bald_of_scikit_activeml_takes_our_draws():
    pool = pytest.importorskip("skactiveml.pool")
    from skactiveml.classifier import SklearnClassifier

    wrapped = SklearnClassifier(classifier(), classes=np.unique(IRIS[1]))
    wrapped.fit(IRIS[0], half_known(IRIS[1]))
    strategy = pool.BatchBALD(
        sample_predictions_method_name="draws", n_MC_samples=10_000, random_state=0
    )
    theirs, utilities = strategy.query(
        *(IRIS[0], half_known(IRIS[1]), wrapped),
        fit_ensemble=False,
        batch_size=4,
        return_utilities=True,
    )
    ours, scores = batch_bald(wrapped, IRIS[0][POOL], 4, return_scores=True)
    np.testing.assert_array_equal(POOL[ours], theirs)
    np.testing.assert_allclose(scores, np.nanmax(utilities, axis=1), atol=1e-5)


def test_uncertainty_sampling_of_scikit_activeml_takes_our_classifier():
    pool = pytest.importorskip("skactiveml.pool")
    from skactiveml.classifier import SklearnClassifier

    wrapped = SklearnClassifier(classifier(), classes=np.unique(IRIS[1]))
    chosen = pool.UncertaintySampling(method="entropy", random_state=0).query(
        IRIS[0], half_known(IRIS[1]), wrapped, batch_size=3
    )
    assert set(chosen) <= set(POOL)


@pytest.mark.parametrize(
    "strategy",
    ["ExpectedModelVarianceReduction", "KLDivergenceMaximization", "GreedySamplingTarget"],
)
def test_strategies_of_scikit_activeml_for_numbers_take_our_regressor(strategy):
    pool = pytest.importorskip("skactiveml.pool")
    from skactiveml.regressor import SklearnNormalRegressor

    y = Y.copy()
    y[20:] = np.nan
    chosen = getattr(pool, strategy)(random_state=0).query(
        X, y, SklearnNormalRegressor(regressor(max_epochs=1)), candidates=np.arange(20, 23)
    )
    assert chosen[0] in (20, 21, 22)


# -- scikit-optimize -----------------------------------------------------------------------------


@pytest.mark.parametrize("acq_func", ["EI", "LCB", "PI", "gp_hedge"])
def test_the_optimizer_of_scikit_optimize_asks_our_regressor(acq_func):
    skopt = pytest.importorskip("skopt")
    optimizer = skopt.Optimizer(
        [(-2.0, 2.0), (-2.0, 2.0)],
        base_estimator=regressor(),
        n_initial_points=4,
        acq_func=acq_func,
        acq_optimizer="sampling",
        acq_optimizer_kwargs={"n_points": 50},
        random_state=0,
    )
    for _ in range(6):
        point = optimizer.ask()
        result = optimizer.tell(point, float(np.sum(np.square(point))))
    assert len(optimizer.models) == 3
    assert result.fun == min(result.func_vals)


def test_scikit_optimize_asks_for_gradients_unless_it_is_told_to_sample():
    skopt = pytest.importorskip("skopt")
    optimizer = skopt.Optimizer([(-2.0, 2.0)], base_estimator=regressor(), n_initial_points=1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'return_mean_grad'"):
        optimizer.tell([1.0], 1.0)
