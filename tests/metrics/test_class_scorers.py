"""The scorers of classifiers, and how classifiers are asked."""

import pickle

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import entropy
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from sk_mcdropout import MCDropoutClassifier, metrics
from sk_mcdropout.metrics import predict_class_uncertainty

X, CODES = load_iris(return_X_y=True)
Y = np.array(["setosa", "versicolor", "virginica"])[CODES]
LOGISTIC = LogisticRegression(C=0.01).fit(X, Y)
# Not in the order of their names, as only some classifiers allow.
CLASSES = ["virginica", "setosa", "versicolor"]

BY_HAND = {
    "neg_brier_score_scorer": metrics.brier_score,
    "neg_expected_calibration_error_scorer": metrics.expected_calibration_error,
}
all_scorers = pytest.mark.parametrize("name", BY_HAND)


@pytest.fixture(scope="module")
def net():
    net = MCDropoutClassifier(max_epochs=10, n_draws=10, classes=CLASSES, random_state=0)
    with pytest.warns(UserWarning, match="`classes` must be sorted"):
        return net.fit(X, Y)


@all_scorers
@pytest.mark.parametrize("rows", [slice(None), slice(40, 60)], ids=["all", "two classes"])
def test_a_scorer_answers_minus_its_metric(name, rows, net):
    scorer, weights = getattr(metrics, name), np.arange(len(Y[rows])) % 3
    for model in (LOGISTIC, net):
        forecast = Y[rows], model.predict_proba(X[rows])
        for options in ({}, {"sample_weight": weights}):
            actual = scorer(model, X[rows], Y[rows], **options)
            expected = -BY_HAND[name](*forecast, labels=model.classes_, **options)
            assert isinstance(actual, float)
            assert_allclose(actual, expected, rtol=1e-10)


@all_scorers
@pytest.mark.parametrize("routing", [False, True], ids=["routing off", "routing on"])
def test_a_scorer_works_in_searches_and_pipelines(name, routing):
    scorer = getattr(metrics, name)
    with sklearn.config_context(enable_metadata_routing=routing):
        pipe = make_pipeline(StandardScaler(), LogisticRegression())
        folds = StratifiedKFold(3)
        search = GridSearchCV(pipe, {"logisticregression__C": [1.0]}, scoring=scorer, cv=folds)
        search.fit(X, Y)
        by_hand = [
            scorer(clone(pipe).fit(X[train], Y[train]), X[test], Y[test])
            for train, test in folds.split(X, Y)
        ]
        assert_allclose(search.best_score_, np.mean(by_hand), rtol=1e-12)
        assert scorer(search, X, Y) == scorer(search.best_estimator_, X, Y)
        scoring = {"log": "neg_log_loss", "other": scorer}
        # scikit-learn 1.6 wants `params` with metadata routing
        scores = cross_validate(pipe, X, Y, scoring=scoring, cv=folds, params={})
        assert_allclose(scores["test_other"], by_hand, rtol=1e-12)


@all_scorers
@pytest.mark.parametrize(
    "again", [pickle.loads, lambda scorer: clone(scorer, safe=False)], ids=["pickled", "cloned"]
)
def test_a_scorer_is_cloned_and_pickled(name, again):
    scorer = getattr(metrics, name)
    copied = again(pickle.dumps(scorer) if again is pickle.loads else scorer)
    assert copied(LOGISTIC, X, Y) == scorer(LOGISTIC, X, Y)


@all_scorers
def test_what_predicts_no_probabilities_is_refused(name):
    model = LinearSVC().fit(X, Y)
    with pytest.raises(TypeError, match=r"must have `predict_proba`. Got LinearSVC. Give a"):
        getattr(metrics, name)(model, X, Y)
    with pytest.raises(NotFittedError):
        getattr(metrics, name)(LogisticRegression(), X, Y)


@all_scorers
def test_a_class_that_the_classifier_does_not_know_is_refused(name):
    with pytest.raises(ValueError, match=r"name each class of `y_true`.*'oak'"):
        getattr(metrics, name)(LOGISTIC, X, np.where(CODES, Y, "oak"))


# -- the uncertainties -----------------------------------------------------------------------------


def test_the_uncertainty_of_a_net_is_its_own(net):
    fields = net.predict_uncertainty(X)._asdict()
    assert list(fields) == list(metrics.UNCERTAINTIES)
    for name, values in fields.items():
        turned = name in ("margin", "max_probability")
        expected = 1 - values if turned else values
        assert_array_equal(predict_class_uncertainty(net, X, name), expected)


def test_the_uncertainty_of_another_classifier_follows_from_its_probabilities():
    proba = LOGISTIC.predict_proba(X)
    assert_allclose(predict_class_uncertainty(LOGISTIC, X), entropy(proba, axis=1), rtol=1e-10)
    _, second, first = np.sort(proba, axis=1).T
    assert_allclose(predict_class_uncertainty(LOGISTIC, X, "margin"), 1 - (first - second))
    assert_allclose(predict_class_uncertainty(LOGISTIC, X, "max_probability"), 1 - first)


def test_one_class_is_certain():
    class One:
        classes_ = ["all"]

        def predict_proba(self, X):
            return np.ones((len(X), 1))

    for name in ("predictive_entropy", "margin", "max_probability"):
        assert_array_equal(predict_class_uncertainty(One(), X, name), np.zeros(150))


def test_a_net_is_found_in_pipelines_and_searches(net):
    with pytest.warns(UserWarning, match="`classes` must be sorted"):
        pipe = make_pipeline(StandardScaler(), net).fit(X, Y)
    expected = pipe[-1].predict_uncertainty(pipe[0].transform(X)).mutual_information
    assert_array_equal(predict_class_uncertainty(pipe, X, "mutual_information"), expected)


def test_an_uncertainty_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"one of \['predictive_entropy', .*Got 'entropy'"):
        predict_class_uncertainty(LOGISTIC, X, "entropy")
    with pytest.raises(TypeError, match=r"'mutual_information'. Got LogisticRegression, which"):
        predict_class_uncertainty(LOGISTIC, X, "mutual_information")
    with pytest.raises(TypeError, match=r"must have `predict_proba`. Got Ridge"):
        predict_class_uncertainty(Ridge().fit(X, CODES), X)
