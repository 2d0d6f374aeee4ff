"""The noise of the observations: known, estimated, or told by the net."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback, EpochScoring
from skorch.dataset import Dataset, ValidSplit
from torch import nn

from sk_mcdropout import MCDropoutRegressor
from sk_mcdropout.nn import mean_and_log_variance
from sk_mcdropout.predictive import likeliest_noise


def small_net(**params):
    defaults = {"module__hidden": (20,), "max_epochs": 5, "n_draws": 20, "random_state": 0}
    return MCDropoutRegressor(**{**defaults, **params})


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3))
    return X, 100 + X @ [30.0, -10.0, 5.0] + rng.normal(scale=7.0, size=400)


# -- in the estimator --------------------------------------------------------------------------


@pytest.mark.parametrize("normalize_y", [True, False])
def test_a_known_noise_is_in_the_std_in_the_units_of_y(data, normalize_y):
    X, y = data
    net = small_net(normalize_y=normalize_y).fit(X, y)
    mean, epistemic = net.predict(X, return_std=True)
    net.set_params(noise=7.0)
    assert_array_equal(net.predict(X), mean)
    assert_allclose(net.predict(X, return_std=True)[1] ** 2, epistemic**2 + 49)
    parts = net.predict_decomposed(X)
    for actual, expected in zip(parts, (mean, epistemic, np.full(400, 7.0)), strict=True):
        assert_allclose(actual, expected)


def test_the_covariance_has_the_noise_on_its_diagonal(data):
    X, y = data
    net = small_net(noise=7.0).fit(X, y)
    noisy = net.predict(X[:6], return_cov=True)[1]
    free = net.set_params(noise=None).predict(X[:6], return_cov=True)[1]
    assert_allclose(noisy - free, 49 * np.eye(6), atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("train_split", [None, ValidSplit(4)])
def test_the_estimate_finds_the_noise(data, train_split):
    X, y = data
    about = {"noise": "estimate", "max_epochs": 60, "train_split": train_split}
    net = small_net(**about).fit(X, np.column_stack([y, 1000 * y]))
    # Of 100 rows a std is told to 7 %; what the net has not learned of y adds to the noise.
    assert_allclose(net.noise_std_, [7, 7000], rtol=0.25)
    assert_allclose(net.predict_decomposed(X)[2], np.tile(net.noise_std_, (400, 1)))


class CountFits(Callback):
    """Count the fits, of copies too."""

    count = 0

    def on_train_begin(self, net, **kwargs):
        type(self).count += 1


@pytest.mark.parametrize(("train_split", "n_fits"), [(None, 6), (ValidSplit(4), 1)])
def test_folds_are_fitted_only_without_rows_held_out(data, train_split, n_fits):
    CountFits.count = 0
    about = {"train_split": train_split, "callbacks": [("count", CountFits())]}
    net = small_net(noise="estimate", **about).fit(*data)
    assert CountFits.count == n_fits
    plain = small_net(**about).fit(*data)
    assert_array_equal(net.draws(data[0]), plain.draws(data[0]))  # trained on the same rows


def test_the_estimate_is_that_of_the_rows_that_were_split_off(data):
    X, y = data
    split = ValidSplit(4)
    net = small_net(noise="estimate", train_split=split).fit(X, y)
    rows = split(Dataset(X, y))[1].indices
    expected = likeliest_noise(torch.tensor(y[rows]), torch.tensor(net.draws(X[rows])))
    assert_allclose(net.noise_std_, expected, rtol=1e-9)


def test_a_dataset_needs_a_split_for_the_estimate(data):
    X, y = data[0].astype(np.float32), data[1].astype(np.float32)[:, None]
    with pytest.raises(ValueError, match=r"Got a Dataset, which is not cut into folds"):
        small_net(noise="estimate").fit(Dataset(X, y), None)
    net = small_net(noise="estimate", train_split=ValidSplit(4)).fit(Dataset(X, y), None)
    assert net.noise_std_ > 0


@pytest.mark.slow
@pytest.mark.parametrize("method", ["partial_fit", "fit"])
def test_training_on_keeps_the_estimate_and_says_so(data, method):
    X, y = data
    net = small_net(noise="estimate", warm_start=True).fit(X, y)
    first = net.noise_std_
    with pytest.warns(UserWarning, match=f"Got more training, and the `noise_std_` {first} of"):
        getattr(net, method)(X, 10 * y)
    assert net.noise_std_ == first


def test_training_on_with_a_split_estimates_the_noise_again(data):
    X, y = data
    net = small_net(noise="estimate", train_split=ValidSplit(4)).fit(X, y)
    first = net.noise_std_
    net.partial_fit(X, 10 * y)
    held_out = ValidSplit(4)(Dataset(X, y))[1].indices
    draws = torch.tensor(net.draws(X[held_out]))
    assert_allclose(net.noise_std_, likeliest_noise(torch.tensor(10 * y[held_out]), draws))
    assert net.noise_std_ > 5 * first


def test_a_new_fit_replaces_the_estimate(data):
    X, y = data
    net = small_net(noise="estimate").fit(X, y)
    first = net.noise_std_
    assert net.fit(X, 10 * y).noise_std_ > 5 * first


@pytest.mark.parametrize("noise", ["estimate", "heteroscedastic"])
def test_a_noise_that_was_not_fitted_is_said(data, noise):
    net = small_net().fit(*data).set_params(noise=noise)
    with pytest.raises(ValueError, match=f"`noise='{noise}'` to have this noise"):
        net.predict(data[0], return_std=True)


@pytest.mark.parametrize("noise", [-1.0, "guess"])
def test_another_noise_is_refused(data, noise):
    with pytest.raises(ValueError, match=f"Got {noise!r}"):
        small_net(noise=noise).fit(*data)


# -- told by the net ---------------------------------------------------------------------------


@pytest.mark.slow
def test_the_net_learns_where_the_noise_is():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (2000, 1))
    noise = np.where(X[:, 0] > 0, 4.0, 1.0)
    y = 50 + rng.normal(size=2000) * noise
    params = {"max_epochs": 30, "module__dropout": 0.02, "optimizer__weight_decay": 0.01}
    net = small_net(noise="heteroscedastic", **params).fit(X, y)
    places = np.linspace(0.1, 0.9, 9)
    _, _, aleatoric = net.predict_decomposed(np.concatenate([-places, places])[:, None])
    # 1,000 rows on each side tell a std to 2 %, and those near a place less.
    assert_allclose(aleatoric.reshape(2, 9).mean(axis=1), [1, 4], rtol=0.15)
    assert net.module_.layers[-1].out_features == 2


def test_several_targets_have_their_means_first(data):
    X, y = data
    both = np.column_stack([y, -y])
    net = small_net(noise="heteroscedastic", max_epochs=40).fit(X, both)
    assert r2_score(both, net.predict(X)) > 0.8
    mean, log_variance = mean_and_log_variance(torch.tensor(_outputs(net, X)))
    # The pass without dropout is near the mean of the draws.
    means = net.y_mean_ + net.y_scale_ * mean.numpy()
    assert_allclose(means, net.predict(X), atol=0.1 * net.y_scale_.max())
    noise = net.y_scale_ * np.exp(0.5 * log_variance.numpy())
    assert_allclose(net.predict_decomposed(X)[2], noise, rtol=0.5)


def _outputs(net, X):
    return np.concatenate([out.numpy() for out in net.forward_iter(X.astype(np.float32))])


def test_beta_reaches_the_loss(data):
    nets = [small_net(noise="heteroscedastic", criterion__beta=b).fit(*data) for b in (0.0, 1.0)]
    assert [net.criterion_.beta for net in nets] == [0.0, 1.0]
    assert (nets[0].predict(data[0]) != nets[1].predict(data[0])).any()


def _net_of(n_outputs):
    return nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.1), nn.Linear(8, n_outputs))


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"module": _net_of(1)}, r"Got the shape \(2, 1\)"),
        ({"module": _net_of(4)}, r"Got an output of shape \(2, 2\)"),
        ({"criterion": nn.L1Loss}, r"Got L1Loss. Leave it out"),
    ],
)
def test_a_net_without_a_noise_of_its_own_is_told(data, params, match):
    with pytest.raises(ValueError, match=match):
        MCDropoutRegressor(noise="heteroscedastic", max_epochs=1, **params).fit(*data)


def test_scores_while_training_see_the_means(data):
    scoring = EpochScoring("r2", lower_is_better=False, name="r2")
    about = {"train_split": ValidSplit(4), "callbacks": [("r2", scoring)], "max_epochs": 40}
    net = small_net(noise="heteroscedastic", **about).fit(*data)
    assert net.history[-1]["r2"] > 0.8


def test_a_net_of_ones_own_and_targets_of_three_axes(data):
    X = np.random.default_rng(0).normal(size=(30, 5, 3)).astype(np.float32)
    y = X.sum(axis=2, keepdims=True)
    module = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 2))
    net = MCDropoutRegressor(module, noise="heteroscedastic", max_epochs=3, random_state=0)
    mean, std = net.fit(X, y).predict(X, return_std=True)
    assert mean.shape == std.shape == (30, 5, 1)
    assert net.log_prob(X, y).shape == (30,)


def test_samples_are_functions_or_observations(data):
    X, y = data
    net = small_net(noise=7.0).fit(X, y)
    functions = net.sample_y(X, 50, noise=False)
    assert_array_equal(functions, net.set_params(noise=None).sample_y(X, 50))
    noise = net.set_params(noise=7.0).sample_y(X, 50) - functions
    # 20,000 numbers tell a std to 0.5 %, at one sigma.
    assert_allclose([noise.mean(), noise.std()], [0, 7], atol=0.15)


def test_a_search_over_the_noise(data):
    search = GridSearchCV(small_net(), {"noise": [None, "heteroscedastic"]}, cv=2).fit(*data)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
