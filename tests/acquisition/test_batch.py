"""Batches that tell most together: brute force, a process, and the laws of information."""

from itertools import product

import numpy as np
import pytest
from forecasts import Drawn, Normal
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import entropy
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_iris, make_regression
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_mcdropout import MCDropoutClassifier, MCDropoutRegressor
from sk_mcdropout.acquisition import _batch, batch_bald, mutual_information

IRIS = load_iris(return_X_y=True)
X, Y = make_regression(40, 3, noise=5.0, random_state=0)
ROWS = np.arange(12)


def dirichlet(*shape, seed=0):
    """Probabilities of draws, as unlike as those of an untrained net."""
    return np.random.default_rng(seed).dirichlet(np.full(shape[-1], 0.5), size=shape[:-1])


PROBA = dirichlet(8, 12, 3)


def information_of(proba, rows):
    """Go through the labels of some rows: their entropy less the mean entropy of the draws."""
    outcomes = list(product(range(proba.shape[2]), repeat=len(rows)))
    joint = np.array([proba[:, list(rows), outcome].prod(axis=1) for outcome in outcomes])
    return entropy(joint.mean(axis=1)) - entropy(joint).mean()


# -- classes -------------------------------------------------------------------------------------


def test_the_scores_are_those_of_all_labels_gone_through():
    indices, scores = batch_bald(Drawn(PROBA), ROWS, 4, return_scores=True)
    expected = [information_of(PROBA, indices[:size]) for size in (1, 2, 3, 4)]
    assert_allclose(scores, expected, rtol=1e-10)


def test_each_choice_is_the_best_beside_those_before_it():
    indices = batch_bald(Drawn(PROBA), ROWS, 3)
    for step, best in enumerate(indices):
        before = list(indices[:step])
        scores = {row: information_of(PROBA, [*before, row]) for row in ROWS if row not in before}
        assert best == max(scores, key=scores.get)


def test_the_first_choice_is_that_of_the_highest_mutual_information():
    model = MCDropoutClassifier(module__dropout=0.3, max_epochs=5, random_state=0).fit(*IRIS)
    single = mutual_information(model, IRIS[0])
    (first, *_), scores = batch_bald(model, IRIS[0], 3, return_scores=True)
    assert first == single.argmax()
    assert_allclose(scores[0], single.max())


@pytest.mark.parametrize("max_outcomes", [1, 50, 10_000])
def test_each_label_tells_less_than_the_one_before_and_never_nothing(max_outcomes):
    _, scores = batch_bald(
        Drawn(PROBA), ROWS, 6, max_outcomes=max_outcomes, return_scores=True, random_state=0
    )
    gains = np.diff(scores, prepend=0)
    assert (gains >= 0).all()
    if max_outcomes > 3**5:
        assert (np.diff(gains) <= 1e-12).all()
        assert scores[-1] <= np.log(len(PROBA))  # all there is to know: which draw it is


def test_labels_that_are_drawn_tell_about_what_all_of_them_do():
    proba = dirichlet(20, 12, 3, seed=1)
    chosen, rng = [0, 5, 7, 2], np.random.RandomState(0)
    exact = _batch._information(proba, *_batch._all_outcomes(proba[:, chosen]))
    estimates = [
        _batch._information(proba, *_batch._drawn_outcomes(proba[:, chosen], 500, rng))
        for _ in range(40)
    ]
    error = np.std(estimates, axis=0, ddof=1)
    assert_array_equal(error < 0.05 * exact, True)
    # Without a bias: the mean of 40 is off by less than 4 of its own standard errors.
    assert_array_equal(np.abs(np.mean(estimates, axis=0) - exact) < 4 * error / np.sqrt(40), True)


def test_the_chosen_rows_differ_and_so_do_seeds_where_labels_are_drawn():
    proba = dirichlet(8, 40, 5)
    batches = [
        batch_bald(Drawn(proba), np.arange(40), 12, max_outcomes=8, random_state=seed)
        for seed in (0, 0, 1)
    ]
    assert_array_equal(batches[0], batches[1])
    assert (batches[0] != batches[2]).any()
    assert [len(set(batch)) for batch in batches] == [12, 12, 12]


