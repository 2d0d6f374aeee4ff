"""Mix-ins beside the regressor, with the habits of skorch's own and of braindecode's."""

import contextlib
import inspect
import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from skorch import NeuralNet
from skorch.callbacks import BatchScoring, EpochTimer, PrintLog
from skorch.exceptions import SkorchAttributeError
from skorch.hf import AccelerateMixin
from skorch.utils import noop, train_loss_score, valid_loss_score
from torch import nn

from sk_mcdropout import MLP, MCDropoutRegressor


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(60, 3))


@pytest.fixture(scope="module")
def y(X):
    return 10 + X @ [1.0, -2.0, 0.5]


def small(cls, *args, **params):
    defaults = {"module__hidden": (8,), "max_epochs": 3, "n_draws": 10, "random_state": 0}
    return cls(*args, **{**defaults, **params})


# -- skorch's mix-in for accelerate ----------------------------------------------------------------


class Accelerated(AccelerateMixin, MCDropoutRegressor):
    """The regressor with an accelerator."""


class Wrapped(nn.Module):
    """What a prepared module is."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, *args, **kwargs):
        return self.module(*args, **kwargs)


class Accelerator:
    """The part of an accelerator that skorch's mix-in uses; it wraps modules and counts calls."""

    device_placement = True
    is_main_process = True
    optimizer_step_was_skipped = False
    print = staticmethod(print)

    def __init__(self):
        self.n_backward = 0

    def __deepcopy__(self, memo):
        return self

    def prepare(self, part):
        return Wrapped(part) if isinstance(part, nn.Module) else part

    def unwrap_model(self, module, keep_fp32_wrapper=True):
        return module.module

    def accumulate(self, module):
        return contextlib.nullcontext()

    def autocast(self):
        return contextlib.nullcontext()

    def backward(self, loss):
        self.n_backward += 1
        loss.backward()

    def wait_for_everyone(self):
        pass

    def gather_for_metrics(self, output):
        return output


def real_accelerator():
    accelerate = pytest.importorskip("accelerate", reason="needs the package accelerate")
    accelerate.state.AcceleratorState._reset_state()

    class Shared(accelerate.Accelerator):
        def __deepcopy__(self, memo):
            return self

    return Shared(cpu=True)


each_accelerator = pytest.mark.parametrize("make", [Accelerator, real_accelerator])


@each_accelerator
def test_an_accelerated_net_is_trained_as_an_ordinary_one(X, y, make):
    expected = small(MCDropoutRegressor).fit(X, y)
    torch.manual_seed(7)
    net = small(Accelerated, accelerator=make()).fit(X, y)
    assert net.seed_ == expected.seed_
    pairs = zip(net.module_.parameters(), expected.module_.parameters(), strict=True)
    # The accelerator has samplers of its own, so that the order of the rows may be another.
    tolerance = 0 if make is Accelerator else 0.05
    assert all(torch.allclose(one, other, rtol=0, atol=tolerance) for one, other in pairs)
    for actual, other in zip(net.predict(X, True), expected.predict(X, True), strict=True):
        assert_allclose(actual, other, atol=20 * tolerance)


def test_the_steps_of_the_training_are_those_of_the_accelerator(X, y):
    accelerator = Accelerator()
    small(Accelerated, accelerator=accelerator, batch_size=20).fit(X, y)
    assert accelerator.n_backward == 9


@each_accelerator
def test_an_accelerated_net_has_parameters_and_a_clone(X, y, make):
    accelerator = make()
    net = small(Accelerated, accelerator=accelerator).set_params(n_draws=5, module__hidden=(4,))
    params = net.get_params()
    assert (params["accelerator"], params["n_draws"]) == (accelerator, 5)
    assert params["unwrap_after_train"] is True
    fitted = net.fit(X, y)
    copy = clone(fitted)
    assert not hasattr(copy, "module_")
    assert_allclose(copy.fit(X, y).draws(X), fitted.draws(X), atol=1e-6)


@pytest.mark.slow
@each_accelerator
@pytest.mark.parametrize("unwrap", [True, False])
@pytest.mark.parametrize("noise", ["estimate", "heteroscedastic"])
def test_an_accelerated_net_tells_its_noise(X, y, make, unwrap, noise):
    net = small(Accelerated, accelerator=make(), noise=noise, unwrap_after_train=unwrap)
    mean, std = net.fit(X, y).predict(X, return_std=True)
    assert mean.shape == std.shape == (60,)
    assert (std > 0).all()
    assert_array_equal(net.fit(X, y).predict(X), mean)


