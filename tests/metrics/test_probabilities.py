"""The scores of the probabilities of classes."""

import inspect

import numpy as np
import pandas as pd
import pytest
from mapie.metrics.calibration import expected_calibration_error as ece_of_mapie
from numpy.testing import assert_allclose
from sklearn.metrics import accuracy_score, brier_score_loss

from sk_mcdropout.metrics import brier_score, expected_calibration_error, reliability_curve

N, N_CLASSES = 60, 4
SCORES = {
    "brier": brier_score,
    "uniform": expected_calibration_error,
    "quantile": lambda *args, **options: expected_calibration_error(
        *args, strategy="quantile", **options
    ),
}
all_scores = pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
both_strategies = pytest.mark.parametrize("strategy", ["uniform", "quantile"])

LABELS = {
    "strings": np.array(["ash", "birch", "cedar", "oak"]),
    "objects": np.array(["ash", "birch", "cedar", "oak"], dtype=object),
    "unlike integers": np.array([-7, 0, 3, 100]),
    "whole floats": np.array([0.0, 1.0, 2.0, 5.0]),
}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def proba(rng):
    return rng.dirichlet(np.full(N_CLASSES, 0.7), size=N)


@pytest.fixture
def codes(proba, rng):
    """Return classes that come as often as was said, for three rows of four."""
    drawn = (proba.cumsum(axis=1) < rng.uniform(size=(N, 1))).sum(axis=1)
    return np.where(np.arange(N) % 4, drawn, rng.integers(N_CLASSES, size=N))


# -- known answers ---------------------------------------------------------------------------------


def test_the_score_of_two_classes_is_twice_that_of_scikit_learn(codes, proba):
    y, p = codes > 1, proba[:, 2:].sum(axis=1)
    weights = np.arange(N) / N
    expected = 2 * brier_score_loss(y, p, sample_weight=weights)
    assert_allclose(brier_score(y, p, sample_weight=weights), expected, rtol=1e-12)
    two = np.column_stack([1 - p, p])
    assert_allclose(brier_score(y, two, sample_weight=weights), expected, rtol=1e-12)


@pytest.mark.skipif(
    "scale_by_half" not in inspect.signature(brier_score_loss).parameters,
    reason="this scikit-learn, older than 1.7, scores two classes alone",
)
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_the_score_of_several_classes_is_that_of_scikit_learn(codes, proba, labels):
    some = codes < 3
    y, p, weights = labels[codes[some]], proba[some], np.arange(some.sum())
    expected = brier_score_loss(y, p, labels=labels, sample_weight=weights, scale_by_half=False)
    assert_allclose(brier_score(y, p, labels=labels, sample_weight=weights), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("row", "score"), [([1, 0, 0], 0), ([0, 1, 0], 2), ([1 / 3, 1 / 3, 1 / 3], 2 / 3)]
)
def test_the_score_of_a_row_is_known(row, score):
    assert brier_score(["a"], [row], labels=["a", "b", "c"]) == pytest.approx(score, rel=1e-12)


@pytest.mark.parametrize("n_bins", [1, 5, 12])
def test_the_error_is_that_of_mapie(codes, proba, n_bins):
    order = np.argsort(proba.max(axis=1))  # mapie splits the rows as they come
    p, y = proba[order], codes[order]
    hits = (p.argmax(axis=1) == y).astype(int)
    equal = ece_of_mapie(hits, p.max(axis=1), num_bins=n_bins, split_strategy="array split")
    assert_allclose(SCORES["quantile"](y, p, n_bins=n_bins), equal, rtol=1e-10)
    # It counts the edges of bins of equal width, one more than bins.
    wide = ece_of_mapie(hits, p.max(axis=1), num_bins=n_bins + 1, split_strategy="uniform")
    assert_allclose(SCORES["uniform"](y, p, n_bins=n_bins), wide, rtol=1e-10)


def test_bins_of_equal_mass_hold_the_same_number_of_rows_in_order(codes, proba):
    confidence, accuracy, share = reliability_curve(codes, proba, n_bins=6, strategy="quantile")
    order = np.argsort(proba.max(axis=1)).reshape(6, 10)
    hits = proba.argmax(axis=1) == codes
    assert_allclose(confidence, proba.max(axis=1)[order].mean(axis=1), rtol=1e-12)
    assert_allclose(accuracy, hits[order].mean(axis=1), rtol=1e-10, atol=1e-12)
    assert_allclose(share, np.full(6, 1 / 6))


