"""What the default net does to the columns of a table before its first weights."""

import math
import re
from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.preprocessing import RobustScaler

from sk_mcdropout import MLP, MCDropoutRegressor
from sk_mcdropout.nn import PeriodicEmbedding, RobustScale


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    # 401 rows: their quartiles are rows, by every definition of a quantile.
    return rng.normal(size=(401, 3)) * [1.0, 1e6, 1e-3] + [0.0, 3e6, 5.0]


@pytest.fixture(scope="module")
def y(X):
    x = (X - X.mean(axis=0)) / X.std(axis=0)
    return np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2]


# -- the scale ---------------------------------------------------------------------------------


def test_the_bulk_is_scaled_as_scikit_learn_scales_it(X):
    z = RobustScaler().fit_transform(X)
    expected = 3 * np.arcsinh(z / 3)
    actual = RobustScale(3).double().fit(torch.from_numpy(X))(torch.from_numpy(X))
    assert_allclose(actual, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ([0.0] * 9 + [4.0], [0.0] * 9 + [3 * math.asinh(2 / 3)]),  # of equal quartiles
        ([7.0] * 10, [0.0] * 10),
        ([5.0], [0.0]),
    ],
)
def test_columns_of_equal_quartiles_are_scaled_by_their_range(column, expected):
    x = torch.tensor(column)[:, None]
    assert_allclose(RobustScale(1).fit(x)(x)[:, 0], expected, rtol=1e-6)


def test_a_column_that_was_constant_counts_where_it_no_longer_is():
    scale = RobustScale(1).fit(torch.full((10, 1), 7.0))
    assert scale(torch.tensor([[8.0]])) == 1


def test_beyond_its_range_a_column_goes_on_along_the_tangent():
    scale = RobustScale(1).fit(torch.tensor([[-50.0], *[[v / 10] for v in range(-10, 11)], [50.0]]))
    z = 50 * scale.scale
    slope = 1 / torch.sqrt(1 + (z / 3) ** 2)
    at, far, farther = scale(torch.tensor([[50.0], [60.0], [1e4]])).double()[:, 0]
    assert_allclose(at, 3 * math.asinh(float(z) / 3), rtol=1e-6)
    assert_allclose(far - at, 10 * scale.scale * slope, rtol=1e-4)
    assert_allclose(farther - at, 9_950 * scale.scale * slope, rtol=1e-4)


@pytest.mark.parametrize("weights", [[2, 0, 1, 3, 1, 0, 5, 1], [1, 1, 1, 1, 0, 0, 0, 0], [3] * 8])
def test_a_row_of_weight_2_counts_as_two_rows(weights):
    x = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
    w = torch.tensor(weights)
    weighted = RobustScale(2).fit(x, w)
    repeated = RobustScale(2).fit(x.repeat_interleave(w, dim=0))
    assert torch.equal(weighted.center, repeated.center)
    assert torch.equal(weighted.scale, repeated.scale)


def test_the_scale_is_in_the_state_and_no_parameter(X):
    scale = RobustScale(3).fit(torch.from_numpy(X))
    fresh = RobustScale(3)
    fresh.load_state_dict(scale.state_dict())
    x = torch.from_numpy(X.astype(np.float32))
    assert torch.equal(fresh(x), scale(x))
    assert fresh.fitted
    assert not list(scale.parameters())


# -- the waves ---------------------------------------------------------------------------------


def test_the_embedding_is_the_formula():
    net = PeriodicEmbedding(2, n_frequencies=4, n_outputs=3)
    x = torch.tensor([[0.3, -1.2], [2.0, 0.0]])
    w, b = net.frequencies.detach(), net.phases.detach()
    for row, answer in zip(x, net(x).detach(), strict=True):
        expected = [*row.tolist()]
        for column in range(2):
            waves = torch.cos(2 * math.pi * w[column] * row[column] + b[column])
            expected += (waves @ net.weight[column] + net.bias[column]).tolist()
        assert_allclose(answer, expected, rtol=1e-5)