@each_accelerator
def test_training_goes_on_with_an_accelerated_net(X, y, make):
    net = small(Accelerated, accelerator=make(), dropout=0.4).fit(X, y).partial_fit(X, y)
    assert len(net.history) == 6
    assert [m.p for m in net.module_.modules() if isinstance(m, nn.Dropout)] == [0.4]


@each_accelerator
def test_an_accelerated_net_is_pickled_and_its_parameters_are_saved(X, y, make, tmp_path):
    accelerator = make()
    net = small(Accelerated, accelerator=accelerator).fit(X, y)
    net.save_params(tmp_path / "params.pt")
    other = small(Accelerated, accelerator=accelerator, module__n_features=3).initialize()
    other.load_params(tmp_path / "params.pt")
    assert_allclose(other.predict(X, return_std=False).mean(), net.predict(X).mean(), atol=1)
    if make is Accelerator:
        assert_array_equal(pickle.loads(pickle.dumps(net)).predict(X), net.predict(X))


# -- a mix-in with the habits of braindecode's -----------------------------------------------------


class Signal(nn.Module):
    def __init__(self, n_chans, n_outputs=1, n_times=None):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(n_chans * n_times, 8), nn.Dropout(0.2), nn.Linear(8, n_outputs)
        )

    def forward(self, x):
        return self.layers(x)


MODULES = {"Signal": Signal}


class WithIndex:
    """An iterator that takes the index away from batches and leaves the length alone."""

    def __init__(self, net, loader):
        self.net = net
        self.loader = loader

    def __iter__(self):
        for batch in self.loader:
            self.net._last_window_inds_ = None
            yield batch[0], batch[1]


class EEGNet(NeuralNet):
    """Infers parameters of the module from the data, and takes modules by name."""

    signal_args_set_ = False

    def initialize_module(self):
        module = MODULES.get(self.module, self.module)
        self.module_ = self.initialized_instance(module, self.get_params_for("module"))
        return self

    @property
    def _default_callbacks(self):
        train = BatchScoring(
            train_loss_score, name="train_loss", on_train=True, target_extractor=noop
        )
        valid = BatchScoring(valid_loss_score, name="valid_loss", target_extractor=noop)
        timer = ("epoch_timer", EpochTimer())
        return [timer, ("train_loss", train), ("valid_loss", valid), ("print_log", PrintLog())]

    def on_batch_end(self, net, *batch, training=False, **kwargs):
        if not training:
            assert [name for name, _ in self.callbacks_]

    def _set_signal_args(self, X, y, classes):
        if isinstance(self.module, nn.Module):
            return
        known = inspect.signature(MODULES.get(self.module, self.module).__init__).parameters
        found = {"n_chans": X.shape[1], "n_times": X.shape[2], "n_outputs": y.shape[1], "fs": 1}
        user = self.get_params_for("module")
        own = {f"module__{k}": v for k, v in found.items() if k in known and k not in user}
        self.set_params(**own)

    def get_dataset(self, X, y=None):
        return super().get_dataset(X, y)

    def get_iterator(self, dataset, training=False):
        return super().get_iterator(dataset, training=training)

    def partial_fit(self, X, y=None, classes=None, **fit_params):
        if not self.signal_args_set_:
            self._set_signal_args(X, y, classes)
            self.signal_args_set_ = True
        return super().partial_fit(X=X, y=y, classes=classes, **fit_params)

    def fit(self, X, y=None, **fit_params):
        if not self.signal_args_set_:
            self._set_signal_args(X, y, classes=None)
            self.signal_args_set_ = True
        return super().fit(X=X, y=y, **fit_params)


class EEG(EEGNet, MCDropoutRegressor):
    def __init__(
        self,
        module,
        *args,
        cropped=False,
        callbacks=None,
        iterator_train__shuffle=True,
        iterator_train__drop_last=True,
        **kwargs,
    ):
        self.cropped = cropped
        self._last_window_inds_ = None
        super().__init__(
            module,
            *args,
            callbacks=callbacks,
            iterator_train__shuffle=iterator_train__shuffle,
            iterator_train__drop_last=iterator_train__drop_last,
            **kwargs,
        )

    def get_iterator(self, dataset, training=False, drop_index=True):
        iterator = super().get_iterator(dataset, training=training)
        return WithIndex(self, iterator) if drop_index else iterator

    def predict_proba(self, X):
        return super().predict_proba(X)

    def fit(self, X, y=None, **kwargs):
        if y is not None and y.ndim == 1:
            y = np.array(y).reshape(-1, 1)
        super().fit(X=X, y=y, **kwargs)
        return self