@pytest.mark.parametrize(("strategy", "n_filled"), [("uniform", 1), ("quantile", 7)])
def test_rows_of_equal_confidence_are_one_bin_or_bins_alike(strategy, n_filled):
    y = np.repeat(["no", "yes"], [10, 30])
    confidence, accuracy, share = reliability_curve(
        y, np.full(40, 0.9), n_bins=7, strategy=strategy
    )
    assert_allclose(confidence, np.full(n_filled, 0.9), rtol=1e-12)
    assert_allclose(accuracy, np.full(n_filled, 0.75), rtol=1e-12)
    assert_allclose(share, np.full(n_filled, 1 / n_filled), rtol=1e-12)


def test_a_bin_holds_its_upper_end():
    p = np.array([0.6, 0.7, 0.70001, 0.8, 1.0])
    confidence, _, share = reliability_curve(np.ones(5), p, labels=[0, 1], n_bins=10)
    assert_allclose(confidence, [0.6, 0.7, (0.70001 + 0.8) / 2, 1], rtol=1e-12)
    assert_allclose(share, [0.2, 0.2, 0.4, 0.2], rtol=1e-12)


def test_fewer_rows_than_bins_of_equal_mass_are_shared_out():
    y, p = [0, 1], [0.3, 0.9]
    confidence, accuracy, _ = reliability_curve(y, p, n_bins=4, strategy="quantile")
    assert_allclose(confidence, [0.7, 0.7, 0.9, 0.9], rtol=1e-12)
    assert_allclose(accuracy, np.ones(4), rtol=1e-12)


def test_what_comes_true_as_often_as_was_said_is_calibrated():
    p = np.repeat([0.6, 0.7, 0.9], 10)
    y = np.concatenate([np.arange(10) < 10 * level for level in (0.6, 0.7, 0.9)])
    for score in (SCORES["uniform"], SCORES["quantile"]):
        assert score(y, p, n_bins=3) < 1e-12
        assert score(y, p**4, n_bins=3) > 0.1


# -- laws ------------------------------------------------------------------------------------------


@both_strategies
def test_the_mean_of_the_curve_is_the_accuracy_of_the_prediction(codes, proba, strategy):
    proba[:20] = [0.4, 0.1, 0.1, 0.4]  # of equals the first is predicted
    _, accuracy, share = reliability_curve(codes, proba, strategy=strategy)
    assert_allclose(share.sum(), 1, rtol=1e-12)
    assert_allclose(share @ accuracy, accuracy_score(codes, proba.argmax(axis=1)), rtol=1e-12)


@all_scores
def test_the_order_of_the_rows_does_not_matter(score, codes, proba, rng):
    proba[:30] = proba[0]
    rows = rng.permutation(N)
    assert_allclose(score(codes[rows], proba[rows]), score(codes, proba), rtol=1e-10)


@all_scores
def test_a_weight_is_a_number_of_repetitions(score, codes, proba):
    counts = np.arange(N) // 3 % 3
    repeated = score(codes.repeat(counts), proba.repeat(counts, axis=0))
    actual = score(codes, proba, sample_weight=counts)
    assert_allclose(actual, repeated, rtol=1e-10)
    assert abs(actual - score(codes, proba)) > 1e-6


@all_scores
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_the_names_of_the_classes_do_not_matter(score, codes, proba, labels):
    expected = score(codes, proba)
    assert score(labels[codes], proba) == expected
    assert score(pd.Series(labels[codes]), pd.DataFrame(proba)) == expected
    assert score(pd.Series(labels[codes], dtype="category"), proba.tolist()) == expected
    assert score(labels[codes][:, None], proba) == expected


@all_scores
def test_columns_may_be_named_in_any_order(score, codes, proba):
    order = [2, 0, 3, 1]
    names = LABELS["strings"]
    actual = score(names[codes], proba[:, order], labels=names[order])
    assert_allclose(actual, score(codes, proba), rtol=1e-12)


