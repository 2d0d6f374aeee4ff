"""optuna's searches over the parameters of our estimators."""

import pytest
from numpy.testing import assert_allclose, assert_array_equal
from questions import small_classifier, small_net
from sklearn.model_selection import cross_val_score
from skorch.dataset import ValidSplit

from sk_mcdropout.metrics import neg_crps_scorer

reason = 'optuna is not installed: pip install "sk-mcdropout[clients]"'
optuna = pytest.importorskip("optuna", reason=reason)
integration = pytest.importorskip("optuna_integration", reason=reason)
RATES = {"dropout": optuna.distributions.FloatDistribution(0.05, 0.5)}


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def search(net, X, y, **params):
    found = integration.OptunaSearchCV(net, RATES, cv=2, n_trials=3, random_state=0, **params)
    return found.fit(X, y)


def test_a_search_finds_the_score_of_its_best_rate(X, y):
    found = search(small_net(), X, y, scoring=neg_crps_scorer)
    best = small_net(**found.best_params_)
    expected = cross_val_score(best, X, y, scoring=neg_crps_scorer, cv=2).mean()
    assert_allclose(found.best_score_, expected, rtol=1e-5)
    assert_array_equal(found.predict(X), best.fit(X, y).predict(X))
    assert len({trial.value for trial in found.trials_}) == 3


def test_a_classifier_is_searched(X, labels):
    found = search(small_classifier(), X, labels, scoring="neg_log_loss")
    best = small_classifier(**found.best_params_).fit(X, labels)
    assert_array_equal(found.predict_proba(X), best.predict_proba(X))


def test_a_training_without_hope_is_cut_short(X, y):
    epochs = []

    def objective(trial):
        pruning = integration.SkorchPruningCallback(trial, "valid_loss")
        lr = 0.01 if trial.number == 0 else 0.0
        net = small_net(lr=lr, callbacks=[pruning], train_split=ValidSplit(3), max_epochs=4)
        try:
            return net.fit(X, y).history[-1, "valid_loss"]
        finally:
            epochs.append(len(net.history))

    study = optuna.create_study(pruner=optuna.pruners.MedianPruner(n_startup_trials=1))
    study.optimize(objective, n_trials=2)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED"]
    assert epochs[1] < epochs[0] == 4
