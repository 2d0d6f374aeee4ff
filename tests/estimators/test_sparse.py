"""Sparse tables: they train and predict as the dense ones, and are never dense as a whole."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.utils import get_tags
from skorch.dataset import ValidSplit
from torch import nn

from sk_mcdropout import MCDropoutRegressor
from sk_mcdropout.estimators import _batches

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 6)) * (RNG.random((60, 6)) < 0.3)
y = 10 + X @ RNG.normal(size=6)


def wide_indices(X):
    X = sparse.csr_array(X)
    X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    return X


KINDS = [
    *(sparse.csr_array, sparse.csc_array, sparse.coo_array, sparse.dok_array, sparse.lil_array),
    *(sparse.csr_matrix, sparse.csc_matrix, sparse.coo_matrix, sparse.dok_matrix),
]
FORMS = {
    **{kind.__name__: kind for kind in KINDS},
    "int64 indices": wide_indices,
    "float32": lambda X: sparse.csr_array(X.astype(np.float32)),
    "sparse frame": lambda X: pd.DataFrame.sparse.from_spmatrix(sparse.csr_matrix(X)),
}
each_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


def small_net(**params):
    defaults = {"module__hidden": (16,), "max_epochs": 3, "n_draws": 10, "random_state": 0}
    return MCDropoutRegressor(**{"module__dropout": 0.2, **defaults, **params})


@pytest.fixture(scope="module")
def dense():
    return small_net().fit(X, y)


@pytest.mark.filterwarnings("ignore:X has feature names|X does not have valid feature:UserWarning")
@each_form
def test_a_sparse_table_trains_and_predicts_as_the_dense_one(dense, form):
    net = small_net().fit(form(X), y)
    assert_array_equal(net.predict(X), dense.predict(X))
    for actual, expected in zip(
        net.predict(form(X), return_std=True), dense.predict(X, return_std=True), strict=True
    ):
        assert_allclose(actual, expected, rtol=1e-6)
    assert net.n_features_in_ == 6


ASKED = {
    "cov": lambda net, X: net.predict(X, return_cov=True)[1],
    "draws": lambda net, X: net.draws(X),
    "sample_y": lambda net, X: net.sample_y(X, 3),
    "quantiles": lambda net, X: net.predict_quantiles(X, [0.1, 0.5]),
    "interval": lambda net, X: net.predict_interval(X),
    "cdf": lambda net, X: net.predict_cdf(X, y),
    "log_prob": lambda net, X: net.log_prob(X, y),
    "decomposed": lambda net, X: np.stack(net.predict_decomposed(X)),
    "score": lambda net, X: net.score(X, y),
    "calibrated": lambda net, X: net.calibrate(X, y).predict(X, return_std=True)[1],
}


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
@pytest.mark.parametrize("fetched", [32 * 2**20, 300])
def test_all_questions_about_sparse_rows_get_the_answers_for_dense_ones(ask, fetched, monkeypatch):
    monkeypatch.setattr(_batches, "_FETCHED", fetched)
    net = small_net(noise=0.5).fit(X, y)
    expected = ask(net, X)
    assert_allclose(ask(net, sparse.csr_matrix(X)), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("train_split", [None, ValidSplit(4)])
def test_the_noise_is_estimated_from_sparse_rows_as_from_dense_ones(train_split):
    nets = [
        small_net(noise="estimate", train_split=train_split).fit(form(X), y)
        for form in (np.asarray, sparse.csc_array)
    ]
    assert_allclose(nets[1].noise_std_, nets[0].noise_std_, rtol=1e-5)


def test_training_goes_on_with_sparse_rows(dense):
    net = small_net(warm_start=True).fit(sparse.coo_array(X), y)
    net.partial_fit(sparse.csr_array(X), y).fit(sparse.csr_array(X), y)
    expected = small_net(warm_start=True).fit(X, y).partial_fit(X, y).fit(X, y)
    assert_array_equal(net.predict(X), expected.predict(X))


def test_sparse_integers_reach_an_embedding():
    codes = RNG.integers(0, 3, size=(40, 2)) * RNG.integers(0, 2, size=(40, 2))
    module = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Dropout(0.3), nn.Linear(8, 1))
    target = codes.sum(axis=1) + 0.5
    net = MCDropoutRegressor(module, max_epochs=2, n_draws=5).fit(sparse.csr_array(codes), target)
    assert_allclose(net.predict(sparse.csr_array(codes)), net.predict(codes), rtol=1e-5)


@pytest.mark.slow
def test_the_categories_of_an_encoder_are_taken_as_they_come():
    colours = RNG.choice(["red", "green", "blue"], size=(60, 2))
    target = (colours == "red").sum(axis=1) + RNG.normal(size=60) / 10
    pipeline = make_pipeline(OneHotEncoder(), small_net(max_epochs=30))
    plain = make_pipeline(OneHotEncoder(sparse_output=False), small_net(max_epochs=30))
    mean, std = pipeline.fit(colours, target).predict(colours, return_std=True)
    assert_allclose(mean, plain.fit(colours, target).predict(colours), rtol=1e-5)
    assert std.min() > 0
    assert_allclose(
        cross_val_score(pipeline, colours, target, cv=3),
        cross_val_score(plain, colours, target, cv=3),
        rtol=1e-5,
    )
    search = GridSearchCV(pipeline, {"mcdropoutregressor__lr": [0.001, 0.01]}, cv=2)
    assert search.fit(colours, target).predict(colours).shape == (60,)


def test_the_tags_say_that_sparse_tables_are_taken():
    assert get_tags(MCDropoutRegressor()).input_tags.sparse


def test_another_number_of_features_is_refused_in_a_sparse_table(dense):
    with pytest.raises(ValueError, match=r"X has 5 features, but .* is expecting 6 features"):
        dense.predict(sparse.csr_array(X[:, :5]))


@pytest.fixture
def dense_rows(monkeypatch):
    """Return a list that learns the shape of all that was made dense."""
    shapes = []

    def seen(kind):
        toarray = kind.toarray

        def toarray_seen(self, *args, **kwargs):
            shapes.append(self.shape)
            return toarray(self, *args, **kwargs)

        monkeypatch.setattr(kind, "toarray", toarray_seen)

    for kind in (sparse.csr_array, sparse.csr_matrix, sparse.csc_array, sparse.coo_array):
        seen(kind)
    return shapes


@pytest.mark.parametrize(
    ("form", "noise"),
    [(sparse.csr_matrix, None), (sparse.csc_array, None), (sparse.csr_array, "estimate")],
)
def test_the_whole_table_is_never_dense(form, noise, dense_rows, monkeypatch):
    monkeypatch.setattr(_batches, "_FETCHED", 16 * 4 * 6)
    net = small_net(batch_size=8, noise=noise).fit(form(X), y)
    assert {rows for rows, _ in dense_rows} <= set(range(17))
    dense_rows.clear()
    net.predict(form(X), return_std=True)
    net.draws(form(X))
    assert {rows for rows, _ in dense_rows} == {16, 12}


def test_chunks_of_rows_are_the_dense_rows():
    parts = list(_batches.dense_chunks(sparse.csr_array(X)))
    assert torch.equal(torch.cat(parts), torch.from_numpy(X))
    # A row that is longer than all that is fetched at once comes alone.
    wide = sparse.csr_array((2, 2**23))
    assert [tuple(part.shape) for part in _batches.dense_chunks(wide)] == [(1, 2**23)] * 2
