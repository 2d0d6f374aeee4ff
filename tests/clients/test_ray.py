"""Searches by ``ray.util.joblib``, and predictions by ``ray.data``."""

import joblib
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.model_selection import GridSearchCV

from sk_mcdropout import MCDropoutRegressor

ray = pytest.importorskip("ray", reason="needs ray[data], which has no wheel for every Python")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def cluster():
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def X():
    rows = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    return pd.DataFrame(rows, columns=["a", "b", "c"])


@pytest.fixture(scope="module")
def y(X):
    return 10 + X.to_numpy() @ [1.0, -2.0, 0.5]


def test_a_search_runs_on_ray(X, y):
    from ray.util.joblib import register_ray

    register_ray()
    net = MCDropoutRegressor(module__hidden=(8,), max_epochs=3, random_state=0)
    search = GridSearchCV(net, {"dropout": [0.05, 0.5]}, cv=2)
    with joblib.parallel_config(backend="ray"):
        search.fit(X, y)
    alone = GridSearchCV(net, search.param_grid, cv=2).fit(X, y)
    scores = search.cv_results_["mean_test_score"]
    assert_allclose(scores, alone.cv_results_["mean_test_score"], rtol=1e-4)


def test_batches_are_predicted_by_ray_data(X, y):
    net = MCDropoutRegressor(module__hidden=(8,), max_epochs=3, noise=0.5, random_state=0)
    shared = ray.put(net.fit(X, y))  # sent to each machine once

    def predict(batch):
        return batch[["row"]].join(ray.get(shared).predict_table(batch[["a", "b", "c"]], 0.05))

    rows = ray.data.from_pandas(X.assign(row=np.arange(len(X))))
    table = rows.map_batches(predict, batch_format="pandas", batch_size=64).to_pandas()
    table = table.sort_values("row")[["mean", "std", "quantile_0.05"]].astype(float)
    assert_allclose(table, net.predict_table(X, 0.05)[[*table]], rtol=1e-4)
