"""modAL's learners, committees and optimizers around our estimators and functions."""

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from questions import small_classifier, small_net
from sklearn.datasets import load_iris
from sklearn.utils.fixes import parse_version

from sk_mcdropout.acquisition import (
    batch_bald,
    expected_improvement,
    maximum_std,
    mutual_information,
)

reason = "modAL is not installed: pip install --no-deps modAL-python"
models = pytest.importorskip("modAL.models", reason=reason)

FLOWERS, KINDS = load_iris(return_X_y=True)
START, POOL = np.arange(0, 150, 5), np.delete(np.arange(150), np.arange(0, 150, 5))
NEW = parse_version(sklearn.__version__) >= parse_version("1.8")


def learner(**params):
    return models.ActiveLearner(
        small_classifier(), X_training=FLOWERS[START], y_training=KINDS[START], **params
    )


def test_a_learner_asks_for_the_best_batch():
    asks = learner(query_strategy=lambda learner, X, size: batch_bald(learner.estimator, X, size))
    chosen, rows = asks.query(FLOWERS[POOL], 4)
    assert_array_equal(chosen, batch_bald(asks.estimator, FLOWERS[POOL], 4))
    assert_array_equal(rows, FLOWERS[POOL][chosen])


def test_a_learner_asks_for_the_highest_scores():
    from modAL.utils.combination import make_query_strategy
    from modAL.utils.selection import multi_argmax

    strategy = make_query_strategy(
        utility_measure=lambda learner, X: mutual_information(learner.estimator, X),
        selector=multi_argmax,
    )
    asks = learner(query_strategy=strategy)
    (chosen,), _ = asks.query(FLOWERS[POOL])
    assert chosen == mutual_information(asks.estimator, FLOWERS[POOL]).argmax()


def test_a_learner_of_numbers_asks_where_the_net_is_least_sure(X, y):
    asks = models.ActiveLearner(
        small_net(),
        query_strategy=lambda learner, X: int(maximum_std(learner, X).argmax()),
        X_training=X[:20],
        y_training=y[:20],
    )
    chosen, _ = asks.query(X)
    assert chosen == asks.estimator.predict(X, return_std=True)[1].argmax()


def test_a_committee_asks_where_its_members_disagree():
    nets = [small_classifier(random_state=seed) for seed in range(3)]
    members = [
        models.ActiveLearner(net, X_training=FLOWERS[START], y_training=KINDS[START])
        for net in nets
    ]
    committee = models.Committee(members)
    by_hand = np.mean([net.predict_proba(FLOWERS) for net in nets], axis=0)
    assert_allclose(committee.predict_proba(FLOWERS), by_hand, rtol=1e-6)
    votes = np.array([net.predict(FLOWERS[POOL]) for net in nets])
    shares = (votes[:, :, None] == range(3)).mean(axis=0)
    entropy = -np.sum(shares * np.log(np.where(shares > 0, shares, 1)), axis=1)
    (chosen,), _ = committee.query(FLOWERS[POOL])
    assert_allclose(entropy[chosen], entropy.max())


def test_an_optimizer_asks_our_regressor_and_our_functions(X, y):
    from modAL.acquisition import max_EI, optimizer_EI

    optimizer = models.BayesianOptimizer(
        small_net(), query_strategy=max_EI, X_training=X[:20], y_training=y[:20]
    )
    chosen, _ = optimizer.query(X)
    ours = expected_improvement(optimizer, X, float(optimizer.y_max), maximize=True)
    assert_allclose(ours, optimizer_EI(optimizer, X), atol=1e-12)
    assert chosen == ours.argmax()


@pytest.mark.skipif(NEW, reason="scikit-learn 1.8 took an option of check_X_y away, which it needs")
def test_a_learner_is_taught_what_it_asked_for():
    taught = learner()
    rows = POOL[batch_bald(taught.estimator, FLOWERS[POOL], 4)]
    taught.teach(FLOWERS[rows], KINDS[rows])
    both = [*START, *rows]
    again = small_classifier().fit(FLOWERS[both], KINDS[both])
    assert_array_equal(taught.predict_proba(FLOWERS), again.predict_proba(FLOWERS))


@pytest.mark.skipif(not NEW, reason="scikit-learn had the option of check_X_y that it needs")
def test_no_learner_can_be_taught_with_a_new_scikit_learn():
    # Whatever the estimator; docs/clients.md says what to do instead.
    with pytest.raises(TypeError, match="unexpected keyword argument 'force_all_finite'"):
        learner().teach(FLOWERS[:1], KINDS[:1])
