"""CV+: intervals by the errors of the rows of all folds."""

import numpy as np
import pytest
from mapie.conformity_scores import AbsoluteConformityScore
from mapie.regression import CrossConformalRegressor
from numpy.testing import assert_allclose
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import KFold

from sk_mcdropout.predictive import ConformalCalibration, CrossConformalCalibration

N_ROWS = [7, 9, 4]
N_NEW = 30


class Folds:
    """Stands in for the predictive distribution of new rows."""

    def __init__(self, means, stds):
        self.of_folds = list(zip(means, stds, strict=True))

    def mean_and_std_of_folds(self):
        return self.of_folds


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def errors(rng):
    return [rng.normal(size=n) + 0.3 for n in N_ROWS]


@pytest.fixture
def new(rng):
    return Folds(rng.normal(size=(3, N_NEW)), rng.uniform(0.5, 2, size=(3, N_NEW)))


def calibration(errors, weights=(None,) * 3):
    folds = []
    for of_fold, weight in zip(errors, weights, strict=True):
        order = np.argsort(of_fold)
        known = None if weight is None else weight[order]
        folds.append(ConformalCalibration(of_fold[order], known))
    return CrossConformalCalibration(folds)


def by_definition(errors, new, coverage):
    """Barber et al. (2021), eq. 4, with errors in units of the std of their fold."""
    below, above = [], []
    for of_fold, (mean, std) in zip(errors, new.of_folds, strict=True):
        below += [mean - std * abs(error) for error in of_fold]
        above += [mean + std * abs(error) for error in of_fold]
    n = len(below)
    rank = int(np.ceil((n + 1) * coverage - 1e-9))
    return np.sort(below, axis=0)[n - rank], np.sort(above, axis=0)[rank - 1]


@pytest.mark.parametrize("coverage", [0.1, 0.5, 0.9, 20 / 21])
def test_the_interval_is_that_of_the_definition(errors, new, coverage):
    ends = calibration(errors).interval(new, np.array([coverage]))
    lower, upper = by_definition(errors, new, coverage)
    assert ends.shape == (N_NEW, 1, 2)
    assert_allclose(ends[:, 0, 0], lower)
    assert_allclose(ends[:, 0, 1], upper)


def test_equal_nets_give_the_split_conformal_answers(errors, rng):
    mean, std = rng.normal(size=N_NEW), rng.uniform(0.5, 2, size=N_NEW)
    same = Folds([mean] * 3, [std] * 3)
    plain, levels = ConformalCalibration(np.sort(np.concatenate(errors))), np.array([0.1, 0.5, 0.9])

    class Plain:
        def mean_and_std(self):
            return mean, std

    cross = calibration(errors)
    assert_allclose(cross.interval(same, levels), plain.interval(Plain(), levels))
    assert_allclose(cross.quantiles(same, levels), plain.quantiles(Plain(), levels))
    assert_allclose(cross.cdf(same, mean + 0.5), plain.cdf(Plain(), mean + 0.5))


def test_a_row_of_weight_two_is_two_rows(errors, new, rng):
    weights = [rng.integers(0, 3, size=n).astype(float) for n in N_ROWS]
    repeated = [np.repeat(e, w.astype(int)) for e, w in zip(errors, weights, strict=True)]
    levels = np.array([0.3, 0.8])
    weighted, plain = calibration(errors, weights), calibration(repeated)
    assert_allclose(weighted.interval(new, levels), plain.interval(new, levels))
    assert_allclose(weighted.quantiles(new, levels), plain.quantiles(new, levels))
    assert_allclose(weighted.cdf(new, np.zeros(N_NEW)), plain.cdf(new, np.zeros(N_NEW)))


def test_quantiles_and_probabilities_are_each_others_inverse(errors, new):
    cross, ranks = calibration(errors), np.array([1, 8, 20])
    quantiles = cross.quantiles(new, ranks / 21)
    for column, rank in zip(quantiles.T, ranks, strict=True):
        assert_allclose(cross.cdf(new, column + 1e-9), rank / 21)


