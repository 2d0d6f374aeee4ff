"""The noise of the observations: the likeliest one, and the mean over draws."""

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm

from sk_mcdropout.predictive._noise import likeliest_noise, noise_over_draws

SCALES = [1e-40, 3e-20, 1.0, 7e20, 1e60]


@pytest.fixture
def half_by_default():
    torch.set_default_dtype(torch.float16)
    yield
    torch.set_default_dtype(torch.float32)


def held_out(n_samples=40, n_draws=15, spread=0.5):
    y = 2 * torch.randn(n_samples, dtype=torch.float64)
    return y, spread * torch.randn(n_draws, n_samples, dtype=torch.float64)


# -- over draws --------------------------------------------------------------------------------


def test_the_variance_of_the_noise_is_the_mean_over_the_draws():
    logs = torch.log(torch.tensor([[1.0], [3.0]]))
    assert_allclose(noise_over_draws(logs), [2**0.5])


@pytest.mark.parametrize("std", [1e-300, 1e-160, 1e-40, 1.0, 1e60, 1e160, 1e300])
def test_the_noise_over_draws_has_any_size(std):
    logs = 2 * math.log(std) + torch.log(torch.tensor([[1.0], [3.0], [5.0]]).double())
    assert_allclose(noise_over_draws(logs), [std * 3**0.5], rtol=1e-12)


def test_a_log_variance_without_bounds_or_a_number_changes_its_own_row_only():
    logs = torch.zeros(3, 5, dtype=torch.float64)
    logs[0] = torch.tensor([math.nan, math.inf, -math.inf, 0.0, 1e4])
    logs[1:, 4] = 1e4
    expected = [math.nan, math.inf, (2 / 3) ** 0.5, 1.0, math.inf]
    assert_allclose(noise_over_draws(logs), expected)
    assert_array_equal(noise_over_draws(torch.full((3, 1), -math.inf)), [0.0])


# -- the likeliest -----------------------------------------------------------------------------


@pytest.mark.parametrize("spread", [0.0, 0.3, 3.0])
def test_the_likeliest_noise_is_the_best_of_a_grid(spread):
    generator = torch.Generator().manual_seed(0)
    y = 2 * torch.randn(300, generator=generator)
    draws = spread * torch.randn(30, 300, generator=generator)
    actual = float(likeliest_noise(y, draws))
    grid = np.exp(np.arange(-1, 2, 0.005))
    densities = [norm.pdf(y, draws, noise).mean(axis=0) for noise in grid]
    best = grid[np.argmax([np.log(some + 1e-300).sum() for some in densities])]
    assert_allclose(actual, best, rtol=0.003)  # half a step of the grid


def test_equal_draws_have_the_noise_of_their_errors():
    y = torch.tensor([1.0, -2.0, 3.0])
    rms = math.sqrt(14 / 3)
    assert_allclose(likeliest_noise(y, torch.zeros(5, 3)), rms, rtol=1e-7)
    both = likeliest_noise(torch.stack([y, 1000 * y], 1), torch.zeros(5, 3, 2))
    assert_allclose(both, [rms, 1000 * rms], rtol=1e-7)
    assert likeliest_noise(y, y.expand(5, 3)) == 0


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("spread", [0.0, 0.5, 3.0])
@pytest.mark.parametrize(("n_samples", "n_draws"), [(1, 1), (1, 7), (40, 1), (40, 15)])
def test_the_likeliest_noise_has_the_unit_of_y(scale, spread, n_samples, n_draws):
    y, draws = held_out(n_samples, n_draws, spread)
    expected = scale * likeliest_noise(y, draws)
    assert_allclose(likeliest_noise(scale * y, scale * draws), expected, rtol=1e-6)


@pytest.mark.parametrize("n_draws", [1, 2, 15])
@pytest.mark.parametrize("seed", range(5))
def test_at_the_likeliest_noise_the_weighted_errors_have_its_variance(seed, n_draws):
    torch.manual_seed(seed)
    y, draws = (tensor.numpy() for tensor in held_out(12, n_draws, spread=1.0))
    noise = float(likeliest_noise(torch.tensor(y), torch.tensor(draws)))
    # Where the gradient of the log-likelihood is 0, by hand.
    weights = norm.pdf(y, draws, noise)
    weights /= weights.sum(axis=0)
    assert_allclose((weights * (y - draws) ** 2).sum(axis=0).mean(), noise**2, rtol=1e-6)


@pytest.mark.parametrize("jitter", [1e-3, 1e-9, 1e-15])
def test_a_noise_far_below_the_spread_of_the_draws_is_found(jitter):
    y, draws = held_out(spread=1.0)
    errors = jitter * torch.randn(40, dtype=torch.float64)
    draws[4] = y + errors
    errors = draws[4] - y
    # All weight is on the draw that knows the target.
    rms = errors.square().mean().sqrt()
    assert_allclose(likeliest_noise(y, draws), rms, rtol=1e-2)


def test_there_is_no_noise_where_each_row_has_a_draw_equal_to_its_target():
    y, draws = held_out()
    draws[torch.arange(40) % 15, torch.arange(40)] = y
    assert likeliest_noise(y, draws) == 0
    draws[:, 0] += 1.0  # one row with an error bounds the likelihood
    assert likeliest_noise(y, draws) > 0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_target_with_a_draw_that_is_no_number_spoils_no_other(bad):
    y, draws = held_out()
    both = torch.stack([draws, draws], -1)
    both[3, 7, 1] = bad
    actual = likeliest_noise(torch.stack([y, y], -1), both)
    assert_array_equal(actual, [likeliest_noise(y, draws), math.nan])


def test_targets_of_three_axes_have_a_noise_each():
    y, draws = torch.randn(30, 2, 3), torch.randn(5, 30, 2, 3)
    actual = likeliest_noise(y, draws)
    assert actual.shape == (2, 3)
    for i, j in np.ndindex(2, 3):
        assert actual[i, j] == likeliest_noise(y[:, i, j], draws[:, :, i, j])


@pytest.mark.usefixtures("half_by_default")
def test_the_default_type_of_torch_does_not_matter():
    y, draws = held_out()
    half = likeliest_noise(1e-30 * y, 1e-30 * draws)
    torch.set_default_dtype(torch.float64)
    assert_array_equal(half, likeliest_noise(1e-30 * y, 1e-30 * draws))


def test_single_precision_has_the_noise_of_its_numbers():
    y, draws = (tensor.float() for tensor in held_out())
    expected = likeliest_noise(y.double(), draws.double())
    assert_array_equal(likeliest_noise(y, draws), expected)
