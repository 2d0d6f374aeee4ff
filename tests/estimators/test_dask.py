"""Predictions of dask arrays and frames: lazy, block by block, the same whatever the blocks."""

import functools
import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from sk_mcdropout import (
    MCDropoutClassifier,
    MCDropoutClassifierCV,
    MCDropoutRegressor,
    MCDropoutRegressorCV,
)

dask = pytest.importorskip("dask", reason="needs dask[array,dataframe]")
da = pytest.importorskip("dask.array", reason="needs dask[array,dataframe]")
dd = pytest.importorskip("dask.dataframe", reason="needs dask[array,dataframe]")
pd = pytest.importorskip("pandas")

SMALL = {"module__hidden": (8,), "module__dropout": 0.2, "max_epochs": 2, "n_draws": 10}
N_ROWS, N_FEATURES = 40, 3

# A row's answer in single precision hangs on how many rows there are, by rounding.
close = functools.partial(assert_allclose, rtol=1e-5, atol=1e-5)


@pytest.fixture(autouse=True, scope="module")
def scheduler():
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(N_ROWS, N_FEATURES)).astype(np.float32)


@pytest.fixture(scope="module")
def y(X):
    return 10 + X @ [1.0, -2.0, 0.5]


@pytest.fixture(scope="module")
def labels(y):
    return np.where(y > 11, "high", np.where(y > 9, "mid", "low"))


@pytest.fixture(scope="module")
def net(X, y):
    return MCDropoutRegressor(noise=0.5, **SMALL).fit(X, y)  # without a random state


@pytest.fixture(scope="module")
def classifier(X, labels):
    return MCDropoutClassifier(random_state=0, **SMALL).fit(X, labels)


class Counting(nn.Module):
    """A net that counts its passes."""

    n_passes = 0

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(N_FEATURES, 4), nn.Dropout(0.5), nn.Linear(4, 1))

    def forward(self, X):
        Counting.n_passes += 1
        return self.layers(X)


@pytest.fixture
def counting(X, y):
    net = MCDropoutRegressor(Counting, max_epochs=1, n_draws=5, random_state=0, noise=1.0)
    net.fit(X, y.astype(np.float32))
    Counting.n_passes = 0
    return net


def in_blocks(X, rows, columns=2):
    return da.from_array(X, chunks=(rows, columns))


def check_lazy(actual, expected):
    """Hold a dask array against what it is to be: its shape, its type, its numbers."""
    assert isinstance(actual, da.Array)
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    assert [type(actual._meta), actual._meta.ndim] == [np.ndarray, expected.ndim]
    computed = actual.compute()
    assert computed.dtype == expected.dtype
    if expected.dtype.kind == "f":
        close(computed, expected)
    else:
        assert_array_equal(computed, expected)


def check_all(actual, expected):
    if isinstance(expected, tuple):
        assert type(actual) is type(expected)
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            check_lazy(one, other)
    else:
        check_lazy(actual, expected)


OF_A_REGRESSOR = {
    "predict": lambda net, X: net.predict(X),
    "with std": lambda net, X: net.predict(X, return_std=True),
    "parts": lambda net, X: net.predict_decomposed(X),
    "interval": lambda net, X: net.predict_interval(X, 0.8),
    "intervals": lambda net, X: net.predict_interval(X, [0.5, 0.8]),
    "quantiles": lambda net, X: net.predict_quantiles(X, [0.1, 0.5]),
    "draws": lambda net, X: net.draws(X),
    "functions": lambda net, X: net.sample_y(X, 3, random_state=1, noise=False),
    "cdf": lambda net, X: net.predict_cdf(X, 10.0),
    "log_prob": lambda net, X: net.log_prob(X, 10.0),
    "normal": lambda net, X: net.log_prob(X, 10.0, "normal"),
    "var": lambda net, X: net.predict_distribution(X).var(),
    "std": lambda net, X: net.predict_distribution(X).std(),
    "epistemic": lambda net, X: net.predict_distribution(X).epistemic_std(),
    "aleatoric": lambda net, X: net.predict_distribution(X).aleatoric_std(),
}
OF_A_CLASSIFIER = {
    "predict": lambda net, X: net.predict(X),
    "proba": lambda net, X: net.predict_proba(X),
    "with std": lambda net, X: net.predict_proba(X, return_std=True),
    "log proba": lambda net, X: net.predict_log_proba(X),
    "uncertainty": lambda net, X: net.predict_uncertainty(X),
    "draws": lambda net, X: net.draws(X),
}


