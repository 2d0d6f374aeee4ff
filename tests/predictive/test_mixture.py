"""The mixture over draws, against scipy and numpy."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import brentq
from scipy.special import logsumexp
from scipy.stats import norm

from sk_mcdropout.predictive._mixture import mixture_cdf, mixture_log_prob, mixture_quantiles

# None is a whole number of 30ths, where the quantile between two draws far apart is not unique.
LEVELS = torch.tensor([1e-6, 0.05, 0.31, 0.52, 0.95, 1 - 1e-6], dtype=torch.float64)


def some_draws(*shape, spread=1.0, centre=0.0):
    generator = torch.Generator().manual_seed(0)
    return centre + spread * torch.randn(shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("noise", [1e-3, 0.5, 30.0])
def test_one_draw_is_a_normal(noise):
    means, std = some_draws(1, 20, spread=3.0), torch.tensor(noise)
    y = some_draws(20)
    normal = norm(means[0].numpy(), noise)
    assert_allclose(mixture_cdf(y, means, std), normal.cdf(y), rtol=1e-7)
    assert_allclose(mixture_log_prob(y, means, std), normal.logpdf(y), rtol=1e-6)
    expected = normal.ppf(LEVELS[:, None]).T
    assert_allclose(mixture_quantiles(means, std, LEVELS), expected, rtol=1e-7, atol=1e-7 * noise)


@pytest.mark.parametrize("centre", [0.0, 1e6])
@pytest.mark.parametrize("noise", [0.01, 0.5, 20.0])
def test_quantiles_are_the_roots_of_the_distribution_function(centre, noise):
    means = some_draws(30, 4, centre=centre)
    actual = mixture_quantiles(means, torch.tensor(noise), LEVELS)

    def root(of_row, level):
        def excess(y):
            return norm.cdf(y, of_row, noise).mean() - level

        return brentq(excess, of_row.min() - 10 * noise, of_row.max() + 10 * noise, xtol=1e-12)

    expected = [[root(row, level) for level in LEVELS.numpy()] for row in means.T.numpy()]
    assert_allclose(actual - centre, np.subtract(expected, centre), rtol=1e-6, atol=1e-6 * noise)


@pytest.mark.parametrize("noise", [1e-300, 1e-9, 1e-3, 1.0, 1e3, 1e200])
def test_quantiles_rise_with_the_level_and_lie_among_the_normals(noise):
    means = some_draws(40, 5)
    levels = torch.linspace(0.01, 0.99, 33, dtype=torch.float64)
    quantiles = mixture_quantiles(means, torch.tensor(noise, dtype=torch.float64), levels)
    assert (quantiles.diff(dim=1) >= 0).all()
    alone = means[..., None] + noise * torch.special.ndtri(levels)
    slack = 1e-9 * alone.abs().max()
    assert (quantiles >= alone.amin(0) - slack).all()
    assert (quantiles <= alone.amax(0) + slack).all()


@pytest.mark.parametrize("n_draws", [1, 2, 7, 100])
def test_without_noise_quantiles_are_those_of_the_draws(n_draws):
    means = some_draws(n_draws, 3, 2)
    expected = np.moveaxis(np.quantile(means.numpy(), LEVELS.numpy(), axis=0), 0, -1)
    actual = mixture_quantiles(means, torch.zeros(()), LEVELS)
    assert_allclose(actual, expected, rtol=1e-12)


def test_without_noise_the_distribution_function_counts_draws():
    means = torch.tensor([[1.0, 5.0], [2.0, 5.0], [3.0, 6.0]])
    assert_allclose(mixture_cdf(torch.tensor([2.0, 4.0]), means, torch.zeros(())), [2 / 3, 0])


def test_normal_draws_with_normal_noise_have_the_quantiles_of_a_normal():
    """The predictive distribution of a Gaussian linear model: doubt and noise add up."""
    scores = torch.special.ndtri((torch.arange(4000, dtype=torch.float64) + 0.5) / 4000)
    means = 10 + 3 * scores[:, None]
    levels = torch.tensor([0.01, 0.05, 0.5, 0.95, 0.99], dtype=torch.float64)
    actual = mixture_quantiles(means, torch.tensor(4.0), levels)[0]
    assert_allclose(actual, norm.ppf(levels, 10, 5), atol=0.005)  # 4,000 draws stand for all


def test_several_targets_have_one_density_and_quantiles_of_their_own():
    means, y = some_draws(20, 6, 2), some_draws(6, 2)
    stds = torch.tensor([0.5, 2.0])
    logs = norm.logpdf(y, means, stds).sum(axis=2)
    expected = logsumexp(logs, axis=0) - np.log(20)  # Gal & Ghahramani (2016), eq. 8
    assert_allclose(mixture_log_prob(y, means, stds), expected, rtol=1e-10)
    levels = torch.tensor([[0.1, 0.2], [0.7, 0.9]])
    both = mixture_quantiles(means, stds, levels)
    for target in range(2):
        one = mixture_quantiles(means[..., target], stds[target], levels[target])
        assert_allclose(both[:, target], one, rtol=1e-12)


def test_a_density_far_out_does_not_underflow():
    logs = mixture_log_prob(torch.tensor([1e4]), torch.zeros(10, 1), torch.tensor(1.0))
    assert_allclose(logs, norm.logpdf(1e4), rtol=1e-12)


def test_the_density_is_the_slope_of_the_distribution_function():
    y = torch.linspace(-2, 2, 41, dtype=torch.float64)
    means, std = some_draws(25, 1).expand(25, 41), torch.tensor(0.4)
    rise = mixture_cdf(y + 1e-5, means, std) - mixture_cdf(y - 1e-5, means, std)
    assert_allclose(mixture_log_prob(y, means, std).exp(), rise / 2e-5, rtol=1e-6)


def test_a_noise_of_each_draw_and_row_is_used():
    means, stds = some_draws(10, 4), some_draws(10, 4).abs() + 0.1
    y = some_draws(4)
    assert_allclose(mixture_cdf(y, means, stds), norm.cdf(y, means, stds).mean(0), rtol=1e-12)
    back = mixture_cdf(mixture_quantiles(means, stds, torch.tensor([0.3]))[:, 0], means, stds)
    assert_array_equal(back.numpy().round(7), np.full(4, 0.3))
