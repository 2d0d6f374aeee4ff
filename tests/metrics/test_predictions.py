"""How models are asked: what they answer is found inside of pipelines, searches and the like."""

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import make_regression
from sklearn.linear_model import BayesianRidge, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, PowerTransformer, StandardScaler

from sk_mcdropout import MCDropoutRegressor
from sk_mcdropout.metrics import (
    check_shares,
    is_calibrated,
    knows,
    last_step,
    one_target,
    predict_mean_and_std,
)

X, y = make_regression(30, 2, noise=5.0, random_state=0)


# -- the mean and the standard deviation -----------------------------------------------------------


def test_the_mean_and_std_of_a_model_are_its_own():
    model = BayesianRidge().fit(X, y)
    assert_array_equal(predict_mean_and_std(model, X), model.predict(X, return_std=True))


def test_pipelines_and_searches_are_looked_through():
    pipe = make_pipeline(MinMaxScaler(), BayesianRidge())
    search = GridSearchCV(pipe, {}, cv=2).fit(X, y)
    scaled = MinMaxScaler().fit_transform(X)
    model, seen = last_step(search, X)
    assert isinstance(model, BayesianRidge)
    assert_array_equal(seen, scaled)
    expected = BayesianRidge().fit(scaled, y).predict(scaled, return_std=True)
    assert_allclose(predict_mean_and_std(search, X), expected, rtol=1e-12)


def test_a_scaled_target_is_predicted_in_its_own_units():
    model = TransformedTargetRegressor(BayesianRidge(), transformer=StandardScaler()).fit(X, y)
    mean, std = predict_mean_and_std(model, X)
    assert_allclose(mean, model.predict(X), rtol=1e-12)
    assert_allclose(std, y.std() * model.regressor_.predict(X, return_std=True)[1], rtol=1e-12)


def test_a_bent_target_is_refused():
    model = TransformedTargetRegressor(BayesianRidge(), transformer=PowerTransformer()).fit(X, y)
    with pytest.raises(ValueError, match=r"by shifts and scales alone.* Got PowerTransformer\."):
        predict_mean_and_std(model, X)


def test_a_model_without_std_is_refused():
    with pytest.raises(TypeError, match=r"predict\(X, return_std=True\)`. Got Ridge, which"):
        predict_mean_and_std(Ridge().fit(X, y), X)


# -- what models have ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("predict", "expected"),
    [
        (lambda X: X, False),
        (lambda X, return_std=False: X, True),
        (lambda X, **params: X, True),
        (None, False),
    ],
    ids=["no", "by name", "any", "no method"],
)
def test_a_method_takes_a_keyword_or_does_not(predict, expected):
    model = SimpleNamespace() if predict is None else SimpleNamespace(predict=predict)
    assert knows(model, "predict", "return_std") is expected


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, False),
        ({"calibration_": None}, False),
        ({"calibration_": SimpleNamespace(method="none")}, False),
        ({"calibration_": SimpleNamespace(method="conformal")}, True),
    ],
)
def test_a_model_is_calibrated_by_a_method(attributes, expected):
    assert is_calibrated(SimpleNamespace(**attributes)) is expected


def test_a_net_is_calibrated_until_it_is_fitted_again():
    net = MCDropoutRegressor(noise=1.0, max_epochs=1, n_draws=5, random_state=0)
    assert not is_calibrated(net.fit(X, y))
    assert is_calibrated(net.calibrate(X, y))
    assert not is_calibrated(net.fit(X, y))


# -- one of several targets ------------------------------------------------------------------------


def test_one_target_is_taken_from_its_axis():
    values = np.arange(24).reshape(2, 3, 4)
    assert_array_equal(one_target(values, 1, axis=1, ndim=3), values[:, 1])
    assert_array_equal(one_target(values, 3, axis=2, ndim=3), values[:, :, 3])
    assert_array_equal(one_target(values, None, ndim=4), values)
    assert_array_equal(one_target(values[:, :1], None, ndim=3), values[:, 0])


@pytest.mark.parametrize("target", [None, 2, -1, "y"])
def test_a_target_that_is_not_there_is_refused(target):
    with pytest.raises(ValueError, match=rf"index of one of 2 targets. Got {target!r}. Give one"):
        one_target([[1, 2], [3, 4]], target)


def test_shares_are_returned_as_a_list():
    assert_array_equal(check_shares("coverage", 0.5), [0.5])
    assert_array_equal(check_shares("levels", [0.1, 0.9]), [0.1, 0.9])


@pytest.mark.parametrize("shares", [0, 90, [0.5, 1.0], -0.1])
def test_shares_lie_between_zero_and_one(shares):
    got = str(shares).replace("[", r"\[").replace("]", r"\]")
    with pytest.raises(ValueError, match=rf"`levels` must lie in \(0, 1\). Got {got}. Give shares"):
        check_shares("levels", shares)
