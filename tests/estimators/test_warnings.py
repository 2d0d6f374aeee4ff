"""Warnings point at the line of the user, not at one inside of the package."""

import inspect
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback
from torch import nn

import sk_mcdropout
from sk_mcdropout import MLP, MCDropoutRegressor
from sk_mcdropout.sampling import warn

PACKAGE = Path(sk_mcdropout.__file__).parent


class Noisy(nn.Module):
    """Draws random numbers in training that sampling does not switch on."""

    def __init__(self):
        super().__init__()
        self.net = MLP(3, hidden=(8,))

    def forward(self, x):
        return self.net(x + torch.randn_like(x) if self.training else x)


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(40, 3))


@pytest.fixture(scope="module")
def y(X):
    return X @ [1.0, -2.0, 0.5]


def small_net(module=Noisy, **params):
    return MCDropoutRegressor(
        module, **{"max_epochs": 1, "n_draws": 5, "random_state": 0, **params}
    )


def places(caught):
    return [(w.filename, w.lineno) for w in caught if issubclass(w.category, UserWarning)]


def test_a_warning_of_fit_points_at_the_line_that_calls_it(X, y):
    net = small_net()
    with pytest.warns(UserWarning, match="randomness in ''") as caught:
        net.fit(X, y)
    line = inspect.currentframe().f_lineno - 1
    assert places(caught) == [(__file__, line)]


@pytest.mark.parametrize("method", ["predict", "predict_interval"])
def test_a_warning_of_predict_points_at_the_line_that_calls_it(X, y, method):
    net = small_net(nn.Linear(3, 1), noise=0.5).fit(X, y)
    ask, options = getattr(net, method), {"return_std": True} if method == "predict" else {}
    with pytest.warns(UserWarning, match="Got none, so that all draws are the same") as caught:
        ask(X, **options)
    line = inspect.currentframe().f_lineno - 1
    assert places(caught) == [(__file__, line)]


class Asks(Callback):
    def on_train_end(self, net, **kwargs):
        warn("this must be quiet. Got a warning. Leave it.")


def test_a_warning_while_skorch_trains_points_at_a_line_of_the_user(X, y):
    with pytest.warns(UserWarning, match="Got a warning") as caught:
        small_net(MLP, callbacks=[Asks()]).fit(X, y)
    assert [name for name, _ in places(caught)] == [__file__]


def test_a_warning_of_load_params_points_at_the_line_that_calls_it(X, y, tmp_path):
    net = small_net(MLP).fit(X, y)
    torch.save(dict(net.module_.state_dict()), tmp_path / "net.pt")
    with pytest.warns(UserWarning, match="Got a file of weights alone") as caught:
        net.load_params(tmp_path / "net.pt")
    line = inspect.currentframe().f_lineno - 1
    assert places(caught) == [(__file__, line)]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda net: make_pipeline(StandardScaler(), net),
        lambda net: GridSearchCV(net, {"lr": [0.01]}, cv=2),
    ],
    ids=["pipeline", "search"],
)
def test_warnings_of_a_fit_inside_of_scikit_learn_point_outside_of_the_package(X, y, wrap):
    with pytest.warns(UserWarning, match="randomness in ''") as caught:
        wrap(small_net()).fit(X, y)
    assert all(PACKAGE not in Path(name).parents for name, _ in places(caught))


def test_our_warnings_are_errors_in_these_tests_wherever_they_point(X, y):
    with pytest.raises(UserWarning, match="randomness in ''"):
        make_pipeline(StandardScaler(), small_net()).fit(X, y)
    with pytest.warns(UserWarning, match="of another package"):
        warnings.warn("of another package", UserWarning, stacklevel=1)
