"""The scores of intervals, quantiles and probabilities against others and against their laws."""

import numpy as np
import pytest
import scoringrules
from numpy.testing import assert_allclose
from scipy.stats import norm
from sklearn.metrics import mean_pinball_loss

from sk_mcdropout.metrics import (
    calibration_curve,
    calibration_error,
    coverage_score,
    crps_normal,
    interval_score,
    mean_interval_width,
    pinball_loss,
    sharpness,
)

N = 1000
# Even steps through a standard normal: its own quantiles, hence perfectly calibrated.
CALIBRATED = norm.ppf((np.arange(N) + 0.5) / N)


@pytest.fixture
def y():
    return np.random.default_rng(0).normal(size=(20, 2))


@pytest.fixture
def interval(y):
    ends = np.random.default_rng(1).normal(size=(*y.shape, 2))
    return np.sort(ends, axis=-1)


def normal_interval(coverage, n=N, std=1.0):
    reach = norm.ppf((1 + coverage) / 2) * std
    return np.tile([-reach, reach], (n, 1))


# -- intervals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("coverage", [0.5, 0.9, 0.99])
def test_the_interval_score_is_that_of_scoringrules(y, interval, coverage):
    expected = scoringrules.interval_score(y, *np.moveaxis(interval, -1, 0), alpha=1 - coverage)
    assert_allclose(interval_score(y, interval, coverage=coverage), expected.mean(), rtol=1e-12)


def test_the_interval_score_takes_nine_tenths_unless_told(y, interval):
    assert interval_score(y, interval) == interval_score(y, interval, coverage=0.9)


@pytest.mark.parametrize("coverage", [0.3, 0.9])
def test_the_interval_score_is_the_pinball_loss_of_both_ends(y, interval, coverage):
    alpha = 1 - coverage
    pinball = pinball_loss(y, interval, quantiles=[alpha / 2, 1 - alpha / 2])
    # The mean of two losses, each weighed by 2 / alpha.
    assert_allclose(interval_score(y, interval, coverage=coverage), 4 / alpha * pinball, rtol=1e-12)


def test_no_interval_is_expected_to_do_better_than_the_quantiles():
    score = interval_score(CALIBRATED, normal_interval(0.8), coverage=0.8)
    for std in (0.9, 1.1):
        other = normal_interval(0.8, std=std)
        assert interval_score(CALIBRATED, other, coverage=0.8) > score + 0.01
        assert interval_score(CALIBRATED, other - 0.1, coverage=0.8) > score + 0.01


@pytest.mark.parametrize("coverage", [0.1, 0.5, 0.9])
def test_a_calibrated_interval_covers_what_it_was_made_for(coverage):
    assert coverage_score(CALIBRATED, normal_interval(coverage)) == coverage


def test_the_ends_of_an_interval_are_inside():
    assert coverage_score([0.0, 1.0, 1.1], [[0.0, 1.0]] * 3) == 2 / 3


@pytest.mark.parametrize("coverage", [0.1, 0.9])
def test_the_width_of_a_normal_interval_is_known(coverage):
    expected = 2 * norm.ppf((1 + coverage) / 2) * 3
    width = mean_interval_width(normal_interval(coverage, std=3))
    assert_allclose(width, expected, rtol=1e-12)


@pytest.mark.parametrize("coverage", [0, 1, -0.5, 90])
def test_a_coverage_outside_of_zero_and_one_is_refused(y, interval, coverage):
    with pytest.raises(ValueError, match=rf"`coverage` must lie in \(0, 1\). Got \[{coverage}"):
        interval_score(y, interval, coverage=coverage)


def test_an_interval_upside_down_is_refused(y, interval):
    interval[4, 1] = interval[4, 1, ::-1]
    for score in (interval_score, coverage_score):
        with pytest.raises(ValueError, match=r"lower end first. Got .* in 1 of 40 places. Swap"):
            score(y, interval)
    with pytest.raises(ValueError, match=r"lower end first. Got .* in 1 of 40 places"):
        mean_interval_width(interval)


def test_ends_that_are_not_two_are_refused(y, interval):
    with pytest.raises(ValueError, match=r"`interval` must have the shape \(20, 2, 2\). Got .*3\)"):
        interval_score(y, np.zeros((20, 2, 3)))
    with pytest.raises(ValueError, match=r"`interval` must have the shape \(20, 2\). Got \(20, 3"):
        mean_interval_width(np.zeros((20, 3)))


# -- quantiles -------------------------------------------------------------------------------------


