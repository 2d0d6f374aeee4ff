"""Trainings that the user interrupts: what was trained is kept, and no noise is made up."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.exceptions import NotFittedError
from skorch.callbacks import Callback, EarlyStopping
from skorch.dataset import ValidSplit

from sk_mcdropout import MCDropoutRegressor
from sk_mcdropout.sampling import Draws

N_EPOCHS = 3
NOT_ESTIMATED = r"trained to the end\. Got an interrupt in the training{}, so that"


class Interrupt(Callback):
    """Interrupt one of the fits in one of its epochs, counting those of copies too."""

    n_fits = 0

    def __init__(self, fit=0, at="on_batch_end", epoch=2):
        self.fit = fit
        self.at = at
        self.epoch = epoch

    def on_train_begin(self, net, **kwargs):
        type(self).n_fits += 1

    def notify(self, net, at):
        if at == self.at and self.n_fits == self.fit + 1 and len(net.history) == self.epoch:
            raise KeyboardInterrupt

    def on_epoch_begin(self, net, **kwargs):
        self.notify(net, "on_epoch_begin")

    def on_batch_end(self, net, **kwargs):
        self.notify(net, "on_batch_end")


class Stop(Callback):
    """End each training after an epoch, as skorch's callbacks do."""

    def on_epoch_end(self, net, **kwargs):
        raise KeyboardInterrupt


def interrupt(*args, **kwargs):
    raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def no_fits():
    Interrupt.n_fits = 0


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(60, 3))


@pytest.fixture(scope="module")
def y(X):
    return X @ [1.0, -2.0, 0.5] + np.random.default_rng(1).normal(size=60)


def small_net(*callbacks, **params):
    defaults = {"module__hidden": (8,), "max_epochs": N_EPOCHS, "n_draws": 10, "random_state": 0}
    return MCDropoutRegressor(**{**defaults, "callbacks": list(callbacks), **params})


def check_has_no_noise(net, X):
    assert not hasattr(net, "noise_std_")
    assert np.isfinite(net.predict(X)).all()
    with pytest.raises(ValueError, match="the net must be fitted with `noise='estimate'`"):
        net.predict(X, return_std=True)
    assert not net.module_.training


def test_an_interrupt_within_a_step_leaves_gradients_on(X, y):
    class Stopped(torch.optim.SGD):
        def step(self, closure):
            torch.set_grad_enabled(False)  # as torch's own optimizers do for a moment
            raise KeyboardInterrupt

    net = small_net(optimizer=Stopped).fit(X, y)
    assert torch.is_grad_enabled()
    assert not any(part.training for part in net.module_.modules())


@pytest.mark.parametrize("at", ["on_epoch_begin", "on_batch_end"])
def test_an_interrupt_keeps_what_was_trained(X, y, at):
    net = small_net(Interrupt(at=at), module__dropout=0.5).fit(X, y)
    assert len(net.history) == 2
    assert (net.predict(X, return_std=True)[1] > 0).all()
    assert not net.module_.training


@pytest.mark.parametrize("at", ["on_epoch_begin", "on_batch_end"])
def test_no_folds_are_trained_after_an_interrupt(X, y, at):
    net = small_net(Interrupt(at=at), noise="estimate")
    with pytest.warns(UserWarning, match=NOT_ESTIMATED.format("")):
        net.fit(X, y)
    assert Interrupt.n_fits == 1
    assert_array_equal(net.predict(X), small_net(Interrupt(fit=1, at=at)).fit(X, y).predict(X))
    check_has_no_noise(net, X)


@pytest.mark.parametrize("fold", [1, 5])
def test_an_interrupt_in_a_fold_leaves_the_trained_net_without_noise(X, y, fold):
    net = small_net(Interrupt(fit=fold), noise="estimate")
    with pytest.warns(UserWarning, match=NOT_ESTIMATED.format(f" of fold {fold} of 5")) as caught:
        net.fit(X, y)
    assert [w.filename for w in caught] == [__file__]
    assert Interrupt.n_fits == 1 + fold
    assert_array_equal(net.draws(X), small_net().fit(X, y).draws(X))
    check_has_no_noise(net, X)


@pytest.mark.slow
def test_a_fit_after_an_interrupted_one_estimates_the_noise(X, y):
    net = small_net(Interrupt(fit=2), noise="estimate")
    with pytest.warns(UserWarning, match="of fold 2 of 5"):
        net.fit(X, y)
    assert net.fit(X, y).noise_std_ == small_net(noise="estimate").fit(X, y).noise_std_


def test_an_interrupted_refit_forgets_the_noise_of_the_first_fit(X, y):
    net = small_net(Interrupt(fit=8), noise="estimate").fit(X, y)
    with pytest.warns(UserWarning, match="of fold 2 of 5"):
        net.fit(X, y)
    check_has_no_noise(net, X)


def test_rows_that_were_split_off_tell_the_noise_of_an_interrupted_net(X, y):
    net = small_net(Interrupt(), noise="estimate", train_split=ValidSplit(4)).fit(X, y)
    assert len(net.history) == 2
    assert net.noise_std_ > 0


@pytest.mark.parametrize(
    "callback", [Stop(), EarlyStopping(monitor="train_loss", patience=1, threshold=0.9)]
)
def test_a_callback_that_ends_the_training_after_an_epoch_is_no_interrupt(X, y, callback):
    net = small_net(callback, noise="estimate").fit(X, y)
    assert len(net.history) < N_EPOCHS
    assert net.noise_std_ > 0


def test_an_interrupt_while_drawing_for_a_fold_leaves_the_trained_net(X, y, monkeypatch):
    net = small_net(noise="estimate")
    with monkeypatch.context() as patch:
        patch.setattr(Draws, "reduce", interrupt)
        with pytest.raises(KeyboardInterrupt):
            net.fit(X, y)
    assert_array_equal(net.draws(X), small_net().fit(X, y).draws(X))
    check_has_no_noise(net, X)


def test_an_interrupt_while_dropouts_are_listed_leaves_the_trained_net(X, y, monkeypatch):
    net = small_net()
    with monkeypatch.context() as patch:
        patch.setattr(Draws, "sites", interrupt)
        with pytest.raises(KeyboardInterrupt):
            net.fit(X, y)
    assert_array_equal(net.draws(X), small_net().fit(X, y).draws(X))


def test_an_interrupt_while_drawing_changes_nothing(X, y, monkeypatch):
    net = small_net().fit(X, y)
    expected, before = net.draws(X), set(vars(net))

    with monkeypatch.context() as patch:
        patch.setattr(net.module_, "forward", interrupt)
        with pytest.raises(KeyboardInterrupt):
            net.draws(X[:3])
    assert set(vars(net)) == before
    assert_array_equal(net.draws(X), expected)


def test_an_interrupt_before_the_training_leaves_no_fitted_estimator(X, y, monkeypatch):
    net = small_net()
    before = set(vars(net))
    with monkeypatch.context() as patch:
        patch.setattr(Draws, "check", interrupt)
        with pytest.raises(KeyboardInterrupt):
            net.fit(X, y)
    assert set(vars(net)) == before
    with pytest.raises(NotFittedError, match="MCDropoutRegressor"):
        net.predict(X)
