"""Where a label would tell most: closed forms, laws, and the estimators that are asked."""

import numpy as np
import pytest
from forecasts import Drawn, Normal
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import entropy
from sklearn.datasets import load_iris, make_regression
from sklearn.ensemble import RandomForestClassifier
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_mcdropout import MCDropoutClassifier, MCDropoutRegressor
from sk_mcdropout.acquisition import maximum_std, mutual_information, predictive_entropy

IRIS = load_iris(return_X_y=True)
X, Y = make_regression(60, 3, noise=5.0, random_state=0)


@pytest.fixture(scope="module")
def classifier():
    return MCDropoutClassifier(module__dropout=0.3, max_epochs=5, random_state=0).fit(*IRIS)


@pytest.fixture(scope="module")
def noisy():
    return MCDropoutRegressor(noise="heteroscedastic", max_epochs=5, random_state=0).fit(X, Y)


def dirichlet(*shape, seed=0):
    """Probabilities of draws, as unlike as those of an untrained net."""
    return np.random.default_rng(seed).dirichlet(np.full(shape[-1], 0.5), size=shape[:-1])


# -- the standard deviation ----------------------------------------------------------------------


def test_the_std_of_a_process_is_what_it_predicts():
    process = GaussianProcessRegressor(RBF(), optimizer=None).fit(X[:20], Y[:20])
    assert_array_equal(maximum_std(process, X), process.predict(X, return_std=True)[1])


def test_the_std_leaves_the_noise_out(noisy):
    assert_array_equal(maximum_std(noisy, X), noisy.predict_decomposed(X)[1])
    assert (maximum_std(noisy, X) < noisy.predict(X, return_std=True)[1]).all()


def test_the_std_is_that_of_the_best_model_of_a_search():
    net = MCDropoutRegressor(max_epochs=2, random_state=0)
    search = GridSearchCV(make_pipeline(StandardScaler(), net), {}, cv=2).fit(X, Y)
    scaler, best = search.best_estimator_
    assert_array_equal(
        maximum_std(search, X), best.predict(scaler.transform(X), return_std=True)[1]
    )


# -- entropy -------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [LogisticRegression(max_iter=1000), RandomForestClassifier(10)])
def test_the_entropy_of_any_classifier_is_that_of_its_probabilities(model):
    model.fit(*IRIS)
    expected = entropy(model.predict_proba(IRIS[0]), axis=1)
    assert_allclose(predictive_entropy(model, IRIS[0]), expected, atol=1e-15)


def test_probabilities_without_columns_are_refused():
    class OneColumn(Drawn):
        def predict_proba(self, X):
            return super().predict_proba(X)[:, 0]

    with pytest.raises(ValueError, match=r"`predicted proba` must have 2 axes.*\(4,\)"):
        predictive_entropy(OneColumn(dirichlet(3, 4, 2)), np.arange(4))


# -- mutual information ----------------------------------------------------------------------------


def test_the_information_of_classes_is_that_of_the_draws(classifier):
    proba = classifier.draws(IRIS[0])
    scores = mutual_information(classifier, IRIS[0])
    expected = entropy(proba.mean(axis=0), axis=1) - entropy(proba, axis=2).mean(axis=0)
    assert_allclose(scores, expected, atol=1e-12)
    assert_allclose(mutual_information(Drawn(proba), np.arange(150)), expected, atol=1e-12)


def test_the_information_is_a_divergence_of_labels_and_draws():
    proba = dirichlet(5, 7, 3)
    mean = proba.mean(axis=0)
    divergence = (proba * np.log(proba / mean)).sum(axis=2).mean(axis=0)
    assert_allclose(mutual_information(Drawn(proba), np.arange(7)), divergence)


def test_the_information_is_0_where_draws_agree_and_that_of_all_draws_where_none_do():
    agree = np.tile(dirichlet(1, 4, 3), (6, 1, 1))
    assert_allclose(mutual_information(Drawn(agree), np.arange(4)), 0, atol=1e-15)
    differ = np.eye(6)[:, None]  # each draw is sure of a class of its own
    assert_allclose(mutual_information(Drawn(differ), [0]), np.log(6))


def test_the_information_is_at_most_the_entropy():
    model = Drawn(dirichlet(5, 50, 4))
    rows = np.arange(50)
    scores = mutual_information(model, rows)
    assert (scores >= 0).all()
    assert (scores <= predictive_entropy(model, rows)).all()


def test_the_information_of_normals_is_the_difference_of_their_entropies(noisy):
    _, std, noise = noisy.predict_decomposed(X)
    both = np.hypot(std, noise)
    expected = np.log(both) - np.log(noise)  # entropies less 0.5 * log(2 * pi * e)
    assert_allclose(mutual_information(noisy, X), expected)


def test_a_noise_that_is_given_takes_the_place_of_that_which_is_told(noisy):
    _, std, _ = noisy.predict_decomposed(X)
    given = mutual_information(noisy, X, noise_std=2.0)
    assert_allclose(given, 0.5 * np.log(1 + std**2 / 4))
    assert_allclose(mutual_information(Normal(0 * std, std), np.arange(60), noise_std=2.0), given)


def test_the_information_about_a_process_is_what_it_gains_by_a_row():
    before = GaussianProcessRegressor(RBF(), alpha=0.09, optimizer=None).fit(X[:5], Y[:5])
    after = GaussianProcessRegressor(RBF(), alpha=0.09, optimizer=None).fit(X[:6], Y[:6])
    stds = [process.predict(X[5:6], return_std=True)[1] for process in (before, after)]
    expected = np.log(stds[0] / stds[1])  # the entropy of f there, before and after its y
    assert_allclose(mutual_information(before, X[5:6], noise_std=0.3), expected, rtol=1e-6)


def test_a_model_in_a_pipeline_is_asked_as_alone():
    X, y = IRIS
    pipe = make_pipeline(StandardScaler(), MCDropoutClassifier(max_epochs=2, random_state=0))
    inputs = pipe.fit(X, y)[:-1].transform(X)
    assert_array_equal(mutual_information(pipe, X), mutual_information(pipe[-1], inputs))


# -- bad input -------------------------------------------------------------------------------------


def test_without_noise_the_information_is_infinite_and_refused():
    quiet = MCDropoutRegressor(max_epochs=1, random_state=0).fit(X, Y)
    for model, rows in ((quiet, X), (Normal([0.0], [1.0]), [0])):
        with pytest.raises(
            ValueError, match=r"noise of y must be above 0 .* Got 0\.0\. Give `noise"
        ):
            mutual_information(model, rows)
    with pytest.raises(ValueError, match=r"`noise_std` must be a finite number\. Got nan"):
        mutual_information(quiet, X, noise_std=np.nan)


def test_a_classifier_has_no_noise(classifier):
    with pytest.raises(ValueError, match=r"`noise_std` must be None for a classifier\. Got 0\.1"):
        mutual_information(classifier, IRIS[0], noise_std=0.1)


def test_a_classifier_without_draws_is_refused():
    model = LogisticRegression(max_iter=1000).fit(*IRIS)
    with pytest.raises(TypeError, match="Got LogisticRegression, which has none"):
        mutual_information(model, IRIS[0])


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        (IRIS[0][:0], "0 sample"),
        (IRIS[0][:, :2], "2 features, but MCDropoutClassifier is expecting 4"),
        (np.full((1, 4), np.nan), "NaN"),
    ],
)
def test_candidates_must_be_rows_like_those_of_the_fit(classifier, candidates, message):
    for score in (mutual_information, predictive_entropy):
        with pytest.raises(ValueError, match=message):
            score(classifier, candidates)
