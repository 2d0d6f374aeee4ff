"""Quantiles, intervals, probabilities and calibration of the regressor."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp
from scipy.stats import binom, norm
from sklearn.base import clone
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from torch import nn

from sk_mcdropout import MCDropoutRegressor

TARGETS = {"one": (80,), "column": (80, 1), "several": (80, 2)}


def small_net(**params):
    defaults = {"module__hidden": (20,), "max_epochs": 20, "n_draws": 30, "random_state": 0}
    return MCDropoutRegressor(**{**defaults, "noise": 0.5, **params})


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(80, 3))


@pytest.fixture(scope="module", params=TARGETS.values(), ids=TARGETS)
def y(X, request):
    noise = np.random.default_rng(1).normal(scale=0.5, size=request.param)
    return 3 * X[:, : (request.param[1:] or (1,))[0]].reshape(request.param) + noise


@pytest.fixture(scope="module")
def fitted(X, y):
    return small_net().fit(X, y)


@pytest.fixture
def net(fitted):
    return pickle.loads(pickle.dumps(fitted))


def answers(net, X, y):
    """Everything that is asked of the predictive distribution."""
    mean, std = net.predict(X, return_std=True)
    return {
        "mean": mean,
        "std": std,
        "quantiles": net.predict_quantiles(X, [0.1, 0.5, 0.9]),
        "interval": net.predict_interval(X, 0.8),
        "cdf": net.predict_cdf(X, y + 0.1),  # not at the steps of a calibration with y
        "draws": net.draws(X),
    }


def test_the_shapes_follow_those_of_y(net, X, y):
    shape = y.squeeze().shape
    assert net.predict_quantiles(X, [0.1, 0.5, 0.9]).shape == (*shape, 3)
    assert net.predict_quantiles(X, 0.5).shape == (*shape, 1)
    assert net.predict_interval(X).shape == (*shape, 2)
    assert net.predict_cdf(X, y).shape == shape
    assert net.log_prob(X, y).shape == net.log_prob(X, y, "normal").shape == (80,)


def test_the_density_is_that_of_the_mixture_of_the_draws(net, X, y):
    draws = net.draws(X)
    logs = norm.logpdf(y.reshape(draws.shape[1:]), draws, 0.5)
    expected = logsumexp(logs.reshape(30, 80, -1).sum(axis=2), axis=0) - np.log(30)
    assert_allclose(net.log_prob(X, y), expected)
    mean, std = net.predict(X, return_std=True)
    normal = norm.logpdf(y.reshape(mean.shape), mean, std).reshape(80, -1).sum(axis=1)
    assert_allclose(net.log_prob(X, y, "normal"), normal)


def test_probabilities_and_quantiles_are_each_others_inverse(net, X, y):
    levels = net.predict_cdf(X, y).reshape(80, -1)
    quantile = [net.predict_quantiles(X[i : i + 1], levels[i])[0] for i in range(5)]
    own = [np.diagonal(np.atleast_2d(some)) for some in quantile]
    assert_allclose(own, y.reshape(80, -1)[:5], rtol=1e-6, atol=1e-6)


def test_a_large_noise_makes_the_mixture_normal(net, X):
    net.set_params(noise=100.0)
    mean, std = net.predict(X, return_std=True)
    normal = mean[..., None] + std[..., None] * norm.ppf([0.05, 0.5, 0.95])
    assert_allclose(net.predict_quantiles(X, [0.05, 0.5, 0.95]), normal, atol=0.01)
    assert_allclose(net.predict_interval(X), normal[..., [0, 2]], atol=0.01)


def test_a_linear_net_with_much_dropout_has_normal_quantiles():
    X = np.random.default_rng(0).normal(size=(100, 400))
    linear = nn.Sequential(nn.Dropout(0.5), nn.Linear(400, 1))  # a sum of 400 terms of its own
    net = MCDropoutRegressor(linear, noise=0.5, n_draws=4000, max_epochs=1, random_state=0)
    mean, std = net.fit(X, X[:, 0]).predict(X[:5], return_std=True)
    levels = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
    scores = (net.predict_quantiles(X[:5], levels) - mean[:, None]) / std[:, None]
    # The quantile of n draws is off by the root of level (1 - level) / n over the density.
    error = np.sqrt(levels * (1 - levels) / 4000) / norm.pdf(norm.ppf(levels))
    assert (np.abs(scores - norm.ppf(levels)) < 5 * error).all()


@pytest.mark.filterwarnings("ignore:`noise` must be given for quantiles:UserWarning")
def test_without_noise_quantiles_are_those_of_the_draws(net, X):
    net.set_params(noise=None)
    expected = np.quantile(net.draws(X), [0.2, 0.7], axis=0)
    assert_allclose(net.predict_quantiles(X, [0.2, 0.7]), np.moveaxis(expected, 0, -1))


@pytest.mark.parametrize("method", [None, "std", "parts", "isotonic", "conformal"])
def test_a_row_is_answered_by_itself(net, X, y, method):
    if method:
        net.calibrate(X, y, method)
    rows = [7, 3, 60]
    some, all_rows = answers(net, X[rows], y[rows]), answers(net, X, y)
    for name, answer in some.items():
        expected = all_rows[name]
        own = expected[:, rows] if name == "draws" else expected[rows]
        assert_allclose(answer, own, rtol=1e-5, atol=1e-6, err_msg=name)


def test_many_rows_are_answered_as_few_are(X, y, net):
    many, values = np.tile(X, (600, 1)), np.concatenate([y] * 600)
    expected = np.concatenate([net.log_prob(X, y)] * 600)
    assert_allclose(net.log_prob(many, values), expected, rtol=1e-5, atol=1e-5)


# -- calibration -------------------------------------------------------------------------------


def test_a_factor_stretches_everything_but_the_mean(net, X, y):
    before, cov = answers(net, X, y), net.predict(X, return_cov=True)[1]
    parts, samples = net.predict_decomposed(X), net.sample_y(X, 5)
    factor = net.calibrate(X, y, "std").calibration_.factor
    after = answers(net, X, y)
    mean = before["mean"]
    assert_array_equal(after["mean"], mean)
    assert_allclose(after["std"], factor * before["std"])
    assert_allclose(net.predict(X, return_cov=True)[1], factor**2 * cov)
    assert_allclose(after["draws"] - mean, factor * (before["draws"] - mean), atol=1e-9)
    for actual, expected in zip(net.predict_decomposed(X)[1:], parts[1:], strict=True):
        assert_allclose(actual, factor * expected)
    stretched = factor[..., None] if factor.ndim else factor
    for name in ("quantiles", "interval"):
        expected = mean[..., None] + stretched * (before[name] - mean[..., None])
        assert_allclose(after[name], expected, rtol=1e-6, atol=1e-6)
    expected = mean[..., None] + stretched * (samples - mean[..., None])
    assert_allclose(net.sample_y(X, 5), expected, rtol=1e-6, atol=1e-6)


def test_the_factor_is_that_of_the_errors_in_units_of_the_std(net, X, y):
    mean, std = net.predict(X, return_std=True)
    factor = np.sqrt(np.mean(((y.reshape(mean.shape) - mean) / std) ** 2, axis=0))
    assert_allclose(net.calibrate(X, y).calibration_.factor, factor)


def test_two_factors_are_the_likeliest_for_the_parts_that_are_predicted(net, X, y):
    parts = net.predict_decomposed(X)[1:]
    one = net.calibrate(X, y, "std").log_prob(X, y, "normal").mean()
    factors = net.calibrate(X, y, "parts").calibration_.factors
    for after, before, factor in zip(net.predict_decomposed(X)[1:], parts, factors, strict=True):
        assert_allclose(after, factor * before)
    assert net.log_prob(X, y, "normal").mean() > one


def test_two_factors_need_two_parts(net, X, y):
    with pytest.raises(ValueError, match="Got an aleatoric part of 0"):
        net.set_params(noise=None).calibrate(X, y, "parts")
    still = small_net(module__dropout=0.0).fit(X, y)
    with (
        pytest.warns(UserWarning, match="must have a dropout with a rate above 0"),
        pytest.raises(ValueError, match="Got an epistemic part of 0"),
    ):
        still.calibrate(X, y, "parts")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["std", "parts", "isotonic", "conformal"])
def test_new_rows_are_covered_within_the_binomial_bound_of_200_calibrations(method):
    rng = np.random.default_rng(0)

    def some(n_samples):
        X = rng.normal(size=(n_samples, 2))
        return X, X[:, 0] + rng.normal(scale=1.5, size=n_samples)

    net = small_net(n_draws=10, module__dropout=0.2).fit(
        *some(100)
    )  # which believes in a noise of 0.5
    inside = 0
    for _ in range(200):
        X, y = some(61)
        low, high = net.calibrate(X[:-1], y[:-1], method).predict_interval(X[-1:])[0]
        inside += low <= y[-1] <= high
    assert binom.ppf(0.0005, 200, 0.9) <= inside <= binom.ppf(0.9995, 200, 0.9)


@pytest.mark.parametrize("method", ["std", "parts", "isotonic", "conformal"])
def test_a_second_calibration_starts_anew(net, X, y, method):
    first = net.calibrate(X, y, method).calibration_.values
    for between in ("std", method):
        net.calibrate(X, y, between)
    assert_allclose(net.calibration_.values, first)


@pytest.mark.parametrize("method", ["isotonic", "conformal"])
def test_held_out_rows_are_covered_as_they_should(net, X, y, method):
    net.set_params(noise=2.0).calibrate(X, y, method)
    inside = net.predict_interval(X, 0.8)
    y = y.reshape(inside.shape[:-1])
    share = ((inside[..., 0] <= y) & (y <= inside[..., 1])).mean(axis=0)
    assert_allclose(share, 0.8, atol=2 / 80 + 1e-9)  # a row more or less at each end
    if method == "isotonic":
        ranks = np.sort(net.predict_cdf(X, y), axis=0)
        expected = np.arange(1, 81) / 81
        assert_allclose(ranks, expected if y.ndim == 1 else np.column_stack([expected] * 2))


def test_conformal_intervals_are_the_same_deviations_to_both_sides(net, X, y):
    mean, std = net.predict(X, return_std=True)
    scores = np.sort(np.abs(y.reshape(mean.shape) - mean) / std, axis=0)
    low, high = np.moveaxis(net.calibrate(X, y, "conformal").predict_interval(X, 0.9), -1, 0)
    reach = scores[72]  # the 73rd, ceil(81 * 0.9)
    assert_allclose(low, mean - reach * std)
    assert_allclose(high, mean + reach * std)


@pytest.mark.parametrize(
    "method",
    ["std", "conformal", *(pytest.param(m, marks=pytest.mark.slow) for m in ("parts", "isotonic"))],
)
def test_a_calibration_is_kept_in_files_and_cleared_by_training(net, X, y, method, tmp_path):
    expected = net.calibrate(X, y, method).predict_interval(X)
    assert_array_equal(pickle.loads(pickle.dumps(net)).predict_interval(X), expected)
    net.save_params(f_params=tmp_path / "net.pt")
    other = clone(net).set_params(max_epochs=1).fit(X, y)
    other.load_params(f_params=tmp_path / "net.pt")
    other.seed_ = net.seed_
    assert_array_equal(other.predict_interval(X), expected)
    assert not hasattr(net.partial_fit(X, y), "calibration_")
    assert not hasattr(other.fit(X, y), "calibration_")
    uncalibrated = small_net().fit(X, y)
    uncalibrated.save_params(f_params=tmp_path / "net.pt")
    net.calibrate(X, y, method).load_params(f_params=tmp_path / "net.pt")
    assert not hasattr(net, "calibration_")


# -- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [[0.0], [0.5, 1.5], [np.nan], [[0.1]]])
def test_levels_out_of_bounds_are_refused(net, X, levels):
    with pytest.raises(ValueError, match=r"`quantiles` must lie in \(0, 1\). Got \["):
        net.predict_quantiles(X, levels)


def test_several_coverages_are_those_one_by_one(net, X, y):
    for method in ("none", "std", "parts", "isotonic", "conformal"):
        if method != "none":
            net.calibrate(X, y, method)
        together = net.predict_interval(X, [0.5, 0.8])
        apart = [net.predict_interval(X, coverage) for coverage in (0.5, 0.8)]
        assert_allclose(together, np.stack(apart, axis=-2), rtol=1e-9)


@pytest.mark.parametrize("coverage", [0, 1, [0.5, 1.9], [[0.5]]])
def test_a_coverage_out_of_bounds_is_refused(net, X, coverage):
    with pytest.raises(ValueError, match=r"`coverage` must lie in \(0, 1\). Got"):
        net.predict_interval(X, coverage)


@pytest.mark.parametrize("name", ["predict_cdf", "log_prob", "calibrate"])
@pytest.mark.parametrize("shape", [(79,), (81,), (80, 3)])
def test_values_of_another_shape_are_refused(net, X, name, shape):
    with pytest.raises(ValueError, match=r"value for each row and target\. Got the shape"):
        getattr(net, name)(X, np.zeros(shape))


def test_a_value_that_is_not_a_number_is_refused(net, X, y):
    with pytest.raises(ValueError, match="y contains NaN"):
        net.log_prob(X, np.full_like(y, np.nan))


def test_there_is_no_density_without_noise_or_after_conformal_calibration(net, X, y):
    with pytest.raises(ValueError, match=r"Got 'conformal'. Call `calibrate` with"):
        net.calibrate(X, y, "conformal").log_prob(X, y)
    net.fit(X, y).set_params(noise=None)
    with pytest.raises(ValueError, match=r"Got no noise. Set `noise`, or ask for"):
        net.log_prob(X, y)
    with pytest.raises(ValueError, match=r"Got None. Set `noise`, or use"):
        net.calibrate(X, y, "isotonic")


@pytest.mark.parametrize(
    ("name", "option"), [("calibrate", "method"), ("log_prob", "distribution")]
)
def test_an_unknown_option_is_refused(net, X, y, name, option):
    with pytest.raises(ValueError, match=f"'{option}' parameter of {name} .*Got 'best'"):
        getattr(net, name)(X, y, "best")


def test_a_std_of_zero_is_refused(X, y):
    net = small_net(noise=None, module__dropout=0.0).fit(X, y)
    with (
        pytest.warns(UserWarning, match="must have a dropout with a rate above 0"),
        pytest.raises(ValueError, match=r"that are 0\. Raise the dropout rate"),
    ):
        net.log_prob(X, y, "normal")


def test_the_covariance_of_a_process_has_its_noise_at_the_same_place(X, y):
    kernel = RBF() + WhiteKernel(0.25, "fixed")
    process = GaussianProcessRegressor(kernel, optimizer=None).fit(X[:40], y[:40].reshape(40, -1))
    free = GaussianProcessRegressor(RBF(), alpha=0.25 + 1e-10, optimizer=None)
    free.fit(X[:40], y[:40].reshape(40, -1))
    theirs = [gp.predict(X[40:], return_cov=True)[1] for gp in (process, free)]
    net = small_net().fit(X, y)
    ours = [net.set_params(noise=n).predict(X[40:], return_cov=True)[1] for n in (0.5, None)]
    assert_allclose(ours[0] - ours[1], theirs[0] - theirs[1], atol=1e-6)
