"""The mixture over draws, against scipy and numpy."""

import math

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


# -- far out, and at any scale -------------------------------------------------------------------


@pytest.fixture
def half_by_default():
    torch.set_default_dtype(torch.float16)
    yield
    torch.set_default_dtype(torch.float32)


SCALES = [1e-40, 1.0, 1e60, 1e160]


def test_the_tails_of_the_distribution_function_keep_their_digits():
    z = torch.linspace(-37, 8, 1001, dtype=torch.float64)
    means = torch.zeros(3, 1001, dtype=torch.float64)
    for std in (torch.tensor(1.0), torch.ones(3, 1001)):
        assert_allclose(mixture_cdf(z, means, std), norm.cdf(z), rtol=1e-10)
    assert_allclose(mixture_cdf(z[:1] * 0 - 30, means, torch.tensor(1.0))[0], 4.9e-198, rtol=1e-2)


def test_the_tail_of_the_mixture_is_that_of_its_widest_normal():
    means, stds = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[1.0], [0.5], [2.0]])
    y = torch.tensor([-40.0])
    expected = norm.cdf(-40, means, stds).mean(0)
    assert_allclose(mixture_cdf(y, means, stds), expected, rtol=1e-10)


@pytest.mark.parametrize("level", [1e-300, 1e-30, 1e-12, 1e-6, 1 - 1e-12])
def test_quantiles_of_extreme_levels_are_the_roots(level):
    means, stds = some_draws(20, 6), some_draws(20, 6).abs() + 0.1
    levels = torch.tensor([level], dtype=torch.float64)
    quantiles = mixture_quantiles(means, stds, levels)[:, 0]
    tolerance = 1e-6 if level < 0.5 else 1e-15
    assert_allclose(mixture_cdf(quantiles, means, stds), level, rtol=tolerance)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("noise", ["one", "rows", "draws", "none"])
def test_the_mixture_has_the_unit_of_the_draws(scale, noise):
    means, y = 3 + some_draws(20, 6), some_draws(6) + 2
    stds = {
        "one": torch.tensor(0.4),
        "rows": torch.linspace(0.1, 2, 6),
        "draws": some_draws(20, 6).abs() + 0.1,
        "none": torch.zeros(()),
    }[noise].double()
    scaled = scale * means, scale * stds
    assert_allclose(mixture_cdf(scale * y, *scaled), mixture_cdf(y, means, stds), rtol=1e-12)
    expected = scale * mixture_quantiles(means, stds, LEVELS)
    assert_allclose(mixture_quantiles(*scaled, LEVELS), expected, rtol=1e-7)
    if noise != "none":
        density = mixture_log_prob(y, means, stds) - math.log(scale)
        assert_allclose(mixture_log_prob(scale * y, *scaled), density, rtol=1e-12)


@pytest.mark.usefixtures("half_by_default")
def test_the_default_type_of_torch_does_not_matter():
    means, stds, y = 1e30 * some_draws(20, 6), 1e29 * some_draws(20, 6).abs(), 1e30 * some_draws(6)
    stds[:, 2] = 0.0
    actual = [
        mixture_cdf(y, means, stds),
        mixture_log_prob(y, means, stds),
        mixture_quantiles(means, stds, LEVELS),
    ]
    torch.set_default_dtype(torch.float64)
    expected = [
        mixture_cdf(y, means, stds),
        mixture_log_prob(y, means, stds),
        mixture_quantiles(means, stds, LEVELS),
    ]
    for one, other in zip(actual, expected, strict=True):
        assert one.dtype == torch.float64
        assert_array_equal(one, other)


# -- without noise in places ---------------------------------------------------------------------


@pytest.mark.parametrize("some_noise", [0.0, 0.3])
def test_a_draw_without_noise_is_a_step_at_itself(some_noise):
    means = torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0], [3.0, 3.0]])
    stds = torch.tensor([0.0, some_noise])
    for y, below in [(0.5, 0), (1.0, 1), (1.5, 1), (2.0, 2), (3.0, 4), (9.0, 4)]:
        of_steps, of_normals = mixture_cdf(torch.full((2,), y), means, stds)
        assert of_steps == below / 4
        if some_noise:
            assert_allclose(of_normals, norm.cdf(y, [1, 2, 3, 3], some_noise).mean(), rtol=1e-6)


def test_the_noise_of_some_draws_may_be_zero():
    means, stds = some_draws(9, 5), some_draws(9, 5).abs()
    stds[3:5] = 0.0
    y = some_draws(5) + 0.2
    scipys = np.where(stds > 0, norm.cdf(y, means, stds.clamp_min(1e-300)), y >= means)
    assert_allclose(mixture_cdf(y, means, stds), scipys.mean(0), rtol=1e-12)
    assert_array_equal(mixture_cdf(means[3], means, stds) >= 1 / 9, [True] * 5)