def test_a_row_of_which_each_draw_is_sure_tells_nothing_twice():
    sure = np.eye(3)[np.random.default_rng(0).integers(3, size=(8, 4))]
    twice = np.concatenate([sure, sure], axis=1)
    indices, scores = batch_bald(Drawn(twice), np.arange(8), 5, return_scores=True)
    assert set(indices[:4] % 4) == set(range(4))
    assert_allclose(scores[4], scores[3], atol=1e-12)


def test_a_batch_tells_more_than_the_rows_of_the_highest_single_scores():
    proba = np.concatenate([PROBA[:, [3]], PROBA], axis=1)
    proba[:, 1] = proba[:, 2] = proba[:, 0]
    indices, scores = batch_bald(Drawn(proba), np.arange(13), 3, return_scores=True)
    top = mutual_information(Drawn(proba), np.arange(13)).argsort()[-3:]
    assert scores[-1] > information_of(proba, top)
    assert len(set(indices)) == 3


def test_of_rows_that_tie_the_first_is_chosen():
    same = np.repeat(PROBA[:, [4]], 30, axis=1)
    assert_array_equal(batch_bald(Drawn(same), np.arange(30), 3), [0, 1, 2])
    nothing = np.full((8, 5, 3), 1 / 3)
    assert_array_equal(batch_bald(Drawn(nothing), np.arange(5), 5), np.arange(5))


def test_the_size_of_chunks_changes_nothing(monkeypatch):
    whole = batch_bald(Drawn(PROBA), ROWS, 5, return_scores=True)
    monkeypatch.setattr(_batch, "_NUMBERS_AT_ONCE", 1)
    parts = batch_bald(Drawn(PROBA), ROWS, 5, return_scores=True)
    assert_array_equal(parts[0], whole[0])
    assert_allclose(parts[1], whole[1])


def test_the_order_of_the_candidates_does_not_matter():
    indices = batch_bald(Drawn(PROBA), ROWS, 5)
    order = np.random.default_rng(0).permutation(12)
    assert_array_equal(order[batch_bald(Drawn(PROBA), order, 5)], indices)


def test_many_sure_rows_take_no_product_of_probabilities_to_0():
    rng = np.random.default_rng(0)
    proba = rng.dirichlet(np.full(4, 0.01), size=(10, 60))
    indices, scores = batch_bald(Drawn(proba), np.arange(60), 60, return_scores=True)
    assert sorted(indices) == list(range(60))
    assert np.isfinite(scores).all()
    assert scores[-1] <= np.log(10) + 1e-9


# -- normals -------------------------------------------------------------------------------------


def test_the_scores_of_normals_are_log_determinants():
    net = MCDropoutRegressor(noise="heteroscedastic", max_epochs=5, random_state=0).fit(X, Y)
    indices, scores = batch_bald(net, X, 4, return_scores=True)
    _, cov = net.predict(X, return_cov=True)
    noise = net.predict_decomposed(X)[2]
    for size in (1, 2, 3, 4):
        rows = indices[:size]
        expected = 0.5 * np.linalg.slogdet(cov[np.ix_(rows, rows)])[1] - np.log(noise[rows]).sum()
        assert_allclose(scores[size - 1], expected, rtol=1e-6)
    assert indices[0] == mutual_information(net, X).argmax()


def test_a_batch_of_a_process_is_that_of_single_choices_each_fitted():
    process = GaussianProcessRegressor(RBF(), alpha=0.25, optimizer=None)
    process.fit(X[:3], Y[:3])
    batch = batch_bald(process, X[3:], 5, noise_std=0.5)
    seen = [0, 1, 2]
    for best in batch:
        process.fit(X[seen], Y[seen])
        assert best == mutual_information(process, X[3:], noise_std=0.5).argmax()
        seen.append(3 + best)


