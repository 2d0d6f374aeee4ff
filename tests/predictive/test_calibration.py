"""Calibration by held-out rows, as arrays: closed forms, scikit-learn, and finite samples."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import binom, norm
from sklearn.isotonic import IsotonicRegression

from sk_mcdropout.predictive._calibration import calibration

N_REPETITIONS = 200


@pytest.fixture
def held_out():
    rng = np.random.default_rng(0)
    mean, std = rng.normal(size=60), rng.uniform(0.5, 2, size=60)
    return mean + 3 * std * rng.normal(size=60), mean, std


def test_the_factor_is_the_likeliest_for_normal_errors(held_out):
    y, mean, std = held_out
    factor = calibration("std", y, mean, std).factor
    near = factor * np.array([0.99, 1.0, 1.01])
    logs = [norm.logpdf(y, mean, std * some).sum() for some in near]
    assert np.argmax(logs) == 1
    # At the maximum the mean squared error in units of the new std is 1.
    assert_allclose(np.mean(((y - mean) / (factor * std)) ** 2), 1)


def test_each_target_has_a_factor_of_its_own(held_out):
    y, mean, std = (np.column_stack([part, 7 * part]) for part in held_out)
    factors = calibration("std", y, mean, std / [1, 14]).factor
    assert_allclose(factors[1], 14 * factors[0])


def test_isotonic_calibration_is_the_regression_of_ranks_on_probabilities(held_out):
    y, mean, std = held_out
    predicted = norm.cdf(y, mean, std)
    kept = calibration("isotonic", y, mean, std, predicted)
    ranks = (np.argsort(np.argsort(predicted)) + 1) / (len(y) + 1)
    regression = IsotonicRegression(y_min=0, y_max=1).fit(predicted, ranks)
    inside = np.linspace(predicted.min(), predicted.max(), 50)
    assert_allclose(kept.probability(inside), regression.predict(inside), atol=1e-12)


def test_isotonic_levels_and_probabilities_are_each_others_inverse(held_out):
    y, mean, std = (np.column_stack([part, 2 * part]) for part in held_out)
    std[:, 1] *= 3
    kept = calibration("isotonic", y, mean, std, norm.cdf(y, mean, std))
    levels = np.linspace(0.02, 0.98, 30)
    back = kept.probability(kept.levels(levels).T)
    assert_allclose(back, np.column_stack([levels, levels]), atol=1e-12)


def test_isotonic_levels_stay_within_0_and_1():
    saturated = np.array([0.0, 0.0, 0.5, 1.0, 1.0])
    kept = calibration("isotonic", saturated, saturated, saturated, saturated)
    levels = kept.levels(np.array([0.01, 0.5, 0.99]))
    assert ((levels > 0) & (levels < 1)).all()
    assert np.isfinite(norm.ppf(levels)).all()


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9])
def test_conformal_reach_is_an_order_statistic(coverage):
    scores = np.random.default_rng(0).normal(size=19)
    kept = calibration("conformal", scores, np.zeros(19), np.ones(19))
    rank = {0.5: 10, 0.8: 16, 0.9: 18}[coverage]  # ceil(20 * coverage)
    assert kept.reach(coverage) == np.sort(np.abs(scores))[rank - 1]


def test_conformal_quantiles_and_probabilities_count_errors():
    scores = np.arange(1.0, 10.0)  # the chance of a new error between two of them is 1/10
    kept = calibration("conformal", scores, np.zeros(9), np.ones(9))
    assert_allclose(kept.score_quantiles(np.array([0.1, 0.5, 0.85])), [1, 5, 8.5])
    assert_allclose(kept.score_probability(np.array([0.0, 1.0, 5.5, 99.0])), [0, 0.1, 0.5, 0.9])


@pytest.mark.parametrize(("levels", "n_rows"), [([0.05], 10), ([0.95], 18), ([0.01, 0.5], 50)])
def test_conformal_levels_beyond_the_rows_are_refused(levels, n_rows):
    kept = calibration("conformal", np.arange(float(n_rows)), np.zeros(n_rows), np.ones(n_rows))
    with pytest.raises(ValueError, match=rf"Got {n_rows} rows for \[{levels[0]}"):
        kept.score_quantiles(np.array(levels))


def test_a_conformal_coverage_beyond_the_rows_is_refused():
    kept = calibration("conformal", np.arange(8.0), np.zeros(8), np.ones(8))
    with pytest.raises(ValueError, match=r"Got 8 rows for 0\.9"):
        kept.reach(0.9)
    assert calibration("conformal", np.arange(9.0), np.zeros(9), np.ones(9)).reach(0.9) == 8


@pytest.mark.parametrize("method", ["std", "conformal"])
def test_a_deviation_of_zero_is_refused(method):
    with pytest.raises(ValueError, match="Got 1 of 2 that are 0"):
        calibration(method, np.ones(2), np.ones(2), np.array([0.0, 1.0]))


@pytest.mark.parametrize("method", ["std", "isotonic", "conformal"])
def test_fresh_rows_are_covered_within_the_binomial_bound(method):
    """90 % intervals, 200 times; the deviations are predicted 3 times too small."""
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(N_REPETITIONS):
        std = rng.uniform(0.5, 2, size=400)
        y = 3 * std * rng.normal(size=400)
        kept = calibration(method, y[:-1], np.zeros(399), std[:-1], _cdf(method, y[:-1] / std[:-1]))
        if method == "conformal":
            low, high = np.array([-1, 1]) * kept.reach(0.9)
        else:
            low, high = kept.factor * norm.ppf(kept.levels(np.array([0.05, 0.95])))
        inside.append(low <= y[-1] / std[-1] <= high)  # one new row, exchangeable with the others
    low, high = binom.interval(0.999, N_REPETITIONS, 0.9)
    assert low <= np.sum(inside) <= high


def _cdf(method, scores):
    return norm.cdf(scores) if method == "isotonic" else None


def test_the_order_of_the_held_out_rows_does_not_matter(held_out):
    order = np.random.default_rng(1).permutation(60)
    shuffled = [part[order] for part in held_out]
    for method in ("std", "conformal"):
        one, other = calibration(method, *held_out), calibration(method, *shuffled)
        assert_allclose(one.values, other.values, rtol=1e-12)
    assert_array_equal(calibration("conformal", *held_out).values, np.sort(one.values))
