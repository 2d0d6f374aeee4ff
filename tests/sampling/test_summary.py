"""Mean, standard deviation and covariance over draws, at every scale and against numpy."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from sk_mcdropout.sampling import cov_over_draws, mean_and_std_over_draws, mean_over_draws

SCALES = [5e-324, 1e-310, 1e-200, 1e-160, 1e-40, 1.0, 1e60, 1e160, 1e300]


@pytest.fixture
def draws():
    return 3 + torch.randn(50, 8, 2, dtype=torch.float64)


@pytest.fixture
def half_by_default():
    torch.set_default_dtype(torch.float16)
    yield
    torch.set_default_dtype(torch.float32)


def scaled(draws, scale):
    """Scale by a power of 2, which only rounds where the numbers are subnormal."""
    return draws * 2.0 ** np.floor(np.log2(scale))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("centre", [0.0, 1.0, 1e6])
def test_mean_and_std_have_the_unit_of_the_draws(draws, scale, centre):
    draws = scaled(draws + centre, scale)
    mean, std = mean_and_std_over_draws(draws)
    unit = float(draws.abs().max())
    expected, smallest = (draws / unit).numpy(), 5e-324
    assert_allclose(mean, unit * expected.mean(0), rtol=1e-12, atol=smallest)
    assert_allclose(std, unit * expected.std(0, ddof=1), rtol=1e-8, atol=smallest)
    assert_array_equal(mean_over_draws(draws), mean)


@pytest.mark.parametrize("scale", [1e-40, 1.0, 1e37])
def test_single_precision_is_summarised_in_double_at_all_its_scales(draws, scale):
    draws = (scale * draws).float()
    mean, std = mean_and_std_over_draws(draws)
    assert mean.dtype == std.dtype == torch.float64
    assert_allclose(mean, draws.double().numpy().mean(0), rtol=1e-12)
    assert_allclose(std, draws.double().numpy().std(0, ddof=1), rtol=1e-12)


def test_the_mean_of_the_largest_numbers_does_not_overflow():
    largest = torch.finfo(torch.float64).max
    draws = torch.tensor([[largest, -largest], [largest, largest], [largest, largest]])
    draws = draws.double().clamp(-largest, largest)
    assert_allclose(mean_over_draws(draws), [largest, largest / 3])
    mean, std = mean_and_std_over_draws(draws / 2)
    assert_allclose(mean, [largest / 2, largest / 6])
    assert_allclose(std, [0, largest / 3**0.5])


@pytest.mark.parametrize("scale", [1e-40, 1.0, 1e60])
def test_the_covariance_has_the_squared_unit(draws, scale):
    draws = scale * draws
    actual = cov_over_draws(draws)
    for target in range(2):
        expected = scale**2 * np.cov((draws / scale).numpy()[..., target], rowvar=False)
        assert_allclose(actual[..., target], expected, rtol=1e-10, atol=1e-12 * scale**2)


@pytest.mark.parametrize("value", [0.1, 1e-170, 1e170])
def test_equal_draws_are_their_mean_and_have_no_spread(value):
    draws = torch.full((7, 3), value, dtype=torch.float64)
    mean, std = mean_and_std_over_draws(draws)
    assert_array_equal(mean, draws[0])
    assert_array_equal(std, np.zeros(3))
    assert_array_equal(cov_over_draws(draws), np.zeros((3, 3)))


def test_rows_of_all_scales_do_not_disturb_each_other(draws):
    scales = torch.tensor([*SCALES[2:], 1.0], dtype=torch.float64)[:, None]
    together = mean_and_std_over_draws(draws * scales)
    for row in range(8):
        alone = mean_and_std_over_draws((draws * scales)[:, [row]])
        for summary, expected in zip(together, alone, strict=True):
            assert_allclose(summary[row], expected[0], rtol=1e-14)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("at", [0, 3, 49])
def test_a_draw_that_is_no_number_spoils_its_own_row_only(draws, bad, dtype, at):
    draws = draws.to(dtype)
    spoilt = draws.clone()
    spoilt[at, 2, 1] = bad
    where = np.zeros((8, 2), bool)
    where[2, 1] = True
    for summary, whole in zip(
        (mean_over_draws(spoilt), *mean_and_std_over_draws(spoilt)),
        (mean_over_draws(draws), *mean_and_std_over_draws(draws)),
        strict=True,
    ):
        assert_array_equal(~summary.isfinite().numpy(), where)
        assert_array_equal(summary[~where], whole[~where])
    cov = cov_over_draws(spoilt)
    expected = np.zeros((8, 8, 2), bool)
    expected[2, :, 1] = expected[:, 2, 1] = True
    assert_array_equal(~cov.isfinite().numpy(), expected)


def test_no_rows_have_no_summary():
    for summary in mean_and_std_over_draws(torch.empty(5, 0, 2, dtype=torch.float64)):
        assert summary.shape == (0, 2)


def test_one_draw_is_its_own_mean():
    draws = torch.tensor([[1.5, -2.0, 1e200]], dtype=torch.float64)
    assert_array_equal(mean_over_draws(draws), draws[0])
    assert mean_and_std_over_draws(draws)[1].isnan().all()


def test_a_small_spread_beside_a_large_mean_keeps_its_digits():
    draws = 2.0**40 + torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64)[:, None] / 1024
    exact = sum((Fraction(x) - Fraction(4, 3)) ** 2 for x in (0, 1, 3)) / 2
    assert_allclose(mean_and_std_over_draws(draws)[1], [float(exact) ** 0.5 / 1024], rtol=1e-12)


@pytest.mark.usefixtures("half_by_default")
def test_the_default_type_of_torch_does_not_matter(draws):
    mean, std = mean_and_std_over_draws(1e200 * draws)
    assert mean.dtype == std.dtype == torch.float64
    assert_allclose(std, 1e200 * draws.numpy().std(0, ddof=1), rtol=1e-12)
    assert_allclose(mean, 1e200 * draws.numpy().mean(0), rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_draws_stay_as_they_are(draws, dtype):
    draws = (1e-160 * draws).to(dtype)
    before = draws.clone()
    for summarise in (mean_over_draws, mean_and_std_over_draws, cov_over_draws):
        summarise(draws)
    assert torch.equal(draws, before)
