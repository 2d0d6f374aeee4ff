"""The cross-fitted ensemble of classifiers: its stack, its search and its probabilities."""

import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.metrics import log_loss
from sklearn.model_selection import GroupKFold, StratifiedKFold
from torch import nn

from sk_mcdropout import MLP, MCDropoutClassifier, MCDropoutClassifierCV
from sk_mcdropout.estimators import _stack
from sk_mcdropout.estimators._together import Task, fit_together


def make_net(**params):
    return MCDropoutClassifier(**{"module__hidden": (16,), "max_epochs": 8, **params})


def make_model(net=None, *, param_grid=None, **params):
    grid = {"dropout": [0.2]} if param_grid is None else param_grid
    defaults = {"cv": 3, "n_draws": 12, "random_state": 0}
    net = make_net(**(net or {}))
    return MCDropoutClassifierCV(net, param_grid=grid, **{**defaults, **params})


@pytest.fixture(scope="module")
def X():
    return load_iris().data


@pytest.fixture(scope="module")
def y():
    return np.array(["ash", "birch", "cedar"])[load_iris().target]


@pytest.fixture(scope="module")
def model(X, y):
    return make_model().fit(X, y)


# -- the stack -------------------------------------------------------------------------------------


class Probabilities(MLP):
    """A net that gives probabilities."""

    def forward(self, x):
        return super().forward(x).softmax(dim=-1)


STACKED = {
    "logits": {},
    "probabilities": {"module": Probabilities, "criterion": nn.NLLLoss},
    "weights of classes": {"class_weight": {"ash": 3, "birch": 1, "cedar": 0.5}},
    "probabilities with weights": {
        "module": Probabilities,
        "criterion": nn.NLLLoss,
        "class_weight": {"ash": 3, "birch": 1, "cedar": 0.5},
    },
    "chosen length": {"max_epochs": "auto", "batch_size": "auto"},
    "all rows at once": {"batch_size": -1},
}


@pytest.fixture
def stacks(monkeypatch):
    """Return the numbers of nets in the stacks that are made."""
    made, stacked = [], _stack._stacked

    def noted(nets, x):
        made.append(len(nets))
        return stacked(nets, x)

    monkeypatch.setattr(_stack, "_stacked", noted)
    return made


@pytest.mark.parametrize("params", STACKED.values(), ids=STACKED)
def test_a_stacked_fit_is_the_plain_fit(X, y, stacks, monkeypatch, params):
    if "max_epochs" in params:
        monkeypatch.setattr("sk_mcdropout.estimators._length._STEPS", 30)
    rows = [slice(None), slice(149), slice(1, None)]
    nets, alone = ([make_net(random_state=k, **params) for k in range(3)] for _ in "ab")
    errors = fit_together(
        [Task(net, X[some], y[some]) for net, some in zip(nets, rows, strict=True)]
    )
    assert errors == [None] * 3
    assert stacks == [3]
    for net, plain, some in zip(nets, alone, rows, strict=True):
        plain.fit(X[some], y[some])
        assert_allclose(net.history[:, "train_loss"], plain.history[:, "train_loss"], rtol=1e-4)
        assert_allclose(net.predict_proba(X), plain.predict_proba(X), atol=1e-3)
        assert set(vars(net)) == set(vars(plain))


def test_weights_of_rows_and_of_classes_are_stacked(X, y, stacks):
    weights = np.random.default_rng(0).uniform(0, 2, size=150)
    given = [None, "balanced", {"ash": 3, "birch": 1, "cedar": 1}]
    nets, alone = ([make_net(random_state=0, class_weight=w) for w in given] for _ in "ab")
    fit_together([Task(net, X[:140], y[:140], weights[:140]) for net in nets])
    assert stacks == [3]
    for net, plain in zip(nets, alone, strict=True):
        plain.fit(X[:140], y[:140], sample_weight=weights[:140])
        assert_allclose(net.history[:, "train_loss"], plain.history[:, "train_loss"], rtol=1e-4)
    assert nets[0].history[-1, "train_loss"] != nets[2].history[-1, "train_loss"]


# -- the search ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_scores_are_those_of_nets_trained_alone(X, y):
    cv = StratifiedKFold(3, shuffle=True, random_state=1)
    grid = {"dropout": [0.05, 0.5], "lr": [0.001, 0.01]}
    model = make_model(param_grid=grid, cv=cv).fit(X, y)
    for place, params in enumerate(model.cv_results_["params"]):
        for k, (train, test) in enumerate(cv.split(X, y)):
            seed = int(np.random.SeedSequence([model.seed_, k, 0]).generate_state(1)[0] % 2**31)
            net = make_net(random_state=seed, n_draws=12, **params).fit(X[train], y[train])
            score = -log_loss(y[test], net.predict_proba(X[test]), labels=net.classes_)
            found = model.cv_results_[f"split{k}_test_score"][place]
            assert_allclose(found, score, rtol=1e-3)
    mean = model.cv_results_["mean_test_score"]
    assert model.best_index_ == mean.argmax()
    assert model.best_params_ == model.cv_results_["params"][model.best_index_]


