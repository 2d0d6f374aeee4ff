"""The order of the uncertainties of a classifier against that of its errors."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics import accuracy_score

from sk_mcdropout.metrics import (
    accuracy_rejection_curve,
    area_under_accuracy_rejection_curve,
    area_under_sparsification_error,
)

N = 40
NAMES = np.array(["ash", "birch", "cedar"])


@pytest.fixture
def y():
    return np.random.default_rng(0).integers(3, size=N)


@pytest.fixture
def pred(y):
    return np.where(np.arange(N) % 4, y, (y + 1) % 3)


@pytest.fixture
def uncertainty():
    return np.random.default_rng(1).normal(size=N)


def test_the_curve_is_the_accuracy_on_the_most_certain_rows(y, pred, uncertainty):
    rejected, accuracy = accuracy_rejection_curve(y, pred, uncertainty, n_points=N)
    order = np.argsort(uncertainty)
    expected = [accuracy_score(y[order[:k]], pred[order[:k]]) for k in range(N, 0, -1)]
    assert_allclose(rejected, np.arange(N) / N, rtol=1e-12)
    assert_allclose(accuracy, expected, rtol=1e-12, atol=1e-12)


def test_the_area_lies_under_the_curve(y, pred, uncertainty):
    _, accuracy = accuracy_rejection_curve(y, pred, uncertainty, n_points=200_000)
    area = area_under_accuracy_rejection_curve(y, pred, uncertainty)
    assert_allclose(area, accuracy.mean(), rtol=1e-4)


def test_the_area_of_two_rows_is_known():
    # The row that is kept longest is right: 1 up to a half, and 1 / (2 kept) from there.
    area = area_under_accuracy_rejection_curve(["a", "b"], ["a", "a"], [1.0, 2.0])
    assert_allclose(area, 0.5 + np.log(2) / 2, rtol=1e-12)


def test_errors_that_are_rejected_first_leave_none(y, pred):
    wrong = y != pred
    rejected, accuracy = accuracy_rejection_curve(y, pred, wrong)
    assert_allclose(accuracy, np.minimum(1, 0.75 / (1 - rejected)), rtol=1e-12)
    assert_allclose(accuracy_rejection_curve(y, y, wrong)[1], np.ones(100), rtol=1e-12)
    best = area_under_accuracy_rejection_curve(y, pred, wrong)
    assert_allclose(best, 0.75 - 0.75 * np.log(0.75), rtol=1e-12)
    assert area_under_accuracy_rejection_curve(y, y, wrong) == pytest.approx(1, rel=1e-12)


def test_the_area_falls_short_of_the_best_by_the_sparsification_error(y, pred, uncertainty):
    wrong = (y != pred).astype(float)
    order = uncertainty - uncertainty.min()
    short = area_under_accuracy_rejection_curve(y, pred, wrong)
    short -= area_under_accuracy_rejection_curve(y, pred, uncertainty)
    expected = area_under_sparsification_error(wrong, np.zeros(N), order) * wrong.mean()
    assert_allclose(short, expected, rtol=1e-10)


def test_rows_of_the_same_uncertainty_are_rejected_by_equal_parts(y, pred):
    for order in (np.arange(N), np.arange(N)[::-1], np.argsort(y != pred, kind="stable")):
        _, accuracy = accuracy_rejection_curve(y[order], pred[order], np.ones(N))
        assert_allclose(accuracy, np.full(100, 0.75), rtol=1e-12)
    _, accuracy = accuracy_rejection_curve([1, 1, 0], [1, 0, 0], [1.0, 1.0, 5.0], n_points=3)
    assert_allclose(accuracy, [2 / 3, 1 / 2, 1 / 2], rtol=1e-12)


def test_only_the_order_of_the_uncertainties_counts(y, pred, uncertainty):
    expected = area_under_accuracy_rejection_curve(y, pred, uncertainty)
    assert area_under_accuracy_rejection_curve(y, pred, np.exp(5 * uncertainty)) == expected


def test_weights_are_repetitions(y, pred, uncertainty):
    counts = np.arange(N) % 3
    repeated = [values.repeat(counts) for values in (y, pred, uncertainty)]
    for function in (accuracy_rejection_curve, area_under_accuracy_rejection_curve):
        actual = function(y, pred, uncertainty, sample_weight=counts)
        assert_allclose(actual, function(*repeated), rtol=1e-12)


@pytest.mark.parametrize("names", [NAMES, NAMES.astype(object), np.array([-7, 3, 100])])
def test_the_names_of_the_classes_do_not_matter(y, pred, uncertainty, names):
    expected = area_under_accuracy_rejection_curve(y, pred, uncertainty)
    assert area_under_accuracy_rejection_curve(names[y], list(names[pred]), uncertainty) == expected
    two = area_under_accuracy_rejection_curve(y > 0, (pred > 0).astype(int), uncertainty)
    assert two == area_under_accuracy_rejection_curve(
        names[1 * (y > 0)], names[1 * (pred > 0)], uncertainty
    )


@pytest.mark.parametrize(
    ("y", "pred", "uncertainty", "message"),
    [
        ([0, 1], [0, 1, 1], [0.0, 0.0], r"the same rows. Got 2, 3 and 2"),
        ([0, 1], [0, 1], [0.0], r"the same rows. Got 2, 2 and 1"),
        ([0, 1], ["0", "1"], [0.0, 0.0], "Mix of label input types"),
        ([0, 1], [0.2, 0.9], [0.0, 0.0], "Mix type of y not allowed"),
        ([0, 1], [0, 1], [0.0, np.nan], "Input `uncertainty` contains NaN"),
        ([0, 1], [0, 1], [[0.0], [1.0]], r"`uncertainty` must have 1 axes. Got .*\(2, 1\)"),
        (["a", None], ["a", "b"], [0.0, 0.0], "none may be missing"),
    ],
)
def test_what_does_not_go_together_is_refused(y, pred, uncertainty, message):
    with pytest.raises(ValueError, match=message):
        accuracy_rejection_curve(y, pred, uncertainty)
    with pytest.raises(ValueError, match=message):
        area_under_accuracy_rejection_curve(y, pred, uncertainty)


def test_a_curve_of_no_points_is_refused():
    with pytest.raises(ValueError, match=r"`n_points` must be at least 1. Got 0"):
        accuracy_rejection_curve([0], [0], [0.0], n_points=0)