def test_normals_tell_less_each_time_and_ties_go_to_the_first():
    process = GaussianProcessRegressor(RBF(), optimizer=None).fit(X[:2], Y[:2])
    twice = np.concatenate([X, X])
    indices, scores = batch_bald(process, twice, 20, noise_std=1.0, return_scores=True)
    gains = np.diff(scores, prepend=0)
    assert (gains > 0).all()
    assert (np.diff(gains) <= 1e-9).all()
    assert indices[0] < 40
    assert len(set(indices)) == 20


def test_what_the_estimator_answers_is_not_changed():
    cov = np.array([[2.0, 1.0], [1.0, 2.0]])

    class Given(Normal):
        def predict(self, X, return_std=False, return_cov=False):
            return (self.mean, cov) if return_cov else super().predict(X, return_std)

    batch_bald(Given([0.0, 0.0], [1.0, 1.0]), [0, 1], 2, noise_std=1.0)
    assert_array_equal(cov, [[2.0, 1.0], [1.0, 2.0]])


def test_a_model_in_a_pipeline_is_asked_as_alone():
    X, y = IRIS
    pipe = make_pipeline(StandardScaler(), MCDropoutClassifier(max_epochs=2, random_state=0))
    inputs = pipe.fit(X, y)[:-1].transform(X)
    assert_array_equal(batch_bald(pipe, X, 3), batch_bald(pipe[-1], inputs, 3))


# -- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, -1, 13, 1.5, "3"])
def test_a_batch_holds_some_of_the_candidates(size):
    with pytest.raises(ValueError, match=r"from 1 to 12, the number of candidates\. Got"):
        batch_bald(Drawn(PROBA), ROWS, size)
    with pytest.raises(ValueError, match=r"from 1 to 12, the number of candidates\. Got"):
        batch_bald(Normal(ROWS, 1 + ROWS), ROWS, size, noise_std=1.0)


def test_options_must_make_sense():
    with pytest.raises(ValueError, match=r"`max_outcomes` must be .* at least 1\. Got 0"):
        batch_bald(Drawn(PROBA), ROWS, 2, max_outcomes=0)
    with pytest.raises(ValueError, match=r"`noise_std` must be None for a classifier\. Got 1"):
        batch_bald(Drawn(PROBA), ROWS, 2, noise_std=1)


def test_models_without_draws_or_a_covariance_are_refused():
    with pytest.raises(TypeError, match="Got LogisticRegression, which has none"):
        batch_bald(LogisticRegression(max_iter=1000).fit(*IRIS), IRIS[0], 2)
    with pytest.raises(TypeError, match="Got Normal, which predicts no covariance"):
        batch_bald(Normal(ROWS, 1 + ROWS), ROWS, 2, noise_std=1.0)
    scaled = TransformedTargetRegressor(GaussianProcessRegressor(), transformer=StandardScaler())
    with pytest.raises(TypeError, match="Got TransformedTargetRegressor, which predicts no cov"):
        batch_bald(scaled.fit(X, Y), X, 2, noise_std=1.0)


def test_draws_must_be_finite_and_have_three_axes():
    with pytest.raises(ValueError, match=r"`draws` must have 3 axes\. Got the shape \(8, 12\)"):
        batch_bald(Drawn(PROBA[..., 0]), ROWS, 2)
    with pytest.raises(ValueError, match="`draws` contains NaN"):
        batch_bald(Drawn(np.full((2, 12, 3), np.nan)), ROWS, 2)


@pytest.mark.parametrize("draws", [np.log(PROBA), PROBA / 2])
def test_draws_must_be_probabilities(draws):
    with pytest.raises(ValueError, match=r"`draws` must be probabilities.* Got numbers from"):
        batch_bald(Drawn(draws), ROWS, 2)


def test_a_class_that_no_draw_takes_for_possible_is_never_drawn():
    proba = np.pad(dirichlet(8, 12, 3), ((0, 0), (0, 0), (1, 2))).astype(np.float32) * 0.999
    model, options = Drawn(proba), {"max_outcomes": 8, "return_scores": True}
    indices, scores = batch_bald(model, ROWS, 12, random_state=0, **options)
    assert sorted(indices) == list(ROWS)
    assert np.isfinite(scores).all()
