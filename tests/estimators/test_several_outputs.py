"""Nets with several outputs are fitted to, and predict, the one that is the prediction."""

import numpy as np
import pytest
import torch
from nets import mlp
from sklearn.base import clone
from sklearn.utils._param_validation import InvalidParameterError
from skorch.callbacks import EpochScoring
from skorch.dataset import ValidSplit
from torch import nn
from torch.utils.data import TensorDataset

from sk_mcdropout import MCDropoutRegressor


class Several(nn.Module):
    """Returns in some form an auxiliary output, a loss, and what the net inside returns."""

    def __init__(self, form="a loss first"):
        super().__init__()
        self.net, self.form = mlp(), form

    def forward(self, X):
        h = self.net(X)
        return {
            "a loss first": {"loss": h.sum(), "logits": h, "aux": X},
            "a tuple": (h, X),
            "by name": {"aux": X, "logits": h},
            "by index": (X, h),
        }[self.form]


OUTPUTS = {
    "a loss first": None,
    "a tuple": None,
    "by name": "logits",
    "by index": 1,
}
PARAMS = {"max_epochs": 3, "batch_size": 10, "n_draws": 5, "random_state": 0}


@pytest.fixture
def data():
    X = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    return X, X[:, :2] * 3 + 1


def regressor(form, **params):
    params = {**PARAMS, "output": OUTPUTS[form], "module__form": form, **params}
    return MCDropoutRegressor(Several, **params)


def predictions(net, X):
    return *net.predict(X, return_std=True), net.draws(X)


@pytest.mark.parametrize("form", OUTPUTS)
def test_a_net_with_several_outputs_is_fitted_as_one_with_the_prediction_alone(data, form):
    X, y = data
    options = {"train_split": ValidSplit(4), "callbacks": [EpochScoring("r2", lower_is_better=0)]}
    alone = MCDropoutRegressor(mlp, **PARAMS, **options).fit(X, y)
    net = clone(regressor(form, **options)).fit(X, y)
    for name in ("train_loss", "valid_loss", "r2"):
        np.testing.assert_allclose(net.history[:, name], alone.history[:, name], rtol=1e-5)
    for actual, expected in zip(predictions(net, X), predictions(alone, X), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)
    assert net.get_params()["output"] == OUTPUTS[form]
    assert [site.path for site in net.dropout_sites_] == ["net.2", "net.5"]


@pytest.mark.parametrize("form", OUTPUTS)
def test_weights_and_datasets_work_with_several_outputs(data, form):
    X, y = data
    weight = np.arange(1, 41.0)
    alone = MCDropoutRegressor(mlp, **PARAMS).fit(X, y, sample_weight=weight)
    net = regressor(form).fit(X, y, sample_weight=weight)
    np.testing.assert_allclose(net.predict(X), alone.predict(X), rtol=1e-4, atol=1e-5)
    dataset = TensorDataset(torch.from_numpy(X), torch.from_numpy(y))
    alone = MCDropoutRegressor(mlp, **PARAMS).fit(dataset, None)
    net = regressor(form).fit(dataset, None)
    np.testing.assert_allclose(net.predict(X), alone.predict(X), rtol=1e-4, atol=1e-5)


def test_a_criterion_of_ones_own_gets_all_outputs_unless_one_is_named(data):
    X, y = data
    seen = []

    class Loss(nn.Module):
        def forward(self, output, y):
            seen.append(type(output))
            h = output if isinstance(output, torch.Tensor) else output["logits"]
            return (h - y).square().mean()

    regressor("a loss first", criterion=Loss).fit(X, y)
    assert {*seen} == {dict}
    seen.clear()
    regressor("a loss first", criterion=Loss, output="logits").fit(X, y)
    assert {*seen} == {torch.Tensor}


def test_an_output_that_does_not_go_with_y_is_refused_before_training(data):
    X, y = data
    with pytest.raises(ValueError, match=r"Got an output of shape \(2, 4\) for a y of shape"):
        regressor("by name", output="aux").fit(X, y)
    with pytest.raises(ValueError, match=r"Got 'gone' for a dict of \{loss: "):
        regressor("a loss first", output="gone").fit(X, y)
    with pytest.raises(InvalidParameterError, match="'output' parameter"):
        regressor("a loss first", output=[1]).fit(X, y)
