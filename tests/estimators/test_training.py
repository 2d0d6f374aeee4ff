"""Fitting and what a skorch net can do: callbacks, parameters and files."""

import pickle

import joblib
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.metrics import r2_score
from skorch.callbacks import (
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    LoadInitState,
    LRScheduler,
    TrainEndCheckpoint,
)
from skorch.dataset import ValidSplit

from sk_mcdropout import MLP, MCDropoutRegressor, sample


def small_net(module=MLP, **params):
    if module is MLP:
        params = {"module__hidden": (16,), "module__dropout": 0.2, **params}
    defaults = {"max_epochs": 3, "n_draws": 10, "random_state": 0}
    return MCDropoutRegressor(module, **{**defaults, **params})


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(50, 3))


@pytest.fixture(scope="module")
def y(X):
    return 20 + 5 * X @ [1.0, -2.0, 0.5]


@pytest.fixture(scope="module")
def fitted(X, y):
    return small_net().fit(X, y)


@pytest.fixture
def trained():
    torch.manual_seed(3)
    return MLP(3, hidden=(16,), dropout=0.2)


def eval_pass(net, X):
    """Answer the output without dropout, in the units of y."""
    output = net.forward(X.astype(np.float32)).numpy()[:, 0]
    return output.astype(float) * net.y_scale_ + net.y_mean_


# -- callbacks ---------------------------------------------------------------------------------


def test_early_stopping_ends_the_training(X, y):
    # Without a learning rate the loss of the held-out rows never falls below its first value,
    # so that the training ends after one epoch and the two of patience.
    stopping = EarlyStopping(patience=2)
    net = small_net(max_epochs=20, lr=0.0, train_split=ValidSplit(5), callbacks=[stopping])
    assert len(net.fit(X, y).history) == 3


@pytest.mark.parametrize("lr", [0.005, 0.0])
def test_a_score_in_training_is_that_of_an_eval_pass_in_the_units_of_y(X, y, lr):
    scoring = EpochScoring("r2", lower_is_better=False)
    net = small_net(max_epochs=1, lr=lr, train_split=ValidSplit(5), callbacks=[scoring]).fit(X, y)
    # ValidSplit(5) holds out the first fifth of the rows.
    expected = r2_score(y[:10], eval_pass(net, X[:10]))
    assert_allclose(net.history[-1, "r2"], expected, rtol=1e-5)


def test_a_score_without_the_cache_is_that_of_predict(X, y):
    scoring = EpochScoring("r2", lower_is_better=False, use_caching=False)
    net = small_net(max_epochs=2, train_split=ValidSplit(5), callbacks=[scoring]).fit(X, y)
    expected = r2_score(y[:10], net.predict(X[:10]))
    assert_allclose(net.history[-1, "r2"], expected, rtol=1e-5)
    # The training takes no part of its randomness from the scoring.
    silent = small_net(max_epochs=2, train_split=ValidSplit(5)).fit(X, y)
    assert_array_equal(net.predict(X), silent.predict(X))


def test_a_score_of_the_training_rows_is_that_of_their_training_passes(X, y):
    def zero_error(net, X, y):
        return r2_score(y, net.predict(X))

    scoring = EpochScoring(zero_error, on_train=True)
    settings = {"lr": 0.0, "module__dropout": 0.0, "iterator_train__shuffle": False}
    net = small_net(callbacks=[scoring], **settings).fit(X, y)
    # With neither dropout nor learning the training pass is the eval pass.
    assert_allclose(net.history[-1, "zero_error"], r2_score(y, eval_pass(net, X)), rtol=1e-5)


def test_a_checkpoint_brings_back_the_best_epoch(X, y, tmp_path):
    second = Checkpoint(monitor=lambda net: len(net.history) == 2, dirname=tmp_path, load_best=True)
    net = small_net(max_epochs=5, lr_schedule=None, callbacks=[second]).fit(X, y)
    early = small_net(max_epochs=2, lr_schedule=None).fit(X, y)
    assert_array_equal(net.predict(X), early.predict(X))


def test_a_checkpoint_is_loaded_with_the_scale_of_y(X, y, tmp_path):
    saved = Checkpoint(monitor=None, dirname=tmp_path)
    net = small_net(callbacks=[saved]).fit(X, y)
    fresh = small_net(module__n_features=3).initialize()
    fresh.load_params(checkpoint=saved)
    assert_array_equal(fresh.predict(X), net.predict(X))
    assert len(fresh.history) == 3


def test_training_goes_on_where_a_checkpoint_at_its_end_left_it(X, y, tmp_path):
    saved = TrainEndCheckpoint(dirname=tmp_path)
    net = small_net(callbacks=[saved]).fit(X, y)
    resumed = small_net(callbacks=[LoadInitState(saved)], max_epochs=0).fit(X, y)
    assert_array_equal(resumed.predict(X), net.predict(X))
    assert len(resumed.history) == 3