@pytest.fixture(scope="module")
def signals():
    return np.random.default_rng(0).normal(size=(70, 2, 5)).astype(np.float32)


@pytest.fixture(scope="module")
def mean_signal(signals):
    return 5 + signals.mean(axis=(1, 2))


def eeg(module=Signal, **params):
    defaults = {"max_epochs": 3, "n_draws": 10, "random_state": 0, "batch_size": 16}
    return EEG(module, **{**defaults, **params})


@pytest.mark.parametrize("module", [Signal, "Signal", Signal(2, 1, 5)])
def test_a_mix_in_that_makes_the_module_itself_is_trained_and_drawn(signals, mean_signal, module):
    net = eeg(module).fit(signals, mean_signal)
    mean, std = net.predict(signals, return_std=True)
    assert mean.shape == std.shape == (70,)
    assert (std > 0).all()
    assert_array_equal(net.history[-1, "train_loss"] > 0, True)


def test_a_mix_in_that_makes_the_module_itself_is_seeded(signals, mean_signal):
    first = eeg().fit(signals, mean_signal).draws(signals)
    torch.manual_seed(7)
    assert_array_equal(eeg().fit(signals, mean_signal).draws(signals), first)
    assert_array_equal(clone(eeg()).fit(signals, mean_signal).draws(signals), first)


def test_the_rate_of_dropout_reaches_the_module_of_a_mix_in(signals, mean_signal):
    net = eeg(dropout=0.6).fit(signals, mean_signal)
    assert net.module_.layers[2].p == 0.6
    module = Signal(2, 1, 5)
    net = eeg(module, dropout=0.6).fit(signals, mean_signal)
    assert (net.module_.layers[2].p, module.layers[2].p) == (0.6, 0.2)


@pytest.mark.parametrize("noise", ["estimate", "heteroscedastic"])
def test_a_mix_in_that_makes_the_module_itself_tells_its_noise(signals, mean_signal, noise):
    net = eeg(noise=noise, module__n_outputs=2 if noise == "heteroscedastic" else 1)
    assert (net.fit(signals, mean_signal).predict_decomposed(signals)[2] > 0).all()


def test_a_mix_in_is_pickled_and_trained_on(signals, mean_signal):
    net = eeg().fit(signals, mean_signal)
    copy = pickle.loads(pickle.dumps(net))
    assert_array_equal(copy.draws(signals), net.draws(signals))
    assert len(copy.partial_fit(signals, mean_signal[:, None]).history) == 6


def test_a_mix_in_answers_nothing_before_fit(signals):
    with pytest.raises(NotFittedError, match="This EEG instance is not"):
        eeg().predict(signals)


class Teaching:
    """Sets its parts before and after the net is made, and reads those of the net before."""

    def __init__(self, *args, teacher=None, **kwargs):
        assert not hasattr(self, "random_state")
        self.teacher_loss = nn.MSELoss()
        super().__init__(*args, **kwargs)
        self.teacher = teacher

    def initialize(self):
        self.check_training_readiness()
        for part in ("virtual_params", "callbacks", "module", "criterion", "optimizer", "history"):
            getattr(self, f"_initialize_{part}")()
        self.initialized_ = True
        return self


def test_a_mix_in_may_set_modules_before_the_net_is_made(X, y):
    class Taught(Teaching, MCDropoutRegressor):
        pass

    net = small(Taught, teacher="none").fit(X, y)
    assert isinstance(net.teacher_loss, nn.MSELoss)
    assert_array_equal(net.draws(X), small(MCDropoutRegressor).fit(X, y).draws(X))


def test_a_module_set_after_the_net_was_made_is_refused_as_in_skorch(X, y):
    net = small(MCDropoutRegressor)
    with pytest.raises(SkorchAttributeError, match="'teacher' outside of an initialize method"):
        net.teacher = MLP(3)