@pytest.mark.parametrize("ask", OF_A_REGRESSOR.values(), ids=OF_A_REGRESSOR)
def test_a_regressor_answers_by_blocks_as_for_all_rows(net, X, ask):
    check_all(ask(net, in_blocks(X, (7, 33))), ask(net, X))


@pytest.mark.parametrize("ask", OF_A_CLASSIFIER.values(), ids=OF_A_CLASSIFIER)
def test_a_classifier_answers_by_blocks_as_for_all_rows(classifier, X, ask):
    check_all(ask(classifier, in_blocks(X, 15)), ask(classifier, X))


@pytest.mark.parametrize("rows", [1, 13, N_ROWS])
@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_blocks_and_threads_do_not_matter(net, X, rows, scheduler):
    with dask.config.set(scheduler=scheduler, num_workers=4):
        computed = dask.compute(*net.predict(in_blocks(X, rows, 1), return_std=True))
    close(computed, net.predict(X, return_std=True))


def frame_of(X):
    names = [f"x{k}" for k in range(N_FEATURES)]
    return pd.DataFrame(X, columns=names, index=pd.Index(np.arange(len(X)) * 3 + 1, name="key"))


@pytest.fixture(scope="module")
def frames(X):
    """A frame, and the same of dask, of whose partitions one is empty."""
    frame = frame_of(X)
    parts = [frame[:10], frame[10:10], frame[10:]]
    return frame, dd.from_map(lambda k: parts[k], range(3), meta=frame[:0])


def check_of_frame(actual, expected):
    for one, other in zip(
        *((v if isinstance(v, tuple) else (v,)) for v in (actual, expected)), strict=True
    ):
        known = [n for n, m in zip(one.shape, other.shape, strict=True) if n == m]
        assert len(known) == other.ndim - 1  # all but the number of rows
        assert one.dtype == other.dtype
        if other.dtype.kind == "f":
            close(one.compute(), other)
        else:
            assert_array_equal(one.compute(), other)


@pytest.mark.parametrize("name", ["with std", "interval", "draws"])
def test_a_regressor_takes_frames_with_an_empty_partition(frames, y, name):
    frame, lazy = frames
    net = MCDropoutRegressor(noise=0.5, random_state=0, **SMALL).fit(frame, y)
    check_of_frame(OF_A_REGRESSOR[name](net, lazy), OF_A_REGRESSOR[name](net, frame))


@pytest.mark.parametrize("name", ["predict", "with std"])
def test_a_classifier_takes_frames_with_an_empty_partition(frames, labels, name):
    frame, lazy = frames
    net = MCDropoutClassifier(random_state=0, **SMALL).fit(frame, labels)
    check_of_frame(OF_A_CLASSIFIER[name](net, lazy), OF_A_CLASSIFIER[name](net, frame))


def test_the_columns_of_a_frame_are_checked_at_once(frames, y):
    net = MCDropoutRegressor(random_state=0, **SMALL).fit(frames[0], y)
    with pytest.raises(ValueError, match="feature names should match"):
        net.predict(frames[1].rename(columns={"x0": "z"}))