@pytest.mark.parametrize(("end", "far"), [(-1.0, -4.0), (2.0, 50.0)])
def test_beyond_the_range_that_was_seen_waves_go_on_along_their_tangents(end, far):
    net = PeriodicEmbedding(1, frequency_scale=0.5).double()
    free = PeriodicEmbedding(1).double()
    free.load_state_dict(net.state_dict())
    net.fit(torch.tensor([[-1.0], [0.5], [2.0]]).double())
    at = torch.tensor([[end]], dtype=torch.float64)
    slopes = torch.autograd.functional.jacobian(lambda x: free(x)[0], at)[:, 0, 0]
    expected = free(at) + (far - end) * slopes
    torch.testing.assert_close(net(torch.full_like(at, far)), expected)
    torch.testing.assert_close(net(at), free(at))


@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 2.0, 0.0])])
def test_the_net_fits_what_is_done_to_its_columns(weights):
    x = torch.tensor([[0.0], [4.0], [100.0]])
    net = MLP(1, normalize_X=True)
    net.fit(x, weights)
    counted = x if weights is None else x[:2]
    assert torch.equal(net.scale.center, RobustScale(1).fit(x, weights).center)
    assert torch.equal(net.embedding.upper, net.scale(counted).amax(dim=0))


@pytest.mark.parametrize("shape", [(2,), (5, 2), (4, 5, 2), (0, 2)])
def test_axes_before_the_last_are_kept(shape):
    assert PeriodicEmbedding(2)(torch.zeros(shape)).shape == (*shape[:-1], 8)


def test_the_embedding_is_mapped():
    net = PeriodicEmbedding(2)
    x = torch.randn(6, 5, 2)
    torch.testing.assert_close(torch.vmap(net)(x), net(x))


def test_frequencies_have_the_scale_that_was_asked_for():
    torch.manual_seed(0)
    net = PeriodicEmbedding(100, n_frequencies=100, frequency_scale=0.5)
    assert_allclose(net.frequencies.std().item(), 0.5, rtol=0.03)  # of 10,000 numbers


@pytest.mark.parametrize("kind", ["Periodic", "fourier", 3, True])
def test_another_embedding_is_refused(kind):
    with pytest.raises(ValueError, match=f"'periodic' or None. Got {kind!r}"):
        MLP(3, embedding=kind)


@pytest.mark.slow
def test_draws_part_more_and_more_far_from_the_data():
    rng = np.random.default_rng(0)
    x = rng.uniform(-3, 3, size=(200, 1))
    target = x[:, 0] + np.sin(2 * x[:, 0]) + rng.normal(scale=0.2, size=200)
    net = MCDropoutRegressor(module__dropout=0.2, max_epochs=150, random_state=0).fit(x, target)
    for side in (-1, 1):
        far = side * np.array([[0.0], [5.0], [10.0], [20.0], [100.0]])
        std = net.predict(far, return_std=True)[1]
        assert (np.diff(std) > 0).all()
        assert std[1] > 2 * std[0]


# -- in the estimator --------------------------------------------------------------------------


def small_net(**params):
    defaults = {"module__hidden": (16,), "max_epochs": 5, "n_draws": 5, "random_state": 0}
    return MCDropoutRegressor(**{**defaults, **params})


@pytest.mark.slow
def test_raw_columns_are_fitted_as_well_as_scaled_ones(X, y):
    net = small_net(max_epochs=100, module__hidden=(50, 50)).fit(X, y)
    assert net.score(X, y) > 0.9


def test_units_of_the_columns_do_not_matter(X, y):
    expected = small_net().fit(X, y).predict(X)
    assert_allclose(small_net().fit(1024 * X, y).predict(1024 * X), expected, rtol=1e-5)


@pytest.mark.parametrize("normalize", [False, "auto", True])
def test_the_statistics_are_those_of_the_rows_to_train_on(X, y, normalize):
    def first_half(dataset, y=None, **params):
        half = len(dataset) // 2 + 1
        return torch.utils.data.Subset(dataset, range(half)), None

    net = small_net(train_split=first_half, normalize_X=normalize).fit(X, y)
    if normalize is False:
        assert isinstance(net.module_.scale, torch.nn.Identity)
    else:
        assert_allclose(net.module_.scale.center, np.median(X[:201], axis=0), rtol=1e-6)


