"""The decay of weights of the default net, which follows the noise of the target."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from skorch.callbacks import Callback
from skorch.dataset import Dataset

from sk_mcdropout import MCDropoutRegressor


class Decays(Callback):
    """Note the decay and the loss of each step."""

    def initialize(self):
        self.decays_, self.losses_ = [], []
        return self

    def on_batch_begin(self, net, batch=None, training=None, **kwargs):
        if training:
            self.decays_.append(net.optimizer_.param_groups[0]["weight_decay"])

    def on_batch_end(self, net, loss=None, training=None, **kwargs):
        if training:
            self.losses_.append(loss.item())


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(100, 3))


@pytest.fixture(scope="module")
def y(X):
    return 20 + 5 * np.sin(X[:, 0])


def small_net(**params):
    defaults = {"module__hidden": (8,), "max_epochs": 5, "batch_size": 20, "random_state": 0}
    return MCDropoutRegressor(**{**defaults, "callbacks": [("seen", Decays())], **params})


def seen(net):
    return dict(net.callbacks_)["seen"]


def expected(losses, n_batches):
    v, decays = 1.0, []
    for loss in losses:
        v += 0.02 * (loss - v)
        decays.append(min(3.0, 150 * v**2 / n_batches))
    return decays


@pytest.mark.parametrize("params", [{}, {"optimizer__lr": 0.1}, {"module__dropout": 0.5}])
def test_the_decay_follows_the_loss(X, y, params):
    net = small_net(**params).fit(X, y)
    assert_allclose(seen(net).decays_[1:], expected(seen(net).losses_, 5)[:-1])


@pytest.mark.parametrize(
    "params",
    [{"normalize_y": False}, {"criterion": torch.nn.L1Loss}, {"module__dropout": "concrete"}],
)
def test_the_error_is_told_in_variances_of_the_target(X, y, params):
    net = small_net(lr=0.0, max_epochs=1, **params).fit(X, y)
    (before, after) = seen(net).decays_[:2]
    # The answers of an untrained net are small beside the spread of the target.
    assert before == 0.01
    assert 3.0 >= after > 2.0


@pytest.mark.slow
def test_a_target_of_noise_is_answered_by_its_mean(X):
    noise = np.random.default_rng(1).normal(size=100)
    answers = small_net(max_epochs=200).fit(X, noise).predict(X)
    free = small_net(max_epochs=200, optimizer__weight_decay=0.0).fit(X, noise).predict(X)
    assert answers.std() < 0.3 < free.std()


def test_the_decay_is_put_back(X, y):
    assert small_net().fit(X, y).optimizer_.param_groups[0]["weight_decay"] == 0.01


class Quantile(torch.nn.Module):
    """A loss that does not compare numbers with their means."""

    def forward(self, output, y):
        error = y.reshape(output.shape) - output
        return torch.maximum(0.9 * error, -0.1 * error).mean()


def test_a_net_that_tells_its_noise_has_a_decay_of_its_own(X, y):
    params = {"lr": 0.0, "max_epochs": 1, "batch_size": 1}  # 100 batches
    net = small_net(noise="heteroscedastic", **params).fit(X, y)
    alone = small_net(**params).fit(X, y)
    errors = np.sqrt(np.array(seen(alone).decays_[1:]) * 100 / 150)
    # The means of the two nets, which learn nothing, differ a little.
    assert_allclose(seen(net).decays_[1:], 60 * errors / 100, rtol=0.2)


class Own(torch.nn.Sequential):
    def __init__(self):
        super().__init__(torch.nn.Linear(3, 8), torch.nn.Dropout(0.1), torch.nn.Linear(8, 1))


LEFT_ALONE = {
    "a decay of yours": ({"optimizer__weight_decay": 0.5}, 0.5),
    "another optimizer": ({"optimizer": torch.optim.SGD}, 0),
    "a net of your own": ({"module": Own}, 0.01),
    "a loss of another kind": ({"criterion": Quantile}, 0.01),
}


@pytest.mark.parametrize(("params", "decay"), LEFT_ALONE.values(), ids=LEFT_ALONE)
def test_what_is_not_the_default_is_left_alone(X, y, params, decay):
    net = small_net(**params)
    if "module" in params:
        del net.module__hidden
    net.fit(X.astype(np.float32), y)
    assert set(seen(net).decays_) == {decay}


def test_the_spread_of_a_dataset_is_that_of_its_rows(X, y):
    x, target = X.astype(np.float32), y.astype(np.float32)[:, None]
    expected = seen(small_net(normalize_y=False).fit(x, target)).decays_
    assert_allclose(seen(small_net().fit(Dataset(x, target), None)).decays_, expected, rtol=1e-6)


class Stream(torch.utils.data.IterableDataset):
    def __init__(self, X, y):
        self.pairs = list(zip(X.astype(np.float32), y.astype(np.float32)[:, None], strict=True))

    def __iter__(self):
        return iter(self.pairs)


def test_a_stream_whose_spread_is_not_known_is_left_alone(X, y):
    net = small_net(module__n_features=3, iterator_train__shuffle=False)
    assert set(seen(net.fit(Stream(X, y), None)).decays_) == {0.01}


def test_groups_with_a_decay_of_their_own_keep_it(X, y):
    net = small_net(optimizer__param_groups=[("*bias", {"weight_decay": 0.0})])
    net.fit(X, y)
    assert seen(net).decays_ == [0.0] * 25
    assert net.optimizer_.param_groups[1]["weight_decay"] == 0.01
