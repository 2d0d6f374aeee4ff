"""Where a function may be better: closed forms, laws, and what other packages compute."""

from functools import partial

import numpy as np
import pytest
from forecasts import Normal
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import quad
from scipy.stats import norm
from sklearn.datasets import make_regression
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_mcdropout import MCDropoutRegressor
from sk_mcdropout.acquisition import (
    confidence_bound,
    expected_improvement,
    probability_of_improvement,
    thompson_sampling,
)

MEAN = np.array([-2.0, 0.0, 0.3, 0.3, 1.0, 4.0])
STD = np.array([0.5, 1.0, 0.1, 2.0, 1e-3, 0.7])
FORECAST, ALL = Normal(MEAN, STD), np.arange(6)
X, Y = make_regression(60, 3, noise=5.0, random_state=0)


@pytest.fixture(scope="module")
def net():
    return MCDropoutRegressor(noise="heteroscedastic", max_epochs=5, random_state=0).fit(X, Y)


@pytest.mark.parametrize("maximize", [True, False])
@pytest.mark.parametrize("row", ALL)
def test_the_expected_improvement_is_the_integral_that_defines_it(row, maximize):
    density = norm(MEAN[row], STD[row]).pdf
    start = 0.3 if maximize else 0.1
    ends = sorted([start, MEAN[row] + (12 if maximize else -12) * STD[row]])
    near = {"points": [MEAN[row]], "epsabs": 1e-14} if ends[0] < MEAN[row] < ends[1] else {}
    expected = quad(lambda f: abs(f - start) * density(f), *ends, **near)[0]
    scores = expected_improvement(FORECAST, [row], 0.2, maximize=maximize, xi=0.1)
    assert_allclose(scores, [expected], rtol=1e-8, atol=1e-14)


@pytest.mark.parametrize("maximize", [True, False])
def test_the_probability_is_the_mass_on_the_better_side(maximize):
    better = norm(MEAN, STD).sf(0.3) if maximize else norm(MEAN, STD).cdf(0.1)
    scores = probability_of_improvement(FORECAST, ALL, 0.2, maximize=maximize, xi=0.1)
    assert_allclose(scores, better)


def test_scikit_optimize_computes_the_same():
    acquisition = pytest.importorskip("skopt.acquisition")
    X = ALL[:, None]
    assert_allclose(
        expected_improvement(FORECAST, ALL, 0.2, maximize=False, xi=0.1),
        acquisition.gaussian_ei(X, FORECAST, 0.2, xi=0.1),
        atol=1e-15,
    )
    assert_allclose(
        probability_of_improvement(FORECAST, ALL, 0.2, maximize=False, xi=0.1),
        acquisition.gaussian_pi(X, FORECAST, 0.2, xi=0.1),
    )
    assert_allclose(
        confidence_bound(FORECAST, ALL, maximize=False, kappa=1.5),
        -acquisition.gaussian_lcb(X, FORECAST, kappa=1.5),
    )


def test_far_below_the_best_the_expected_improvement_keeps_its_digits():
    z = np.array([-10.0, -20.0, -35.0])
    series = norm.pdf(z) * (1 / z**2 - 3 / z**4 + 15 / z**6 - 105 / z**8 + 945 / z**10)
    scores = expected_improvement(Normal(z, np.ones(3)), np.arange(3), 0.0, maximize=True)
    assert_allclose(scores, series, rtol=1e-6)


@pytest.mark.parametrize("std", [0.0, 1e-300])
def test_without_a_spread_the_improvement_is_that_of_the_mean(std):
    forecast = Normal([-1.0, 0.0, 2.0], np.full(3, std))
    rows = np.arange(3)
    scores = expected_improvement(forecast, rows, 0.0, maximize=True)
    assert_allclose(scores, [0, 0, 2], atol=1e-299)
    chances = probability_of_improvement(forecast, rows, 0.0, maximize=True)
    assert_allclose(chances, [0, 0.5 if std else 0, 1])


@pytest.mark.parametrize("score", [expected_improvement, probability_of_improvement])
def test_a_function_upside_down_is_minimised_as_the_function_is_maximised(score):
    minimised = score(Normal(-MEAN, STD), ALL, -0.2, maximize=False, xi=0.1)
    assert_allclose(minimised, score(FORECAST, ALL, 0.2, maximize=True, xi=0.1))


def test_the_bounds_are_on_the_side_that_is_looked_for():
    upper = confidence_bound(FORECAST, ALL, maximize=True, kappa=2)
    lower = confidence_bound(FORECAST, ALL, maximize=False, kappa=2)
    assert_allclose(upper, MEAN + 2 * STD)
    assert_allclose(-lower, MEAN - 2 * STD)


def test_other_units_of_y_scale_the_improvement():
    scores = expected_improvement(FORECAST, ALL, 0.2, maximize=True, xi=0.1)
    in_others = Normal(1000 * MEAN + 7, 1000 * STD)
    scaled = expected_improvement(in_others, ALL, 207.0, maximize=True, xi=100)
    assert_allclose(scaled, 1000 * scores, atol=1e-12)