def test_a_scheduler_sets_the_learning_rate(X, y):
    halving = LRScheduler("StepLR", step_size=1, gamma=0.5)
    net = small_net(lr=0.08, callbacks=[halving]).fit(X, y)
    assert net.history[:, "event_lr"] == [0.08, 0.04, 0.02]
    assert net.optimizer_.param_groups[0]["lr"] == 0.01


# -- training on -------------------------------------------------------------------------------


def test_partial_fit_trains_the_same_module_on(X, y):
    net = small_net().fit(X, y)
    module, first = net.module_, net.predict(X)
    net.partial_fit(X, 2 * y)
    assert net.module_ is module
    assert len(net.history) == 6
    assert not np.allclose(net.predict(X), first)
    # The outputs keep their meaning.
    assert net.y_mean_ == y.mean()


def test_partial_fit_may_come_first(X, y, fitted):
    assert_array_equal(small_net().partial_fit(X, y).predict(X), fitted.predict(X))


def test_partial_fit_after_initialize_learns_the_scale_of_y(X, y, fitted):
    net = small_net(module__n_features=3).initialize().partial_fit(X, y)
    assert_array_equal(net.predict(X), fitted.predict(X))
    assert net.n_features_in_ == 3


@pytest.mark.parametrize(("warm_start", "n_epochs"), [(True, 6), (False, 3)])
def test_a_warm_start_trains_on_and_any_other_start_anew(X, y, warm_start, n_epochs):
    net = small_net(warm_start=warm_start).fit(X, y)
    module = net.module_
    net.fit(X, y)
    assert (net.module_ is module) == warm_start
    assert len(net.history) == n_epochs


def test_a_new_fit_is_that_of_a_new_estimator(X, y, fitted):
    net = small_net().fit(np.ones((20, 5)), np.arange(20.0))
    assert_array_equal(net.fit(X, y).predict(X), fitted.predict(X))


def test_history_has_the_losses_of_the_standardised_target(X, y):
    net = small_net(lr=0.0, module__dropout=0.0, train_split=ValidSplit(5)).fit(X, y)
    assert [sum(sizes) for sizes in net.history[:, "batches", :, "train_batch_size"]] == [40] * 3
    errors = (eval_pass(net, X) - y) / y.std()
    assert_allclose(net.history[-1, "valid_loss"], np.mean(errors[:10] ** 2), rtol=1e-5)
    assert_allclose(net.history[-1, "train_loss"], np.mean(errors[10:] ** 2), rtol=1e-5)


def test_a_sampler_of_the_user_chooses_the_rows(X, y):
    sampler = torch.utils.data.SubsetRandomSampler(range(12))
    net = small_net(iterator_train__sampler=sampler, batch_size=5).fit(X, y)
    assert net.history[0, "batches", :, "train_batch_size"] == [5, 5, 2]


def test_a_sampler_of_the_user_chooses_the_batches(X, y):
    net = small_net(iterator_train__batch_sampler=[[0, 1, 2], [7]]).fit(X, y)
    assert net.history[0, "batches", :, "train_batch_size"] == [3, 1]


def test_a_collate_function_of_the_user_is_given_rows(X, y):
    taken = []

    def recorded(batch):
        taken.extend(len(x) for x, _ in batch)
        return torch.utils.data.default_collate(batch)

    net = small_net(iterator_train__collate_fn=recorded, train_split=ValidSplit(5)).fit(X, y)
    assert taken == [3] * 40 * 3
    assert_array_equal(net.predict(X), small_net(train_split=ValidSplit(5)).fit(X, y).predict(X))


# -- parameters --------------------------------------------------------------------------------


def test_parameters_of_the_parts_are_set_and_got(X, y):
    net = small_net(callbacks=[("early", EarlyStopping("train_loss", patience=7))]).fit(X, y)
    net.set_params(module__hidden=(4, 4))
    net.set_params(optimizer__weight_decay=0.25, lr=0.125)
    net.set_params(callbacks__early__patience=2, callbacks__print_log=None)
    params = net.get_params()
    assert params["module__hidden"] == (4, 4)
    assert params["callbacks__early__patience"] == 2
    assert [layer.out_features for layer in net.module_.layers[::3]] == [4, 4, 1]
    group = net.optimizer_.param_groups[0]
    assert (group["weight_decay"], group["lr"]) == (0.25, 0.125)
    assert dict(net.callbacks_)["early"].patience == 2
    assert dict(net.callbacks_)["print_log"] is None


@pytest.mark.parametrize("fitted_first", [False, True])
def test_a_clone_has_the_parameters_and_gives_the_same_fit(X, y, fitted, fitted_first):
    copy = clone(fitted if fitted_first else small_net())
    assert not hasattr(copy, "module_")
    assert_array_equal(copy.fit(X, y).draws(X), fitted.draws(X))


def test_a_mistyped_parameter_is_answered_with_the_one_that_was_meant(X, y):
    with pytest.raises(ValueError, match="optimizer_betas, did you mean optimizer__betas"):
        small_net(optimizer_betas=(0.9, 0.99)).fit(X, y)


