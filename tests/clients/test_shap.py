"""Shapley values of what our estimators predict."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from questions import small_classifier, small_net
from torch import nn

from sk_mcdropout import MCDropoutRegressor

reason = 'shap is not installed: pip install "sk-mcdropout[clients]"'
shap = pytest.importorskip("shap", reason=reason)


def explained(predict, X):
    """Return the values of the first 3 rows and what is expected without knowing a column."""
    explainer = shap.KernelExplainer(predict, X[:10])  # of 3 columns it takes all subsets
    return explainer.shap_values(X[:3], silent=True), explainer.expected_value


def test_of_a_linear_net_they_are_the_closed_form(X, y):
    module = nn.Sequential(nn.Dropout(0.0), nn.Linear(3, 1))
    net = MCDropoutRegressor(module, dropout=0.1, max_epochs=3, n_draws=400, random_state=0)
    net.fit(X, y)
    slope = net.predict(np.eye(3)) - net.predict(np.zeros((1, 3)))
    values, _ = explained(net.predict, X)
    assert_allclose(values, slope * (X[:3] - X[:10].mean(axis=0)), atol=1e-4)


def test_they_add_up_to_the_prediction(X, y, labels):
    net, classifier = small_net().fit(X, y), small_classifier().fit(X, labels)
    for predict in (net.predict, lambda X: net.predict(X, True)[1], classifier.predict_proba):
        values, expected = explained(predict, X)
        assert_allclose(values.sum(axis=1) + expected, predict(X[:3]), atol=1e-4)


def test_the_module_is_explained_by_its_gradients(X, y):
    net = MCDropoutRegressor(
        nn.Sequential(nn.Linear(3, 1), nn.Dropout(0.2)), max_epochs=3, random_state=0
    ).fit(X, y)
    x = torch.from_numpy(X.astype(np.float32))
    values = shap.GradientExplainer(net.module_, x[:10]).shap_values(x[:3], nsamples=500, rseed=0)
    slope = net.module_[0].weight.detach().numpy()[0]
    # In the mean over the background; 500 of its rows are drawn at random.
    assert_allclose(values[:, :, 0], slope * (X[:3] - X[:10].mean(axis=0)), atol=0.2)
