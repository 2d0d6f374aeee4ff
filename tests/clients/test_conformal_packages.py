"""MAPIE and crepes around our estimators: our conformal intervals, and sets of classes."""

import numpy as np
import pytest
from crepes import WrapClassifier, WrapRegressor
from mapie.classification import SplitConformalClassifier
from mapie.conformity_scores import StdConformityScore
from mapie.regression import CrossConformalRegressor, SplitConformalRegressor
from numpy.testing import assert_allclose, assert_array_equal
from questions import small_classifier

from sk_mcdropout import MCDropoutRegressor


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 3))
    return X, X[:, 0] + rng.normal(scale=0.5 + np.abs(X[:, 1]))


@pytest.fixture(scope="module", params=[None, "heteroscedastic"])
def net(data, request):
    X, y = data
    net = MCDropoutRegressor(noise=request.param, max_epochs=20, random_state=0)
    return net.fit(X[:150], y[:150])


@pytest.mark.parametrize("coverage", [0.6, 0.9])
def test_mapie_finds_our_intervals(net, data, coverage):
    X, y = data
    mapie = SplitConformalRegressor(net, coverage, StdConformityScore(sym=True), prefit=True)
    mapie.conformalize(X[150:249], y[150:249])  # (99 + 1) times the coverage is a whole number
    theirs = mapie.predict_interval(X[249:])[1].squeeze(2)
    ours = net.calibrate(X[150:249], y[150:249], "conformal").predict_interval(X[249:], coverage)
    assert_allclose(ours, theirs, rtol=1e-6)


class Difficulty:
    """What crepes divides the errors by: the std of the net."""

    def __init__(self, net):
        self.net = net

    def apply(self, X):
        return self.net.predict(X, return_std=True)[1]


@pytest.mark.parametrize("coverage", [0.6, 0.9])
def test_crepes_finds_our_intervals(net, data, coverage):
    X, y = data

    crepes = WrapRegressor(net).calibrate(X[150:250], y[150:250], de=Difficulty(net))
    theirs = crepes.predict_int(X[250:], confidence=coverage)
    ours = net.calibrate(X[150:250], y[150:250], "conformal").predict_interval(X[250:], coverage)
    assert_allclose(ours, theirs, rtol=1e-6)


def test_mapie_trains_copies_of_it_in_folds(data):
    X, y = data
    net = MCDropoutRegressor(max_epochs=5, random_state=0)
    mapie = CrossConformalRegressor(net, 0.9, cv=3).fit_conformalize(X[:200], y[:200])
    mean, interval = mapie.predict_interval(X[200:])
    inside = (interval[:, 0, 0] <= y[200:]) & (y[200:] <= interval[:, 1, 0])
    assert mean.shape == (100,)
    assert inside.mean() > 0.75  # 5 sigma of 100 rows below 0.9


# -- sets of classes -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kinds(data):
    y = data[1]
    return np.select([y < -0.5, y < 0.5], ["low", "middle"], "high")


@pytest.fixture(scope="module")
def classifier(data, kinds):
    return small_classifier().fit(data[0][:100], kinds[:100])


def conformal_sets(classifier, X, y, X_new, coverage):
    """Return the classes whose probability is not too low, from the definition."""
    known = np.searchsorted(classifier.classes_, y)
    scores = 1 - classifier.predict_proba(X)[np.arange(len(X)), known]
    rank = int(np.ceil((len(X) + 1) * coverage))
    return 1 - classifier.predict_proba(X_new) <= np.sort(scores)[rank - 1]


def test_sets_of_mapie_hold_the_classes_that_our_probabilities_do_not_exclude(
    data, kinds, classifier
):
    X = data[0]
    mapie = SplitConformalClassifier(classifier, 0.8, conformity_score="lac", prefit=True)
    mapie.conformalize(X[100:200], kinds[100:200])
    _, sets = mapie.predict_set(X[200:])
    by_hand = conformal_sets(classifier, X[100:200], kinds[100:200], X[200:], 0.8)
    assert_array_equal(sets[:, :, 0], by_hand)


def test_sets_of_crepes_hold_the_classes_that_our_probabilities_do_not_exclude(
    data, kinds, classifier
):
    X = data[0]
    crepes = WrapClassifier(classifier).calibrate(X[100:200], kinds[100:200])
    sets = crepes.predict_set(X[200:], confidence=0.8, smoothing=False)
    by_hand = conformal_sets(classifier, X[100:200], kinds[100:200], X[200:], 0.8)
    assert [set(found) for found in sets] == [set(classifier.classes_[row]) for row in by_hand]