def test_the_optimizer_makes_fused_steps(fitted):
    assert fitted.optimizer_.defaults["fused"] is True


@pytest.mark.parametrize("chosen", ["foreach", "differentiable", "fused"])
def test_the_choice_of_the_user_is_not_overruled_by_fused_steps(X, y, chosen):
    net = small_net(**{f"optimizer__{chosen}": False}).fit(X, y)
    assert not net.optimizer_.defaults["fused"]


def test_an_optimizer_without_fused_steps_is_left_alone(X, y):
    net = small_net(optimizer=torch.optim.LBFGS, batch_size=-1, max_epochs=1).fit(X, y)
    assert "fused" not in net.optimizer_.defaults


# -- files -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(50,), (50, 2)])
def test_saved_parameters_bring_the_scale_of_y_with_them(X, tmp_path, shape):
    y = 20 + 5 * np.random.default_rng(2).normal(size=shape)
    net = small_net().fit(X, y)
    files = {f"f_{part}": tmp_path / part for part in ("params", "optimizer", "history")}
    net.save_params(**files)
    outputs = 1 if len(shape) == 1 else shape[1]
    fresh = small_net(module__n_features=3, module__n_outputs=outputs).initialize()
    fresh.load_params(**files)
    assert_array_equal(fresh.draws(X), net.draws(X))
    # The optimizer and the history are there too, so that training goes on in the same way.
    assert_array_equal(fresh.partial_fit(X, y).predict(X), net.partial_fit(X, y).predict(X))


def test_saved_parameters_are_an_ordinary_file_of_torch(X, fitted, tmp_path):
    fitted.save_params(f_params=tmp_path / "params.pt")
    trained = MLP(3, hidden=(16,), normalize_X=True)
    trained.load_state_dict(torch.load(tmp_path / "params.pt"))
    x = torch.from_numpy(X.astype(np.float32))
    assert torch.equal(trained.eval()(x), fitted.forward(x))


def test_an_ordinary_file_of_torch_is_loaded_and_has_no_scale(X, trained, tmp_path):
    torch.save(trained.state_dict(), tmp_path / "params.pt")
    net = small_net(module__n_features=3, normalize_X=False, normalize_y=False).initialize()
    net.load_params(f_params=tmp_path / "params.pt")
    assert_array_equal(net.predict(X), small_net(trained).initialize().predict(X))
    net.save_params(f_params=tmp_path / "again.pt")
    again = torch.load(tmp_path / "again.pt")
    torch.testing.assert_close(dict(again), dict(trained.state_dict()), rtol=0, atol=0)


@pytest.mark.parametrize("way", ["pickle", "joblib"])
def test_the_draws_are_the_same_after_unpickling(X, fitted, tmp_path, way):
    if way == "pickle":
        copy = pickle.loads(pickle.dumps(fitted))
    else:
        joblib.dump(fitted, tmp_path / "net.joblib")
        copy = joblib.load(tmp_path / "net.joblib")
    assert_array_equal(copy.draws(X), fitted.draws(X))
    assert copy.history == fitted.history


def test_the_draws_of_an_unseeded_net_are_the_same_after_unpickling(X, y):
    net = small_net(random_state=None).fit(X, y)
    assert_array_equal(pickle.loads(pickle.dumps(net)).draws(X), net.draws(X))


# -- trained and compiled modules --------------------------------------------------------------


def test_a_trained_module_predicts_without_a_fit(X, trained):
    net = small_net(trained).initialize()
    draws = sample(trained, torch.from_numpy(X.astype(np.float32)), 10, seed=net.seed_)
    assert_allclose(net.draws(X), draws.squeeze(2), rtol=1e-5, atol=1e-6)
    assert net.module_ is trained


def test_a_compiled_module_learns_and_predicts_as_an_ordinary_one(X, y, fitted):
    net = small_net(compile=True, compile__backend="eager").fit(X, y)
    assert hasattr(net.module_, "_orig_mod")
    for part, expected in zip(net.predict(X, True), fitted.predict(X, True), strict=True):
        assert_allclose(part, expected, rtol=1e-4)


def test_a_trained_net_is_left_in_eval_mode(X, y):
    net = small_net().fit(X, y)
    assert not any(part.training for part in net.module_.modules())
    net.partial_fit(X, y)
    assert not any(part.training for part in net.module_.modules())


def test_a_file_without_the_scale_of_y_is_said(fitted, X, tmp_path):
    file = tmp_path / "net.pt"
    torch.save(fitted.module_.state_dict(), file)
    other = clone(fitted).set_params(module__n_features=X.shape[1]).initialize()
    with pytest.warns(UserWarning, match="Set `y_mean_` and `y_scale_`"):
        other.load_params(file)
    other.y_mean_, other.y_scale_, other.seed_ = fitted.y_mean_, fitted.y_scale_, fitted.seed_
    assert_array_equal(other.predict(X), fitted.predict(X))
