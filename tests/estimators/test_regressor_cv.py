"""The cross-fitted ensemble: its search, what held-out rows tell, and its predictions."""

import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.ensemble import RandomForestRegressor
from sklearn.exceptions import NotFittedError
from sklearn.metrics import root_mean_squared_error
from sklearn.model_selection import GroupKFold, KFold, RepeatedKFold, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sk_mcdropout import MLP, MCDropoutRegressor, MCDropoutRegressorCV
from sk_mcdropout.displays import ReliabilityDisplay
from sk_mcdropout.estimators import _stack
from sk_mcdropout.estimators._search import Fold, Setting, pool_of
from sk_mcdropout.metrics import neg_crps_scorer
from sk_mcdropout.predictive import likeliest_noise

RATES = {"dropout": [0.05, 0.3]}


def make_model(net=None, *, param_grid=None, **params):
    net = MCDropoutRegressor(**{"module__hidden": (16,), "max_epochs": 8, **(net or {})})
    grid = {"dropout": [0.2]} if param_grid is None else param_grid
    return MCDropoutRegressorCV(
        net, param_grid=grid, **{"cv": 3, "n_draws": 12, "random_state": 0, **params}
    )


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(90, 3))


@pytest.fixture(scope="module")
def y(X):
    return 50 + 10 * X[:, 0] + np.random.default_rng(1).normal(size=90)


@pytest.fixture(scope="module")
def model(X, y):
    return make_model().fit(X, y)


# -- the search ------------------------------------------------------------------------------------


def test_the_scores_are_those_of_nets_trained_alone(X, y):
    cv = KFold(3, shuffle=True, random_state=1)
    model = make_model(param_grid=RATES, cv=cv, noise=0.9).fit(X, y)
    scores = np.empty((2, 3))
    for k, (train, test) in enumerate(cv.split(X)):
        seed = int(np.random.SeedSequence([model.seed_, k, 0]).generate_state(1)[0] % 2**31)
        for s, rate in enumerate(RATES["dropout"]):
            net = clone(model.estimator).set_params(dropout=rate, noise=0.9, n_draws=12)
            net.set_params(random_state=seed).fit(X[train], y[train])
            scores[s, k] = net.log_prob(X[test], y[test]).mean()
    table = model.cv_results_
    found = np.column_stack([table[f"split{k}_test_score"] for k in range(3)])
    assert_allclose(found, scores, rtol=1e-3)
    assert_allclose(table["mean_test_score"], scores.mean(axis=1), rtol=1e-3)
    assert_allclose(table["std_test_score"], scores.std(axis=1), rtol=1e-2)
    best = scores.mean(axis=1).argmax()
    assert model.best_index_ == best
    assert model.best_params_ == {"dropout": RATES["dropout"][best]} == table["params"][best]
    assert model.best_score_ == table["mean_test_score"][best]
    assert table["rank_test_score"].tolist() == [1 + (best != s) for s in range(2)]
    assert table["param_dropout"].tolist() == RATES["dropout"]
    assert (table["mean_fit_time"] > 0).all()
    assert (table["mean_score_time"] > 0).all()
    assert pd.DataFrame(table).shape == (2, 12)
    assert all(net.dropout == model.best_params_["dropout"] for net in model.estimators_)


@pytest.mark.parametrize("scoring", [neg_crps_scorer, "neg_root_mean_squared_error"])
def test_any_scorer_chooses(X, y, scoring):
    model = make_model(param_grid=RATES, scoring=scoring, noise=None).fit(X, y)
    scores = model.cv_results_["mean_test_score"]
    assert (scores < 0).all()
    assert model.best_score_ == scores.max()
    errors = model.oof_prediction_ - y
    if scoring == "neg_root_mean_squared_error":
        assert abs(-model.best_score_ - np.sqrt(np.mean(errors**2))) < 0.2 * -model.best_score_


