"""Trainings that end with weights or losses that are no finite numbers."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.exceptions import NotFittedError
from skorch.callbacks import Callback, EarlyStopping
from skorch.dataset import Dataset, ValidSplit
from torch import nn

from sk_mcdropout import MLP, MCDropoutRegressor

WEIGHTS = r"finite weights and losses\. Got weights that are not finite\. Lower `lr`, or scale X"
DIVERGING = {"optimizer": torch.optim.SGD, "lr": 1e30}


def small_net(**params):
    defaults = {"module__hidden": (8,), "max_epochs": 5, "n_draws": 10, "random_state": 0}
    return MCDropoutRegressor(**{**defaults, **params})


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(60, 3))


@pytest.fixture(scope="module")
def y(X):
    return X @ [1.0, -2.0, 0.5]


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("form", ["table", "dataset"])
def test_a_first_fit_that_diverges_leaves_no_fitted_estimator(X, y, method, form):
    net = small_net(**DIVERGING)
    before = set(vars(net))
    dataset = Dataset(X.astype(np.float32), y.astype(np.float32)[:, None])
    with pytest.raises(ValueError, match=WEIGHTS):
        getattr(net, method)(*((X, y) if form == "table" else (dataset, None)))
    assert set(vars(net)) == before
    with pytest.raises(NotFittedError, match="MCDropoutRegressor"):
        net.predict(X)


def test_a_refit_that_diverges_leaves_the_earlier_fit(X, y):
    net = small_net(module__dropout=0.3).fit(X, y).calibrate(X, y)
    expected = net.predict(X, return_std=True)
    vars(net).update(DIVERGING)
    before = vars(net).copy()
    with pytest.raises(ValueError, match=WEIGHTS):
        net.fit(X[:, :2], 10 * y)
    assert vars(net) == before
    assert_array_equal(net.predict(X, return_std=True), expected)


def test_a_module_of_the_user_has_its_weights_back(X, y):
    module = nn.Sequential(MLP(3, hidden=(8,)), nn.BatchNorm1d(1))
    net = MCDropoutRegressor(module, max_epochs=2, random_state=0).fit(X, y)
    expected = {name: part.clone() for name, part in module.state_dict().items()}
    vars(net).update(DIVERGING)
    with pytest.raises(ValueError, match=WEIGHTS):
        net.fit(X, y)
    assert all(torch.equal(part, expected[name]) for name, part in module.state_dict().items())


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_more_training_that_diverges_is_refused(X, y, method):
    net = small_net(warm_start=True).fit(X, y)
    for group in net.optimizer_.param_groups:
        group["lr"] = np.inf
    with pytest.raises(ValueError, match=WEIGHTS):
        getattr(net, method)(X, y)


class Huge(nn.Module):
    """A loss that overflows, though its gradient does not."""

    def forward(self, y_pred, y_true):
        return ((y_pred - 1e25) ** 2).mean()


class Signed(nn.Module):
    def forward(self, y_pred, y_true):
        return -torch.exp(-((y_pred - y_true) ** 2)).mean()


class Zero(nn.Module):
    def forward(self, y_pred, y_true):
        return 0 * y_pred.sum()


def test_a_loss_that_is_not_finite_is_refused_though_the_weights_are(X, y):
    net = small_net(criterion=Huge, optimizer=torch.optim.SGD, lr=0.0)
    with pytest.raises(ValueError, match=r"Got train losses of inf in the last epoch\. Lower"):
        net.fit(X, y)
    assert not hasattr(net, "module_")


@pytest.mark.parametrize("criterion", [Signed, Zero])
def test_losses_of_zero_and_below_are_fine(X, y, criterion):
    net = small_net(criterion=criterion).fit(X, y)
    assert np.isfinite(net.predict(X)).all()


@pytest.mark.parametrize("callbacks", [None, "disable"])
def test_no_epochs_at_all_are_fine(X, y, callbacks):
    net = small_net(max_epochs=0, callbacks=callbacks).fit(X, y)
    assert np.isfinite(net.predict(X)).all()
    with pytest.raises(ValueError, match=WEIGHTS):
        small_net(callbacks=callbacks, **DIVERGING).fit(X, y)


class Diverge(Callback):
    """Let the second of all fits diverge, which is that of a fold."""

    n_fits = 0

    def on_train_begin(self, net, **kwargs):
        type(self).n_fits += 1
        if self.n_fits == 2:
            net.module_.hidden[0].weight.data.fill_(np.nan)


def test_a_fold_that_diverges_is_refused(X, y):
    net = small_net(noise="estimate", callbacks=[Diverge()], module=TwoLayers)
    del net.module__hidden
    before = set(vars(net))
    with pytest.raises(ValueError, match=WEIGHTS):
        net.fit(X, y)
    assert Diverge.n_fits == 2
    assert set(vars(net)) == before


class TwoLayers(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.2))
        self.last = nn.Linear(8, 1)

    def forward(self, x):
        return self.last(self.hidden(x))


class DivergeLate(Callback):
    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == 3:
            net.module_.last.weight.data.fill_(np.nan)


def test_the_best_weights_that_were_loaded_at_the_end_are_kept(X, y):
    stop = EarlyStopping(patience=2, load_best=True)
    params = {"callbacks": [DivergeLate(), stop], "train_split": ValidSplit(3), "max_epochs": 9}
    net = MCDropoutRegressor(TwoLayers, random_state=0, **params).fit(X, y)
    assert np.isnan(net.history[-1, "train_loss"])
    assert np.isfinite(net.predict(X)).all()


def test_weights_that_are_not_trained_may_be_infinite(X, y):
    module = TwoLayers()
    module.mask = nn.Parameter(torch.tensor(-np.inf), requires_grad=False)
    assert np.isfinite(MCDropoutRegressor(module, max_epochs=1).fit(X, y).predict(X)).all()
