"""The laws that all scores keep, and what all of them refuse."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.stats import norm

from sk_mcdropout import metrics

N_SAMPLES, N_TARGETS, N_DRAWS = 12, 3, 7
LEVELS = [0.1, 0.5, 0.8]

# The score of each name, and what it takes of a forecast.
SCORES = {
    "negative_log_density_normal": ("y_true", "mean", "std"),
    "negative_log_density_mixture": ("y_true", "draws", "noise_std"),
    "crps_normal": ("y_true", "mean", "std"),
    "crps_draws": ("y_true", "draws"),
    "energy_score": ("y_true", "draws"),
    "interval_score": ("y_true", "interval"),
    "coverage_score": ("y_true", "interval"),
    "mean_interval_width": ("interval",),
    "pinball_loss": ("y_true", "y_quantiles"),
    "calibration_error": ("cdf",),
    "sharpness": ("std",),
    "area_under_sparsification_error": ("y_true", "mean", "std"),
}
MARGINAL = [name for name in SCORES if name != "energy_score"]
OF_STD = [name for name, takes in SCORES.items() if "std" in takes]
OF_Y = [name for name, takes in SCORES.items() if "y_true" in takes]

all_scores = pytest.mark.parametrize("name", SCORES)
marginal_scores = pytest.mark.parametrize("name", MARGINAL)


@pytest.fixture
def forecast():
    """Forecasts of several targets which are neither perfect nor useless."""
    rng = np.random.default_rng(0)
    mean = rng.normal(size=(N_SAMPLES, N_TARGETS))
    std = rng.uniform(0.5, 2.0, size=mean.shape)
    y = mean + 1.5 * std * rng.normal(size=mean.shape)
    return {
        "y_true": y,
        "mean": mean,
        "std": std,
        "draws": mean + std * rng.normal(size=(N_DRAWS, *mean.shape)),
        "noise_std": std,
        "interval": np.stack([mean - std, mean + std], axis=-1),
        "y_quantiles": np.stack([mean + std * norm.ppf(level) for level in LEVELS], axis=-1),
        "cdf": norm.cdf(y, mean, std),
    }


def score(name, forecast, **options):
    if name == "pinball_loss":
        options["quantiles"] = LEVELS
    return getattr(metrics, name)(*(forecast[key] for key in SCORES[name]), **options)


def rows_axis(key):
    return 1 if key == "draws" else 0


def take_rows(forecast, rows):
    return {key: np.take(values, rows, axis=rows_axis(key)) for key, values in forecast.items()}


def take_target(forecast, target):
    return {key: np.take(v, target, axis=rows_axis(key) + 1) for key, v in forecast.items()}


def with_values(forecast, **values):
    return {**forecast, **values}


# -- rows, weights and targets -----------------------------------------------------------------


@all_scores
def test_the_order_of_the_rows_does_not_matter(name, forecast):
    rows = np.random.default_rng(1).permutation(N_SAMPLES)
    assert_allclose(score(name, take_rows(forecast, rows)), score(name, forecast), rtol=1e-12)


@all_scores
def test_a_weight_is_a_number_of_repetitions(name, forecast):
    counts = np.arange(N_SAMPLES) // 3  # some rows count for nothing
    expected = score(name, take_rows(forecast, np.repeat(np.arange(N_SAMPLES), counts)))
    actual = score(name, forecast, sample_weight=counts)
    assert_allclose(actual, expected, rtol=1e-12)
    assert abs(actual - score(name, forecast)) > 1e-6


@all_scores
def test_equal_weights_change_nothing(name, forecast):
    actual = score(name, forecast, sample_weight=np.full(N_SAMPLES, 0.3))
    assert_allclose(actual, score(name, forecast), rtol=1e-12)


@marginal_scores
def test_the_raw_values_are_those_of_the_targets_alone(name, forecast):
    raw = score(name, forecast, multioutput="raw_values")
    alone = [score(name, take_target(forecast, target)) for target in range(N_TARGETS)]
    assert isinstance(alone[0], float)
    assert raw.shape == (N_TARGETS,)
    assert_allclose(raw, alone, rtol=1e-12)


@marginal_scores
def test_targets_are_averaged_as_asked_for(name, forecast):
    raw = score(name, forecast, multioutput="raw_values")
    assert_allclose(score(name, forecast), raw.mean(), rtol=1e-12)
    weighted = score(name, forecast, multioutput=[1, 0, 3])
    assert_allclose(weighted, (raw[0] + 3 * raw[2]) / 4, rtol=1e-12)


@marginal_scores
def test_one_column_scores_like_one_axis(name, forecast):
    column, flat = take_target(forecast, [1]), take_target(forecast, 1)
    assert score(name, column) == score(name, flat)
    raw = score(name, flat, multioutput="raw_values")
    assert raw.shape == (1,)


@all_scores
def test_lists_and_single_precision_are_taken(name, forecast):
    lists = {key: values.tolist() for key, values in forecast.items()}
    assert score(name, lists) == score(name, forecast)
    singles = {key: values.astype(np.float32) for key, values in forecast.items()}
    assert_allclose(score(name, singles), score(name, forecast), rtol=1e-5)


def test_frames_are_taken(forecast):
    frames = {key: pd.DataFrame(forecast[key]) for key in ("y_true", "mean", "std")}
    assert metrics.crps_normal(**frames) == score("crps_normal", forecast)


@all_scores
def test_the_arrays_are_left_as_they_are(name, forecast):
    before = {key: values.copy() for key, values in forecast.items()}
    score(name, forecast)
    for key, values in before.items():
        assert np.array_equal(forecast[key], values)


# -- the units of y ----------------------------------------------------------------------------

UNITLESS = ["coverage_score", "calibration_error", "area_under_sparsification_error"]
LOGARITHMIC = ["negative_log_density_normal", "negative_log_density_mixture"]


@all_scores
def test_a_score_follows_the_units_of_y(name, forecast):
    scaled = {key: values * 10 for key, values in forecast.items() if key != "cdf"}
    before, after = score(name, forecast), score(name, with_values(forecast, **scaled))
    if name in LOGARITHMIC:
        before += np.log(10)
    elif name not in UNITLESS:
        before *= 10
    assert_allclose(after, before, rtol=1e-12)


@all_scores
def test_a_shift_of_y_and_the_forecast_changes_nothing(name, forecast):
    moved = ("y_true", "mean", "draws", "interval", "y_quantiles")
    shifted = with_values(forecast, **{key: forecast[key] + 1000.0 for key in moved})
    assert_allclose(score(name, shifted), score(name, forecast), rtol=1e-10)


# -- a perfect forecast --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "crps_normal",
        "crps_draws",
        "energy_score",
        "interval_score",
        "pinball_loss",
        "mean_interval_width",
        "sharpness",
        "area_under_sparsification_error",
    ],
)
def test_the_score_of_a_certain_and_right_forecast_is_zero(name, forecast):
    y = forecast["y_true"]
    perfect = {
        "y_true": y,
        "mean": y,
        "std": np.zeros_like(y),
        "draws": np.stack([y, y, y]),
        "interval": np.stack([y, y], axis=-1),
        "y_quantiles": np.stack([y, y, y], axis=-1),
    }
    assert score(name, perfect) == 0
    assert score(name, forecast) > 0.01


# -- what is refused -----------------------------------------------------------------------------


@all_scores
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_refused_by_name(name, forecast, value):
    for key in SCORES[name]:
        broken = forecast[key].copy()
        broken.flat[5] = value
        with pytest.raises(ValueError, match=rf"Input `{key}` contains (NaN|infinity)"):
            score(name, with_values(forecast, **{key: broken}))


@pytest.mark.parametrize("name", OF_Y)
def test_a_forecast_of_fewer_rows_is_refused(name, forecast):
    fewer = with_values(take_rows(forecast, range(N_SAMPLES - 1)), y_true=forecast["y_true"])
    with pytest.raises(ValueError, match=r"must have the shape .*12, 3.*Got .*11, 3"):
        score(name, fewer)


@pytest.mark.parametrize("name", [name for name in OF_Y if name != "energy_score"])
def test_one_axis_against_one_column_is_refused(name, forecast):
    column = with_values(take_target(forecast, 1), y_true=forecast["y_true"][:, [1]])
    with pytest.raises(ValueError, match=r"12, 1.*Got|must have \d axes. Got"):
        score(name, column)


@pytest.mark.parametrize("name", ["crps_normal", "negative_log_density_normal"])
def test_a_standard_deviation_for_all_rows_is_refused(name, forecast):
    with pytest.raises(ValueError, match=r"`std` must have the shape of `y_true`, \(12, 3\)"):
        score(name, with_values(forecast, std=forecast["std"][0]))


@pytest.mark.parametrize("name", OF_STD)
def test_a_negative_standard_deviation_is_refused(name, forecast):
    std = forecast["std"].copy()
    std[2, 1] = -0.25
    with pytest.raises(ValueError, match=r"`std` must be at least 0. Got -0.25"):
        score(name, with_values(forecast, std=std))


@pytest.mark.parametrize("name", ["crps_draws", "energy_score", "negative_log_density_mixture"])
def test_draws_that_do_not_come_first_are_refused(name, forecast):
    swapped = np.moveaxis(forecast["draws"], 0, -1)
    with pytest.raises(ValueError, match=r"\(n_draws, 12, 3\). Got \(12, 3, 7\). Put the draws"):
        score(name, with_values(forecast, draws=swapped))


@pytest.mark.parametrize("name", ["crps_draws", "energy_score"])
def test_a_single_draw_is_refused(name, forecast):
    with pytest.raises(ValueError, match=r"`draws` must be at least 2 .* Got 1. Draw more"):
        score(name, with_values(forecast, draws=forecast["draws"][:1]))


@all_scores
@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(5), r"`sample_weight` must have the shape \(12,\).*Got \(5,\)"),
        (np.ones((N_SAMPLES, 1)), r"`sample_weight` .* Got \(12, 1\)"),
        (np.zeros(N_SAMPLES), r"above 0 somewhere. Got weights from 0.0 to 0.0"),
        (np.arange(N_SAMPLES) - 1.0, r"`sample_weight` must be at least 0.* from -1.0 to 10.0"),
        (np.full(N_SAMPLES, np.nan), "Input `sample_weight` contains NaN"),
    ],
)
def test_weights_that_are_none_are_refused(name, forecast, weights, message):
    with pytest.raises(ValueError, match=message):
        score(name, forecast, sample_weight=weights)


@marginal_scores
@pytest.mark.parametrize(
    ("multioutput", "message"),
    [
        ("variance_weighted", r"'raw_values', 'uniform_average' .* Got 'variance_weighted'"),
        ([0.5, 0.5], r"the shape \(3,\). Got \(2,\)"),
        ([1.0, -2.0, 1.0], "`multioutput` must be at least 0.* from -2.0 to 1.0"),
    ],
)
def test_an_average_over_targets_that_is_none_is_refused(name, forecast, multioutput, message):
    with pytest.raises(ValueError, match=message):
        score(name, forecast, multioutput=multioutput)


def test_an_array_of_too_many_axes_is_refused(forecast):
    with pytest.raises(ValueError, match=r"`y_true` must have 1 or 2 axes. Got .*\(7, 12, 3\)"):
        metrics.crps_draws(forecast["draws"], forecast["draws"])


def test_the_energy_score_of_one_axis_is_refused(forecast):
    with pytest.raises(ValueError, match=r"`y_true` must have 2 axes. Got the shape \(12,\)"):
        score("energy_score", take_target(forecast, 0))
