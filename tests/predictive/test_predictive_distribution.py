"""The predictive distribution of a torch net, without an estimator: scipy, numpy, and its laws."""

import numpy as np
import pytest
import torch
from nets import mlp
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm

from sk_mcdropout import PredictiveDistribution, sample
from sk_mcdropout.predictive import (
    CALIBRATIONS,
    GaussianLikelihood,
    PartsCalibration,
    StdCalibration,
)
from sk_mcdropout.sampling import Draws

N_DRAWS = 30
X = torch.randn(7, 4, generator=torch.Generator().manual_seed(0)).double()
LOC, SCALE = np.array([10.0, -1.0]), np.array([2.0, 0.5])


@pytest.fixture
def net():
    return mlp().double()


def noise_of(kind):
    return np.array([0.3, 0.1]) if kind == "constant" else np.zeros(())


@pytest.fixture(params=["none", "constant", "by row"])
def kind(request):
    return request.param


@pytest.fixture
def components(net, kind):
    """Means and noise of each draw, by hand, in the units of y."""
    draws = sample(net, X, N_DRAWS, seed=5).numpy()
    if kind == "by row":  # the first output is the mean, the second the log variance
        return 10 + 2 * draws[..., 0], 2 * np.exp(0.5 * draws[..., 1])
    return LOC + SCALE * draws, np.broadcast_to(noise_of(kind), draws.shape)


@pytest.fixture
def distribution(net, kind):
    return make(net, kind)


def make(net, kind, calibration=None, seed=5):
    draws = Draws(net, lambda: X.split([4, 3]), N_DRAWS, seed)
    if kind == "by row":
        parts = {"loc": np.array(10.0), "scale": np.array(2.0), "heteroscedastic": True}
    else:
        parts = {"loc": LOC, "scale": SCALE, "noise_std": noise_of(kind)}
    return PredictiveDistribution(draws, GaussianLikelihood(**parts), calibration)


def test_the_moments_follow_the_law_of_total_variance(distribution, components):
    means, stds = components
    epistemic, aleatoric = means.std(0, ddof=1), np.sqrt((stds**2).mean(0))
    assert_allclose(distribution.mean(), means.mean(0))
    assert_allclose(distribution.epistemic_std(), epistemic)
    assert_allclose(distribution.aleatoric_std(), aleatoric, atol=1e-12)
    assert_allclose(distribution.std(), np.hypot(epistemic, aleatoric))
    assert_allclose(distribution.var(), epistemic**2 + aleatoric**2)
    assert_array_equal(distribution.mean_and_std()[1], distribution.std())


def test_the_covariance_is_that_of_the_draws_and_the_noise_of_each_row(distribution, components):
    means, _ = components
    cov = distribution.cov()
    columns = means.reshape(N_DRAWS, 7, -1)
    for target, column in enumerate(np.moveaxis(columns, 2, 0)):
        ours = cov.reshape(7, 7, -1)[..., target]
        off = ~np.eye(7, dtype=bool)
        assert_allclose(ours[off], np.cov(column.T)[off])
    variances = np.einsum("ii...->i...", cov)
    assert_allclose(variances, distribution.var())


def test_probabilities_and_quantiles_are_those_of_the_mixture(distribution, components, kind):
    means, stds = components
    y = means.mean(0) + 0.2
    expected = (means <= y).mean(0) if kind == "none" else norm.cdf(y, means, stds).mean(0)
    assert_allclose(distribution.cdf(y), expected)
    levels = [0.1, 0.5, 0.9]
    quantiles = distribution.ppf(levels)
    assert quantiles.shape == (*means.shape[1:], 3)
    if kind == "none":
        assert_allclose(quantiles, np.moveaxis(np.quantile(means, levels, axis=0), 0, -1))
    for i, level in enumerate(levels):
        assert_array_equal(distribution.ppf(level), quantiles[..., i])
        if kind != "none":
            assert_allclose(distribution.cdf(quantiles[..., i]), np.full(y.shape, level))
    lower, upper = distribution.interval(0.8)
    assert_allclose(np.stack([lower, upper]), np.moveaxis(quantiles[..., [0, 2]], -1, 0))


def test_the_density_is_that_of_the_mixture(distribution, components, kind):
    means, stds = components
    if kind == "none":
        with pytest.raises(ValueError, match=r"`noise` must be given .* Got no noise"):
            distribution.logpdf(0.0)
        return
    y = means.mean(0) + 0.2
    each = norm.pdf(y, means, stds).reshape(N_DRAWS, 7, -1).prod(axis=2)
    assert_allclose(distribution.logpdf(y), np.log(each.mean(0)))


