"""Seeds, and what a call leaves as it was: random states, the estimator, other threads."""

import pickle
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed
from numpy.testing import assert_array_equal
from questions import each_question, small_net


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(40, 3))


@pytest.fixture(scope="module")
def y(X):
    return X @ [1.0, -2.0, 0.5] + np.random.default_rng(1).normal(scale=0.1, size=len(X))


@pytest.fixture(scope="module")
def net(X, y):
    return small_net().fit(X, y)


@pytest.fixture
def global_states():
    def answer():
        keys, *rest = np.random.get_state()[1:]  # noqa: NPY002 - the global state itself
        return torch.get_rng_state().tolist(), keys.tolist(), rest, random.getstate()

    return answer


@pytest.mark.parametrize("seed", [int, np.random.RandomState])
def test_the_same_seed_gives_the_same_fit_and_draws(X, y, seed):
    first, second = (small_net(random_state=seed(3)).fit(X, y) for _ in range(2))
    assert_array_equal(first.draws(X), second.draws(X))
    assert first.history[:, "train_loss"] == second.history[:, "train_loss"]
    assert not np.allclose(first.draws(X), small_net(random_state=4).fit(X, y).draws(X))


def test_a_shared_random_state_gives_another_fit_each_time(X, y):
    shared = np.random.RandomState(3)
    first, second = (small_net(random_state=shared).fit(X, y) for _ in range(2))
    assert not np.allclose(first.predict(X), second.predict(X))


def test_without_a_seed_torch_decides(X, y):
    def fit(seed):
        torch.manual_seed(seed)
        return small_net(random_state=None).fit(X, y).draws(X)

    assert_array_equal(fit(3), fit(3))
    assert not np.allclose(fit(3), fit(4))


def test_a_seeded_fit_leaves_the_global_states_alone(X, y, global_states):
    before = global_states()
    small_net().fit(X, y).partial_fit(X, y)
    assert global_states() == before


@each_question
@pytest.mark.parametrize("seed", [0, None])
@pytest.mark.parametrize("as_input", [np.asarray, torch.tensor], ids=["array", "tensor"])
def test_predictions_leave_the_global_states_alone(X, y, global_states, ask, seed, as_input):
    X = as_input(X.astype(np.float32))
    net = small_net(random_state=seed, max_epochs=1).fit(X, y)
    before = global_states()
    ask(net, X)
    assert global_states() == before


@each_question
@pytest.mark.parametrize("training", [False, True])
def test_predictions_change_nothing_of_the_estimator(net, X, ask, training):
    net = pickle.loads(pickle.dumps(net))
    net.module_.train(training)
    net.module_.layers[0].train(not training)
    net.criterion_.train(training)
    before = pickle.dumps(net)
    ask(net, X)
    assert pickle.dumps(net) == before


def test_seeded_fits_in_threads_are_those_one_after_the_other(X, y):
    seeds = range(4)
    expected = [small_net(random_state=seed).fit(X, y).draws(X) for seed in seeds]
    fits = (delayed(small_net(random_state=seed).fit)(X, y) for seed in seeds)
    actual = [net.draws(X) for net in Parallel(n_jobs=2, prefer="threads")(fits)]
    assert_array_equal(actual, expected)


def test_threads_may_predict_with_one_estimator_at_once(net, X):
    def predict(part):
        torch.set_num_threads(1)  # of this thread; two at once may sum in another order
        return net.predict(part, return_std=True)

    parts, before = [X[:20], X[20:]] * 5, pickle.dumps(net)
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(2) as two:
        expected, actual = list(one.map(predict, parts)), list(two.map(predict, parts))
    assert_array_equal(actual, expected)
    assert pickle.dumps(net) == before


def test_each_call_of_partial_fit_draws_other_masks(X, y):
    def losses():
        # Nothing moves at a rate of 0: the loss of all rows differs by the dropout alone.
        net = small_net(lr=0.0, max_epochs=1, batch_size=-1, module__dropout=0.5)
        for _ in range(4):
            net.partial_fit(X, y)
        return net.history[:, "train_loss"]

    assert len(set(losses())) == 4
    assert losses() == losses()
