"""scikit-learn's inspection of what our estimators have learned."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from questions import small_classifier, small_net
from sklearn.inspection import partial_dependence, permutation_importance
from torch import nn

from sk_mcdropout import MCDropoutRegressor
from sk_mcdropout.metrics import neg_crps_scorer


@pytest.fixture
def blind(X, y):
    """A net without a weight for the last column."""
    module = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 1))
    net = MCDropoutRegressor(module, max_epochs=3, n_draws=10, random_state=0).fit(X, y)
    net.module_[0].weight.data[:, 2] = 0
    return net


@pytest.mark.parametrize("scoring", ["r2", neg_crps_scorer])
def test_a_column_without_weights_has_no_importance_at_all(blind, X, y, scoring):
    # Draws of an estimator are the same at each call, so that no noise of theirs is in it.
    found = permutation_importance(blind, X, y, scoring=scoring, n_repeats=3, random_state=0)
    assert_array_equal(found.importances[2], np.zeros(3))
    assert (found.importances[:2] != 0).all()


def test_partial_dependence_is_the_prediction_with_one_column_replaced(X, y):
    net = small_net().fit(X, y)
    found = partial_dependence(net, X, [1], kind="both", grid_resolution=4)
    replaced = np.repeat(X[None], 4, axis=0)
    replaced[:, :, 1] = found["grid_values"][0][:, None]
    by_hand = np.stack([net.predict(table) for table in replaced])
    assert_allclose(found["individual"][0].T, by_hand, rtol=1e-9)
    assert_allclose(found["average"][0], by_hand.mean(axis=1), rtol=1e-9)


def test_partial_dependence_is_of_the_probability_of_the_second_class(X, labels):
    net = small_classifier().fit(X, labels)
    found = partial_dependence(net, X, [0], kind="individual", grid_resolution=3)
    replaced = X.copy()
    replaced[:, 0] = found["grid_values"][0][2]
    assert_allclose(found["individual"][0][:, 2], net.predict_proba(replaced)[:, 1], rtol=1e-6)
