"""Predictions as a frame with named columns."""

import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_array_equal
from pandas.testing import assert_frame_equal

from sk_mcdropout import (
    MCDropoutClassifier,
    MCDropoutClassifierCV,
    MCDropoutRegressor,
    MCDropoutRegressorCV,
)

SMALL = {"module__hidden": (8,), "max_epochs": 3, "n_draws": 10}


@pytest.fixture(scope="module")
def X():
    rows = np.random.default_rng(0).normal(size=(60, 3))
    return pd.DataFrame(rows, columns=["a", "b", "c"], index=np.arange(60) * 7 + 3)


@pytest.fixture(scope="module")
def y(X):
    return 10 + X.to_numpy() @ [1.0, -2.0, 0.5]


@pytest.fixture(scope="module")
def net(X, y):
    return MCDropoutRegressor(noise=0.5, random_state=0, **SMALL).fit(X, y)


@pytest.fixture(scope="module", params=["net", "ensemble"])
def classifier(request, X, y):
    labels = np.where(y > 10, "high", "low")
    if request.param == "net":
        return MCDropoutClassifier(random_state=0, **SMALL).fit(X, labels)
    one = MCDropoutClassifier(**SMALL)
    return MCDropoutClassifierCV(one, param_grid={}, cv=2, n_draws=10, random_state=0).fit(
        X, labels
    )


def test_the_columns_of_a_regressor_are_its_predictions(net, X):
    table = net.predict_table(X, quantiles=[0.25, 0.5], coverage=0.9)
    mean, std = net.predict(X, return_std=True)
    assert_array_equal(table["mean"], mean)
    assert_array_equal(table["std"], std)
    assert_array_equal(table[["epistemic", "aleatoric"]].T, net.predict_decomposed(X)[1:])
    assert_array_equal(table[["lower_0.9", "upper_0.9"]], net.predict_interval(X, 0.9))
    quantiles = net.predict_quantiles(X, [0.25, 0.5])
    assert_array_equal(table[["quantile_0.25", "quantile_0.5"]], quantiles)
    assert len(table.columns) == 8


def test_the_columns_that_were_not_asked_for_are_not_there(net, X):
    assert [*net.predict_table(X)] == ["mean", "std", "epistemic", "aleatoric"]


def test_an_ensemble_has_the_same_columns(X, y):
    one = MCDropoutRegressor(**SMALL)
    model = MCDropoutRegressorCV(one, param_grid={}, cv=2, n_draws=10, random_state=0).fit(X, y)
    table = model.predict_table(X, coverage=[0.5, 0.9])
    assert_array_equal(table[["mean", "std"]].T, model.predict(X, return_std=True))
    ends = ["lower_0.5", "upper_0.5", "lower_0.9", "upper_0.9"]
    assert_array_equal(table[ends], model.predict_interval(X, [0.5, 0.9]).reshape(60, 4))


def test_several_targets_have_columns_each(X, y):
    Y = np.stack([y, 3 * y], axis=1)
    net = MCDropoutRegressor(noise=0.5, random_state=0, **SMALL).fit(X, Y)
    table = net.predict_table(X, quantiles=0.1, coverage=0.8)
    assert [*table][:5] == ["y0_mean", "y0_std", "y0_epistemic", "y0_aleatoric", "y0_lower_0.8"]
    assert_array_equal(table[["y0_mean", "y1_mean"]], net.predict(X))
    assert_array_equal(
        table[["y0_quantile_0.1", "y1_quantile_0.1"]], net.predict_quantiles(X, 0.1)[..., 0]
    )
    assert_array_equal(table[["y1_lower_0.8", "y1_upper_0.8"]], net.predict_interval(X, 0.8)[:, 1])


def test_the_columns_of_a_classifier_are_its_predictions(classifier, X):
    table = classifier.predict_table(X)
    proba, std = classifier.predict_proba(X, return_std=True)
    unsure = classifier.predict_uncertainty(X)
    assert_array_equal(table["label"], classifier.predict(X))
    assert_array_equal(table[["proba_high", "proba_low"]], proba)
    assert_array_equal(table[["std_high", "std_low"]], std)
    assert_array_equal(table[[*unsure._fields]].T, unsure)
    assert len(table.columns) == 5 + len(unsure)


def test_classes_of_any_kind_have_columns(X, y):
    codes = np.digitize(y, [9, 11])
    table = MCDropoutClassifier(random_state=0, **SMALL).fit(X, codes).predict_table(X)
    assert [*table][:4] == ["label", "proba_0", "proba_1", "proba_2"]
    assert table["label"].dtype == codes.dtype


def test_the_index_is_that_of_a_frame_of_pandas(net, classifier, X):
    assert_array_equal(net.predict_table(X).index, X.index)
    assert_array_equal(classifier.predict_table(X[5:8]).index, X.index[5:8])


def test_data_without_an_index_have_numbers_in_its_place(net, X):
    expected = net.predict_table(X).reset_index(drop=True)
    assert_frame_equal(net.predict_table(pl.from_pandas(X)), expected)
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        assert_frame_equal(net.predict_table(X.to_numpy().tolist()), expected)


def test_levels_lie_between_0_and_1(net, X):
    with pytest.raises(ValueError, match=r"`coverage` must lie in \(0, 1\). Got 90"):
        net.predict_table(X, coverage=90)
    with pytest.raises(ValueError, match=r"`quantiles` must lie in \(0, 1\). Got \[0.5, 1.0\]"):
        net.predict_table(X, quantiles=[0.5, 1.0])


def test_a_table_without_pandas_says_so(net, X, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"`predict_table` requires pandas\. Install it"):
        net.predict_table(X.to_numpy().tolist())