def test_noise_is_no_improvement(net):
    best = Y.max()
    mean, std, noise = net.predict_decomposed(X)
    expected = expected_improvement(Normal(mean, std), np.arange(60), best, maximize=True)
    assert noise.min() > 0
    assert_array_equal(expected_improvement(net, X, best, maximize=True), expected)


# -- Thompson sampling -------------------------------------------------------------------------


def test_thompson_sampling_draws_one_function_without_its_noise(net):
    drawn = net.sample_y(X, random_state=3, noise=False)[:, 0]
    scores = thompson_sampling(net, X, maximize=True, random_state=3)
    assert_array_equal(scores, drawn)
    assert_array_equal(thompson_sampling(net, X, maximize=False, random_state=3), -drawn)
    assert (thompson_sampling(net, X, maximize=True, random_state=4) != scores).all()


def test_functions_of_a_process_have_its_mean_and_covariance():
    process = GaussianProcessRegressor(optimizer=None).fit([[0.0], [1.0]], [0.0, 1.0])
    draw = partial(thompson_sampling, process, [[-1.0], [2.0]], maximize=True)
    rng = np.random.RandomState(0)
    draws = np.array([draw(random_state=rng) for _ in range(300)])
    mean, cov = process.predict([[-1.0], [2.0]], return_cov=True)
    assert_allclose(draws.mean(axis=0), mean, atol=4 * np.sqrt(cov.max() / 300))
    assert_allclose(np.cov(draws.T), cov, atol=4 * cov.max() * np.sqrt(2 / 300))


# -- models around models, and bad input -------------------------------------------------------


@pytest.mark.parametrize("steps", [(StandardScaler(),), (StandardScaler(), StandardScaler())])
def test_a_model_in_a_pipeline_scores_as_alone(steps):
    net = MCDropoutRegressor(max_epochs=3, random_state=0)
    pipe = make_pipeline(*steps, net).fit(X, Y)
    inputs = pipe[:-1].transform(X)
    assert_array_equal(
        expected_improvement(pipe, X, 0.0, maximize=True),
        expected_improvement(pipe[-1], inputs, 0.0, maximize=True),
    )
    assert_array_equal(
        thompson_sampling(pipe, X, maximize=True, random_state=0),
        thompson_sampling(pipe[-1], inputs, maximize=True, random_state=0),
    )


def test_a_model_without_a_spread_is_refused():
    model = LinearRegression().fit(X, Y)
    with pytest.raises(TypeError, match="Got LinearRegression, which predicts no standard dev"):
        confidence_bound(model, X, maximize=True)
    with pytest.raises(TypeError, match="Got LinearRegression, which draws no functions"):
        thompson_sampling(model, X, maximize=True)


def test_several_targets_are_refused():
    process = GaussianProcessRegressor(optimizer=None).fit(X, np.column_stack([Y, -Y]))
    with pytest.raises(ValueError, match=r"Got a predicted mean of shape \(60, 2\)"):
        expected_improvement(process, X, 0.0, maximize=True)
    with pytest.raises(ValueError, match=r"Got a predicted function of shape \(60, 2\)"):
        thompson_sampling(process, X, maximize=True)


def test_one_target_in_a_column_is_one_target():
    process = GaussianProcessRegressor(optimizer=None).fit(X, Y)
    column = GaussianProcessRegressor(optimizer=None).fit(X, Y[:, None])
    for score in (confidence_bound, thompson_sampling):
        options = {"random_state": 0} if score is thompson_sampling else {}
        alone = score(process, X, maximize=True, **options)
        assert_allclose(score(column, X, maximize=True, **options), alone)


@pytest.mark.parametrize("best", [np.nan, np.inf, "1", None, [1.0]])
@pytest.mark.parametrize("score", [expected_improvement, probability_of_improvement])
def test_the_best_value_must_be_a_number(score, best):
    with pytest.raises(ValueError, match=r"`best` must be a finite number\. Got"):
        score(FORECAST, ALL, best, maximize=True)


def test_options_must_make_sense():
    with pytest.raises(ValueError, match=r"`xi` must be a finite number\. Got nan"):
        expected_improvement(FORECAST, ALL, 0.0, maximize=True, xi=np.nan)
    with pytest.raises(ValueError, match=r"`kappa` must be a finite number of at least 0\. Got -1"):
        confidence_bound(FORECAST, ALL, maximize=True, kappa=-1)
    with pytest.raises(ValueError, match=r"`maximize` must be True or False\. Got 'min'"):
        confidence_bound(FORECAST, ALL, maximize="min")


def test_a_forecast_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="predicted mean` contains NaN"):
        confidence_bound(Normal([np.nan], [1.0]), [0], maximize=True)
    with pytest.raises(ValueError, match="predicted std` contains infinity"):
        confidence_bound(Normal([0.0], [np.inf]), [0], maximize=True)


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        (X[:0], "0 sample"),
        (X[:, :2], "2 features, but MCDropoutRegressor is expecting 3"),
        (np.full((1, 3), np.nan), "NaN"),
    ],
)
def test_candidates_must_be_rows_like_those_of_the_fit(net, candidates, message):
    with pytest.raises(ValueError, match=message):
        expected_improvement(net, candidates, 0.0, maximize=True)
    with pytest.raises(ValueError, match=message):
        thompson_sampling(net, candidates, maximize=True)