@all_scores
def test_classes_that_were_not_observed_are_named(score, codes, proba):
    some = codes % 2 == 0
    names = LABELS["strings"]
    expected = score(codes, proba, sample_weight=some)
    assert_allclose(score(names[codes[some]], proba[some], labels=names), expected, rtol=1e-12)


@all_scores
def test_a_single_class_is_always_right(score):
    assert score(["all", "all"], np.ones((2, 1))) == 0


@all_scores
def test_the_arrays_are_left_as_they_are(score, codes, proba):
    before = proba.copy()
    assert isinstance(score(codes, proba), float)
    np.testing.assert_array_equal(proba, before)


@all_scores
def test_single_precision_is_taken(score, codes, proba):
    singles = proba.astype(np.float32)
    assert_allclose(score(codes, singles), score(codes, proba), rtol=1e-5)


def test_rounded_probabilities_are_taken(codes, proba):
    # Each of 4 differences moves by half a thousandth, each square by twice that, and some more.
    rounded = brier_score(codes, proba.round(3))
    assert rounded == pytest.approx(brier_score(codes, proba), abs=4.1e-3)


# -- what is refused -------------------------------------------------------------------------------

ROW = [0.2, 0.5, 0.3]
REFUSED = {
    "numbers": ([0.5, 1.0, 1.5], [ROW] * 3, None, "Unknown label type"),
    "missing numbers": ([np.nan, 1.0, 2.0], [ROW] * 3, None, "contains NaN"),
    "missing strings": (["a", None, "b"], [ROW] * 3, None, r"none may be missing. Got '<'"),
    "several targets": ([[0, 1], [1, 0]], [ROW] * 2, None, "should be a 1d array"),
    "a class too few": (["a", "b"], [ROW] * 2, None, r"Got 3 columns for \['a', 'b'\]. Name the"),
    "a class too many": (["a", "b"], [ROW] * 2, list("abcd"), "Got 3 columns for .*'d'"),
    "an unknown class": (
        ["a", "x"],
        [ROW] * 2,
        list("abc"),
        r"each class.*Got .* for \['a', 'x'\]",
    ),
    "a class twice": (["a", "b"], [ROW] * 2, list("aba"), r"each once. Got \['a', 'b', 'a'\]"),
    "mixed labels": ([0, 1], [ROW] * 2, list("abc"), r"Mix of label input types"),
    "fewer rows": (["a", "b", "c"], [ROW] * 2, None, r"a row for each of `y_true`, 3. Got 2"),
    "too much": (["a", "b"], [[0.6, 0.6]] * 2, None, r"of sum 1.* sums from 1.2 to 1.2"),
    "less than none": (
        ["a", "b"],
        [[-0.25, 1.25]] * 2,
        None,
        r"at least 0.*Got numbers from -0.25",
    ),
    "a percentage": (["a", "b"], [40, 60], None, r"at least 0.*Got numbers from -59"),
    "one class, one axis": (["a", "a"], [0.5, 0.5], None, r"Got 2 columns for \['a'\]"),
    "missing probabilities": (["a", "b"], [[np.nan, 1.0]] * 2, None, "`y_proba` contains NaN"),
    "draws": (["a", "b"], np.ones((2, 2, 1)), None, r"`y_proba` must have 1 or 2 axes"),
    "no rows": ([], np.ones((0, 2)), None, "0 sample"),
}


@all_scores
@pytest.mark.parametrize(("y", "proba", "labels", "message"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_go_together_is_refused(score, y, proba, labels, message):
    with pytest.raises(ValueError, match=message):
        score(y, proba, labels=labels)


@all_scores
def test_weights_of_other_rows_are_refused(score, codes, proba):
    with pytest.raises(ValueError, match=r"`sample_weight` must have the shape \(60,\)"):
        score(codes, proba, sample_weight=np.ones(5))


def test_bins_that_are_none_are_refused(codes, proba):
    with pytest.raises(ValueError, match=r"one of \['uniform', 'quantile'\]. Got 'kmeans'"):
        expected_calibration_error(codes, proba, strategy="kmeans")
    for n_bins in (0, 2.5, "auto"):
        with pytest.raises(ValueError, match=rf"`n_bins` must be a whole .* Got {n_bins!r}"):
            expected_calibration_error(codes, proba, n_bins=n_bins)
