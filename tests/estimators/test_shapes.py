"""Outputs of a net in another shape than y: every answer has the shape of y, or there is none."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from skorch.dataset import Dataset
from torch import nn

from sk_mcdropout import MLP, MCDropoutRegressor

N_ROWS, N_DRAWS = 30, 10
LEVELS = [0.1, 0.5, 0.9]

# Each question to a net about rows X with targets y, and the shape of the answer for y's shape.
QUESTIONS = {
    "predict": lambda net, X, y: net.predict(X),
    "std": lambda net, X, y: net.predict(X, return_std=True)[1],
    "cov": lambda net, X, y: net.predict(X, return_cov=True)[1],
    "decomposed": lambda net, X, y: np.stack(net.predict_decomposed(X)),
    "draws": lambda net, X, y: net.draws(X),
    "sample_y": lambda net, X, y: net.sample_y(X, n_samples=4),
    "quantiles": lambda net, X, y: net.predict_quantiles(X, LEVELS),
    "interval": lambda net, X, y: net.predict_interval(X),
    "cdf": lambda net, X, y: net.predict_cdf(X, y),
    "cdf of a number": lambda net, X, y: net.predict_cdf(X, 0.0),
    "log_prob": lambda net, X, y: net.log_prob(X, y),
    "log_prob of a number": lambda net, X, y: net.log_prob(X, 0.5),
    "log_prob of the normal": lambda net, X, y: net.log_prob(X, y, distribution="normal"),
    "calibrated by the std": lambda net, X, y: calibrated(net, X, y, "std"),
    "calibrated isotonically": lambda net, X, y: calibrated(net, X, y, "isotonic"),
    "calibrated conformally": lambda net, X, y: calibrated(net, X, y, "conformal"),
    "distribution's functions": lambda net, X, y: net.predict_distribution(X).functions(3),
    "distribution's rvs": lambda net, X, y: net.predict_distribution(X).rvs(3, random_state=1),
    "distribution's ppf": lambda net, X, y: net.predict_distribution(X).ppf(0.3),
    "distribution's cdf": lambda net, X, y: net.predict_distribution(X).cdf(y),
    "distribution's std": lambda net, X, y: net.predict_distribution(X).std(),
}
each_question = pytest.mark.parametrize("ask", QUESTIONS.values(), ids=QUESTIONS)


def calibrated(net, X, y, method):
    return deepcopy(net).calibrate(X, y, method).predict_interval(X, coverage=0.5)


class Shaped(nn.Module):
    """The default net with its outputs in another shape."""

    def __init__(self, n_outputs, shape):
        super().__init__()
        torch.manual_seed(0)
        self.net = MLP(3, n_outputs, hidden=(16,), dropout=0.3)
        self.shape = shape

    def forward(self, x):
        output = self.net(x).unflatten(1, self.shape)
        # The means and the log variances of several columns lie one after the other.
        return output.transpose(1, -1) if self.shape == (2, 2) else output


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(N_ROWS, 3))


@pytest.fixture(scope="module")
def Y(X):
    noise = np.random.default_rng(1).normal(size=(N_ROWS, 2))
    return 5 + X @ [[1.0, -2.0], [0.5, 0.0], [3.0, 1.0]] + noise


@pytest.fixture(scope="module")
def fitted(X):
    """Return a function that fits a net, once for all questions."""
    nets = {}

    def get(y, n_outputs, shape, **params):
        key = y.shape, n_outputs, shape, *params.items()
        if key not in nets:
            nets[key] = fit(X, y, n_outputs, shape, **params)
        return nets[key]

    return get


def fit(X, y, n_outputs, shape, **params):
    defaults = {"max_epochs": 3, "n_draws": N_DRAWS, "random_state": 0, "noise": 0.7}
    about = {"module__n_outputs": n_outputs, "module__shape": shape}
    return MCDropoutRegressor(Shaped, **{**defaults, **about, **params}).fit(X, y)


@each_question
@pytest.mark.parametrize("shape", [(2, 1), (1, 2), (1, 2, 1)])
@pytest.mark.parametrize("normalize_y", [True, False])
def test_two_targets_are_answered_in_the_shape_of_y(X, Y, fitted, ask, shape, normalize_y):
    expected = ask(fitted(Y, 2, (2,), normalize_y=normalize_y), X, Y)
    actual = ask(fitted(Y, 2, shape, normalize_y=normalize_y), X, Y)
    assert actual.shape == expected.shape
    assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


@each_question
def test_two_targets_with_noise_are_answered_in_the_shape_of_y(X, Y, fitted, ask):
    expected = ask(fitted(Y, 4, (4,), noise="heteroscedastic"), X, Y)
    actual = ask(fitted(Y, 4, (1, 4), noise="heteroscedastic"), X, Y)
    assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)
    assert ask(fitted(Y, 4, (2, 2), noise="heteroscedastic"), X, Y).shape == expected.shape


@each_question
@pytest.mark.parametrize("y_shape", [(-1,), (-1, 1)])
@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 1)])
@pytest.mark.parametrize("normalize_y", [True, False])
def test_one_target_is_answered_without_its_axis(X, Y, fitted, ask, y_shape, shape, normalize_y):
    y = Y[:, 0].reshape(y_shape)
    expected = ask(fitted(y, 1, (1,), normalize_y=normalize_y), X, y)
    actual = ask(fitted(y, 1, shape, normalize_y=normalize_y), X, y)
    assert actual.shape == expected.shape
    assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def test_one_target_with_noise_is_answered_without_its_axis(X, Y):
    net = fit(X, Y[:, 0], 2, (1, 2), noise="heteroscedastic")
    assert [part.shape for part in net.predict_decomposed(X)] == [(N_ROWS,)] * 3


@pytest.mark.parametrize("shape", [(2, 1), (1, 2), (1, 1)])
def test_a_target_of_three_axes_keeps_its_shape(X, Y, shape):
    y = Y[:, : np.prod(shape)].reshape(-1, *shape)
    net = fit(X, y, np.prod(shape), shape)
    mean, std = net.predict(X, return_std=True)
    assert mean.shape == std.shape == y.shape
    assert net.predict_interval(X).shape == (*y.shape, 2)
    assert net.predict_cdf(X, y).shape == y.shape
    assert net.draws(X).shape == (N_DRAWS, *y.shape)
    assert not hasattr(net, "n_outputs_")


def test_a_target_of_three_axes_is_forgotten_by_a_new_fit(X, Y):
    net = fit(X, Y[:, :1, None], 1, (1, 1)).fit(X, Y[:, 0])
    assert net.predict(X).shape == (N_ROWS,)
    assert net.fit(X, Y[:, :1, None]).predict(X).shape == (N_ROWS, 1, 1)


class FirstTwo(nn.Module):
    def forward(self, y_pred, y_true):
        return nn.functional.mse_loss(y_pred[:, :2].flatten(1), y_true)


@each_question
@pytest.mark.parametrize(("n_outputs", "shape"), [(3, (3,)), (4, (2, 2))])
def test_an_output_of_another_number_of_targets_is_refused(X, Y, ask, n_outputs, shape):
    criterion = FirstTwo if shape == (3,) else Sum
    net = fit(X, Y, n_outputs, shape, criterion=criterion)
    seen = ", ".join(map(str, shape))
    match = rf"Got an output of shape \({N_ROWS}, {seen}\) for 2 targets\. Give the net one output"
    with pytest.raises(ValueError, match=match):
        ask(net, X, Y)


class Sum(nn.Module):
    def forward(self, y_pred, y_true):
        return (y_pred.flatten(1).sum(1) - y_true.sum(1)).square().mean()


def test_a_dataset_is_answered_in_the_shape_of_the_output(X, Y):
    data = Dataset(X.astype(np.float32), Y.astype(np.float32)[:, :, None])
    assert fit(data, None, 2, (2, 1)).predict(X).shape == (N_ROWS, 2, 1)


# -- one number for all rows ---------------------------------------------------------------------


@pytest.mark.parametrize("method", ["predict_cdf", "log_prob"])
@pytest.mark.parametrize("number", [0.5, np.float32(0.5), np.array(0.5), torch.tensor(0.5), 1])
@pytest.mark.parametrize("n_targets", [1, 2])
def test_one_number_stands_for_all_rows(X, Y, method, number, n_targets):
    y = Y[:, 0] if n_targets == 1 else Y
    net = fit(X, y, n_targets, (n_targets,))
    expected = getattr(net, method)(X, np.full(y.shape, float(number)))
    assert_array_equal(getattr(net, method)(X, number), expected)


@pytest.mark.parametrize("ask", [QUESTIONS["cdf"], QUESTIONS["log_prob"]])
@pytest.mark.parametrize("shape", [(1,), (2,), (N_ROWS,), (1, 2), (N_ROWS - 1, 2), (N_ROWS, 3)])
def test_values_in_another_shape_are_refused(X, Y, ask, shape):
    net = fit(X, Y, 2, (2,))
    match = rf"one value for each row and target\. Got the shape \({', '.join(map(str, shape))},?\)"
    with pytest.raises(ValueError, match=match):
        ask(net, X, np.zeros(shape))


@pytest.mark.parametrize("ask", [QUESTIONS["cdf"], QUESTIONS["log_prob"]])
def test_a_number_that_is_none_is_refused(X, Y, ask):
    with pytest.raises(ValueError, match=r"y must be finite numbers\. Input y contains NaN"):
        ask(fit(X, Y, 2, (2,)), X, np.nan)
