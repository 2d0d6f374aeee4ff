"""What `MCDropoutRegressor` answers: the Gaussian process's contract, and its units."""

import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from questions import each_question, small_net
from sklearn.exceptions import NotFittedError
from sklearn.gaussian_process import GaussianProcessRegressor

from sk_mcdropout import MLP

TARGET_SHAPES = [(40,), (40, 1), (40, 3)]


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(40, 3))


@pytest.fixture(scope="module")
def y(X):
    return X @ [1.0, -2.0, 0.5] + np.random.default_rng(1).normal(scale=0.1, size=len(X))


@pytest.fixture(scope="module")
def net(X, y):
    return small_net().fit(X, y)


# -- the contract of the Gaussian process ------------------------------------------------------


@each_question
@pytest.mark.parametrize("shape", TARGET_SHAPES)
def test_shapes_are_those_of_a_gaussian_process(X, shape, ask):
    y = np.random.default_rng(2).normal(size=shape)
    expected = ask(GaussianProcessRegressor(optimizer=None).fit(X, y), X[:7])
    actual = ask(small_net(max_epochs=1).fit(X, y), X[:7])
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype


@pytest.mark.parametrize("make", [small_net, GaussianProcessRegressor])
def test_asking_for_std_and_cov_is_the_error_of_a_gaussian_process(make, X, y):
    model = make().fit(X, y)
    with pytest.raises(RuntimeError, match=r"At most one of return_std or return_cov can be req"):
        model.predict(X, return_std=True, return_cov=True)


@each_question
def test_nothing_is_answered_before_fit(X, ask):
    with pytest.raises(NotFittedError, match="MCDropoutRegressor"):
        ask(small_net(), X)


def test_draws_are_refused_before_fit(X):
    with pytest.raises(NotFittedError, match="MCDropoutRegressor"):
        small_net().draws(X)


def test_the_prediction_is_the_mean_that_comes_with_the_std(net, X):
    assert_array_equal(net.predict(X), net.predict(X, return_std=True)[0])


