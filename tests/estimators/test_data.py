"""What goes in: tables of all kinds, datasets, tensors, mappings, images; and how it is fetched."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from skorch.dataset import Dataset, ValidSplit
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset, default_collate

from sk_mcdropout import MLP, MCDropoutRegressor, sample
from sk_mcdropout.estimators._batches import BatchDataset, as_is, by_rows, fetches_batches
from sk_mcdropout.estimators._target import target_array
from sk_mcdropout.estimators._validation import cast, is_table, takes_columns

FRAMES = {"pandas": pd.DataFrame, "polars": pl.DataFrame}
each_frame = pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)


class Sum(nn.Module):
    """Adds its inputs, given by name or as one list, and puts a net on them."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.3), nn.Linear(8, 1))

    def forward(self, X=None, left=0, right=0):
        return self.net(left + right if X is None else X[0] + X[1])


class Columns(nn.Module):
    """Takes the columns of a frame by their names."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.3), nn.Linear(8, 1))

    def forward(self, a, b, c):
        return self.net(torch.cat([a, b, c], dim=1))


def small_net(module=MLP, **params):
    if module is MLP:
        params = {"module__hidden": (16,), "module__dropout": 0.2, **params}
    defaults = {"max_epochs": 2, "n_draws": 10, "random_state": 0}
    return MCDropoutRegressor(module, **{**defaults, **params})


def read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


@pytest.fixture(scope="module")
def X():
    # Small whole numbers, which all types of numbers hold exactly.
    return np.random.default_rng(0).integers(-3, 4, size=(40, 3)).astype(np.float64)


@pytest.fixture(scope="module")
def y(X):
    return 10 + X @ [1.0, -2.0, 0.5]


@pytest.fixture(scope="module")
def fitted(X, y):
    return small_net().fit(X, y)


# -- tables ------------------------------------------------------------------------------------

TABLES = {
    "float32": lambda X: X.astype(np.float32),
    "float16": lambda X: X.astype(np.float16),
    "int64": lambda X: X.astype(np.int64),
    "int8": lambda X: X.astype(np.int8),
    "object": lambda X: X.astype(object),
    "lists": lambda X: X.tolist(),
    "tuples": lambda X: tuple(map(tuple, X.tolist())),
    "Fortran order": np.asfortranarray,
    "every other row": lambda X: np.repeat(X, 2, axis=0)[::2],
    "reversed": lambda X: np.ascontiguousarray(X[:, ::-1])[:, ::-1],
    "big endian": lambda X: X.astype(">f8"),
    "big endian integers": lambda X: X.astype(">i4"),
    "read-only": read_only,
    "read-only float32": lambda X: read_only(X.astype(np.float32)),
    "pandas": lambda X: pd.DataFrame(X, columns=list("abc")),
    "pandas of nullable integers": lambda X: pd.DataFrame(X).astype("Int64"),
    "polars": lambda X: pl.DataFrame(X, schema=list("abc")),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("form", TABLES.values(), ids=TABLES)
def test_a_table_trains_and_predicts_as_the_array_of_its_numbers(X, y, fitted, form):
    net = small_net().fit(form(X), y)
    mean, std = net.predict(form(X), return_std=True)
    assert mean.dtype == std.dtype == np.float64
    assert_array_equal(mean, fitted.predict(X))
    assert_array_equal(std, fitted.predict(X, return_std=True)[1])


TARGETS = {
    "float32": lambda y: y.astype(np.float32),
    "int64": lambda y: (2 * y).astype(np.int64),
    "list": list,
    "big endian": lambda y: y.astype(">f8"),
    "read-only": read_only,
    "pandas": pd.Series,
    "pandas with an index": lambda y: pd.Series(y, index=np.arange(len(y))[::-1]),
    "polars": pl.Series,
    "tensor": torch.from_numpy,
}


@pytest.mark.parametrize("form", TARGETS.values(), ids=TARGETS)
def test_a_target_trains_as_the_array_of_its_numbers(X, y, fitted, form):
    factor = 2 if form is TARGETS["int64"] else 1
    # y is a multiple of 1/2, which all these types hold exactly once it is doubled.
    assert_allclose(small_net().fit(X, form(y)).predict(X), factor * fitted.predict(X), rtol=1e-6)


@each_frame
def test_the_names_of_the_features_are_remembered_and_checked(X, y, frame):
    net = small_net().fit(frame(dict(zip("abc", X.T, strict=True))), y)
    assert list(net.feature_names_in_) == ["a", "b", "c"]
    assert net.n_features_in_ == 3
    with pytest.raises(ValueError, match=r"feature names should match.*\n.*order"):
        net.predict(frame(dict(zip("bac", X.T, strict=True))))
    with pytest.raises(ValueError, match="unseen at fit time:\n- d\n"):
        net.predict(frame(dict(zip("abd", X.T, strict=True))))
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        net.predict(X)


def test_names_of_an_earlier_fit_are_forgotten(X, y):
    net = small_net().fit(pd.DataFrame(X, columns=list("abc")), y)
    net.fit(torch.from_numpy(X[:, :2].astype(np.float32)), y)
    assert not hasattr(net, "feature_names_in_")
    assert net.predict(X[:, :2]).shape == (40,)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_tables_are_cast_to_the_precision_of_the_module(X, y, dtype):
    torch.manual_seed(0)
    module = MLP(3, hidden=(16,), dropout=0.2).to(torch.from_numpy(np.zeros(0, dtype)).dtype)
    net = small_net(module).fit(X, y)
    mean, std = net.predict(X, return_std=True)
    assert next(net.module_.parameters()).dtype == module.layers[0].weight.dtype
    assert np.isfinite(mean).all()
    assert std.min() > 0
    # A row alone and among others: as precise as the numbers of the module, and no less.
    assert_allclose(net.predict(X[:1])[0], mean[0], rtol=50 * np.finfo(dtype).eps)


def test_integers_reach_an_embedding(y):
    module = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Dropout(0.3), nn.Linear(8, 1))
    codes = np.random.default_rng(0).integers(0, 5, size=(40, 2))
    net = small_net(module).fit(codes.astype(np.int32), y)
    assert_array_equal(net.predict(codes), net.predict(codes.tolist()))
    swapped = net.predict(codes[:, ::-1])
    assert not np.allclose(swapped, net.predict(codes))


def test_images_are_fitted_with_dropout_of_channels():
    images = np.random.default_rng(0).normal(size=(40, 2, 5, 5))
    y = images.mean(axis=(1, 2, 3))
    module = nn.Sequential(*(nn.Conv2d(2, 4, 3), nn.Dropout2d(0.3), nn.Flatten(), nn.Linear(36, 1)))
    net = small_net(module).fit(images, y)
    mean, cov = net.predict(images[:7], return_cov=True)
    assert (mean.shape, cov.shape) == ((7,), (7, 7))
    assert [site.mask_shape for site in net.dropout_sites_] == [(1, 4, 1, 1)]


def test_a_target_of_more_axes_is_fitted_as_it_is(X):
    y = np.arange(40.0 * 4).reshape(40, 2, 2).astype(np.float32)
    module = nn.Sequential(nn.Dropout(0.3), nn.Linear(3, 4), nn.Unflatten(1, (2, 2)))
    net = small_net(module).fit(X, y)
    mean, std = net.predict(X, return_std=True)
    assert mean.shape == std.shape == (40, 2, 2)
    # Such a target has no scale: the draws are those of the module.
    expected = sample(net.module_, torch.from_numpy(X.astype(np.float32)), 10, seed=net.seed_)
    assert_allclose(net.draws(X), expected, rtol=1e-5, atol=1e-6)


# -- what is skorch's --------------------------------------------------------------------------

INPUTS = {
    "tensor": lambda x: x,
    "Dataset": lambda x: Dataset(x, np.zeros(len(x), np.float32)),
    "TensorDataset": lambda x: TensorDataset(x, torch.zeros(len(x))),
}


@pytest.mark.parametrize("form", INPUTS.values(), ids=INPUTS)
def test_a_tensor_or_dataset_is_predicted_as_the_table_it_holds(X, fitted, form):
    x = torch.from_numpy(X.astype(np.float32))
    for part, expected in zip(fitted.predict(form(x), True), fitted.predict(X, True), strict=True):
        assert_allclose(part, expected, rtol=1e-5)


def test_tensors_train_as_arrays_and_tell_the_default_net_its_widths(X, y, fitted):
    net = small_net().fit(torch.from_numpy(X.astype(np.float32)), torch.from_numpy(y))
    assert_array_equal(net.predict(X), fitted.predict(X))


def test_a_dataset_trains_on_its_target_as_it_is_and_tells_the_widths(X, y):
    Y = np.column_stack([y, -y]).astype(np.float32)
    net = small_net().fit(Dataset(X.astype(np.float32), Y), None)
    assert_array_equal(net.predict(X), small_net(normalize_y=False).fit(X, Y).predict(X))


INPUT_SETS = {
    "mapping": lambda X: {"left": X, "right": 2 * X},
    "mapping with a tensor": lambda X: {"left": X, "right": 2 * torch.from_numpy(X)},
    "list": lambda X: [X, 2 * X],
}


@pytest.mark.parametrize("form", INPUT_SETS.values(), ids=INPUT_SETS)
def test_a_module_may_take_several_inputs(X, y, form):
    inputs = form(X.astype(np.float32))
    net = small_net(Sum).fit(inputs, y)
    plain = small_net(lambda: Sum().net).fit(3 * X, y)
    for part, expected in zip(net.predict(inputs, True), plain.predict(3 * X, True), strict=True):
        assert_allclose(part, expected, rtol=1e-4)


@pytest.mark.parametrize("y_shape", [(40,), (40, 1)])
def test_a_frame_may_be_taken_by_the_names_of_its_columns(X, y, y_shape):
    frame = pd.DataFrame(X.astype(np.float32), columns=list("cab"))
    net = small_net(Columns).fit(frame, y.reshape(y_shape))
    plain = small_net(lambda: Columns().net).fit(X[:, [1, 2, 0]], y)
    assert not hasattr(net, "feature_names_in_")
    for part, expected in zip(
        net.predict(frame, True), plain.predict(X[:, [1, 2, 0]], True), strict=True
    ):
        assert_allclose(part, expected, rtol=1e-4)


# -- batches -----------------------------------------------------------------------------------

DATA = {
    "array": lambda X: X,
    "tensor": torch.from_numpy,
    "list": lambda X: [X, X[:, 0]],
    "mapping": lambda X: {"left": X, "right": torch.from_numpy(X)},
    "frame": lambda X: pd.DataFrame(X, columns=list("abc")),
    "sparse": sparse.csr_matrix,
}


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable:UserWarning")
@pytest.mark.parametrize("with_target", [True, False])
@pytest.mark.parametrize("form", DATA.values(), ids=DATA)
def test_a_batch_fetched_whole_is_that_of_the_rows_one_by_one(X, y, form, with_target):
    dataset = BatchDataset(form(X), y if with_target else None)
    rows = [7, 0, 7, 31]
    expected = default_collate([Dataset.__getitem__(dataset, row) for row in rows])
    torch.testing.assert_close(as_is(dataset.__getitems__(rows)), expected)


def test_training_and_prediction_fetch_no_rows_one_by_one(X, y, monkeypatch):
    def refuse(self, row):
        raise AssertionError("one row was fetched")

    monkeypatch.setattr(BatchDataset, "__getitem__", refuse)
    x = torch.from_numpy(X.astype(np.float32))
    net = small_net(train_split=ValidSplit(5)).fit(X, y).partial_fit(x, y)
    assert net.predict(x).shape == net.predict(X).shape == (40,)


def test_only_its_own_dataset_is_fetched_by_the_batch(X, y):
    batches, rows = BatchDataset(X, y), Dataset(X, y)
    assert fetches_batches(Subset(Subset(batches, range(9)), range(5)))
    assert not fetches_batches(Subset(rows, range(5)))


@pytest.mark.parametrize("part", [lambda data: data, lambda data: Subset(data, range(9, 20))])
def test_rows_for_a_collate_of_the_user_are_fetched_one_by_one(X, y, part):
    dataset = part(BatchDataset(X, y))
    rows = by_rows(dataset)
    expected = default_collate([dataset[i] for i in range(3)])
    actual = next(iter(DataLoader(rows, batch_size=3)))
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(dataset.__getitems__(range(3)), expected)


def test_a_dataset_that_has_only_rows_needs_no_change(X):
    rows = Subset(Dataset(X), range(5))
    assert by_rows(rows) is rows


# -- the small print of _data.py ---------------------------------------------------------------


@pytest.mark.parametrize("form", TABLES.values(), ids=TABLES)
def test_what_scikit_learn_takes_is_a_table(X, form):
    assert is_table(form(X))


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.dok_array, sparse.dok_matrix])
def test_a_sparse_matrix_is_a_table_though_some_are_mappings(X, form):
    assert is_table(form(X))


@pytest.mark.parametrize("form", [*INPUTS.values(), *INPUT_SETS.values()])
def test_what_scikit_learn_does_not_take_is_no_table(X, form):
    assert not is_table(form(torch.from_numpy(X) if form in INPUTS.values() else X))


def test_a_cast_keeps_an_array_that_fits_and_copies_any_other(X):
    fits = X.astype(np.float32)
    assert cast(fits, MLP(3)) is fits
    frozen = read_only(fits)
    assert not np.shares_memory(cast(frozen, MLP(3)), frozen)


def test_columns_are_taken_by_name_only_where_forward_has_all_of_them(X):
    frame = pd.DataFrame(X, columns=list("abc"))
    assert takes_columns(Columns, frame)
    assert takes_columns(Columns(), frame[["c", "a"]])
    assert not takes_columns(Columns, frame.rename(columns={"a": "d"}))
    assert not takes_columns(MLP, frame)
    assert not takes_columns(Columns, X)


def test_a_target_with_one_or_two_axes_becomes_an_array_of_doubles():
    for form in (np.float32([1, 2]), [1, 2], torch.tensor([1, 2]), pd.Series([1, 2])):
        array = target_array(form)
        assert array.dtype == np.float64
        assert_array_equal(array, [1, 2])


@pytest.mark.parametrize("y", [None, {"a": [1]}, np.zeros((2, 2, 2)), 3.0])
def test_any_other_target_is_left_alone(y):
    assert target_array(y) is None
