"""Searches and predictions on a cluster of Dask with two processes, of which one may be killed."""

import os
import signal
import time

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.model_selection import GridSearchCV

from sk_mcdropout import MCDropoutRegressor

distributed = pytest.importorskip("distributed", reason="needs distributed")
da = pytest.importorskip("dask.array", reason="needs dask[array]")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client():
    options = {
        "n_workers": 2,
        "threads_per_worker": 1,
        "processes": True,
        "dashboard_address": None,
    }
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        yield client


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def y(X):
    return 10 + X @ [1.0, -2.0, 0.5]


@pytest.fixture(scope="module")
def net(X, y):
    return MCDropoutRegressor(module__hidden=(8,), max_epochs=3, noise=0.5, random_state=0).fit(
        X, y
    )


def test_a_search_runs_on_the_workers_and_finds_what_it_finds_alone(client, X, y):
    net = MCDropoutRegressor(module__hidden=(8,), max_epochs=3, random_state=0)
    search = GridSearchCV(net, {"dropout": [0.05, 0.5], "lr": [0.001, 0.01]}, cv=2)
    with joblib.parallel_config(backend="dask"):
        search.fit(X, y)
    alone = GridSearchCV(net, search.param_grid, cv=2).fit(X, y)
    scores = search.cv_results_["mean_test_score"]
    assert_allclose(scores, alone.cv_results_["mean_test_score"], rtol=1e-4)
    assert search.best_params_ == alone.best_params_
    assert_allclose(search.predict(X), alone.predict(X), rtol=1e-4)


def test_the_workers_answer_as_one_machine(client, net, X):
    lazy = da.from_array(X, chunks=(50, 3))
    computed = client.gather(client.compute(net.predict(lazy, return_std=True)))
    assert_allclose(computed, net.predict(X, return_std=True), rtol=1e-4)


def test_a_worker_that_is_killed_half_way_loses_nothing(client, net, X):
    def slowly(block):
        time.sleep(0.3)
        return block

    lazy = da.from_array(X, chunks=(20, 3)).map_blocks(slowly, dtype=X.dtype)
    pids = client.run(os.getpid)
    future = client.compute(net.predict_interval(lazy))
    time.sleep(1.5)  # of the three seconds that the blocks take
    assert future.status == "pending"
    os.kill(next(iter(pids.values())), signal.SIGKILL)
    assert_allclose(future.result(timeout=120), net.predict_interval(X), rtol=1e-4)
    client.wait_for_workers(2, timeout=60)
    assert set(client.run(os.getpid).values()) != set(pids.values())
