"""The order of the standard deviations against that of the errors."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sk_mcdropout.metrics import area_under_sparsification_error, sparsification_curve

N = 40


@pytest.fixture
def y():
    return np.random.default_rng(0).normal(size=N)


@pytest.fixture
def mean():
    return np.zeros(N)


@pytest.fixture
def std():
    return np.random.default_rng(1).uniform(0.1, 2.0, size=N)


def test_the_curve_is_the_mean_error_of_the_most_certain_rows(y, mean, std):
    removed, error, oracle_error = sparsification_curve(y, mean, std, n_points=N)
    errors = np.abs(y)
    by_std, by_error = errors[np.argsort(std)], np.sort(errors)
    kept = range(N, 0, -1)
    assert_allclose(removed, np.arange(N) / N, rtol=1e-12)
    assert_allclose(error, [by_std[:k].mean() / errors.mean() for k in kept], rtol=1e-12)
    assert_allclose(oracle_error, [by_error[:k].mean() / errors.mean() for k in kept], rtol=1e-12)


def test_the_area_lies_between_the_curves(y, mean, std):
    removed, error, oracle_error = sparsification_curve(y, mean, std, n_points=200_000)
    # The mean over even steps from the left end is the area, but for half a step.
    numerical = np.mean(error - oracle_error)
    assert removed[1] == 1 / 200_000
    assert_allclose(area_under_sparsification_error(y, mean, std), numerical, rtol=1e-4)


def test_the_area_of_two_rows_is_known():
    # The errors are 1 and 3, of which 3 stays longest. Of a kept share c above a half, the mean
    # error is 1 + 1 / c, and for the oracle 3 - 1 / c; below it is 3, and for the oracle 1.
    area = area_under_sparsification_error([1.0, 3.0], [0.0, 0.0], [2.0, 1.0])
    by_std = 1.5 / 2 + (0.5 + np.log(2)) / 2
    by_error = 0.5 / 2 + (1.5 - np.log(2)) / 2
    assert_allclose(area, by_std - by_error, rtol=1e-12)
    assert_allclose(area, np.log(2), rtol=1e-12)


def test_the_right_order_leaves_no_area(y, mean):
    for std in (np.abs(y), np.exp(np.abs(y))):
        assert area_under_sparsification_error(y, mean, std) == 0
        _, error, oracle_error = sparsification_curve(y, mean, std)
        assert np.array_equal(error, oracle_error)


def test_the_opposite_order_is_the_worst(y, mean, std):
    worst = area_under_sparsification_error(y, mean, -np.abs(y) + np.abs(y).max())
    assert 0 < area_under_sparsification_error(y, mean, std) < worst


def test_only_the_order_of_the_standard_deviations_counts(y, mean, std):
    expected = area_under_sparsification_error(y, mean, std)
    assert area_under_sparsification_error(y, mean, np.exp(5 * std)) == expected


def test_a_standard_deviation_that_tells_nothing_gives_a_flat_curve(y, mean):
    for order in (np.arange(N), np.arange(N)[::-1]):
        _, error, oracle_error = sparsification_curve(y[order], mean, np.ones(N))
        assert_allclose(error, np.ones(100), rtol=1e-12)
    assert oracle_error[0] == pytest.approx(1, rel=1e-12)
    assert (np.diff(oracle_error) <= 0).all()


def test_rows_of_the_same_standard_deviation_leave_by_equal_parts():
    _, error, _ = sparsification_curve([1.0, 3.0, 8.0], [0.0] * 3, [1.0, 1.0, 5.0], n_points=3)
    # Of a mean error of 4: all rows, then the two equals, then half of each of them.
    assert_allclose(error, [1, 0.5, 0.5], rtol=1e-12)


def test_a_forecast_without_error_has_no_area(y, std):
    assert area_under_sparsification_error(y, y, std) == 0
    _, error, oracle_error = sparsification_curve(y, y, std)
    assert not error.any()
    assert not oracle_error.any()


def test_the_curves_of_several_targets_are_those_of_each(y, mean, std):
    two = [np.stack([values, values[::-1] ** 2], axis=1) for values in (y, mean, std)]
    _, *curves = sparsification_curve(*two)
    for target in range(2):
        _, *alone = sparsification_curve(*(values[:, target] for values in two))
        for curve, expected in zip(curves, alone, strict=True):
            assert curve.shape == (100, 2)
            assert np.array_equal(curve[:, target], expected)


def test_weights_are_repetitions_in_the_curves(y, mean, std):
    counts = np.arange(N) % 3
    repeated = (np.repeat(values, counts) for values in (y, mean, std))
    expected = sparsification_curve(*repeated)
    actual = sparsification_curve(y, mean, std, sample_weight=counts)
    for curve, other in zip(actual, expected, strict=True):
        assert_allclose(curve, other, rtol=1e-12)


def test_a_curve_of_no_points_is_refused(y, mean, std):
    with pytest.raises(ValueError, match=r"`n_points` must be at least 1. Got 0"):
        sparsification_curve(y, mean, std, n_points=0)
