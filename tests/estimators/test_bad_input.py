"""Bad input: each gets an error that says what it got, and leaves a fitted estimator as it was."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.exceptions import NotFittedError
from torch import nn

from sk_mcdropout import MLP, MCDropoutRegressor

RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 3))
Y = RNG.normal(size=(30, 2))
TRAIN = ["fit", "partial_fit"]
PREDICT = ["predict", "draws", "sample_y"]


def small_net(**params):
    defaults = {"module__hidden": (8,), "max_epochs": 2, "n_draws": 5, "random_state": 0}
    return MCDropoutRegressor(**{**defaults, **params})


@pytest.fixture(scope="module")
def pickled():
    return pickle.dumps(small_net().fit(X, Y))


@pytest.fixture
def net(pickled):
    return pickle.loads(pickled)


def with_one(value, table=X):
    table = table.astype(np.result_type(table, type(value)))
    table[3, 1] = value
    return table


def check_refused(net, call, error, match):
    """Check the error, and that it leaves all of the estimator as it was."""
    before, keys, answer = pickle.dumps(net), set(vars(net)), net.predict(X)
    with pytest.raises(error, match=match):
        call(net)
    assert set(vars(net)) == keys
    assert pickle.dumps(net) == before
    assert_array_equal(net.predict(X), answer)


# -- X -----------------------------------------------------------------------------------------

BAD_X = {
    "NaN": (with_one(np.nan), ValueError, "Input X contains NaN"),
    "infinity": (with_one(np.inf), ValueError, "Input X contains infinity"),
    "minus infinity": (with_one(-np.inf), ValueError, "Input X contains infinity"),
    "infinity in single precision": (
        with_one(np.inf).astype(np.float32),
        ValueError,
        "Input X contains infinity",
    ),
    "too large for single precision": (
        with_one(1e300),
        ValueError,
        r"must fit into the net's float32. Got a largest magnitude of 1e\+300",
    ),
    "no rows": (X[:0], ValueError, r"0 sample\(s\) \(shape=\(0, 3\)\)"),
    "no features": (X[:, :0], ValueError, r"0 feature\(s\) \(shape=\(30, 0\)\)"),
    "empty list": ([], ValueError, r"Expected 2D array, got 1D array instead:\narray=\[\]"),
    "one axis": (X[0], ValueError, "Expected 2D array, got 1D array"),
    "a number": (3.5, ValueError, "Expected 2D array, got scalar array instead:\narray=3.5"),
    "ragged": ([[1.0, 2.0, 3.0], [1.0]], ValueError, "inhomogeneous shape"),
    "NaN in a sparse matrix": (
        sparse.csr_matrix(with_one(np.nan)),
        ValueError,
        "Input X contains NaN",
    ),
    "sparse and too large for single precision": (
        sparse.csc_array(with_one(1e300)),
        ValueError,
        r"must fit into the net's float32. Got a largest magnitude of 1e\+300",
    ),
    "sparse without features": (
        sparse.csr_array((30, 0)),
        ValueError,
        r"0 feature\(s\) \(shape=\(30, 0\)\)",
    ),
    "complex": (X + 1j, ValueError, "Complex data not supported"),
    "strings": (with_one("red"), ValueError, "could not convert string to float|dtype='numeric'"),
    "strings in a frame": (
        pd.DataFrame({"a": ["x"] * 30, "b": 1.0, "c": 2.0}),
        ValueError,
        "could not convert string to float: 'x'",
    ),
    "None": (with_one(None), ValueError, "Input X contains NaN"),
}


@pytest.mark.filterwarnings("ignore:X has feature names:UserWarning")
@pytest.mark.parametrize("method", TRAIN)
@pytest.mark.parametrize(("bad", "error", "match"), BAD_X.values(), ids=BAD_X)
def test_bad_inputs_are_refused_in_training(net, method, bad, error, match):
    check_refused(net, lambda net: getattr(net, method)(bad, Y), error, match)


@pytest.mark.filterwarnings("ignore:X has feature names:UserWarning")
@pytest.mark.parametrize("method", PREDICT)
@pytest.mark.parametrize(("bad", "error", "match"), BAD_X.values(), ids=BAD_X)
def test_bad_inputs_are_refused_in_prediction(net, method, bad, error, match):
    check_refused(net, lambda net: getattr(net, method)(bad), error, match)


@pytest.mark.parametrize("method", ["partial_fit", *PREDICT])
@pytest.mark.parametrize("n_features", [2, 4])
def test_another_number_of_features_is_refused(net, method, n_features):
    args = (np.ones((30, n_features)), Y)[: 1 + (method == "partial_fit")]
    match = f"X has {n_features} features, but MCDropoutRegressor is expecting 3 features"
    check_refused(net, lambda net: getattr(net, method)(*args), ValueError, match)


@pytest.mark.parametrize("method", ["partial_fit", *PREDICT])
@pytest.mark.parametrize(
    ("names", "match"),
    [("bac", "must be in the same order"), ("abd", "unseen at fit time:\n- d"), ("ab", "missing")],
)
def test_other_names_of_features_are_refused(method, names, match):
    net = small_net().fit(pd.DataFrame(X, columns=list("abc")), Y)
    args = (pd.DataFrame(X[:, : len(names)], columns=list(names)), Y)
    before = pickle.dumps(net)
    with pytest.raises(ValueError, match=match):
        getattr(net, method)(*args[: 1 + (method == "partial_fit")])
    assert pickle.dumps(net) == before


# -- y -----------------------------------------------------------------------------------------

BAD_Y = {
    "NaN": (with_one(np.nan, Y), ValueError, "Input y contains NaN"),
    "infinity": (with_one(np.inf, Y), ValueError, "Input y contains infinity"),
    "NaN in one axis": (with_one(np.nan, Y)[:, 1], ValueError, "Input y contains NaN"),
    "fewer rows": (Y[:29], ValueError, r"inconsistent numbers of samples: \[30, 29\]"),
    "more rows": (np.vstack([Y, Y]), ValueError, r"inconsistent numbers of samples: \[30, 60\]"),
    "no rows": (Y[:0], ValueError, r"0 sample\(s\)|inconsistent numbers of samples"),
    "None": (None, ValueError, "requires y to be passed, but the target y is None"),
    "complex": (Y + 1j, ValueError, "Complex data not supported"),
    "strings": (np.full(30, "red"), ValueError, "'red'|dtype='numeric'|could not convert"),
    "sparse": (
        sparse.csr_array(Y),
        TypeError,
        r"must be a dense array. Got a csr_array of shape",
    ),
    "three axes": (np.ones((29, 2, 2)), ValueError, r"inconsistent .* of samples: \[30, 29\]"),
}


@pytest.mark.parametrize("method", TRAIN)
@pytest.mark.parametrize(("bad", "error", "match"), BAD_Y.values(), ids=BAD_Y)
def test_bad_targets_are_refused(net, method, bad, error, match):
    check_refused(net, lambda net: getattr(net, method)(X, bad), error, match)


def test_a_target_whose_squares_overflow_is_refused(net):
    match = r"deviation of y must be finite. Got \[inf, inf\]\. Remove .* or scale y\."
    check_refused(net, lambda net: net.fit(X, 1e200 * Y), ValueError, match)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_target_of_tensors_that_is_not_finite_is_refused(net, value):
    x, y = torch.from_numpy(X.astype(np.float32)), with_one(value, Y)
    match = r"deviation of y must be finite. Got \[0\.\d+, nan\]. Remove the rows"
    check_refused(net, lambda net: net.fit(x, torch.from_numpy(y)), ValueError, match)


@pytest.mark.parametrize("n_rows", [29, 31])
def test_tensors_of_other_lengths_are_refused(net, n_rows):
    x, y = torch.zeros(30, 3), torch.arange(float(n_rows))
    check_refused(net, lambda net: net.fit(x, y), ValueError, "inconsistent lengths")


# -- an output that is not of the width of y -----------------------------------------------------


@pytest.mark.parametrize(
    ("n_outputs", "shape"), [(1, (30, 2)), (2, (30,)), (2, (30, 1)), (3, (30, 2)), (30, (30,))]
)
@pytest.mark.parametrize("criterion", [nn.MSELoss, nn.L1Loss, nn.HuberLoss(), nn.SmoothL1Loss])
def test_an_output_that_is_not_of_the_width_of_y_is_refused(net, n_outputs, shape, criterion):
    y = np.arange(float(np.prod(shape))).reshape(shape)
    other = MLP(3, n_outputs, hidden=(4,))
    weights = [part.clone() for part in other.state_dict().values()]
    vars(net).update(module=other, criterion=criterion)
    del net.module__hidden
    # Two rows are tried.
    match = rf"Got an output of shape \(2, {n_outputs}\) for a y of shape "
    match += rf"\({', '.join(map(str, (2, *shape[1:])))},?\)\. Give the net one output for each"
    check_refused(net, lambda net: net.fit(X, y), ValueError, match)
    # The refusal came before the training.
    assert all(map(torch.equal, weights, other.state_dict().values()))


def test_partial_fit_refuses_a_target_of_another_width(net):
    match = r"Got an output of shape \(2, 2\) for a y of shape \(2, 3\)"
    bad = np.ones((30, 3))
    check_refused(net, lambda net: net.partial_fit(X, bad), ValueError, match)


def test_a_dataset_whose_target_would_be_broadcast_is_refused():
    data = torch.utils.data.TensorDataset(torch.ones(30, 3), torch.ones(30))
    net = small_net(module=lambda hidden: MLP(3, 2, hidden))
    with pytest.raises(ValueError, match=r"output of shape \(30, 2\) for a y of shape \(30,\)"):
        net.fit(data, None)


def test_a_loss_of_the_user_may_compare_other_shapes():
    class FirstOutput(nn.Module):
        def forward(self, y_pred, y_true):
            return nn.functional.mse_loss(y_pred[:, 0], y_true)

    net = small_net(module__n_outputs=2, criterion=FirstOutput).fit(X, Y[:, 0])
    assert net.predict(X).shape == (30, 2)


# -- parameters ----------------------------------------------------------------------------------

BAD_COUNTS = {0: "0", -1: "-1", 2.5: "2.5", "10": "'10'", None: "None", np.nan: "nan"}
BAD_PARAMS = [
    *(("n_draws", value, rf"range \[1, inf\). Got {said} ") for value, said in BAD_COUNTS.items()),
    ("dropout", 1.5, r"in the range \[0.0, 1.0\] or None. Got 1.5 "),
    ("dropout", -0.1, r"in the range \[0.0, 1.0\] or None. Got -0.1 "),
    ("dropout", np.nan, r"in the range \[0.0, 1.0\] or None. Got nan "),
    ("dropout", "high", r"in the range \[0.0, 1.0\] or None. Got 'high' "),
    ("module__dropout", 1.5, r"rate in \[0, 1\], .* or 'masksembles'. Got 1.5\."),
    ("module__dropout", -0.1, r"rate in \[0, 1\], .* or 'masksembles'. Got -0.1\."),
    ("normalize_y", "yes", "Got 'yes'"),
    ("random_state", "seed", "Got 'seed'"),
    ("random_state", -1, r"Got -1"),
    ("max_epochs", -1, r"range \[0, inf\) or a str among {'auto'}. Got -1"),
    ("batch_size", 0.5, "Got 0.5"),
    ("lr", -0.1, "Got -0.1"),
    ("module", 3, "Got 3"),
    ("verbose", -1, "Got -1"),
]


@pytest.mark.filterwarnings("ignore:.* must be set before training:UserWarning")
@pytest.mark.parametrize(("name", "value", "match"), BAD_PARAMS)
def test_bad_parameters_are_refused_by_fit(net, name, value, match):
    answer = net.predict(X)
    vars(net)[name] = value
    before, keys = pickle.dumps(net), set(vars(net))
    with pytest.raises(ValueError, match=match):
        net.fit(X, Y)
    assert set(vars(net)) == keys
    assert pickle.dumps(net) == before
    vars(net).update(n_draws=5, verbose=0)
    assert_array_equal(net.predict(X), answer)


@pytest.mark.parametrize("method", ["predict", "draws"])
@pytest.mark.parametrize(("value", "said"), BAD_COUNTS.items())
def test_bad_numbers_of_draws_are_refused_in_prediction(net, method, value, said):
    net.set_params(n_draws=value)
    before = pickle.dumps(net)
    with pytest.raises(ValueError, match=f"'n_draws' parameter .* Got {said} "):
        getattr(net, method)(X)
    assert pickle.dumps(net) == before


@pytest.mark.parametrize(("value", "said"), BAD_COUNTS.items())
def test_bad_numbers_of_functions_are_refused(net, value, said):
    match = f"'n_samples' parameter of sample_y .* Got {said} "
    check_refused(net, lambda net: net.sample_y(X, n_samples=value), ValueError, match)


@pytest.mark.filterwarnings("ignore:`dropout` must be set before training:UserWarning")
def test_a_rate_for_a_net_without_dropout_is_refused(net):
    vars(net).update(dropout=0.3, module__hidden=())
    match = "module without dropout layers. Got 0.3 for MLP"
    check_refused(net, lambda net: net.fit(X, Y), ValueError, match)


@pytest.mark.parametrize("method", PREDICT)
def test_a_failed_first_fit_leaves_no_fitted_estimator(method):
    net = small_net()
    before = set(vars(net))
    with pytest.raises(ValueError, match="Input X contains NaN"):
        net.fit(with_one(np.nan), Y)
    assert set(vars(net)) == before
    with pytest.raises(NotFittedError, match="MCDropoutRegressor"):
        getattr(net, method)(X)


def test_scores_of_a_class_are_not_there(net):
    assert not hasattr(net, "predict_proba")
    with pytest.raises(AttributeError, match="MCDropoutRegressor has no 'predict_proba'"):
        net.predict_proba(X)