def test_one_number_stands_for_all_rows(distribution, components, kind):
    shape = components[0].shape[1:]
    assert_array_equal(distribution.cdf(9.5), distribution.cdf(np.full(shape, 9.5)))
    assert_array_equal(
        distribution.normal_logpdf(9.5), distribution.normal_logpdf(np.full(shape, 9.5))
    )
    if kind != "none":
        assert_array_equal(distribution.logpdf(9.5), distribution.logpdf(np.full(shape, 9.5)))


@pytest.mark.parametrize("shape", [(6,), (8,), (7, 3), (1, 2)])
@pytest.mark.parametrize("method", ["cdf", "logpdf", "normal_logpdf"])
def test_values_of_another_shape_are_refused(net, method, shape):
    with pytest.raises(ValueError, match=r"one value for each row and target\. Got the shape"):
        getattr(make(net, "constant"), method)(np.zeros(shape))


def test_functions_are_the_draws_and_others_with_another_seed(distribution, components, net, kind):
    means, _ = components
    assert_allclose(distribution.functions(), means)
    assert_allclose(distribution.functions(4, 5), means[:4])
    other = make(net, kind, seed=8).functions()
    assert_allclose(distribution.functions(random_state=8), other)
    assert_array_equal(
        distribution.functions(3, np.random.default_rng(1)),
        distribution.functions(3, np.random.default_rng(1)),
    )


def test_new_observations_have_the_moments_of_the_distribution(distribution):
    n = 4000
    values = distribution.rvs(n, random_state=1)
    assert values.shape == (n, *distribution.mean().shape)
    exact = distribution.functions(n, 2)
    std = np.hypot(exact.std(0), distribution.aleatoric_std())
    assert (np.abs(values.mean(0) - exact.mean(0)) < 7 * std / np.sqrt(n)).all()
    assert_allclose(values.std(0), std, rtol=0.1)
    assert_array_equal(distribution.rvs(5, random_state=1), distribution.rvs(5, random_state=1))


@pytest.mark.parametrize("size", [0, -1, 1.5, "two"])
def test_a_size_that_is_no_natural_number_is_refused(distribution, size):
    with pytest.raises(ValueError, match=rf"`size` must be .* Got {size!r}\."):
        distribution.rvs(size)


def test_a_factor_stretches_everything_about_the_mean(net, kind):
    plain, factor = make(net, kind), 3.0
    wide = make(net, kind, StdCalibration(np.array(factor)))
    mean = plain.mean()
    assert_allclose(wide.mean(), mean)
    for method in ("std", "epistemic_std", "aleatoric_std"):
        assert_allclose(getattr(wide, method)(), factor * getattr(plain, method)(), atol=1e-12)
    assert_allclose(wide.cov(), factor**2 * plain.cov())
    assert_allclose(wide.functions(), mean + factor * (plain.functions() - mean))
    levels = np.array([0.1, 0.7])
    assert_allclose(
        wide.ppf(levels), mean[..., None] + factor * (plain.ppf(levels) - mean[..., None])
    )
    assert_allclose(wide.cdf(mean + factor), plain.cdf(mean + 1))


@pytest.fixture(params=["one", "each target"])
def factors(request, kind):
    each = request.param == "each target" and kind != "by row"
    return np.array([[3.0, 2.0], [0.5, 0.25]]) if each else np.array([3.0, 0.5])


def test_two_factors_stretch_the_draws_and_the_noise(net, kind, components, factors):
    means, stds = components
    mean = means.mean(0)
    means, stds = mean + factors[0] * (means - mean), stds * factors[1]
    both = make(net, kind, PartsCalibration(factors))
    epistemic, aleatoric = means.std(0, ddof=1), np.sqrt((stds**2).mean(0))
    assert_allclose(both.mean(), mean)
    assert_allclose(both.epistemic_std(), epistemic)
    assert_allclose(both.aleatoric_std(), aleatoric, atol=1e-12)
    assert_allclose(both.var(), epistemic**2 + aleatoric**2)
    assert_allclose(np.einsum("ii...->i...", both.cov()), both.var())
    assert_allclose(both.functions(), means)
    y = mean + 0.2
    if kind == "none":
        assert_allclose(both.cdf(y), (means <= y).mean(0))
        assert_allclose(both.ppf(0.7), np.quantile(means, 0.7, axis=0))
        return
    assert_allclose(both.cdf(y), norm.cdf(y, means, stds).mean(0))
    each = norm.pdf(y, means, stds).reshape(N_DRAWS, 7, -1).prod(axis=2)
    assert_allclose(both.logpdf(y), np.log(each.mean(0)))
    lower, upper = both.interval(0.8)
    assert_allclose(both.cdf(lower), np.full(y.shape, 0.1))
    assert_allclose(both.cdf(upper), np.full(y.shape, 0.9))


