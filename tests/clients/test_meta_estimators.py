"""scikit-learn's estimators that are made of others, made of ours."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from questions import small_classifier, small_net
from scipy.stats import truncnorm
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    BaggingClassifier,
    BaggingRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - makes the next import work
from sklearn.frozen import FrozenEstimator
from sklearn.impute import IterativeImputer
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import cross_val_predict
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor
from sklearn.preprocessing import StandardScaler

# -- bags, votes and stacks ----------------------------------------------------------------------


def test_bagged_nets_predict_their_mean(X, y):
    bag = BaggingRegressor(small_net(), n_estimators=3, random_state=0).fit(X, y)
    members = [net.predict(X) for net in bag.estimators_]
    assert not np.allclose(members[0], members[1])
    assert_allclose(bag.predict(X), np.mean(members, axis=0), rtol=1e-9)


def test_bagged_classifiers_of_some_columns_predict_their_mean(X, labels):
    bag = BaggingClassifier(small_classifier(), n_estimators=3, max_features=2, random_state=0)
    bag.fit(X, labels)
    parts = zip(bag.estimators_, bag.estimators_features_, strict=True)
    members = [net.predict_proba(X[:, columns]) for net, columns in parts]
    assert not np.allclose(members[0], members[1])
    assert_allclose(bag.predict_proba(X), np.mean(members, axis=0), rtol=1e-6)


def test_a_net_has_its_vote(X, y, labels):
    vote = VotingRegressor([("net", small_net()), ("ridge", Ridge())], weights=[3, 1]).fit(X, y)
    by_hand = 3 * small_net().fit(X, y).predict(X) + Ridge().fit(X, y).predict(X)
    assert_allclose(vote.predict(X), by_hand / 4, rtol=1e-9)

    models = small_classifier(), LogisticRegression()
    vote = VotingClassifier(list(zip("ab", models, strict=True)), voting="soft").fit(X, labels)
    by_hand = [model.fit(X, labels).predict_proba(X) for model in models]
    assert_allclose(vote.predict_proba(X), np.mean(by_hand, axis=0), rtol=1e-6)


def test_a_stack_learns_from_what_nets_predict_out_of_fold(X, y):
    models = {"net": small_net(), "ridge": Ridge()}
    stack = StackingRegressor([*models.items()], LinearRegression(), cv=2).fit(X, y)
    columns = [cross_val_predict(model, X, y, cv=2) for model in models.values()]
    by_hand = LinearRegression().fit(np.transpose(columns), y)
    assert_allclose(stack.final_estimator_.coef_, by_hand.coef_, rtol=1e-6)
    assert_array_equal(stack.transform(X)[:, 0], small_net().fit(X, y).predict(X))


def test_a_stack_of_classifiers_takes_their_probabilities(X, labels):
    models = [("net", small_classifier()), ("line", LogisticRegression())]
    stack = StackingClassifier(models, cv=2).fit(X, labels)
    by_hand = small_classifier().fit(X, labels).predict_proba(X)[:, 1]
    assert_allclose(stack.transform(X)[:, 0], by_hand, rtol=1e-6)


def test_a_net_on_top_of_a_stack_tells_its_std(X, y):
    stack = StackingRegressor([("ridge", Ridge())], small_net(), cv=2).fit(X, y)
    mean, std = stack.predict(X, return_std=True)
    expected = stack.final_estimator_.predict(stack.transform(X), return_std=True)
    assert_array_equal([mean, std], expected)
    assert std.min() > 0


# -- targets and probabilities -------------------------------------------------------------------


def test_each_of_several_targets_has_a_net(X, y, labels):
    Y = np.column_stack([y, y**2])
    model = MultiOutputRegressor(small_net()).fit(X, Y)
    by_hand = [small_net().fit(X, column).predict(X) for column in Y.T]
    assert_array_equal(model.predict(X).T, by_hand)

    kinds = np.column_stack([labels, np.where(X[:, 0] > 0, "right", "left")])
    model = MultiOutputClassifier(small_classifier()).fit(X, kinds)
    by_hand = [small_classifier().fit(X, kind).predict_proba(X) for kind in kinds.T]
    assert_array_equal(model.predict_proba(X), by_hand)


def test_a_transformed_target_is_answered_in_its_own_units(X):
    y = np.exp(X[:, 0])
    model = TransformedTargetRegressor(small_net(), func=np.log, inverse_func=np.exp).fit(X, y)
    assert_allclose(model.predict(X), np.exp(small_net().fit(X, np.log(y)).predict(X)), rtol=1e-9)


def test_a_transformed_target_has_no_std(X, y):
    model = TransformedTargetRegressor(small_net(), transformer=StandardScaler()).fit(X, y)
    # It takes the pair of mean and std for a mean, whatever the estimator.
    with pytest.raises(AttributeError, match="'tuple' object has no attribute 'ndim'"):
        model.predict(X, return_std=True)


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_a_classifier_is_calibrated_in_folds(X, labels, method):
    model = CalibratedClassifierCV(small_classifier(max_epochs=20), method=method, cv=3)
    model.fit(X, labels, sample_weight=np.linspace(1, 2, 50))
    assert model.score(X, labels) > 0.8
    assert_array_equal(model.classes_, ["high", "low"])
    members = [member.predict_proba(X) for member in model.calibrated_classifiers_]
    assert_allclose(model.predict_proba(X), np.mean(members, axis=0))


def test_a_trained_classifier_is_calibrated_on_held_out_rows(X, labels):
    net = small_classifier().fit(X[:20], labels[:20])
    frozen = CalibratedClassifierCV(FrozenEstimator(net), method="isotonic", ensemble=False)
    frozen.fit(X[20:], labels[20:])
    curve = IsotonicRegression(out_of_bounds="clip")
    curve.fit(net.predict_proba(X[20:])[:, 1], labels[20:] == "low")
    expected = curve.predict(net.predict_proba(X)[:, 1])
    assert_allclose(frozen.predict_proba(X)[:, 1], expected, atol=1e-6)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_missing_values_are_filled_in_by_means_or_by_samples(X):
    holes, columns = X.copy(), X[:, [0, 2]]
    holes[::7, 1] = np.nan
    missing = np.isnan(holes[:, 1])
    net = small_net(noise=0.3)
    mean, std = clone(net).fit(columns[~missing], X[~missing, 1]).predict(columns[missing], True)

    def filled(**params):
        imputer = IterativeImputer(net, max_iter=1, skip_complete=True, random_state=0, **params)
        return imputer.fit_transform(holes)[missing, 1]

    assert_allclose(filled(), mean, rtol=1e-6)
    normal = truncnorm(-np.inf, np.inf, mean, std)
    by_hand = normal.rvs(random_state=np.random.RandomState(0))
    assert_allclose(filled(sample_posterior=True), by_hand, rtol=1e-6)