@pytest.mark.parametrize("again", ["partial_fit", "fit"])
def test_more_training_keeps_the_scale(X, y, again):
    net = small_net(warm_start=True).fit(X, y)
    before = net.module_.scale.center.clone()
    getattr(net, again)(X + 1, y)
    assert torch.equal(net.module_.scale.center, before)
    net.set_params(warm_start=False).fit(X + 1, y)
    assert not torch.equal(net.module_.scale.center, before)


def test_the_rows_of_a_dataset_are_scaled_too(X, y):
    data = torch.utils.data.TensorDataset(
        torch.from_numpy(X.astype(np.float32)), torch.from_numpy(y.astype(np.float32))[:, None]
    )
    net = small_net().fit(data, None)
    assert_allclose(net.module_.scale.center, np.median(X, axis=0), rtol=1e-6)


class Own(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(3, 8), torch.nn.Dropout(0.2), torch.nn.Linear(8, 1)
        )

    def forward(self, x):
        return self.layers(x)


@pytest.mark.parametrize("module", [Own, Own()], ids=["class", "instance"])
def test_a_net_of_your_own_is_scaled_if_asked_for(X, y, module):
    net = small_net(module=module, normalize_X=True, module__hidden=None)
    del net.module__hidden
    net.fit(X, y)
    assert_allclose(net.module_[0].center, np.median(X, axis=0), rtol=1e-6)
    assert isinstance(net.module_[1], Own)
    assert net.predict(X).std() > 0


@pytest.mark.parametrize("form", [np.asarray, torch.from_numpy])
def test_a_net_of_your_own_is_scaled_on_each_kind_of_table(X, y, form):
    x = form(X.astype(np.float32))
    net = MCDropoutRegressor(Own, normalize_X=True, max_epochs=2, random_state=0).fit(x, y)
    assert_allclose(net.module_[0].center, np.median(X, axis=0), rtol=1e-6)


def test_a_scale_that_was_set_after_training_is_said_to_have_no_effect(X, y):
    net = small_net().fit(X, y).set_params(normalize_X=False)
    with pytest.warns(UserWarning, match="`normalize_X` must be set before training. Got False"):
        net.predict(X)


class Stream(torch.utils.data.IterableDataset):
    def __init__(self, X, y):
        self.pairs = list(zip(X.astype(np.float32), y.astype(np.float32)[:, None], strict=True))

    def __iter__(self):
        return iter(self.pairs)


def test_a_stream_is_not_scaled_and_says_so_if_asked_to(X, y):
    params = {"module__n_features": 3, "iterator_train__shuffle": False}
    net = small_net(**params).fit(Stream(X / X.std(axis=0), y), None)
    assert not net.module_.scale.fitted
    with pytest.raises(ValueError, match="X must be a table of known rows for `normalize_X=True`"):
        small_net(normalize_X=True, **params).fit(Stream(X, y), None)


def test_a_net_of_your_own_is_left_alone(X, y):
    module = Own()
    assert MCDropoutRegressor(module, max_epochs=1).fit(X / 1e6, y).module_ is module


def test_a_scale_without_a_table_is_refused():
    with pytest.raises(ValueError, match="X must be a table for `normalize_X=True`"):
        MCDropoutRegressor(Own, normalize_X=True).initialize()


@pytest.mark.parametrize("make", [RobustScale, PeriodicEmbedding, partial(MLP, normalize_X=True)])
@pytest.mark.parametrize("shape", [(5, 1), (5, 3, 1), (3,), ()])
def test_other_columns_are_refused(make, shape):
    with pytest.raises(ValueError, match=rf"Got the shape {re.escape(str(shape))}"):
        make(4)(torch.zeros(shape))


def test_columns_that_hardly_differ_count_as_constant():
    X = torch.tensor([[0.0, 1.0], [1e-40, 2.0], [3e-40, 3.0]])  # 1 / 1e-40 is infinite
    assert RobustScale(2).fit(X).scale[0] == 1


def test_images_are_refused_by_a_default_net_that_was_trained_on_a_table(X, y):
    net = small_net(max_epochs=1).fit(X, y)
    with pytest.raises(ValueError, match=r"X must have two axes .* Got the shape \(5, 3, 3\)"):
        net.predict(np.zeros((5, 3, 3)))
    told = small_net(max_epochs=1, module__n_features=3, module__n_outputs=1).fit(X, y)
    assert told.predict(np.zeros((5, 3, 3))).shape == (5, 3, 1)