def test_the_pinball_loss_is_the_mean_of_scikit_learns(y):
    levels = [0.05, 0.5, 0.7]
    quantiles = np.random.default_rng(2).normal(size=(*y.shape, 3))
    expected = [mean_pinball_loss(y, quantiles[..., i], alpha=a) for i, a in enumerate(levels)]
    assert_allclose(pinball_loss(y, quantiles, quantiles=levels), np.mean(expected), rtol=1e-12)


def test_one_level_needs_no_list(y):
    expected = scoringrules.quantile_score(y, np.zeros_like(y), 0.2).mean()
    assert_allclose(pinball_loss(y, np.zeros((*y.shape, 1)), quantiles=0.2), expected, rtol=1e-12)


def test_twice_the_pinball_loss_of_many_levels_is_the_crps():
    levels = (np.arange(20_000) + 0.5) / 20_000
    quantiles = norm.ppf(levels, 0.5, 2.0)
    expected = crps_normal([1.3], [0.5], [2.0])
    assert_allclose(2 * pinball_loss([1.3], quantiles[None], quantiles=levels), expected, rtol=1e-4)


@pytest.mark.parametrize("levels", [[0.0, 0.5], [0.5, 1.0], [10, 90]])
def test_a_level_outside_of_zero_and_one_is_refused(y, interval, levels):
    with pytest.raises(ValueError, match=rf"`quantiles` must lie in \(0, 1\). Got \[{levels[0]}"):
        pinball_loss(y, interval, quantiles=levels)


def test_as_many_quantiles_as_levels_are_asked_for(y, interval):
    with pytest.raises(ValueError, match=r"`y_quantiles` must have the shape \(20, 2, 3\). Got"):
        pinball_loss(y, interval, quantiles=[0.1, 0.2, 0.3])


# -- probabilities ---------------------------------------------------------------------------------


def test_calibrated_forecasts_have_the_frequencies_of_their_levels():
    levels, frequencies = calibration_curve(norm.cdf(CALIBRATED))
    assert_allclose(levels, np.linspace(0.01, 0.99, 99), rtol=1e-12)
    assert_allclose(frequencies, levels, rtol=1e-12)
    assert calibration_error(norm.cdf(CALIBRATED)) < 1e-30


@pytest.mark.parametrize("std", [0.5, 2.0])
def test_the_frequencies_of_a_wrong_standard_deviation_are_known(std):
    levels, frequencies = calibration_curve(norm.cdf(CALIBRATED, scale=std))
    # y is below the quantile q(p) = std * z(p) with the probability of a standard normal.
    expected = norm.cdf(std * norm.ppf(levels))
    assert_allclose(frequencies, expected, rtol=0, atol=0.5001 / N)


def test_the_worst_calibration_is_to_know_the_wrong_side():
    # All y are above all quantiles: the frequencies are 0, and the error the mean of p squared.
    assert_allclose(calibration_error(np.ones(5), levels=[0.2, 0.6]), (0.04 + 0.36) / 2)


def test_the_curve_of_several_targets_is_that_of_each():
    cdf = np.random.default_rng(0).uniform(size=(30, 3))
    _, frequencies = calibration_curve(cdf, levels=[0.1, 0.5])
    assert frequencies.shape == (2, 3)
    for target in range(3):
        _, alone = calibration_curve(cdf[:, target], levels=[0.1, 0.5])
        assert np.array_equal(frequencies[:, target], alone)


def test_calibrated_rows_miss_by_chance_as_much_as_documented():
    cdf = np.random.default_rng(0).uniform(size=(20, 20_000))
    p = np.arange(1, 100) / 100  # a frequency has the variance p (1 - p) / n, about 1 / (6 n)
    assert_allclose(calibration_error(cdf), np.mean(p * (1 - p)) / 20, rtol=0.02)
    assert_allclose(np.mean(p * (1 - p)) / 20, 1 / (6 * 20), rtol=0.02)


@pytest.mark.parametrize("score", [calibration_curve, calibration_error])
def test_probabilities_outside_of_zero_and_one_are_refused(score):
    with pytest.raises(ValueError, match=r"`cdf` must lie in \[0, 1\]. Got .* from -0.5 to 2.0"):
        score([0.5, -0.5, 2.0])
    with pytest.raises(ValueError, match=r"`levels` must lie in \[0, 1\]. Got .* from 5.0 to 95.0"):
        score([0.5, 0.5], levels=[5, 95])


def test_sharpness_is_the_root_of_the_mean_variance():
    assert_allclose(sharpness([3.0, 4.0]), np.sqrt(12.5), rtol=1e-15)
    assert sharpness(np.full(7, 2.0)) == 2