def test_the_noise_may_be_searched_for(X, y):
    grid = [{"noise": ["estimate", "heteroscedastic"]}, {"noise": [100.0], "lr": [0.01]}]
    model = make_model(param_grid=grid).fit(X, y)
    noises = [params["noise"] for params in model.cv_results_["params"]]
    assert noises == ["estimate", "heteroscedastic", 100.0]
    assert model.cv_results_["rank_test_score"][2] == 3
    assert model.cv_results_["param_lr"].mask.tolist() == [True, True, False]
    assert model.noise_ == model.best_params_["noise"]


def default_grid_of(net):
    return MCDropoutRegressorCV()._default_grid(net)


def test_the_default_grid_leaves_alone_what_was_given():
    whole, with_decay = default_grid_of(MCDropoutRegressor())
    assert set(whole) == {"dropout", "module__embedding"}
    assert min(whole["dropout"]) == 0.005
    assert max(whole["dropout"]) == 0.2
    assert with_decay == {**whole, "optimizer__weight_decay": [0.01]}
    assert len(default_grid_of(MCDropoutRegressor(optimizer__weight_decay=0.1))) == 1
    assert len(default_grid_of(MCDropoutRegressor(optimizer=torch.optim.Adam))) == 1
    assert set(default_grid_of(MCDropoutRegressor(dropout=0.1))[0]) == {"module__embedding"}
    assert set(default_grid_of(MCDropoutRegressor(module__embedding=None))[0]) == {"dropout"}
    assert [set(part) for part in default_grid_of(MCDropoutRegressor(nn.Identity))] == [{"dropout"}]
    assert default_grid_of(MCDropoutRegressor(nn.Identity, dropout=0.1)) == [{}]


# -- settings that are pooled ----------------------------------------------------------------------


def make_setting(*log_densities):
    """Return a setting whose nets have log densities of some rows of two folds."""
    folds = [np.asarray(part, dtype=float) for part in log_densities]
    return Setting({}, [], log_densities=folds)


@pytest.fixture
def folds():
    rows = np.arange(2)
    return [Fold(rows, None, None, None, None, None, None)] * 2


def test_settings_that_are_right_elsewhere_are_added(folds):
    one, other = make_setting([0, -9], [0, -9]), make_setting([-9, -0.5], [-9, -0.5])
    worse = make_setting([-9, -9], [-9, -9])
    assert pool_of([worse, other, one], one, folds) == [one, other]
    assert pool_of([one, worse], one, folds) == [one]


def test_the_setting_that_brings_most_is_added_first(folds):
    best = make_setting([0, -9], [0, -9])
    much, little = make_setting([-9, -1], [-9, -1]), make_setting([-9, -2], [-9, -9])
    assert pool_of([little, much, best], best, folds)[:2] == [best, much]


def test_an_equal_setting_brings_nothing(folds):
    same = [make_setting([0, -1], [-2, -3]) for _ in range(3)]
    assert pool_of(same, same[1], folds) == [same[1]]


@pytest.mark.slow
def test_settings_of_another_noise_stay_out(X, y):
    noises = ["heteroscedastic", "estimate", 1.0]
    net = {"max_epochs": 150, "optimizer__weight_decay": 0.0}
    grid = {"dropout": [0.02, 0.1], "lr": [0.005, 0.01], "noise": noises}
    model = make_model(net, param_grid=grid, n_draws=60).fit(X, y + 10 * np.sin(3 * X[:, 1]))
    assert {params["noise"] for params in model.pooled_params_} == {model.best_params_["noise"]}
    assert len(model.pooled_params_) > 1


def test_rows_of_weight_0_do_not_count(folds):
    folds = [fold._replace(weights=np.array([1.0, 0.0])) for fold in folds]
    one, other = make_setting([0, -9], [0, -9]), make_setting([-9, 0], [-9, 0])
    assert pool_of([one, other], one, folds) == [one]