def test_tables_of_frames_keep_index_and_partitions(frames, y, labels):
    frame, lazy = frames
    net = MCDropoutRegressor(noise=0.5, random_state=0, **SMALL).fit(frame, y)
    classifier = MCDropoutClassifier(random_state=0, **SMALL).fit(frame, labels)
    for table, expected in (
        (net.predict_table(lazy, 0.1, 0.8), net.predict_table(frame, 0.1, 0.8)),
        (classifier.predict_table(lazy), classifier.predict_table(frame)),
    ):
        assert table.npartitions == lazy.npartitions
        assert_array_equal(table.columns, expected.columns)
        assert_array_equal(table._meta.dtypes[1:], expected.dtypes[1:])
        pd.testing.assert_frame_equal(table.compute(), expected, rtol=1e-5)


def test_tables_of_arrays_number_the_rows_through(net, classifier, X):
    for one in (net, classifier):
        table = one.predict_table(in_blocks(X, 15))
        assert table.divisions == (0, 15, 30, 39)
        pd.testing.assert_frame_equal(table.compute(), one.predict_table(X), rtol=1e-5)


def test_tables_of_blocks_of_unknown_sizes_number_the_rows_of_each(net, X):
    lazy = in_blocks(X, 20, N_FEATURES)
    table = net.predict_table(lazy[lazy[:, 0] > 0])
    expected = net.predict_table(X[X[:, 0] > 0])
    sizes = [int((part > 0).sum()) for part in (X[:20, 0], X[20:, 0])]
    assert_array_equal(table.compute().index, np.concatenate([np.arange(n) for n in sizes]))
    close(table.compute(), expected)


def test_blocks_of_unknown_sizes_are_predicted(net, X):
    lazy = in_blocks(X, 7, N_FEATURES)
    mean, std = net.predict(lazy[lazy[:, 0] > 0], return_std=True)
    assert np.isnan(mean.shape[0])
    close((mean.compute(), std.compute()), net.predict(X[X[:, 0] > 0], return_std=True))


@pytest.mark.parametrize("noise", ["heteroscedastic", 0.5])
def test_several_targets_have_their_axis(X, y, noise):
    net = MCDropoutRegressor(noise=noise, random_state=0, **SMALL).fit(X, np.stack([y, -y], 1))
    for name in ("with std", "intervals", "draws", "log_prob"):
        check_all(OF_A_REGRESSOR[name](net, in_blocks(X, 20)), OF_A_REGRESSOR[name](net, X))


@pytest.mark.parametrize("method", ["std", "parts", "isotonic", "conformal"])
def test_a_calibrated_net_answers_as_calibrated(net, X, y, method):
    net = pickle.loads(pickle.dumps(net)).calibrate(X, y, method=method)
    for name in ("with std", "interval", "cdf"):
        check_all(OF_A_REGRESSOR[name](net, in_blocks(X, 15)), OF_A_REGRESSOR[name](net, X))


def test_ensembles_answer_by_blocks(X, y, labels):
    one = MCDropoutRegressor(module__hidden=(8,), max_epochs=2)
    options = {"param_grid": {}, "cv": 2, "n_draws": 10, "random_state": 0}
    model = MCDropoutRegressorCV(one, calibration="conformal", **options).fit(X, y)
    for name in ("with std", "interval"):
        check_all(OF_A_REGRESSOR[name](model, in_blocks(X, 20)), OF_A_REGRESSOR[name](model, X))
    one = MCDropoutClassifier(module__hidden=(8,), max_epochs=2)
    model = MCDropoutClassifierCV(one, **options).fit(X, labels)
    for name in ("predict", "with std"):
        check_all(OF_A_CLASSIFIER[name](model, in_blocks(X, 20)), OF_A_CLASSIFIER[name](model, X))


def test_moments_answer_by_blocks(X, y):
    net = MCDropoutRegressor(strategy="moments", noise=0.5, random_state=0, **SMALL).fit(X, y)
    for name in ("with std", "interval", "log_prob"):
        check_all(OF_A_REGRESSOR[name](net, in_blocks(X, 15)), OF_A_REGRESSOR[name](net, X))


