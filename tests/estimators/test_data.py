"""What goes in: tables of all kinds, datasets, tensors, mappings, images; and how it is fetched."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import InputShapeSetter
from skorch.dataset import Dataset, ValidSplit
from skorch.helper import SliceDataset
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset, default_collate

from sk_mcdropout import MLP, MCDropoutClassifier, MCDropoutRegressor, sample
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


class NamedX(nn.Module):
    """Takes one input, which it calls X."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 8), nn.Dropout(0.3), nn.Linear(8, 1))

    def forward(self, X):
        return self.net(X)


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


@pytest.mark.parametrize("form", [list, tuple])
def test_a_list_of_arrays_of_one_axis_is_a_table_of_rows(X, y, fitted, form):
    net = small_net().fit(form(X), y)
    assert net.n_features_in_ == 3
    assert_array_equal(net.predict(form(X)), fitted.predict(X))


@pytest.mark.parametrize("module", [MLP, NamedX, NamedX()])
def test_a_frame_of_one_column_named_X_is_a_table(X, y, module):
    frame = pd.DataFrame({"X": X[:, 0]})
    net = small_net(module).fit(frame, y)
    assert list(net.feature_names_in_) == ["X"]
    plain = small_net(module).fit(X[:, :1], y)
    assert_array_equal(net.predict(frame), plain.predict(X[:, :1]))


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


@pytest.mark.parametrize("form", [TensorDataset, Dataset])
@pytest.mark.parametrize("n_targets", [1, 2])
def test_a_dataset_of_tensors_tells_the_default_net_its_widths(X, y, form, n_targets):
    x = torch.from_numpy(X.astype(np.float32))
    Y = torch.from_numpy(np.column_stack([y, -y])[:, :n_targets].astype(np.float32))
    net = small_net().fit(form(x, Y), None)
    assert (net.n_features_in_, net.n_outputs_) == (3, n_targets)
    expected = small_net(normalize_y=False).fit(X, Y.numpy()).predict(X)
    assert_allclose(net.predict(X), expected.reshape(net.predict(X).shape), rtol=1e-6)


@pytest.mark.parametrize(
    ("form", "said"),
    [
        (TensorDataset, r"Got a TensorDataset whose rows are a tuple of 1\. Pass"),
        (
            Dataset,
            r"Got a Dataset without targets\. Pass a dataset such as `TensorDataset\(X, y\)`",
        ),
        (lambda x: Subset(x, range(9)), r"Got a Subset whose rows are a Tensor\. Pass"),
    ],
)
def test_a_dataset_without_targets_says_so(X, form, said):
    data = form(torch.from_numpy(X.astype(np.float32)))
    with pytest.raises(ValueError, match=f"must be pairs of inputs and target. {said}"):
        small_net().fit(data, None)


TENSORS = [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int8]


@pytest.mark.filterwarnings("ignore:`noise` must be given for an interval:UserWarning")
@pytest.mark.parametrize("dtype", TENSORS)
def test_tensors_of_all_dtypes_train_and_predict_as_the_array(X, y, fitted, dtype):
    x = torch.from_numpy(X).to(dtype)
    net = small_net().fit(x, y)
    assert_allclose(net.predict(x), fitted.predict(X), rtol=1e-6)
    assert_allclose(net.predict(x, True)[1], fitted.predict(X, True)[1], rtol=1e-5)
    assert_allclose(net.draws(x), fitted.draws(X), rtol=1e-5)
    assert_allclose(net.predict_interval(x), fitted.predict_interval(X), rtol=1e-5)
    assert_allclose(net.partial_fit(x, y).predict(X), fitted_twice(X, y).predict(X), rtol=1e-5)


def fitted_twice(X, y):
    return small_net().fit(X, y).partial_fit(X, y)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_tensors_of_integers_reach_an_embedding(y, dtype):
    module = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Dropout(0.3), nn.Linear(8, 1))
    codes = torch.from_numpy(np.random.default_rng(0).integers(0, 5, size=(40, 2)))
    net = small_net(module).fit(codes.to(dtype), y)
    assert_allclose(net.predict(codes.to(dtype)), net.predict(codes.numpy()), rtol=1e-5)