@pytest.mark.parametrize("scale", SCALES)
def test_quantiles_of_rows_without_noise_are_those_of_the_draws(scale):
    means = scale * some_draws(20, 6, 2)
    stds = scale * torch.tensor([0.0, 0.7], dtype=torch.float64)
    both = mixture_quantiles(means, stds, LEVELS)
    drawn = np.moveaxis(np.quantile(means[..., 0].numpy(), LEVELS.numpy(), axis=0), 0, -1)
    assert_allclose(both[:, 0], drawn, rtol=1e-12)
    alone = mixture_quantiles(means[..., 1], stds[1], LEVELS)
    assert_allclose(both[:, 1], alone, rtol=1e-12)
    of_rows = (stds * torch.ones(6, 1)).expand(20, 6, 2)
    assert_allclose(mixture_quantiles(means, of_rows, LEVELS), both, rtol=1e-12)


@pytest.mark.parametrize("scale", SCALES)
def test_quantiles_among_steps_and_normals_are_where_the_level_is_passed(scale):
    means, stds = scale * some_draws(9, 5), scale * some_draws(9, 5).abs()
    stds[3:5] = 0.0
    quantiles = mixture_quantiles(means, stds, LEVELS)
    nudge = 1e-6 * scale
    for place, level in enumerate(LEVELS):
        assert (mixture_cdf(quantiles[:, place] - nudge, means, stds) <= level).all()
        assert (mixture_cdf(quantiles[:, place] + nudge, means, stds) >= level).all()


def test_a_density_without_noise_is_infinite_at_the_draws_and_zero_elsewhere():
    means = torch.tensor([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]])
    y = torch.tensor([1.0, 1.5, math.nan])
    actual = mixture_log_prob(y, means, torch.zeros(()))
    assert_array_equal(actual, [math.inf, -math.inf, math.nan])
    actual = mixture_log_prob(y, means, torch.tensor([[0.0], [0.5]]))
    other = norm.logpdf(1.5, 2, 0.5) - math.log(2)
    assert_allclose(actual, [math.inf, other, math.nan], rtol=1e-6)


@pytest.mark.parametrize(
    ("y", "expected"),
    [([1.0, 0.0], math.inf), ([0.0, 0.0], -math.inf), ([1.0, math.nan], math.nan)],
)
def test_several_targets_are_impossible_together_where_one_is(y, expected):
    means, stds = torch.ones(3, 1, 2), torch.tensor([0.0, 0.5])
    assert_array_equal(mixture_log_prob(torch.tensor([y]), means, stds), [expected])
    # The one that is exact and the one that is impossible are both without noise.
    of_both = mixture_log_prob(torch.tensor([[1.0, 0.0]]), means, torch.zeros(2))
    assert_array_equal(of_both, [-math.inf])


# -- what may come in ----------------------------------------------------------------------------


@pytest.mark.parametrize("stds", [torch.zeros(()), torch.tensor(0.5), "rows", "draws"])
@pytest.mark.parametrize("n_draws", [1, 2, 9])
@pytest.mark.parametrize("n_samples", [1, 5])
def test_a_nan_spoils_its_own_row_only(stds, n_draws, n_samples):
    means, y = some_draws(n_draws, n_samples), some_draws(n_samples)
    if isinstance(stds, str):
        shape = (n_samples,) if stds == "rows" else (n_draws, n_samples)
        stds = torch.linspace(0, 1, math.prod(shape)).reshape(shape)
    spoilt = means.clone()
    spoilt[-1, 0] = math.nan
    for function in (
        lambda means: mixture_cdf(y, means, stds),
        lambda means: mixture_log_prob(y, means, stds),
        lambda means: mixture_quantiles(means, stds, LEVELS),
    ):
        actual, whole = function(spoilt), function(means)
        assert actual[0].isnan().all()
        assert not whole.isnan().any()
        assert_allclose(actual[1:], whole[1:], rtol=1e-12)


def test_a_nan_does_not_make_the_search_for_quantiles_long(monkeypatch):
    means = some_draws(9, 5)
    expected = mixture_quantiles(means, torch.tensor(0.5), LEVELS)
    monkeypatch.setattr("sk_mcdropout.predictive._mixture._MOST_STEPS", 15)
    means[2, 3] = math.nan
    actual = mixture_quantiles(means, torch.tensor(0.5), LEVELS)
    assert_allclose(actual[:3], expected[:3], rtol=1e-12)


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_ties_among_the_draws_count_as_often_as_they_are(noise):
    few, y = some_draws(3, 4), some_draws(4)
    many = few.repeat(5, 1)
    std = torch.tensor(noise)
    assert_allclose(mixture_cdf(y, many, std), mixture_cdf(y, few, std), rtol=1e-12)
    if noise:
        assert_allclose(mixture_log_prob(y, many, std), mixture_log_prob(y, few, std), rtol=1e-12)
        expected = mixture_quantiles(few, std, LEVELS)
        assert_allclose(mixture_quantiles(many, std, LEVELS), expected, rtol=1e-9)


@pytest.mark.parametrize("function", [mixture_cdf, mixture_log_prob])
def test_the_arguments_stay_as_they_are(function):
    y, means, stds = some_draws(5), some_draws(9, 5), some_draws(9, 5).abs()
    stds[2] = 0.0
    arguments = [y, means, stds]
    before = [tensor.clone() for tensor in arguments]
    function(*arguments)
    mixture_quantiles(means, stds, LEVELS)
    for tensor, expected in zip(arguments, before, strict=True):
        assert torch.equal(tensor, expected)