def test_rows_of_several_axes_are_predicted(y):
    images = np.random.default_rng(1).normal(size=(N_ROWS, 1, 6, 6)).astype(np.float32)
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Dropout(0.5), nn.Linear(32, 1))
    net = MCDropoutRegressor(module, max_epochs=1, n_draws=5, random_state=0)
    net.fit(images, y.astype(np.float32))
    lazy = da.from_array(images, chunks=(15, 1, 3, 6))
    check_all(net.predict(lazy, True), net.predict(images, True))


def test_a_net_that_knows_no_target_is_asked_for_the_shape_of_its_answers(X):
    net = MCDropoutRegressor(module__n_features=N_FEATURES, module__n_outputs=2, n_draws=5)
    net.initialize()
    check_all(net.predict(in_blocks(X, 15), True), net.predict(X, True))


# -- lazily, and once ------------------------------------------------------------------------------


def test_nothing_is_computed_before_it_is_asked_for(counting, X):
    read = []

    def rows(block_id):
        read.append(block_id)
        return X[15 * block_id[0] : 15 * block_id[0] + 15]

    lazy = da.map_blocks(
        rows, chunks=((15, 15, 10), (N_FEATURES,)), dtype=X.dtype, meta=np.empty((0, 0), X.dtype)
    )
    for name in ("predict", "with std", "interval", "draws", "normal"):
        OF_A_REGRESSOR[name](counting, lazy)
    table = counting.predict_table(lazy)
    assert (Counting.n_passes, read) == (0, [])
    table.compute()
    assert Counting.n_passes > 0
    assert sorted(read) == [(0, 0), (1, 0), (2, 0)]


def models_in(collection):
    """Return in how many tasks of the graph, as it is carried out, the net itself lies."""
    is_frame = hasattr(collection, "columns")
    optimised = collection.optimize() if is_frame else dask.optimize(collection)[0]
    tasks = dict(optimised.__dask_graph__()).values()
    return sum(b"Counting" in pickle.dumps(task) for task in tasks)


def test_the_model_is_one_task_of_all_blocks(counting, X):
    lazy = in_blocks(X, 2)
    assert models_in(counting.predict(lazy, return_std=True)[1]) == 1
    assert models_in(counting.draws(lazy)) == 1
    assert models_in(counting.predict_table(lazy)) == 1


def test_mean_and_std_that_are_computed_together_are_drawn_once(counting, X):
    lazy = in_blocks(X, N_ROWS)
    counting.predict(lazy, return_std=True)[1].compute()
    once, Counting.n_passes = Counting.n_passes, 0
    dask.compute(*counting.predict(lazy, return_std=True))
    assert Counting.n_passes == once


def test_an_answer_is_that_of_the_net_as_it_was_when_it_was_asked(net, X, y):
    expected = net.predict(X)
    fitted = pickle.loads(pickle.dumps(net))
    lazy = fitted.predict(in_blocks(X, 15))
    fitted.fit(X, -y)
    close(lazy.compute(), expected)


def test_functions_without_a_seed_are_the_same_in_all_blocks(net, X):
    equal = da.from_array(np.repeat(X[:1], 30, axis=0), chunks=(10, N_FEATURES))
    functions = net.sample_y(equal, 2, random_state=None, noise=False).compute()
    close(functions, np.repeat(functions[:1], 30, axis=0))
    state = np.random.RandomState(0)
    functions = net.predict_distribution(equal).functions(2, state).compute()
    close(functions, np.repeat(functions[:, :1], 30, axis=1))


# -- what is refused, and said -------------------------------------------------------------------


