"""scikit-optimize: our regressor as the model of its optimizer, and its search for parameters."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from questions import small_net
from sklearn.base import clone
from sklearn.model_selection import cross_val_score

reason = 'scikit-optimize is not installed: pip install "sk-mcdropout[dev]"'
skopt = pytest.importorskip("skopt", reason=reason)


@pytest.mark.parametrize("acq_func", ["EI", "LCB", "PI", "gp_hedge"])
def test_the_optimizer_asks_our_regressor_trained_on_all_that_it_was_told(acq_func):
    optimizer = skopt.Optimizer(
        [(-2.0, 2.0), (-2.0, 2.0)],
        base_estimator=small_net(),
        n_initial_points=4,
        acq_func=acq_func,
        acq_optimizer="sampling",
        acq_optimizer_kwargs={"n_points": 50},
        random_state=0,
    )
    for _ in range(6):
        point = optimizer.ask()
        optimizer.tell(point, float(np.sum(np.square(point))))
    assert len(optimizer.models) == 3
    points, found = optimizer.space.transform(optimizer.Xi), optimizer.models[-1]
    by_hand = clone(found).fit(points, optimizer.yi).predict(points, return_std=True)
    assert_allclose(found.predict(points, return_std=True), by_hand, rtol=1e-6)


def test_the_optimizer_asks_for_gradients_unless_it_is_told_to_sample():
    optimizer = skopt.Optimizer([(-2.0, 2.0)], base_estimator=small_net(), n_initial_points=1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'return_mean_grad'"):
        optimizer.tell([1.0], 1.0)


def test_a_search_finds_the_score_of_its_best_rate(X, y):
    rates = {"dropout": (0.05, 0.5)}
    search = skopt.BayesSearchCV(small_net(), rates, n_iter=3, cv=2, random_state=0).fit(X, y)
    expected = cross_val_score(small_net(**search.best_params_), X, y, cv=2).mean()
    assert_allclose(search.best_score_, expected, rtol=1e-5)
