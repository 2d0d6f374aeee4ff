"""Lazy modules, whose weights are made by the first rows they see."""

import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.model_selection import cross_val_predict
from skorch.dataset import Dataset
from torch import nn

from sk_mcdropout import MCDropoutRegressor


class Lazy(nn.Sequential):
    def __init__(self, dtype=torch.float32):
        hidden = nn.LazyLinear(8, dtype=dtype), nn.LazyBatchNorm1d(dtype=dtype), nn.ReLU()
        super().__init__(*hidden, nn.Dropout(0.3), nn.LazyLinear(1, dtype=dtype))


def small_net(module=Lazy, **params):
    defaults = {"max_epochs": 3, "n_draws": 10, "random_state": 0}
    return MCDropoutRegressor(module, **{**defaults, **params})


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def y(X):
    return X @ np.array([1.0, -2.0, 0.5], dtype=np.float32)


def as_table(net, X, y):
    return net.fit(X, y)


def as_tensor(net, X, y):
    return net.fit(torch.tensor(X), torch.tensor(y))


def as_dataset(net, X, y):
    return net.fit(Dataset(X, y[:, None]), None)


FORMS = pytest.mark.parametrize("fit", [as_table, as_tensor, as_dataset])


@FORMS
@pytest.mark.parametrize("max_epochs", [0, 3])
@pytest.mark.parametrize("dropout", [None, 0.5])
def test_the_weights_of_lazy_modules_are_made_from_the_seed(X, y, fit, max_epochs, dropout):
    params = {"max_epochs": max_epochs, "dropout": dropout}
    first = fit(small_net(**params), X, y)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    second = fit(small_net(**params), X, y)
    assert torch.equal(torch.get_rng_state(), before)
    for one, other in zip(first.module_.parameters(), second.module_.parameters(), strict=True):
        assert torch.equal(one, other)
    assert_array_equal(first.draws(X), second.draws(X))
    other_seed = fit(small_net(random_state=1, **params), X, y)
    assert not torch.equal(first.module_[0].weight, other_seed.module_[0].weight)


def test_cross_validated_predictions_of_a_lazy_instance_are_those_of_the_seed(X, y):
    # Torch cannot copy a lazy normalisation, of which scikit-learn makes clones.
    net = small_net(nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.Dropout(0.3), nn.LazyLinear(1)))
    first = cross_val_predict(net, X, y, cv=3)
    torch.manual_seed(7)
    assert_array_equal(cross_val_predict(net, X, y, cv=3), first)


@FORMS
def test_the_weights_of_lazy_modules_are_trained(X, y, fit):
    start, trained = (fit(small_net(max_epochs=n), X, y) for n in (0, 3))
    held = {id(p) for group in trained.optimizer_.param_groups for p in group["params"]}
    assert held == {id(p) for p in trained.module_.parameters()}
    pairs = zip(start.module_.parameters(), trained.module_.parameters(), strict=True)
    assert all(not torch.equal(before, after) for before, after in pairs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_lazy_weights_have_the_dtype_of_the_module(X, y, dtype):
    net = small_net(module__dtype=dtype).fit(X, y)
    assert {p.dtype for p in net.module_.parameters()} == {dtype}
    assert net.predict(X).shape == (40,)


def test_lazy_weights_are_made_on_the_device(X, y):
    if not torch.cuda.is_available():
        pytest.skip("without a GPU there is one device")
    net = small_net(device="cuda").fit(X, y)
    assert {p.device.type for p in net.module_.parameters()} == {"cuda"}


@pytest.mark.parametrize("again", ["partial_fit", "fit"])
def test_training_goes_on_with_the_weights_that_were_made(X, y, again):
    net = small_net(warm_start=True).fit(X, y)
    module, weight = net.module_, net.module_[0].weight
    getattr(net, again)(X, y)
    assert net.module_ is module
    assert net.module_[0].weight is weight
    assert len(net.history_) == 6


def test_a_first_partial_fit_is_a_fit(X, y):
    assert_array_equal(small_net().partial_fit(X, y).draws(X), small_net().fit(X, y).draws(X))


def test_initialize_makes_no_weights_and_the_first_rows_make_those_of_fit(X, y):
    net = small_net().initialize()
    assert all(map(nn.parameter.is_lazy, net.module_[0].parameters()))
    torch.manual_seed(7)
    untrained = small_net(max_epochs=0, normalize_y=False).fit(X, y)
    assert_array_equal(net.predict(X), untrained.predict(X))
    net = small_net().initialize().partial_fit(X, y)
    assert_array_equal(net.draws(X), small_net().fit(X, y).draws(X))


def test_the_noise_of_a_lazy_net_is_that_of_the_seed(X, y):
    first = small_net(noise="estimate").fit(X, y)
    torch.manual_seed(7)
    assert small_net(noise="estimate").fit(X, y).noise_std_ == first.noise_std_


def test_another_number_of_features_makes_other_weights(X, y):
    net = small_net().fit(X, y).fit(X[:, :2], y)
    assert net.module_[0].weight.shape == (8, 2)


def test_a_lazy_net_is_pickled_before_and_after_its_weights_are_made(X, y):
    net = pickle.loads(pickle.dumps(small_net().initialize()))
    net = pickle.loads(pickle.dumps(net.partial_fit(X, y)))
    assert_array_equal(net.draws(X), small_net().fit(X, y).draws(X))
