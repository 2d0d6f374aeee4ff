"""The scores of whole distributions against closed forms, integrals and scoringrules."""

from itertools import combinations

import numpy as np
import pytest
import scoringrules
from numpy.testing import assert_allclose
from scipy.integrate import quad
from scipy.stats import multivariate_normal, norm

from sk_mcdropout.metrics import (
    crps_draws,
    crps_normal,
    energy_score,
    negative_log_density_mixture,
    negative_log_density_normal,
)


@pytest.fixture
def y():
    return np.random.default_rng(0).normal(size=(20, 2))


@pytest.fixture
def mean(y):
    return y + np.random.default_rng(1).normal(size=y.shape)


@pytest.fixture
def std(y):
    return np.random.default_rng(2).uniform(0.2, 3, size=y.shape)


@pytest.fixture
def draws(mean, std):
    return mean + std * np.random.default_rng(3).normal(size=(9, *mean.shape))


# -- against scoringrules ------------------------------------------------------------------------


def test_the_log_density_of_a_normal_is_that_of_scoringrules(y, mean, std):
    expected = scoringrules.logs_normal(y, mean, std).mean()
    assert_allclose(negative_log_density_normal(y, mean, std), expected, rtol=1e-12)


def test_the_log_density_of_a_mixture_is_that_of_scoringrules(y, draws, std):
    noise = np.broadcast_to(std, draws.shape)
    expected = scoringrules.logs_mixnorm(y, draws, noise, mc_axis=0).mean()
    assert_allclose(negative_log_density_mixture(y, draws, std), expected, rtol=1e-12)


def test_the_crps_of_a_normal_is_that_of_scoringrules(y, mean, std):
    expected = scoringrules.crps_normal(y, mean, std).mean()
    assert_allclose(crps_normal(y, mean, std), expected, rtol=1e-12)


@pytest.mark.parametrize("estimator", ["fair", "pwm"])
def test_the_crps_of_draws_is_that_of_scoringrules(y, draws, estimator):
    expected = scoringrules.crps_ensemble(y, draws, m_axis=0, estimator=estimator).mean()
    assert_allclose(crps_draws(y, draws), expected, rtol=1e-12)


def test_the_energy_score_is_that_of_scoringrules(y, draws):
    expected = scoringrules.es_ensemble(y, draws, m_axis=0, estimator="fair").mean()
    assert_allclose(energy_score(y, draws), expected, rtol=1e-12)


# -- against integrals and closed forms ------------------------------------------------------------


@pytest.mark.parametrize(("y", "mean", "std"), [(0.3, 0.0, 1.0), (-2.0, 1.0, 0.4), (5.0, 5.0, 2.0)])
def test_the_crps_of_a_normal_is_its_integral(y, mean, std):
    below, _ = quad(lambda x: norm.cdf(x, mean, std) ** 2, -30, y)
    above, _ = quad(lambda x: norm.sf(x, mean, std) ** 2, y, 30)
    assert_allclose(crps_normal([y], [mean], [std]), below + above, rtol=1e-6)


def test_the_density_of_a_mixture_has_the_integral_one():
    draws, noise = np.array([[-1.0], [0.5], [3.0]]), [[0.3], [0.5], [1.0]]

    def density(y):
        return np.exp(-negative_log_density_mixture([y], draws, noise))

    assert_allclose(quad(density, -20, 20, points=[-1, 0.5, 3])[0], 1, rtol=1e-7)


def test_equal_draws_are_one_normal(y, mean, std):
    draws = np.stack([mean] * 5)
    expected = norm.logpdf(y, mean, std).mean()
    assert_allclose(-negative_log_density_mixture(y, draws, std), expected, rtol=1e-12)


def test_the_mixture_is_exact_where_all_densities_underflow():
    draws = [[-100.0], [0.0], [100.0], [0.0]]
    # Seen from 50, the two draws at 0 are as far as the one at 100: three of four draws count.
    expected = 0.5 * 50.0**2 + 0.5 * np.log(2 * np.pi) - np.log(3 / 4)
    assert_allclose(negative_log_density_mixture([50.0], draws, 1.0), expected, rtol=1e-14)