@pytest.mark.slow
def test_without_noise_or_with_another_scoring_the_best_setting_is_alone(X, y):
    grid = {"dropout": [0.05, 0.3], "lr": [0.001, 0.01]}
    for params in ({"noise": None}, {"scoring": neg_crps_scorer}, {"ensemble": False}):
        model = make_model(param_grid=grid, **params).fit(X, y)
        assert model.pooled_params_ == [model.best_params_]


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["estimate", "heteroscedastic"])
def test_nets_of_several_settings_are_pooled(X, y, noise):
    grid = {"dropout": [0.02, 0.1], "lr": [0.005, 0.01]}
    net = {"max_epochs": 150, "optimizer__weight_decay": 0.0}
    y = y + 10 * np.sin(3 * X[:, 1])
    model = make_model(net, param_grid=grid, noise=noise, n_draws=60, members=2).fit(X, y)
    pooled = model.pooled_params_
    assert pooled[0] == model.best_params_
    assert len(pooled) > 1
    assert len(model.estimators_) == 2 * 3 * len(pooled)
    rates = [net.dropout for net in model.estimators_[: 3 * len(pooled)]]
    assert rates == [params["dropout"] for params in pooled for _ in range(3)]
    assert model.predict(X, return_std=True)[1].shape == (90,)


def test_a_setting_that_diverges_is_told_and_ranked_last(X, y):
    grid = {"lr": [1e30, 0.005]}
    with pytest.warns(UserWarning, match=r"Got 1 of 2 that do not, such as \{'lr': 1e\+30\}"):
        model = make_model(param_grid=grid).fit(X, y)
    assert np.isnan(model.cv_results_["mean_test_score"]).tolist() == [True, False]
    assert model.cv_results_["rank_test_score"].tolist() == [2, 1]
    assert model.best_params_ == {"lr": 0.005}


def test_where_all_settings_diverge_that_is_an_error(X, y):
    model = make_model(param_grid={"lr": [1e30]})
    with pytest.raises(ValueError, match="Lower `lr`"):
        model.fit(X, y)
    assert not hasattr(model, "n_features_in_")


# -- what held-out rows tell -----------------------------------------------------------------------


def test_no_row_is_predicted_by_a_net_that_knows_it(X, y):
    cv = KFold(3)
    changed = y.copy()
    changed[:30] += 1000  # of the first fold
    one, other = (make_model(cv=cv, noise=None).fit(X, target) for target in (y, changed))
    assert_allclose(other.oof_prediction_[:30], one.oof_prediction_[:30], rtol=1e-4)
    assert (np.abs(other.oof_prediction_[30:] - one.oof_prediction_[30:]) > 1).all()


def test_the_prediction_out_of_fold_is_the_mean_of_the_nets_of_the_fold(X, y):
    cv = KFold(3)
    model = make_model(cv=cv, members=2, n_draws=400).fit(X, y)
    for k, (_, test) in enumerate(cv.split(X)):
        nets = model.estimators_[k::3]
        draws = np.concatenate([net.set_params(n_draws=200).draws(X[test]) for net in nets])
        error = 5 * draws.std(axis=0) / np.sqrt(400)
        assert (np.abs(model.oof_prediction_[test] - draws.mean(axis=0)) < error).all()


def test_rows_that_are_held_out_never_or_twice(X, y):
    never = make_model(cv=ShuffleSplit(1, test_size=30, random_state=0)).fit(X, y)
    assert np.isnan(never.oof_prediction_).sum() == 60
    twice = make_model(cv=RepeatedKFold(n_splits=2, n_repeats=2, random_state=0)).fit(X, y)
    assert np.isfinite(twice.oof_prediction_).all()
    assert len(twice.estimators_) == twice.n_splits_ == 4


def test_the_noise_is_the_likeliest_for_held_out_rows(X, y):
    cv = KFold(3)
    model = make_model(cv=cv, noise="estimate", n_draws=200).fit(X, y)
    draws = [
        net.set_params(noise=None).draws(X[test])
        for net, (_, test) in zip(model.estimators_, cv.split(X), strict=True)
    ]
    expected = likeliest_noise(torch.from_numpy(y), torch.from_numpy(np.hstack(draws)))
    assert_allclose(model.noise_std_, expected, rtol=0.05)
    _, _, aleatoric = model.predict_decomposed(X[:5])
    assert_allclose(aleatoric, model.noise_std_)


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["estimate", "heteroscedastic", 1.0])
def test_calibration_by_one_factor_is_right_for_held_out_rows(X, y, noise):
    plain = make_model(noise=noise).fit(X, y)
    model = make_model(noise=noise, calibration="std").fit(X, y)
    factor = model.calibration_.factor
    assert factor != 1
    assert_allclose(model.predict(X), plain.predict(X))
    _, std = model.predict(X, return_std=True)
    assert_allclose(std, factor * plain.predict(X, return_std=True)[1], rtol=1e-6)