def test_each_target_has_votes_of_its_own(errors, rng):
    both = [np.column_stack([e, 10 * e]) for e in errors]
    means, stds = rng.normal(size=(3, N_NEW, 2)), rng.uniform(0.5, 2, size=(3, N_NEW, 2))
    folds = [ConformalCalibration(np.sort(e, axis=0)) for e in both]
    new, cross = Folds(means, stds), CrossConformalCalibration(folds)
    one = Folds(means[..., 1], stds[..., 1])
    alone = calibration([e[:, 1] for e in both])
    levels = np.array([0.5, 0.8])
    assert_allclose(cross.interval(new, levels)[:, 1], alone.interval(one, levels))
    assert_allclose(cross.quantiles(new, levels)[:, 1], alone.quantiles(one, levels))
    values = rng.normal(size=(N_NEW, 2))
    assert_allclose(cross.cdf(new, values)[:, 1], alone.cdf(one, values[:, 1]))


def test_more_than_the_rows_can_tell_is_refused(errors, new):
    cross = calibration(errors)
    with pytest.raises(ValueError, match=r"enough rows.*Got 20 rows for \[0\.96\]"):
        cross.interval(new, np.array([0.96]))
    with pytest.raises(ValueError, match=r"Got 20 rows for \[0\.04\]"):
        cross.quantiles(new, np.array([0.04]))


def test_a_std_of_zero_makes_the_votes_of_a_fold_equal(errors, rng):
    new = Folds(np.arange(3.0)[:, None] * np.ones(N_NEW), np.zeros((3, N_NEW)))
    ends = calibration(errors).interval(new, np.array([0.9]))[:, 0]
    assert_allclose(ends, [[0, 2]] * N_NEW, atol=1e-12)


@pytest.mark.parametrize("coverage", [0.5, 0.9])
def test_mapie_finds_our_intervals(rng, coverage):
    X, y = rng.normal(size=(99, 3)), rng.normal(size=99)
    X_new = rng.normal(size=(N_NEW, 3))
    cv = KFold(4, shuffle=True, random_state=0)
    score = AbsoluteConformityScore(sym=True)
    mapie = CrossConformalRegressor(LinearRegression(), coverage, score, method="plus", cv=cv)
    theirs = mapie.fit_conformalize(X, y).predict_interval(X_new)[1].squeeze(2)
    errors, means = [], []
    for train, test in cv.split(X):
        model = LinearRegression().fit(X[train], y[train])
        errors.append(y[test] - model.predict(X[test]))
        means.append(model.predict(X_new))
    new = Folds(means, np.ones((4, N_NEW)))
    ours = calibration(errors, [None] * 4).interval(new, np.array([coverage]))[:, 0]
    assert_allclose(ours, theirs)


@pytest.mark.slow
def test_the_intervals_hold_what_is_guaranteed(rng):
    n_folds, n, coverage, inside = 5, 50, 0.8, []
    for _ in range(300):
        y = rng.standard_t(3, size=n + 20)
        parts = np.split(y[:n], n_folds)
        means = [np.concatenate(parts[:k] + parts[k + 1 :]).mean() for k in range(n_folds)]
        errors = [part - mean for part, mean in zip(parts, means, strict=True)]
        new = Folds(np.outer(means, np.ones(20)), np.ones((n_folds, 20)))
        ends = calibration(errors, [None] * n_folds).interval(new, np.array([coverage]))[:, 0]
        inside.append(((ends[:, 0] <= y[n:]) & (y[n:] <= ends[:, 1])).mean())
    least = min(2 * (1 - 1 / n_folds) / (n / n_folds + 1), (1 - n_folds / n) / (n_folds + 1))
    assert np.mean(inside) >= 2 * coverage - 1 - least
    assert abs(np.mean(inside) - coverage) < 4 * np.std(inside) / np.sqrt(300) + 1 / (n + 1)