def test_a_scorer_of_yours_chooses_and_leaves_the_best_setting_alone(X, y):
    grid = {"lr": [1e-5, 0.02]}
    model = make_model(param_grid=grid, scoring="accuracy").fit(X, y)
    assert model.best_params_ == {"lr": 0.02}
    assert model.pooled_params_ == [{"lr": 0.02}]
    folds = StratifiedKFold(3, shuffle=True, random_state=model.seed_)
    for k, (_, test) in enumerate(folds.split(X, y)):
        accuracy = model.estimators_[k].score(X[test], y[test])
        assert model.cv_results_[f"split{k}_test_score"][1] == accuracy


@pytest.mark.slow
def test_settings_that_make_held_out_rows_likelier_are_pooled():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 4))
    y = (X[:, 0] + rng.normal(size=90) > 0).astype(int)
    grid = {"module__hidden": [(32,), (33,), (34,)]}
    too_sure = {"optimizer__weight_decay": 0.0, "dropout": 0.02, "lr": 0.02, "max_epochs": 80}
    model = make_model(too_sure, param_grid=grid).fit(X, y)
    assert model.pooled_params_[0] == model.best_params_
    assert len(model.estimators_) == 3 * len(model.pooled_params_)
    folds = StratifiedKFold(3, shuffle=True, random_state=model.seed_)
    shares = np.empty((len(model.pooled_params_), 90))
    for place in range(len(model.pooled_params_)):
        for k, (_, test) in enumerate(folds.split(X, y)):
            net = model.estimators_[3 * place + k]
            shares[place, test] = np.exp(net.log_prob(X[test], y[test]))
    scores = [np.log(shares[: n + 1].mean(axis=0)).mean() for n in range(len(shares))]
    assert scores == sorted(scores)
    assert len(scores) > 1


def test_the_default_grid_leaves_alone_what_was_given():
    def names(net):
        return set().union(*MCDropoutClassifierCV()._default_grid(net))

    whole = {"dropout", "module__embedding", "optimizer__weight_decay"}
    assert names(MCDropoutClassifier()) == whole
    assert names(MCDropoutClassifier(dropout=0.1)) == whole - {"dropout"}
    assert names(MCDropoutClassifier(module__embedding=None)) == whole - {"module__embedding"}
    given = MCDropoutClassifier(optimizer__weight_decay=0.1)
    assert names(given) == whole - {"optimizer__weight_decay"}
    assert names(MCDropoutClassifier(nn.Identity)) == {"dropout"}


# -- what held-out rows tell -----------------------------------------------------------------------


def test_no_row_is_predicted_by_a_net_that_knows_it(X, y, model):
    folds = StratifiedKFold(3, shuffle=True, random_state=model.seed_)
    for k, (_, test) in enumerate(folds.split(X, y)):
        draws = model._pooled([model.estimators_[k]], X[test], 12)
        expected = draws.reduce(lambda p, rows: (p,), axis=1)[0].mean(axis=0)
        assert_allclose(model.oof_proba_[test], expected, atol=1e-12)


@pytest.mark.slow
def test_the_temperature_is_the_likeliest_for_held_out_rows(X, y):
    net = {"lr": 0.0005, "max_epochs": 30}  # which has not learned enough, and is not sure enough
    model = make_model(net, calibration="temperature").fit(X, y)
    folds = StratifiedKFold(3, shuffle=True, random_state=model.seed_)
    logs, codes = [], []
    for k, (_, test) in enumerate(folds.split(X, y)):
        draws = model._pooled([model.estimators_[k]], X[test], 12)
        logs.append(np.log(draws.reduce(lambda p, rows: (p,), axis=1)[0].numpy()))
        codes.append(np.searchsorted(model.classes_, y[test]))
    logs, codes = np.concatenate(logs, axis=1), np.concatenate(codes)

    def loss(log_temperature):
        return log_loss(codes, softmax(logs / np.exp(log_temperature), axis=2).mean(axis=0))

    best = minimize_scalar(loss, bounds=(-3, 3), method="bounded")
    assert_allclose(np.log(model.temperature_), best.x, atol=0.02)
    assert model.temperature_ < 0.9
    again = clone(model).set_params(calibration=None).fit(X, y)
    assert not hasattr(again, "temperature_")
    assert log_loss(y, model.oof_proba_) < log_loss(y, again.oof_proba_)


# -- predictions -----------------------------------------------------------------------------------


def test_it_learns(X, y):
    model = make_model({"max_epochs": 60}).fit(X, y)
    assert model.score(X, y) > 0.95
    assert set(model.predict(X)) == {"ash", "birch", "cedar"}