def test_isotonic_calibration_moves_quantiles_alone(X, y):
    plain, model = make_model().fit(X, y), make_model(calibration="isotonic").fit(X, y)
    assert model.calibration_.values.shape == (90,)
    for one, other in zip(*(m.predict(X, return_std=True) for m in (plain, model)), strict=True):
        assert_allclose(one, other)
    assert not np.allclose(model.predict_quantiles(X, 0.9), plain.predict_quantiles(X, 0.9))


def test_conformal_intervals_are_those_of_the_definition(X, y):
    cv, n_draws = KFold(3), 50
    model = make_model(cv=cv, calibration="conformal", n_draws=n_draws).fit(X, y)
    X_new = np.random.default_rng(2).normal(size=(20, 3))
    below, above = [], []
    folds = model.predict_distribution(X_new).mean_and_std_of_folds()
    for k, (_, test) in enumerate(cv.split(X)):
        mean, std = model.predict_distribution(X[test]).mean_and_std_of_folds()[k]
        sizes = np.abs(y[test] - mean) / std
        below += [folds[k][0] - folds[k][1] * size for size in sizes]
        above += [folds[k][0] + folds[k][1] * size for size in sizes]
    rank = int(np.ceil(91 * 0.8))
    ends = model.predict_interval(X_new, coverage=0.8)
    assert_allclose(ends[:, 0], np.sort(below, axis=0)[90 - rank], rtol=1e-6)
    assert_allclose(ends[:, 1], np.sort(above, axis=0)[rank - 1], rtol=1e-6)
    before = model.predict_interval(X_new, coverage=0.8)
    model.n_draws = 7  # of the mean and the std; the votes keep the draws that they were made with
    assert_allclose(model.predict_interval(X_new, coverage=0.8), before)


@pytest.mark.slow
def test_conformal_intervals_hold_new_rows(X):
    rng, inside = np.random.default_rng(3), []
    for k in range(8):
        y = 10 * X[:, 0] + rng.standard_t(3, size=90)
        model = make_model(calibration="conformal", noise=None, random_state=k)
        model.fit(X[:60], y[:60])
        lower, upper = model.predict_interval(X[60:], coverage=0.8).T
        inside.append(((lower <= y[60:]) & (y[60:] <= upper)).mean())
    assert abs(np.mean(inside) - 0.8) < 3 * np.std(inside) / np.sqrt(8) + 0.05


# -- the ensemble ----------------------------------------------------------------------------------


def test_the_answers_agree_with_each_other(X, model):
    draws = model.draws(X)
    mean, std = model.predict(X, return_std=True)
    assert draws.shape == (12, 90)
    assert_allclose(draws.mean(axis=0), mean, rtol=1e-6)
    assert_allclose(model.predict(X), mean)
    parts = model.predict_decomposed(X)
    assert_allclose(parts[1], draws.std(axis=0, ddof=1), rtol=1e-4)
    assert_allclose(np.hypot(parts[1], parts[2]), std)
    assert_allclose(np.sqrt(np.diag(model.predict(X, return_cov=True)[1])), std, rtol=1e-6)
    low, high = model.predict_interval(X, coverage=0.8).T
    assert_allclose(model.predict_cdf(X, high) - model.predict_cdf(X, low), 0.8)
    assert model.sample_y(X, 4).shape == (90, 4)
    h = 1e-3
    density = (model.predict_cdf(X, mean + h) - model.predict_cdf(X, mean - h)) / (2 * h)
    assert_allclose(model.log_prob(X, mean), np.log(density), rtol=1e-3)


