"""Scores of arrays that are odd: each is answered as its plain twin is, or refused in words."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sk_mcdropout import metrics

Y = np.array([0.5, -1.0, 2.0, 0.25, 1.5, -0.75])
MEAN = np.array([0.25, -0.5, 1.0, 0.5, 1.0, -1.0])
STD = np.array([0.5, 1.0, 0.75, 0.25, 1.25, 0.5])
DRAWS = MEAN + np.array([-1.0, -0.25, 0.5, 1.0])[:, None] * STD
NOISE = np.full(DRAWS.shape, 0.5)
ENDS = np.stack([MEAN - STD, MEAN + STD], axis=1)
LABELS = np.array([0, 1, 1, 0, 1, 0])
SHARES = np.array([0.125, 0.75, 0.5, 0.25, 0.875, 0.375])
PROBA = np.stack([1 - SHARES, SHARES], axis=1)

SCORES = {
    "negative_log_density_normal": (Y, MEAN, STD),
    "crps_normal": (Y, MEAN, STD),
    "sharpness": (STD,),
    "negative_log_density_mixture": (Y, DRAWS, NOISE),
    "crps_draws": (Y, DRAWS),
    "energy_score": (np.stack([Y, MEAN], axis=1), np.stack([DRAWS, DRAWS + 1], axis=2)),
    "interval_score": (Y, ENDS),
    "coverage_score": (Y, ENDS),
    "mean_interval_width": (ENDS,),
    "pinball_loss": (Y, ENDS),
    "calibration_error": (SHARES,),
    "area_under_sparsification_error": (Y, MEAN, STD),
    "brier_score": (LABELS, PROBA),
    "expected_calibration_error": (LABELS, PROBA),
    "area_under_accuracy_rejection_curve": (LABELS, LABELS[::-1], STD),
}
OPTIONS = {"pinball_loss": {"quantiles": [0.1, 0.9]}}
PLACES = [(name, place) for name, args in SCORES.items() for place in range(len(args))]


def score(name, args):
    return getattr(metrics, name)(*args, **OPTIONS.get(name, {}))


def at(place, change, args):
    return [change(arg) if i == place else arg for i, arg in enumerate(args)]


def with_one(value, array):
    array = array.astype(float)
    array.ravel()[1] = value
    return array


def spread_out(array):
    """Return the same numbers with large and negative strides."""
    base = np.full((array.shape[0], 999, *array.shape[1:]), np.nan)
    base[::-1, 500] = array
    return base[::-1, 500]


TWINS = {
    "of objects": lambda array: array.astype(object),
    "of lists": np.ndarray.tolist,
    "far apart": spread_out,
    "in Fortran's order": np.asfortranarray,
    "of the other byte order": lambda array: array.astype(array.dtype.newbyteorder()),
    "in single precision": lambda array: array.astype(np.float32),  # all are binary fractions
    "with -0.0 for a difference of nothing": lambda array: array + -0.0,
}
HOSTILE = {
    "no rows": (lambda array: array[:0], "0 sample|Got 0, 6|Got 6, 0|for \\[\\]"),
    "no axes": (lambda array: array.ravel()[0], r"got scalar|shape \(\)"),
    "ten axes": (
        lambda array: array.reshape(array.shape + (1,) * (10 - array.ndim)),
        "axes|dim 10",
    ),
    "NaN": (lambda array: with_one(np.nan, array), "contains NaN"),
    "infinite": (lambda array: with_one(np.inf, array), "contains infinity"),
    "words": (lambda array: np.full(array.shape, "many"), "'many'"),
    "complex": (lambda array: array + 1j, "Complex data not supported"),
}


def is_of_labels(name, place):
    return SCORES[name][place].dtype == LABELS.dtype


@pytest.mark.parametrize("twin", TWINS.values(), ids=TWINS)
@pytest.mark.parametrize(("name", "place"), PLACES)
def test_the_score_is_that_of_the_plain_array(name, place, twin):
    if is_of_labels(name, place) and twin is TWINS["of objects"]:
        pytest.skip("scikit-learn knows no labels that are objects, but words")
    args = at(place, twin, SCORES[name])
    copies = [np.array(arg) for arg in args]
    assert_allclose(score(name, args), score(name, SCORES[name]), rtol=1e-6)
    for arg, copy in zip(args, copies, strict=True):
        assert_array_equal(arg, copy)


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize(("name", "place"), PLACES)
def test_what_cannot_be_scored_is_refused(name, place, kind):
    if is_of_labels(name, place) and kind == "words":
        pytest.skip("labels may be words")
    if (name, place, kind) == ("negative_log_density_mixture", 2, "no axes"):
        pytest.skip("one standard deviation for all draws")
    hostile, said = HOSTILE[kind]
    with pytest.raises((ValueError, TypeError), match=said):
        score(name, at(place, hostile, SCORES[name]))


OF_UNITS = [  # scores in the units of y, where all arguments have them
    *("crps_normal", "sharpness", "crps_draws", "energy_score", "mean_interval_width"),
    *("interval_score", "pinball_loss"),
]
WITHOUT_UNITS = "coverage_score", "area_under_sparsification_error"
# 2 ** 126 is about 1e38; numbers of 2 ** -1040 are subnormal, and their squares are 0.
SCALES = [2.0**-1040, 2.0**-500, 2.0**126, 2.0**500]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", [*OF_UNITS, *WITHOUT_UNITS])
def test_a_score_has_the_units_of_y_or_none(name, scale):
    scaled = [arg * scale for arg in SCORES[name]]
    expected = score(name, SCORES[name]) * (scale if name in OF_UNITS else 1)
    assert_allclose(score(name, scaled), expected, rtol=1e-6, atol=1e-300)