@pytest.mark.parametrize("shape", [(), (2,), (20, 2), (9, 20, 2)])
def test_the_noise_is_one_for_all_or_for_each(y, draws, shape):
    noise = np.random.default_rng(4).uniform(0.5, 2, size=shape)
    logs = norm.logpdf(y, draws, np.broadcast_to(noise, draws.shape))
    expected = -np.log(np.exp(logs).mean(axis=0)).mean()
    assert_allclose(negative_log_density_mixture(y, draws, noise), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("shape", "got"), [((3,), r"\(3,\)"), ((9, 1, 1), r"\(9, 1, 1\)"), ((1, 2), r"\(1, 2\)")]
)
def test_a_noise_that_would_be_broadcast_is_refused(y, draws, shape, got):
    message = r"`noise_std` must be one number or have the shape .*\(20, 2\) or \(2,\). Got " + got
    with pytest.raises(ValueError, match=message):
        negative_log_density_mixture(y, draws, np.ones(shape))


@pytest.mark.parametrize(("noise", "got"), [(-1.0, "at least 0. Got -1.0"), (0, "0 in 1 of 1")])
def test_a_noise_that_is_not_above_zero_is_refused(y, draws, noise, got):
    with pytest.raises(ValueError, match=f"`noise_std` must be .*{got}"):
        negative_log_density_mixture(y, draws, noise)


def test_a_density_without_spread_is_refused(y, mean, std):
    std[:3] = 0
    with pytest.raises(ValueError, match=r"`std` must be above 0 .* Got 0 in 6 of 40 places. Give"):
        negative_log_density_normal(y, mean, std)


def test_the_crps_without_spread_is_the_absolute_error(y, mean):
    expected = np.abs(y - mean).mean()
    assert_allclose(crps_normal(y, mean, np.zeros_like(y)), expected, rtol=1e-15)
    assert_allclose(crps_normal(y, mean, np.full_like(y, 1e-300)), expected, rtol=1e-15)


def test_the_energy_score_of_one_target_is_its_crps(y, draws):
    expected = crps_draws(y[:, 0], draws[:, :, 0])
    assert_allclose(energy_score(y[:, :1], draws[:, :, :1]), expected, rtol=1e-12)


def test_the_energy_score_is_the_same_in_turned_axes(y, draws):
    turn = np.array([[0.6, 0.8], [-0.8, 0.6]])
    assert_allclose(energy_score(y @ turn, draws @ turn), energy_score(y, draws), rtol=1e-12)


def test_the_energy_score_sees_dependence():
    rng = np.random.default_rng(0)
    cov = np.array([[1.0, 0.9], [0.9, 1.0]])
    y = multivariate_normal(cov=cov).rvs(300, random_state=rng)
    right = multivariate_normal(cov=cov).rvs((100, 300), random_state=rng)
    shuffled = np.stack([right[..., 0], rng.permuted(right[..., 1], axis=0)], axis=-1)
    assert_allclose(crps_draws(y, right), crps_draws(y, shuffled), rtol=1e-12)
    assert energy_score(y, right) < energy_score(y, shuffled) - 0.01


# -- fair and proper -------------------------------------------------------------------------------


@pytest.mark.parametrize("score", [crps_draws, energy_score])
@pytest.mark.parametrize("n_fewer", [2, 5])
def test_the_score_of_draws_is_the_mean_over_all_choices_of_fewer(y, draws, score, n_fewer):
    chosen = [score(y, draws[list(few)]) for few in combinations(range(len(draws)), n_fewer)]
    assert_allclose(score(y, draws), np.mean(chosen), rtol=1e-12)


@pytest.mark.parametrize("score", [negative_log_density_normal, crps_normal])
@pytest.mark.parametrize(("mean", "std"), [(0.2, 1.0), (-0.2, 1.0), (0.0, 0.8), (0.0, 1.2)])
def test_no_normal_is_expected_to_do_better_than_the_true_one(score, mean, std):
    # The expectation over a standard normal y, by Gauss-Hermite quadrature.
    y, weights = np.polynomial.hermite_e.hermegauss(60)
    true = score(y, np.zeros(60), np.ones(60), sample_weight=weights)
    other = score(y, np.full(60, mean), np.full(60, std), sample_weight=weights)
    assert other > true + 0.001


def test_the_expected_log_density_is_the_entropy():
    y, weights = np.polynomial.hermite_e.hermegauss(60)
    expected = 0.5 * np.log(2 * np.pi * np.e)
    actual = negative_log_density_normal(y, np.zeros(60), np.ones(60), sample_weight=weights)
    assert_allclose(actual, expected, rtol=1e-12)