def test_the_draws_of_all_nets_are_pooled(X, model):
    assert len(model.estimators_) == 3
    of_nets = [net.set_params(n_draws=4).draws(X) for net in model.estimators_]
    within = np.mean([draws.var(axis=0, ddof=1) for draws in of_nets])
    between = np.var([draws.mean(axis=0) for draws in of_nets], axis=0).mean()
    assert between > 0
    assert model.draws(X).var(axis=0).mean() == pytest.approx(within + between, rel=0.4)


@pytest.mark.parametrize("rows", [[3], [5, 5, 2], slice(None, None, -1)])
def test_a_draw_is_a_function_of_the_row(X, model, rows):
    assert_allclose(model.draws(X[rows]), model.draws(X)[:, rows], rtol=1e-6)


def test_the_first_draws_are_the_same_for_any_number(X, model):
    fewer = pickle.loads(pickle.dumps(model)).set_params(n_draws=5)
    assert_array_equal(fewer.draws(X), model.draws(X)[:5])


def test_the_same_seed_gives_the_same_model(X, y, model):
    assert_array_equal(make_model().fit(X, y).draws(X), model.draws(X))
    assert not np.allclose(make_model(random_state=1).fit(X, y).draws(X), model.draws(X))
    assert len({net.random_state for net in model.estimators_}) == 3


def test_one_net_on_all_rows(X, y):
    model = make_model(ensemble=False, noise="estimate").fit(X, y)
    (net,) = model.estimators_
    assert len(net.history[-1]["batches"]) == np.ceil(90 / net.batch_size_)
    assert sum(batch["train_batch_size"] for batch in net.history[-1]["batches"]) == 90
    alone = clone(net).fit(X, y)
    error = 6 * alone.draws(X).std(axis=0) / np.sqrt(12)
    assert (np.abs(model.predict(X) - alone.predict(X)) < error).all()
    assert model.noise_std_ > 0
    assert np.isfinite(model.oof_prediction_).all()
    several = make_model(ensemble=False, members=3).fit(X, y)
    assert len(several.estimators_) == 3
    assert len({net.random_state for net in several.estimators_}) == 3


def test_more_members(X, y):
    model = make_model(members=2, param_grid=RATES).fit(X, y)
    assert len(model.estimators_) == 6
    assert len({net.random_state for net in model.estimators_}) == 6
    assert model.draws(X).shape == (12, 90)


@pytest.mark.slow
def test_several_targets(X, y):
    Y = np.column_stack([y, -1000 * y])
    for noise in ("estimate", "heteroscedastic"):
        for calibration in (None, "std", "parts", "isotonic", "conformal"):
            model = make_model(noise=noise, calibration=calibration).fit(X, Y)
            mean, std = model.predict(X, return_std=True)
            assert mean.shape == std.shape == model.oof_prediction_.shape == (90, 2)
            assert_allclose(mean.mean(axis=0), Y.mean(axis=0), rtol=0.05)
            assert 100 < (std[:, 1] / std[:, 0]).mean() < 10_000
            assert model.predict_interval(X, 0.8).shape == (90, 2, 2)
    column = make_model().fit(X, y[:, None])
    assert column.predict(X).shape == make_model().fit(X, y).predict(X).shape


def test_a_target_as_it_is(X, y):
    model = make_model({"normalize_y": False, "max_epochs": 40}).fit(X, y / 50)
    assert (model.y_mean_, model.y_scale_) == (0, 1)
    assert root_mean_squared_error(y / 50, model.oof_prediction_) < 0.3


# -- data ------------------------------------------------------------------------------------------


def test_frames_and_sparse_tables(X, y, model):
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    of_frame = make_model().fit(frame, y)
    assert of_frame.feature_names_in_.tolist() == ["a", "b", "c"]
    assert_allclose(of_frame.predict(frame), model.predict(X))
    with pytest.raises(ValueError, match="feature names"):
        of_frame.predict(frame[["b", "a", "c"]])
    table = sparse.csr_array(X)
    net = {"module__embedding": None, "normalize_X": False}
    with pytest.warns(UserWarning, match="feature names"):
        of_frame.predict(X)
    dense = make_model(net, n_jobs=1).fit(X, y)
    assert_allclose(make_model(net, n_jobs=1).fit(table, y).predict(table), dense.predict(X), 1e-3)