def test_training_and_scoring_want_data_in_memory(net, classifier, X, y, labels):
    lazy = in_blocks(X, 15)
    for call in (net.fit, net.partial_fit, net.calibrate, net.score):
        with pytest.raises(TypeError, match=r"`X` must be in memory .* Got a dask.array.*Array"):
            call(lazy, y)
        with pytest.raises(TypeError, match=r"`y` must be in memory .* Call `y.compute\(\)`"):
            call(X, da.from_array(y))
    for call in (classifier.fit, classifier.partial_fit, classifier.calibrate, classifier.score):
        with pytest.raises(TypeError, match="`X` must be in memory to train"):
            call(lazy, labels)
        with pytest.raises(TypeError, match="`y` must be in memory to train"):
            call(X, da.from_array(labels))
    with pytest.raises(TypeError, match="`sample_weight` must be in memory"):
        net.fit(X, y, sample_weight=da.ones(N_ROWS))
    with pytest.raises(TypeError, match="`X` must be in memory"):
        MCDropoutRegressorCV().fit(lazy, y)
    with pytest.raises(TypeError, match="`X` must be in memory"):
        classifier.log_prob(lazy, labels)


def test_values_of_y_for_each_row_want_rows_in_memory(net, X, y):
    lazy = in_blocks(X, 15)
    with pytest.raises(ValueError, match="y must be one number where X is in blocks"):
        net.predict_cdf(lazy, y)
    with pytest.raises(TypeError, match="`y` must be in memory"):
        net.log_prob(lazy, da.from_array(y))


def test_a_covariance_wants_rows_in_memory(net, X):
    with pytest.raises(ValueError, match="X must be in memory for a covariance"):
        net.predict(in_blocks(X, 15), return_cov=True)
    with pytest.raises(ValueError, match="X must be in memory for a covariance"):
        net.predict_distribution(in_blocks(X, 15)).cov()


def test_noise_is_not_drawn_by_blocks(net, X, y):
    with pytest.raises(ValueError, match="`noise` must be False to draw by blocks"):
        net.sample_y(in_blocks(X, 15))
    silent = MCDropoutRegressor(random_state=0, **SMALL).fit(X, y)
    check_lazy(silent.sample_y(in_blocks(X, 15), 2), silent.sample_y(X, 2))


def test_what_is_wrong_is_said_at_once(net, X, y):
    lazy = in_blocks(X, 15)
    with pytest.raises(ValueError, match="has 2 features, but MCDropoutRegressor is expecting 3"):
        net.predict(lazy[:, :2])
    with pytest.raises(ValueError, match="Expected 2D array, got 1D array"):
        net.predict(lazy[:, 0])
    with pytest.raises(ValueError, match=r"`quantiles` must lie in \(0, 1\)"):
        net.predict_quantiles(lazy, 2)
    with pytest.raises(ValueError, match="`n_draws` must be at least 2 for a spread"):
        pickle.loads(pickle.dumps(net)).set_params(n_draws=1).predict(lazy, return_std=True)
    few = MCDropoutRegressor(noise=0.5, random_state=0, **SMALL).fit(X, y)
    few.calibrate(X[:5], y[:5], method="conformal")
    with pytest.raises(ValueError, match="Calibrate with more rows"):
        few.predict_interval(lazy, 0.99)


def test_an_unknown_number_of_columns_is_refused(net, X):
    lazy = in_blocks(X, 15, N_FEATURES)
    unknown = lazy[:, lazy[0] != 17.0]
    with pytest.raises(ValueError, match="X must have a known number of columns"):
        net.predict(unknown)


def test_other_collections_are_refused(net, X):
    with pytest.raises(TypeError, match="X must be a dask array or a dask dataframe"):
        net.predict(dask.delayed(X))


def test_an_interval_without_noise_is_warned_of_at_once(X, y):
    net = MCDropoutRegressor(random_state=0, **SMALL).fit(X, y)
    with pytest.warns(UserWarning, match="`noise` must be given for an interval of new y"):
        lazy = net.predict_interval(in_blocks(X, 15))
    expected = net.predict_interval(X)  # which has warned, and warns no more
    with pytest.warns(UserWarning, match="`noise` must be given"):  # where it is computed, too
        close(lazy.compute(), expected)


def test_predicting_leaves_the_random_numbers_of_torch_alone(net, X):
    before = torch.get_rng_state()
    net.predict(in_blocks(X, 15), return_std=True)[1].compute()
    assert torch.equal(torch.get_rng_state(), before)
