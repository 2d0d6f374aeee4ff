"""Nets in half precision, which NumPy in part does not have."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from questions import each_question
from sklearn.metrics import r2_score
from skorch.dataset import Dataset
from torch import nn

from sk_mcdropout import MLP, MCDropoutRegressor

each_dtype = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])


class Half(nn.Module):
    """A net that wants its inputs in its own precision."""

    def __init__(self, dtype, n_outputs=1):
        super().__init__()
        self.net = MLP(3, n_outputs, hidden=(32,), dropout=0.05).to(dtype)
        self.dtype = dtype

    def forward(self, x):
        assert x.dtype == self.dtype
        return self.net(x)


def small_net(dtype, **params):
    # Adam's default of 1e-8 is 0 in half precision.
    defaults = {"max_epochs": 30, "n_draws": 20, "random_state": 0, "optimizer__eps": 1e-4}
    return MCDropoutRegressor(Half, module__dtype=dtype, **{**defaults, **params})


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(200, 3))


@pytest.fixture(scope="module")
def y(X):
    return 100 + 30 * X @ [1.0, -2.0, 0.5]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`noise` must be given for an interval:UserWarning")
@each_dtype
@pytest.mark.parametrize("noise", [None, 7.0, "estimate", "heteroscedastic"])
def test_a_net_in_half_precision_learns_and_answers_in_double(X, y, dtype, noise):
    n_outputs = 2 if noise == "heteroscedastic" else 1
    net = small_net(dtype, noise=noise, module__n_outputs=n_outputs).fit(X, y)
    answers = (*net.predict_decomposed(X), net.predict_interval(X), net.draws(X))
    assert {answer.dtype for answer in answers} == {np.dtype(np.float64)}
    assert all(np.isfinite(answer).all() for answer in answers)
    assert r2_score(y, net.predict(X)) > 0.8


@each_dtype
def test_tensors_and_datasets_reach_it_in_its_precision(X, y, dtype):
    as_tensor = torch.tensor(X, dtype=torch.float32)
    net = small_net(dtype).fit(as_tensor, torch.tensor(y, dtype=torch.float32))
    assert_allclose(net.predict(as_tensor), net.predict(X))
    target = (y[:, None] / 100).astype(np.float32)
    net = small_net(dtype).fit(Dataset(X.astype(np.float32), target), None)
    assert net.predict(X).shape == (200,)


@pytest.fixture(scope="module")
def trained(X, y):
    return MCDropoutRegressor(max_epochs=30, n_draws=20, random_state=0).fit(X, y)


@each_dtype
@each_question
def test_a_trained_net_may_be_made_half(X, trained, dtype, ask):
    net = deepcopy(trained)
    expected = ask(net, X[:5])
    net.module_.to(dtype)
    actual = ask(net, X[:5])
    assert actual.dtype == np.float64
    # Eight digits of bfloat16 in units of the target's standard deviation of about 70.
    assert_allclose(actual, expected, atol=70 * 0.05 * (70 if expected.shape == (5, 5) else 1))


def test_integers_are_left_to_an_embedding():
    net = nn.Sequential(nn.Embedding(5, 8), nn.Flatten(), nn.Dropout(0.1), nn.Linear(8, 1))
    X = np.arange(40).reshape(-1, 1) % 5
    net = MCDropoutRegressor(net.bfloat16(), max_epochs=2, random_state=0)
    assert net.fit(X, X[:, 0]).predict(X).dtype == np.float64
