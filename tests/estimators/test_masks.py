"""The law of the masks is a parameter of prediction alone."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from sk_mcdropout import MCDropoutClassifier, MCDropoutRegressor, MCDropoutRegressorCV

SMALL = {"module__hidden": (30,), "max_epochs": 3}
MODELS = [
    MCDropoutRegressor(**SMALL, random_state=0),
    MCDropoutClassifier(**SMALL, random_state=0),
    MCDropoutRegressorCV(
        MCDropoutRegressor(**SMALL), param_grid={"dropout": [0.5]}, cv=2, random_state=0
    ),
]


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    return X, (X[:, 0] > 0).astype(int)


def of_model(model, X):
    classifies = hasattr(model, "predict_proba")
    return model.predict_proba(X, return_std=True) if classifies else model.draws(X)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_it_is_set_before_and_after_a_fit(model, data):
    before = clone(model).set_params(masks="qmc").fit(*data)
    after = clone(model).fit(*data)
    independent = of_model(after, data[0])
    after.set_params(masks="qmc")
    assert_array_equal(of_model(after, data[0]), of_model(before, data[0]))
    assert not np.allclose(of_model(after, data[0]), independent)
    assert_array_equal(of_model(after.set_params(masks="iid"), data[0]), independent)
    loaded = pickle.loads(pickle.dumps(before))
    assert_array_equal(of_model(loaded, data[0]), of_model(before, data[0]))


def test_the_mean_of_one_layer_of_dropout_is_that_of_the_net_without(data):
    net = clone(MODELS[0]).set_params(dropout=0.5, n_draws=16).fit(*data)
    plain = net.forward(data[0].astype(np.float32)).numpy()[:, 0] * net.y_scale_ + net.y_mean_
    assert abs(net.predict(data[0]) - plain).max() > 1e-3
    assert_allclose(net.set_params(masks="qmc").predict(data[0]), plain, atol=1e-5)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_another_law_is_refused(model, data):
    with pytest.raises(ValueError, match=r"'masks' parameter .* Got 'sobol' instead"):
        clone(model).set_params(masks="sobol").fit(*data)
    with pytest.raises(ValueError, match=r"'masks' parameter .* Got 'sobol' instead"):
        clone(model).fit(*data).set_params(masks="sobol").predict(data[0])


def test_the_law_of_an_ensemble_is_given_to_it(data):
    model = clone(MODELS[2]).set_params(estimator__masks="qmc")
    with pytest.raises(ValueError, match=r"`masks` must be given .* Got 'qmc' there"):
        model.fit(*data)