def test_the_draws_of_all_nets_are_pooled(X, model):
    draws = model.draws(X)
    proba, std = model.predict_proba(X, return_std=True)
    assert draws.shape == (12, 150, 3)
    assert_allclose(proba, draws.mean(axis=0), atol=1e-14)
    assert_allclose(std, draws.std(axis=0, ddof=1), atol=1e-14)
    assert_allclose(proba.sum(axis=1), 1)
    of_nets = [draws[k::3].mean(axis=0) for k in range(3)]
    assert_allclose(np.mean(of_nets, axis=0), proba)
    assert np.abs(of_nets[0] - of_nets[1]).max() > 0.01
    alone = [net.set_params(n_draws=400).predict_proba(X) for net in model.estimators_]
    assert_allclose(model.predict_proba(X), np.mean(alone, axis=0), atol=0.15)


@pytest.mark.parametrize("rows", [[3], [5, 5, 2], slice(None, None, -1)])
def test_a_draw_is_a_function_of_the_row(X, model, rows):
    assert_allclose(model.draws(X[rows]), model.draws(X)[:, rows], rtol=1e-5)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_model(X, y, model):
    assert_array_equal(make_model().fit(X, y).draws(X), model.draws(X))
    assert_array_equal(pickle.loads(pickle.dumps(model)).draws(X), model.draws(X))
    first = pickle.loads(pickle.dumps(model)).set_params(n_draws=5)
    assert_allclose(first.draws(X), model.draws(X)[:5], rtol=1e-12)


@pytest.mark.slow
def test_one_net_on_all_rows(X, y):
    model = make_model(ensemble=False, members=2).fit(X, y)
    assert len(model.estimators_) == 2
    assert all(len(net.history) == 8 for net in model.estimators_)
    assert model.predict_proba(X).shape == (150, 3)
    assert np.isfinite(model.oof_proba_).all()


def test_a_class_that_a_fold_has_not_is_known(X, y):
    folds = [(np.arange(100), np.arange(100, 150)), (np.arange(50, 150), np.arange(50))]
    model = make_model(cv=folds).fit(X, y)
    assert model.draws(X).shape == (12, 150, 3)
    assert (model.predict_proba(X) > 0).all()
    assert_array_equal(model.classes_, ["ash", "birch", "cedar"])
    assert np.isnan(model.oof_proba_[50:100]).all()


@pytest.mark.slow
def test_the_classes_may_be_given_in_an_order(X, y):
    order = ["cedar", "ash", "birch", "oak"]
    with pytest.warns(UserWarning, match=r"`classes` must be sorted"):
        model = make_model({"classes": order, "max_epochs": 60}).fit(X, y)
    assert_array_equal(model.classes_, order)
    assert model.predict_proba(X).shape == (150, 4)
    assert model.score(X, y) > 0.9
    with pytest.raises(ValueError, match=r"y must hold the known classes alone\. Got \['cedar'\]"):
        make_model({"classes": ["ash", "birch"]}).fit(X, y)


@pytest.mark.slow
@pytest.mark.parametrize("labels", [[0, 7, 3], [False, True, True], [1.0, 2.0, 4.0]])
def test_labels_of_any_kind(X, y, labels):
    labels = np.array(labels)[load_iris().target]
    model = make_model({"max_epochs": 60}).fit(X, labels)
    assert_array_equal(model.classes_, np.unique(labels))
    assert model.score(X, labels) > 0.9


def test_frames_keep_their_names(X, y):
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = make_model().fit(frame, pd.Series(y))
    assert list(model.feature_names_in_) == list("abcd")
    assert model.predict_proba(frame).shape == (150, 3)


def test_groups_and_weights_are_routed(X, y):
    groups, weights = np.arange(150) % 7, np.linspace(0, 1, 150)
    plain = make_model(cv=GroupKFold(3)).fit(X, y, sample_weight=weights, groups=groups)
    with sklearn.config_context(enable_metadata_routing=True):
        model = make_model(cv=GroupKFold(3)).set_fit_request(sample_weight=True)
        model.fit(X, y, sample_weight=weights, groups=groups)
    assert_array_equal(model.oof_proba_, plain.oof_proba_)
    assert np.abs(make_model().fit(X, y).oof_proba_ - plain.oof_proba_).max() > 0.01


def test_what_cannot_be_meant_is_refused(X, y, model):
    refused = [
        ({"n_draws": 7}, {}, "`n_draws` must be given to MCDropoutClassifierCV.*Got 7 there"),
        ({}, {"calibration": "std"}, "calibration"),
        ({}, {"members": 0}, "members"),
    ]
    for net, params, match in refused:
        with pytest.raises(ValueError, match=match):
            make_model(net, **params).fit(X, y)
    with pytest.raises(ValueError, match="requires y to be passed"):
        make_model().fit(X, None)
    with pytest.raises(ValueError, match="Unknown label type"):
        make_model().fit(X, np.linspace(0, 1, 150))
    with pytest.raises(NotFittedError):
        make_model().predict(X)
    with pytest.raises(ValueError, match="3 features"):
        model.predict(X[:, :3])
    with pytest.raises(ValueError, match=r"known classes alone\. Got \['oak'\]"):
        model.log_prob(X[:1], ["oak"])
