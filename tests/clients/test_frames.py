"""Frames of pandas and polars through pipelines that keep them frames."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_array_equal
from questions import small_classifier, small_net
from sklearn.compose import make_column_transformer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

each_library = pytest.mark.parametrize("library", [pd, pl], ids=["pandas", "polars"])


def columns(X):
    return {"kind": np.where(X[:, 2] > 0, "oak", "ash"), "height": X[:, 0], "girth": X[:, 1]}


def pipeline(net, library):
    columns = make_column_transformer(
        (OneHotEncoder(sparse_output=False), ["kind"]), (StandardScaler(), ["height", "girth"])
    )
    return make_pipeline(columns, net).set_output(transform=library.__name__)


def by_hand(X):
    kind = (X[:, 2:] > 0).astype(float)
    return np.hstack([1 - kind, kind, StandardScaler().fit_transform(X[:, :2])])


@each_library
def test_a_net_behind_a_column_transformer_gets_a_frame_with_names(X, y, library):
    frame = library.DataFrame(columns(X))
    pipe = pipeline(small_net(), library).fit(frame, library.Series(y))
    expected = small_net().fit(by_hand(X), y).predict(by_hand(X), return_std=True)
    assert_array_equal(pipe.predict(frame, return_std=True), expected)
    assert [name.split("__")[1] for name in pipe[-1].feature_names_in_] == [
        *("kind_ash", "kind_oak"),
        *("height", "girth"),
    ]


@each_library
def test_a_classifier_is_searched_on_a_frame(X, labels, library):
    frame = library.DataFrame(columns(X))
    grid = {"mcdropoutclassifier__dropout": [0.1, 0.5]}
    search = GridSearchCV(pipeline(small_classifier(), library), grid, cv=2, scoring="neg_log_loss")
    search.fit(frame, library.Series(labels))
    net = small_classifier(dropout=search.best_params_["mcdropoutclassifier__dropout"])
    expected = net.fit(by_hand(X), labels).predict_proba(by_hand(X))
    assert_array_equal(search.predict_proba(frame), expected)