@pytest.mark.parametrize("shape", TARGET_SHAPES)
def test_mean_std_and_cov_are_those_of_the_draws(X, shape):
    net = small_net().fit(X, np.random.default_rng(2).normal(size=shape))
    draws, (mean, std), cov = net.draws(X), net.predict(X, True), net.predict(X, False, True)[1]
    assert len(draws) == net.n_draws
    assert std.min() > 0
    # Double precision throughout, so that only the order of the sums differs.
    assert_allclose(draws.mean(0), mean, rtol=1e-12)
    assert_allclose(draws.std(0, ddof=1), std, rtol=1e-12)
    by_target = draws.reshape(*draws.shape[:2], -1).transpose(2, 1, 0)
    expected = np.stack([np.cov(target) for target in by_target], axis=-1)
    assert_allclose(cov, expected.reshape(cov.shape), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("shape", TARGET_SHAPES)
def test_the_diagonal_of_the_covariance_is_the_variance(X, shape):
    net = small_net().fit(X, np.random.default_rng(2).normal(size=shape))
    mean, cov = net.predict(X, return_cov=True)
    variance = np.einsum("ii...->i...", cov)
    assert_allclose(np.sqrt(variance), net.predict(X, return_std=True)[1], rtol=1e-12)
    assert_allclose(mean, net.predict(X), rtol=1e-12)


def test_the_covariance_ties_rows_together(net, X):
    cov = net.predict(X, return_cov=True)[1]
    assert_allclose(cov, cov.T, rtol=1e-12)
    # Equal rows get equal values in each draw, so that their correlation is 1.
    twins = net.predict(X[[0, 0]], return_cov=True)[1]
    assert_allclose(twins, np.full((2, 2), twins[0, 0]), rtol=1e-4)


def test_sampled_functions_have_the_mean_and_std_of_the_prediction(net, X):
    net = pickle.loads(pickle.dumps(net)).set_params(n_draws=4000)
    mean, std = net.predict(X, return_std=True)
    functions = net.sample_y(X, n_samples=4000)
    # The difference of two means of 4,000 draws has a std of std * sqrt(2 / 4000), 2.2 % of std;
    # that of two stds is near 1.6 %. Both are allowed 5 of these.
    assert (abs(functions.mean(1) - mean) / std).max() < 0.11
    assert_allclose(functions.std(1, ddof=1), std, rtol=0.08)


def test_sampled_functions_follow_their_own_seed(net, X):
    first = net.sample_y(X, 3)
    assert_array_equal(first, net.sample_y(X, 3, random_state=0))
    assert_array_equal(first, net.sample_y(X, 3, random_state=np.random.RandomState(0)))
    # Products in single precision, of numbers of the order 1, may differ by their rounding.
    assert_allclose(first, net.sample_y(X, 6)[:, :3], rtol=1e-5, atol=1e-6)
    assert not np.allclose(first, net.sample_y(X, 3, random_state=1))


@each_question
def test_two_calls_give_the_same_numbers(net, X, ask):
    assert_array_equal(ask(net, X), ask(net, X))


def test_the_order_and_subset_of_rows_do_not_matter(net, X):
    rows = np.random.default_rng(3).permutation(len(X))[:15]
    # Products in single precision: a row's answer may differ by their rounding.
    for part, whole in zip(net.predict(X[rows], True), net.predict(X, True), strict=True):
        assert_allclose(part, whole[rows], rtol=1e-5, atol=1e-6)


def test_fewer_draws_are_the_first_of_more(net, X):
    fewer = pickle.loads(pickle.dumps(net)).set_params(n_draws=4).draws(X)
    assert fewer.shape == (4, 40)
    assert_allclose(fewer, net.draws(X)[:4], rtol=1e-5, atol=1e-6)


def test_one_draw_has_a_mean_but_no_spread(X, y):
    net = small_net(n_draws=1).fit(X, y)
    assert_array_equal(net.predict(X), net.draws(X)[0])
    with pytest.raises(ValueError, match=r"`n_draws` must be at least 2 .* Got 1\."):
        net.predict(X, return_std=True)
    with pytest.raises(ValueError, match=r"`n_draws` must be at least 2 .* Got 1\."):
        net.predict(X, return_cov=True)


@pytest.mark.parametrize("as_input", [np.asarray, torch.tensor], ids=["array", "tensor"])
def test_a_net_without_dropout_says_so_once_and_has_no_spread(X, y, as_input):
    X = as_input(X.astype(np.float32))
    net = small_net(dropout=0.0, batch_size=8).fit(X, y)
    with pytest.warns(UserWarning, match="must have a dropout with a rate above 0") as said:
        std = net.predict(X, return_std=True)[1]
    assert len(said) == 1
    assert_array_equal(std, np.zeros(40))


def test_a_mean_without_dropout_needs_no_warning(X, y, recwarn):
    small_net(dropout=0.0).fit(X, y).predict(X)
    assert not recwarn.list


# -- units -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", TARGET_SHAPES)
def test_std_and_covariance_are_in_the_units_of_y(X, shape):
    y = np.random.default_rng(2).normal(size=shape)
    # 1,024 is a power of two, so that all roundings are the same and the numbers exact.
    net, scaled = small_net().fit(X, y), small_net().fit(X, 1024 * y)
    assert_array_equal(scaled.predict(X), 1024 * net.predict(X))
    assert_array_equal(scaled.predict(X, True)[1], 1024 * net.predict(X, True)[1])
    cov = net.predict(X, return_cov=True)[1]
    assert_array_equal(scaled.predict(X, return_cov=True)[1], 1024**2 * cov)
    assert_array_equal(scaled.sample_y(X), 1024 * net.sample_y(X))


def test_a_target_in_thousands_is_answered_in_thousands(net, X, y):
    mean, std = small_net().fit(X, 1000 * y + 5000).predict(X, return_std=True)
    # Only the rounding of the standardised target, in single precision, differs.
    assert_allclose(mean, 1000 * net.predict(X) + 5000, atol=0.01)
    assert_allclose(std, 1000 * net.predict(X, True)[1], rtol=1e-4)


@pytest.mark.parametrize("shape", TARGET_SHAPES)
def test_normalize_y_trains_on_the_standardised_target(X, shape):
    y = 50 + 7 * np.random.default_rng(2).normal(size=shape)
    net = small_net().fit(X, y)
    assert_allclose(net.y_mean_, y.mean(0))
    assert_allclose(net.y_scale_, y.std(0))
    by_hand = small_net(normalize_y=False).fit(X, (y - y.mean(0)) / y.std(0))
    assert (by_hand.y_mean_, by_hand.y_scale_) == (0, 1)
    draws = by_hand.draws(X).reshape(-1, *shape) * y.std(0) + y.mean(0)
    assert_allclose(net.draws(X), draws.reshape(net.draws(X).shape), rtol=1e-12)


def test_a_target_that_is_not_normalised_trains_as_it_is(X, y):
    net = small_net(normalize_y=False, module__dropout=0.0, max_epochs=1, batch_size=-1)
    initial = net.fit(X, 100 * y).history[0, "train_loss"]
    # The first output is of the order 1, the target of the order 100 * std(y).
    assert_allclose(initial, np.mean((100 * y) ** 2), rtol=0.05)


@pytest.mark.parametrize("constant", [7.0, 0.1])
def test_a_constant_target_is_shifted_but_not_scaled(X, constant):
    X, y = X[:37], np.full(37, constant)
    # The mean of these numbers may be off by its rounding, and their std with it: 1e-17 for 0.1.
    net = small_net().fit(X, y)
    assert net.y_scale_ == 1
    zeros = small_net(normalize_y=False).fit(X, np.zeros(37))
    assert_allclose(net.predict(X), constant + zeros.predict(X), rtol=1e-5)


def test_a_large_offset_of_y_keeps_its_precision(X, y):
    fine = np.round(y * 2**10) / 2**10  # so that 1e8 + fine is exact in double precision
    net = small_net().fit(X, fine)
    shifted = small_net().fit(X, 1e8 + fine)
    # In single precision the numbers near 1e8 are 8 apart; the mean of y is off by 1e-8.
    assert_allclose(shifted.predict(X) - 1e8, net.predict(X), atol=1e-5)
    assert_allclose(shifted.predict(X, True)[1], net.predict(X, True)[1], rtol=1e-4)


def test_the_nonlinearity_is_applied_to_each_draw_in_the_units_of_y(net, X, y):
    expected = np.exp(net.draws(X))
    curved = small_net(predict_nonlinearity=torch.exp).fit(X, y)
    assert_allclose(curved.draws(X), expected, rtol=1e-12)
    mean, std = curved.predict(X, return_std=True)
    assert_allclose(mean, expected.mean(0), rtol=1e-12)
    assert_allclose(std, expected.std(0, ddof=1), rtol=1e-12)


def test_another_module_in_the_same_estimator_is_sampled_in_its_own_way(X, y):
    class Branching(MLP):
        """Depends on the values of each row."""

        def forward(self, X):
            output = super().forward(X)
            return output + 1 if output.sum() > 0 else output

    net = small_net(n_draws=50).fit(X, y)
    net.predict(X)
    net.set_params(module=Branching).fit(X, y)
    with pytest.warns(UserWarning, match="Each row is sampled by itself"):
        assert net.predict(X, return_std=True)[1].min() > 0