class TwoInputs(nn.Module):
    """A net of two inputs."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 1))

    def forward(self, a, b):
        return self.layers(a + b)


def test_inputs_of_a_net_of_your_own(X, y):
    x = X.astype(np.float32)
    model = MCDropoutRegressorCV(
        MCDropoutRegressor(TwoInputs, max_epochs=2),
        param_grid={},
        cv=2,
        noise="estimate",
        random_state=0,
        n_jobs=1,
    ).fit({"a": x, "b": x}, y.astype(np.float32))
    assert model.predict({"a": x, "b": x}).shape == (90,)
    assert not hasattr(model, "n_features_in_")


def test_weights_of_rows(X, y):
    weights = np.where(y > np.median(y), 1.0, 1e-3)
    model = make_model({"max_epochs": 30}, param_grid=RATES).fit(X, y, sample_weight=weights)
    heavy = weights == 1
    errors = (model.oof_prediction_ - y) ** 2
    plain = make_model({"max_epochs": 30}, param_grid=RATES).fit(X, y)
    assert errors[heavy].mean() < 1.5 * ((plain.oof_prediction_ - y)[heavy] ** 2).mean()
    assert model.cv_results_["mean_test_score"][0] != plain.cv_results_["mean_test_score"][0]
    with pytest.raises(ValueError, match=r"each fold\. Got a fold of 30 rows of weight 0"):
        make_model(cv=KFold(3)).fit(X, y, sample_weight=np.r_[np.zeros(30), np.ones(60)])


def test_groups_go_to_the_splitter(X, y):
    groups = np.repeat(np.arange(9), 10)
    model = make_model(cv=GroupKFold(3)).fit(X, y, groups=groups)
    expected = make_model(cv=list(GroupKFold(3).split(X, y, groups))).fit(X, y)
    assert_allclose(model.oof_prediction_, expected.oof_prediction_)
    with pytest.raises(ValueError, match="groups"):
        make_model(cv=GroupKFold(3)).fit(X, y)
    with pytest.raises(TypeError, match=r"X, y, sample_weight and groups\. Got \['clusters'\]"):
        make_model().fit(X, y, clusters=groups)


def test_metadata_is_routed(X, y):
    groups, seen = np.repeat(np.arange(9), 10), []

    def scorer(estimator, X, y, sample_weight=None, more=None):
        seen.append((len(y), None if more is None else more.sum()))
        return -np.abs(estimator.predict(X) - y).mean()

    with sklearn.config_context(enable_metadata_routing=True):
        model = make_model(cv=GroupKFold(3)).set_fit_request(sample_weight=True)
        pipe = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), model)
        pipe.fit(X, y, sample_weight=np.ones(90), groups=groups)
        expected = make_model(cv=list(GroupKFold(3).split(X, y, groups)))
        expected = make_pipeline(StandardScaler(), expected).fit(X, y)
        assert_allclose(pipe[-1].oof_prediction_, expected[-1].oof_prediction_)
        scorer = sklearn.metrics.make_scorer(root_mean_squared_error, greater_is_better=False)
        scorer.set_score_request(sample_weight=True)
        weighted = make_model(scoring=scorer).fit(X, y, sample_weight=np.arange(1.0, 91))
        assert weighted.best_score_ < 0
        with pytest.raises(TypeError, match="unexpected argument"):
            make_model().fit(X, y, clusters=groups)


# -- contract --------------------------------------------------------------------------------------


def test_copies_and_files(X, model):
    assert clone(model).get_params(deep=False).keys() == model.get_params(deep=False).keys()
    assert not hasattr(clone(model), "estimators_")
    assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))


def test_predicting_changes_nothing(X, model):
    before = vars(model).copy()
    model.predict(X, return_std=True)
    model.sample_y(X, 3)
    assert vars(model).keys() == before.keys()
    assert all(vars(model)[name] is value for name, value in before.items())


def test_the_estimator_is_left_alone(X, y):
    net = MCDropoutRegressor(max_epochs=2)
    before = repr(net)
    MCDropoutRegressorCV(net, param_grid={}, cv=2).fit(X, y)
    assert repr(net) == before
    assert not hasattr(net, "module_")


def test_displays_take_it(X, y, model):
    assert ReliabilityDisplay.from_estimator(model, X, y) is not None


class OwnLoss(nn.MSELoss):
    """A loss of the user's, of which no stack knows what it does."""