def test_a_tensor_that_does_not_fit_into_single_precision_is_refused(X, y, fitted):
    x = torch.from_numpy(np.where(X == 3, 1e300, X))
    match = r"must fit into the net's float32. Got a largest magnitude of 1e\+300\. Scale X"
    with pytest.raises(ValueError, match=match):
        small_net().fit(x, y)
    with pytest.raises(ValueError, match=match):
        fitted.predict(x)


@pytest.mark.parametrize("method", ["fit", "partial_fit", "predict"])
def test_a_loader_is_refused_for_its_dataset(X, y, fitted, method):
    loader = DataLoader(TensorDataset(torch.from_numpy(X), torch.from_numpy(y)), batch_size=4)
    args = (loader,) if method == "predict" else (loader, None)
    with pytest.raises(TypeError, match=r"Got a DataLoader\. Pass its dataset, `loader.dataset`"):
        getattr(fitted, method)(*args)


IMAGES = {
    "array": lambda images, y: (images, y),
    "tensor": lambda images, y: (torch.from_numpy(images), y),
    "dataset": lambda images, y: (Dataset(images.astype(np.float32), y), None),
}


@pytest.mark.parametrize("form", IMAGES.values(), ids=IMAGES)
def test_images_into_the_default_net_are_refused_before_training(y, form):
    images = np.random.default_rng(0).normal(size=(40, 2, 5, 5))
    net = small_net()
    before = set(vars(net))
    match = r"Got the shape \(40, 2, 5, 5\)\. Flatten .*`X.reshape\(len\(X\), -1\)`.* convolutional"
    with pytest.raises(ValueError, match=match):
        net.fit(*form(images, y))
    assert set(vars(net)) == before
    flat = images.reshape(len(images), -1)
    assert net.fit(flat, y).predict(flat).shape == (40,)


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


# -- what skorch's helpers give --------------------------------------------------------------------


@pytest.mark.parametrize("kind", [MCDropoutRegressor, MCDropoutClassifier])
def test_slices_of_a_dataset_are_tables(kind):
    X = np.random.default_rng(0).normal(size=(60, 5)).astype("f")
    y = (X[:, 0] > 0).astype(int)
    data = BatchDataset(X, y)
    inputs, targets = SliceDataset(data, 0), SliceDataset(data, 1)
    net = kind(max_epochs=2, random_state=0).fit(inputs, targets)
    expected = kind(max_epochs=2, random_state=0).fit(X, y)
    assert_array_equal(net.draws(inputs[:7]), expected.draws(X[:7]))
    search = GridSearchCV(net, {"dropout": [0.1, 0.2]}, cv=2).fit(inputs, targets)
    assert search.predict(inputs).shape == (60,)


class OfAnyWidth(nn.Sequential):
    """A net that a callback makes for the width of X."""

    def __init__(self, input_dim=2, n_outputs=1):
        first, last = nn.Linear(input_dim, 8), nn.Linear(8, n_outputs)
        super().__init__(first, nn.ReLU(), nn.Dropout(0.1), last)


@pytest.mark.parametrize("kind", [MCDropoutRegressor, MCDropoutClassifier])
def test_a_net_that_a_callback_makes_for_the_width_of_X(kind):
    X = np.random.default_rng(0).normal(size=(60, 5)).astype("f")
    y = (X[:, 0] > 0).astype(int)
    params = {"module": OfAnyWidth, "module__n_outputs": 2, "max_epochs": 30, "lr": 0.02}
    if kind is MCDropoutRegressor:
        params["module__n_outputs"] = 1
    split = ValidSplit(5)
    net = kind(**params, random_state=0, train_split=split, callbacks=[InputShapeSetter()])
    net.fit(X, y)
    assert net.module_[0].in_features == 5
    assert [site.path for site in net.dropout_sites_] == ["2"]
    assert net.score(X, y) > 0.5
    assert net.optimizer_.param_groups[0]["lr"] == 0.02
    net.partial_fit(X, y)
    assert len(net.history) == 60


def test_a_mapped_file_is_predicted_without_a_copy(tmp_path):
    rows = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    rows.tofile(tmp_path / "rows.npy")
    mapped = np.memmap(tmp_path / "rows.npy", np.float32, mode="c").reshape(-1, 3)
    net = MCDropoutRegressor(module__hidden=(8,), max_epochs=2, n_draws=5, random_state=0)
    net.fit(mapped, rows[:, 0])
    assert np.shares_memory(net._check_inputs(mapped), mapped)
    assert_array_equal(net.predict(mapped), net.predict(rows))