def test_two_factors_stretch_the_noise_of_observations_by_the_second(net, kind, factors):
    plain, both = make(net, kind), make(net, kind, PartsCalibration(factors))
    functions, mean = plain.functions(), plain.mean()
    noise = plain.rvs(N_DRAWS) - functions
    expected = mean + factors[0] * (functions - mean) + factors[1] * noise
    assert_allclose(both.rvs(N_DRAWS), expected, atol=1e-12)


@pytest.mark.parametrize("factor", [1.0, 3.0])
def test_two_equal_factors_are_that_of_the_std(net, kind, factor):
    both = make(net, kind, PartsCalibration(np.full(2, factor)))
    one = make(net, kind, StdCalibration(np.array(factor)) if factor != 1 else None)
    for method in ("mean", "std", "cov", "functions", "rvs", "aleatoric_std", "interval"):
        assert_array_equal(getattr(both, method)(), getattr(one, method)())
    assert_array_equal(both.cdf(9.5), one.cdf(9.5))


@pytest.mark.parametrize("method", CALIBRATIONS)
def test_each_calibration_fits_a_net_without_an_estimator(net, method):
    plain = make(net, "constant")
    y = plain.rvs(1, random_state=3)[0]
    fitted = CALIBRATIONS[method].fit(plain, y)
    recalibrated = make(net, "constant", fitted)
    lower, upper = recalibrated.interval(0.5)
    assert (lower < upper).all()
    if method not in ("std", "parts"):
        with pytest.raises(ValueError, match=f"Got {method!r}. Call `calibrate` with"):
            recalibrated.logpdf(y)


def test_a_spread_of_one_draw_is_refused(net):
    draws = Draws(net, lambda: [X], n_draws=1)
    distribution = PredictiveDistribution(draws, GaussianLikelihood())
    assert distribution.mean().shape == (7, 2)
    for method in ("std", "cov", "epistemic_std"):
        with pytest.raises(ValueError, match=r"`n_draws` must be at least 2 .* Got 1\."):
            getattr(distribution, method)()


@pytest.mark.parametrize("level", [0, 1, -0.5, [0.5, 2], np.nan])
@pytest.mark.parametrize("method", ["ppf", "interval"])
def test_levels_out_of_bounds_are_refused(distribution, method, level):
    with pytest.raises(ValueError, match=r"must lie in \(0, 1\)\. Got"):
        getattr(distribution, method)(level)


def test_no_question_keeps_the_draws_of_all_rows(net):
    largest = []

    class Watched(Draws):
        def reduce(self, function, *, axis=0, spread=True):
            def watch(outputs, rows):
                results = function(outputs, rows)
                largest.extend(tensor.numel() for tensor in results)
                return results

            return super().reduce(watch, axis=axis, spread=spread)

    rows = X.repeat(100, 1)
    draws = Watched(net, lambda: [rows], n_draws=50, batch_size=10)
    likelihood = GaussianLikelihood(noise_std=np.array(0.3))
    calibration = PartsCalibration(np.array([2.0, 3.0]))
    distribution = PredictiveDistribution(draws, likelihood, calibration)
    for ask in (
        distribution.mean,
        distribution.std,
        lambda: distribution.cdf(0.0),
        lambda: distribution.logpdf(0.0),
        lambda: distribution.ppf(0.5),
        lambda: distribution.interval(0.5),
    ):
        ask()
    assert max(largest) <= 10 * 2 * 2  # a chunk of rows, two targets, two ends


@pytest.mark.parametrize("method", CALIBRATIONS)
def test_a_calibration_draws_once(net, method):
    passes = []

    class Counted(Draws):
        def reduce(self, *args, **kwargs):
            passes.append(1)
            return super().reduce(*args, **kwargs)

    likelihood = GaussianLikelihood(noise_std=np.array(0.3))
    distribution = PredictiveDistribution(Counted(net, lambda: [X], N_DRAWS), likelihood)
    CALIBRATIONS[method].fit(distribution, np.zeros((7, 2)))
    assert len(passes) == 1