@pytest.mark.slow
def test_processes_give_the_same(X, y):
    net = {"criterion": OwnLoss}
    one, two = (make_model(net, noise="estimate", n_jobs=n).fit(X, y) for n in (1, 2))
    assert_allclose(one.predict(X), two.predict(X))


def test_nets_that_are_trained_one_by_one_are_said(X, y):
    with pytest.warns(UserWarning, match=r"Got another `criterion`: 3 nets are trained one by one"):
        make_model({"criterion": OwnLoss, "max_epochs": 1}, noise=None).fit(X, y)


def test_progress_is_shown(X, y, capsys):
    make_model(verbose=1).fit(X, y)
    assert "16/16" in capsys.readouterr().err


@pytest.mark.parametrize(("step", "n_whole"), [(5, 1), (20, 2)])
def test_an_interrupt_keeps_what_is_trained(X, y, monkeypatch, step, n_whole):
    """Of two stacks of 16 steps."""
    steps = iter(range(1000))

    def cosine(progress):
        if next(steps) == step:
            raise KeyboardInterrupt
        return 1.0

    monkeypatch.setattr(_stack, "cosine", cosine)
    grid = {"module__hidden": [(8,), (12,)]}
    with pytest.warns(UserWarning, match=rf"Got an interrupt: .* {2 - n_whole} of 2 settings"):
        model = make_model(param_grid=grid).fit(X, y)
    assert np.isfinite(model.cv_results_["mean_test_score"]).sum() == n_whole
    assert np.isfinite(model.predict(X)).all()


def test_what_cannot_be_meant_is_refused(X, y, model):
    refused = [
        ({"noise": 1.0}, {}, "`noise` must be given to MCDropoutRegressorCV.*Got 1.0 there"),
        ({"n_draws": 7}, {}, "`n_draws` must be given.*Got 7 there"),
        ({"warm_start": True}, {}, "`warm_start` must be given.*Got True there"),
        ({}, {"ensemble": False, "calibration": "conformal"}, "`ensemble` must be True"),
        ({}, {"noise": None, "calibration": "isotonic"}, "`noise` must be given for isotonic"),
        ({}, {"members": 0}, "members"),
        ({}, {"calibration": "platt"}, "calibration"),
        ({}, {"param_grid": {"dropuot": [0.1]}}, "dropout"),
    ]
    for net, params, match in refused:
        with pytest.raises(ValueError, match=match):
            make_model(net, **params).fit(X, y)
    with pytest.raises(ValueError, match="estimator"):
        MCDropoutRegressorCV(RandomForestRegressor()).fit(X, y)
    with pytest.raises(ValueError, match="requires y to be passed"):
        make_model().fit(X, None)
    with pytest.raises(NotFittedError):
        make_model().predict(X)
    with pytest.raises(ValueError, match="n_splits=3 greater than the number of samples"):
        make_model().fit(X[:2], y[:2])
    with pytest.raises(ValueError, match="3 features"):
        model.predict(X[:, :2])


def test_a_parameter_set_after_the_fit_is_said(X, y):
    model = make_model().fit(X, y).set_params(noise="estimate")
    with pytest.warns(UserWarning, match=r"`noise` must be set before training\. Got 'estimate'"):
        model.predict(X)


def test_without_noise_an_interval_is_that_of_the_mean(X, y):
    model = make_model(noise=None).fit(X, y)
    with pytest.warns(UserWarning, match="`noise` must be given for an interval of new y"):
        model.predict_interval(X)


def test_a_subclass_of_the_net_is_trained_one_by_one(X, y):
    class Own(MLP):
        pass

    model = make_model({"module": Own}, n_jobs=1).fit(X, y)
    assert model.predict(X).shape == (90,)
