"""Calibration on held-out rows: closed forms, scikit-learn, weights, and finite samples."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import binom, norm
from sklearn.isotonic import IsotonicRegression

from sk_mcdropout.predictive import CALIBRATIONS, Uncalibrated

N_REPETITIONS = 200
ROUNDING = {"parts": 1e-6}  # of the place of a maximum, about the root of that of its value


class Normals:
    """A predictive distribution of independent normals, whose std has two parts."""

    def __init__(self, mean, std, share=0.6):
        self.mean, self.std, self.share = np.asarray(mean), np.asarray(std), share

    def mean_and_std(self):
        return self.mean, self.std

    def decompose(self):
        return self.mean, self.share * self.std, np.sqrt(1 - self.share**2) * self.std

    def calibrated(self, factors):
        _, epistemic, aleatoric = self.decompose()
        return Normals(self.mean, np.hypot(factors[0] * epistemic, factors[1] * aleatoric))

    def mixture_quantiles(self, levels):
        return self.mean[..., None] + self.std[..., None] * norm.ppf(levels)

    def mixture_cdf(self, y):
        return norm.cdf(y, self.mean, self.std)


def fitted(method, y, mean, std, sample_weight=None):
    return CALIBRATIONS[method].fit(Normals(mean, std), y, sample_weight)


def standard(shape):
    return Normals(np.zeros(shape), np.ones(shape))


@pytest.fixture
def held_out():
    rng = np.random.default_rng(0)
    mean, std = rng.normal(size=60), rng.uniform(0.5, 2, size=60)
    return mean + 3 * std * rng.normal(size=60), mean, std


def test_without_calibration_the_distribution_is_answered_as_it_is():
    normals, levels = standard(5), np.array([0.1, 0.5])
    assert_array_equal(Uncalibrated().quantiles(normals, levels), normals.mixture_quantiles(levels))
    interval = Uncalibrated().interval(normals, np.array([0.8, 0.9]))
    assert interval.shape == (5, 2, 2)
    assert_allclose(interval[0, 0], norm.ppf([0.1, 0.9]))
    assert_allclose(interval[3, 1], norm.ppf([0.05, 0.95]))
    assert_allclose(Uncalibrated().cdf(normals, np.full(5, 2.0)), norm.cdf(2.0))


def test_the_factor_is_the_likeliest_for_normal_errors(held_out):
    y, mean, std = held_out
    factor = fitted("std", y, mean, std).factor
    near = factor * np.array([0.99, 1.0, 1.01])
    logs = [norm.logpdf(y, mean, std * by).sum() for by in near]
    assert np.argmax(logs) == 1
    # At the maximum the mean squared error in units of the new std is 1.
    assert_allclose(np.mean(((y - mean) / (factor * std)) ** 2), 1)


def test_each_target_has_a_factor_of_its_own(held_out):
    y, mean, std = (np.column_stack([part, 7 * part]) for part in held_out)
    factors = fitted("std", y, mean, std / [1, 14]).factor
    assert_allclose(factors[1], 14 * factors[0])


# -- two factors -------------------------------------------------------------------------------


@pytest.fixture
def parts():
    """Return y, and a distribution whose parts are 3 times too small and 2 times too large."""
    rng = np.random.default_rng(0)
    epistemic, aleatoric = rng.uniform(0.1, 2, size=(2, 20_000))
    y = np.hypot(3 * epistemic, aleatoric / 2) * rng.normal(size=20_000)
    std = np.hypot(epistemic, aleatoric)
    return y, Normals(np.zeros(20_000), std, epistemic / std)


def test_the_factors_are_those_that_the_parts_are_off_by(parts):
    y, normals = parts
    factors = CALIBRATIONS["parts"].fit(normals, y).factors
    assert_allclose(factors, [3, 0.5], rtol=0.05)  # 3 standard errors, by the Fisher information


def test_both_factors_are_the_likeliest_for_normal_errors_and_the_prior(parts):
    y, normals = parts
    factors = CALIBRATIONS["parts"].fit(normals, y).factors

    def log_posterior(factors):
        prior = norm.logpdf(np.log(factors[0] / factors[1]))
        return prior + norm.logpdf(y, 0, normals.calibrated(factors).std).sum()

    for turn in np.linspace(0, 2 * np.pi, 8, endpoint=False):
        near = factors * (1 + 0.001 * np.array([np.cos(turn), np.sin(turn)]))
        assert log_posterior(near) < log_posterior(factors)
    # At the maximum the mean squared error in units of the new std is 1.
    assert_allclose(np.mean((y / normals.calibrated(factors).std) ** 2), 1)


@pytest.mark.parametrize("share", [0.01, 0.6, 0.999])
def test_parts_in_a_constant_ratio_have_the_one_factor_of_the_std(held_out, share):
    y, mean, std = held_out
    both = CALIBRATIONS["parts"].fit(Normals(mean, std, share), y)
    assert_allclose(both.factors, [fitted("std", y, mean, std).factor] * 2, rtol=1e-6)


def test_few_rows_change_the_ratio_of_the_factors_less_than_many(parts):
    y, normals = parts
    ratios = []
    for n_rows in (5, 50, 20_000):
        some = Normals(normals.mean[:n_rows], normals.std[:n_rows], normals.share[:n_rows])
        factors = CALIBRATIONS["parts"].fit(some, y[:n_rows]).factors
        ratios.append(factors[0] / factors[1])
    assert 1 / 6 < ratios[0] < ratios[1] < ratios[2]


def test_rows_that_are_all_equal_have_one_factor():
    assert_allclose(fitted("parts", np.full(9, 6.0), np.zeros(9), np.full(9, 2.0)).factors, [3, 3])


def test_predictions_without_an_error_have_the_factor_zero(held_out):
    _, mean, std = held_out
    normals = Normals(mean, std, np.linspace(0.1, 0.9, 60))
    assert_array_equal(CALIBRATIONS["parts"].fit(normals, mean).factors, [0, 0])


@pytest.mark.parametrize(("share", "name"), [(0.0, "epistemic"), (1.0, "aleatoric")])
def test_a_std_of_one_part_is_refused(held_out, share, name):
    y, mean, std = held_out
    with pytest.raises(ValueError, match=f"Got an {name} part of 0. Give `noise`"):
        CALIBRATIONS["parts"].fit(Normals(mean, std, share), y)
    share = np.column_stack([np.full(60, 0.5), np.full(60, share)])  # of the second target
    y, mean, std = (np.column_stack([part, part]) for part in held_out)
    with pytest.raises(ValueError, match=f"Got an {name} part of 0"):
        CALIBRATIONS["parts"].fit(Normals(mean, std, share), y)


def test_each_target_has_two_factors_of_its_own(parts):
    y, normals = parts
    single = CALIBRATIONS["parts"].fit(normals, y)
    two = Normals(*(np.column_stack([p, p]) for p in (normals.mean, normals.std, normals.share)))
    factors = CALIBRATIONS["parts"].fit(two, np.column_stack([y, 7 * y])).factors
    assert_allclose(factors, np.column_stack([single.factors, 7 * single.factors]), rtol=1e-6)


# -- maps of probabilities ---------------------------------------------------------------------


def test_isotonic_calibration_is_the_regression_of_ranks_on_probabilities(held_out):
    y, mean, std = held_out
    predicted = norm.cdf(y, mean, std)
    isotonic = fitted("isotonic", y, mean, std)
    ranks = (np.argsort(np.argsort(predicted)) + 1) / (len(y) + 1)
    regression = IsotonicRegression(y_min=0, y_max=1).fit(predicted, ranks)
    inside = np.linspace(predicted.min(), predicted.max(), 50)
    mapped = isotonic.cdf(standard(50), norm.ppf(inside))
    assert_allclose(mapped, regression.predict(inside), atol=1e-12)


def test_isotonic_quantiles_and_probabilities_are_each_others_inverse(held_out):
    y, mean, std = (np.column_stack([part, 2 * part]) for part in held_out)
    std[:, 1] *= 3
    isotonic = fitted("isotonic", y, mean, std)
    levels = np.linspace(0.02, 0.98, 30)
    quantiles = isotonic.quantiles(standard((30, 2)), levels)
    back = isotonic.cdf(standard((30, 2)), np.einsum("iti->it", quantiles))
    assert_allclose(back, np.column_stack([levels, levels]), atol=1e-12)


def test_isotonic_quantiles_are_finite_where_the_probabilities_are_0_and_1():
    saturated = np.array([-99.0, -99.0, 0.0, 99.0, 99.0])
    isotonic = fitted("isotonic", saturated, np.zeros(5), np.ones(5))
    assert np.isfinite(isotonic.quantiles(standard(1), np.array([0.01, 0.5, 0.99]))).all()


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9])
def test_conformal_reach_is_an_order_statistic(coverage):
    scores = np.random.default_rng(0).normal(size=19)
    conformal = fitted("conformal", scores, np.zeros(19), np.ones(19))
    rank = {0.5: 10, 0.8: 16, 0.9: 18}[coverage]  # ceil(20 * coverage)
    expected = np.sort(np.abs(scores))[rank - 1]
    assert conformal.reach(np.array([coverage])) == expected
    assert_allclose(
        conformal.interval(Normals([7.0], [2.0]), np.array([coverage])),
        [[[7 - 2 * expected, 7 + 2 * expected]]],
    )


def test_conformal_quantiles_and_probabilities_count_errors():
    scores = np.arange(1.0, 10.0)  # the chance of a new error between two of them is 1/10
    conformal = fitted("conformal", scores, np.zeros(9), np.ones(9))
    quantiles = conformal.quantiles(standard(1), np.array([0.1, 0.5, 0.85]))
    assert_allclose(quantiles, [[1, 5, 8.5]])
    cdf = conformal.cdf(standard(4), np.array([0.0, 1.0, 5.5, 99.0]))
    assert_allclose(cdf, [0, 0.1, 0.5, 0.9])


@pytest.mark.parametrize(("levels", "n_rows"), [([0.05], 10), ([0.95], 18), ([0.01, 0.5], 50)])
def test_conformal_levels_beyond_the_rows_are_refused(levels, n_rows):
    conformal = fitted("conformal", np.arange(float(n_rows)), np.zeros(n_rows), np.ones(n_rows))
    with pytest.raises(ValueError, match=rf"Got {n_rows} rows for \[{levels[0]}"):
        conformal.quantiles(standard(1), np.array(levels))


def test_a_conformal_coverage_beyond_the_rows_is_refused():
    coverages = np.array([0.9])
    conformal = fitted("conformal", np.arange(8.0), np.zeros(8), np.ones(8))
    with pytest.raises(ValueError, match=r"Got 8 rows for \[0\.9\]"):
        conformal.reach(coverages)
    assert fitted("conformal", np.arange(9.0), np.zeros(9), np.ones(9)).reach(coverages) == 8


@pytest.mark.parametrize("method", ["std", "parts", "conformal"])
def test_a_deviation_of_zero_is_refused(method):
    with pytest.raises(ValueError, match="Got 1 of 2 that are 0"):
        fitted(method, np.ones(2), np.ones(2), np.array([0.0, 1.0]))


@pytest.mark.parametrize("method", CALIBRATIONS)
def test_fresh_rows_are_covered_within_the_binomial_bound(method):
    """90 % intervals, 200 times; the deviations are predicted 3 times too small."""
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(N_REPETITIONS):
        std = rng.uniform(0.5, 2, size=400)
        y = 3 * std * rng.normal(size=400)
        calibration = fitted(method, y[:-1], np.zeros(399), std[:-1])
        new = Normals(np.zeros(1), std[-1:]).calibrated(calibration.factors)
        low, high = calibration.interval(new, np.array([0.9])).ravel()
        inside.append(low <= y[-1] <= high)  # one new row, exchangeable with the others
    low, high = binom.interval(0.999, N_REPETITIONS, 0.9)
    assert low <= np.sum(inside) <= high


@pytest.mark.parametrize("method", CALIBRATIONS)
def test_the_order_of_the_held_out_rows_does_not_matter(held_out, method):
    order = np.random.default_rng(1).permutation(60)
    shuffled = [part[order] for part in held_out]
    one, other = fitted(method, *held_out), fitted(method, *shuffled)
    assert_allclose(one.values, other.values, rtol=ROUNDING.get(method, 1e-12))


@pytest.mark.parametrize("method", CALIBRATIONS)
@pytest.mark.parametrize("n_targets", [None, 2])
def test_a_weight_counts_as_so_many_rows(held_out, method, n_targets):
    weights = np.random.default_rng(2).integers(0, 4, size=60)
    if n_targets:
        held_out = [np.column_stack([part, part[::-1]]) for part in held_out]
    weighted = fitted(method, *held_out, sample_weight=weights.astype(float))
    repeated = fitted(method, *(part.repeat(weights, axis=0) for part in held_out))
    new, y = standard((9, *held_out[0].shape[1:])), np.linspace(-8, 8, 9)
    y = np.column_stack([y, -y]) if n_targets else y
    levels = np.linspace(0.05, 0.95, 7)
    rtol = ROUNDING.get(method, 1e-7)
    assert_allclose(weighted.factors, repeated.factors, rtol)
    for answer in ("quantiles", "interval"):
        assert_allclose(
            getattr(weighted, answer)(new, levels), getattr(repeated, answer)(new, levels)
        )
    assert_allclose(weighted.cdf(new, y), repeated.cdf(new, y))
