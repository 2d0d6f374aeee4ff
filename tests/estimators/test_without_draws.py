"""`strategy="moments"`: a normal for each row in the place of draws."""

import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm
from torch import nn

from sk_mcdropout import MCDropoutClassifier, MCDropoutRegressor, MCDropoutRegressorCV, mean_and_std
from sk_mcdropout.predictive import CALIBRATIONS, NormalDistribution

NOISES = {"none": None, "known": 0.7, "by row": "heteroscedastic"}


def small_net(**params):
    defaults = {"module__hidden": (60, 60), "dropout": 0.2, "max_epochs": 20, "random_state": 0}
    return MCDropoutRegressor(**{**defaults, "strategy": "moments", **params})


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(80, 3))


@pytest.fixture(scope="module", params=[(80,), (80, 2)], ids=["one", "two"])
def y(X, request):
    noise = np.random.default_rng(1).normal(scale=0.5, size=request.param)
    return 50 + 3 * X[:, : (request.param[1:] or (1,))[0]].reshape(request.param) + noise


@pytest.fixture(scope="module", params=NOISES)
def fitted(X, y, request):
    return small_net(noise=NOISES[request.param]).fit(X, y)


@pytest.fixture
def net(fitted):
    return pickle.loads(pickle.dumps(fitted))


def test_mean_and_std_are_those_of_the_module_in_the_units_of_y(X, y):
    net = small_net().fit(X, y)
    mean, std = net.predict(X, return_std=True)
    own = mean_and_std(net.module_, torch.from_numpy(X).float(), strategy="moments")
    of_module = [part.numpy().reshape(mean.shape) for part in own]
    assert_allclose(mean, net.y_mean_ + net.y_scale_ * of_module[0])
    assert_allclose(std, net.y_scale_ * of_module[1])
    assert_array_equal(net.predict(X), mean)


def test_all_parts_are_those_of_many_draws(net, X):
    ours = net.predict_decomposed(X)
    drawn = net.set_params(strategy="auto", n_draws=4000).predict_decomposed(X)
    assert (np.abs(ours[0] - drawn[0]) < 0.12 * drawn[1]).all()
    assert_allclose(ours[1], drawn[1], rtol=0.1)
    assert_allclose(ours[2], drawn[2], rtol=0.02)


@pytest.mark.filterwarnings("ignore:`noise` must be given for:UserWarning")
def test_the_distribution_is_a_normal(net, X):
    distribution = net.predict_distribution(X)
    assert isinstance(distribution, NormalDistribution)
    mean, std = net.predict(X, return_std=True)
    _, epistemic, aleatoric = net.predict_decomposed(X)
    assert_allclose(std, np.hypot(epistemic, aleatoric))
    assert_allclose(distribution.var(), std**2)
    value = mean + 0.3
    assert_allclose(distribution.cdf(value), norm.cdf(value, mean, std))
    assert_allclose(net.predict_quantiles(X, [0.2]), norm.ppf(0.2, mean, std)[..., None])
    lower, upper = distribution.interval(0.8)
    assert_allclose(lower, norm.ppf(0.1, mean, std))
    assert_allclose(upper, norm.ppf(0.9, mean, std))
    logs = norm.logpdf(value, mean, std).reshape(80, -1).sum(axis=1)
    assert_allclose(net.log_prob(X, value, "normal"), logs)
    if net.noise is not None:
        assert_allclose(net.log_prob(X, value), logs)


@pytest.mark.slow
@pytest.mark.parametrize("method", CALIBRATIONS)
def test_it_is_calibrated_as_the_mixture_is(X, y, method):
    net = small_net(noise=2.0).fit(X, y).calibrate(X, y, method)
    lower, upper = np.moveaxis(net.predict_interval(X, 0.8), -1, 0)
    other = net.set_params(strategy="auto", n_draws=1000).calibrate(X, y, method)
    close = 0.1 * (upper - lower).mean()
    assert_allclose(lower, other.predict_interval(X, 0.8)[..., 0], atol=close)
    assert_allclose(upper, other.predict_interval(X, 0.8)[..., 1], atol=close)


def test_without_noise_an_interval_of_new_y_is_warned_of(X, y):
    net = small_net().fit(X, y)
    with pytest.warns(UserWarning, match="`noise` must be given for an interval of new y"):
        net.predict_interval(X)


@pytest.mark.parametrize(
    "ask",
    [
        lambda net, X: net.draws(X),
        lambda net, X: net.sample_y(X),
        lambda net, X: net.sample_y(X, noise=False),
        lambda net, X: net.predict(X, return_cov=True),
        lambda net, X: net.predict_distribution(X).cov(),
        lambda net, X: net.predict_distribution(X).rvs(),
    ],
)
def test_what_needs_draws_is_refused(net, X, ask):
    with pytest.raises(ValueError, match=r"Got 'moments'.* Call `set_params\(strategy='auto'\)`"):
        ask(net, X)
    ask(net.set_params(strategy="auto"), X)


def test_a_net_that_is_not_known_is_refused_when_it_predicts(X, y):
    module = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.2), nn.LayerNorm(8), nn.Linear(8, 1))
    net = MCDropoutRegressor(module, strategy="moments", max_epochs=1, random_state=0)
    net.fit(X, y.reshape(80, -1)[:, :1])
    with pytest.raises(NotImplementedError, match="Got `layer_norm` in the submodule '2'"):
        net.predict(X)


def test_a_nonlinearity_and_an_unknown_strategy_are_refused(X, y):
    net = small_net(predict_nonlinearity=torch.exp).fit(X, y)
    with pytest.raises(ValueError, match=r"with a `predict_nonlinearity`.* Got 'moments'"):
        net.predict(X)
    with pytest.raises(ValueError, match=r"'strategy' parameter of .* Got 'vmap'"):
        small_net(strategy="vmap").fit(X, y)
    with pytest.raises(ValueError, match=r"'strategy' parameter of .* Got 'loop'"):
        small_net().fit(X, y).set_params(strategy="loop").predict(X)


def test_an_ensemble_pools_draws(X, y):
    with pytest.raises(ValueError, match=r"must be 'auto' in MCDropoutRegressorCV.* Got 'moments'"):
        MCDropoutRegressorCV(small_net(random_state=None), param_grid={}).fit(X, y)
    assert "strategy" not in MCDropoutClassifier().get_params()
