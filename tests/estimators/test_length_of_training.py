"""The learning rate in the course of training, its length, and its early end."""

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from skorch.callbacks import Callback, LRScheduler
from skorch.dataset import Dataset, ValidSplit
from torch.optim.lr_scheduler import CosineAnnealingLR, StepLR
from torch.utils.data import IterableDataset

from sk_mcdropout import MCDropoutRegressor
from sk_mcdropout.estimators._length import batch_size_for, n_epochs_for


class Rates(Callback):
    """Note the learning rate of each step."""

    def initialize(self):
        self.seen_ = []
        return self

    def on_batch_begin(self, net, batch=None, training=None, **kwargs):
        if training:
            self.seen_.append(float(net.optimizer_.param_groups[0]["lr"]))


def small_net(**params):
    defaults = {"module__hidden": (8,), "max_epochs": 3, "batch_size": 16, "random_state": 0}
    return MCDropoutRegressor(**{**defaults, "callbacks": [("rates", Rates())], **params})


def rates(net):
    return dict(net.callbacks_)["rates"].seen_


def cosine(n_steps, lr=0.005):
    return [lr * 0.5 * (1 + math.cos(math.pi * step / n_steps)) for step in range(n_steps)]


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def y(X):
    noise = np.random.default_rng(1).normal(size=50)
    return 20 + 5 * X @ [1.0, -2.0, 0.5] + noise


# -- the learning rate -------------------------------------------------------------------------


def test_the_rate_falls_along_half_a_cosine_over_all_steps(X, y):
    assert_allclose(rates(small_net().fit(X, y)), cosine(3 * 4))


def test_the_rates_are_those_of_torch(X, y):
    parameter = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([parameter], lr=0.005)
    schedule, expected = CosineAnnealingLR(optimizer, 12), []
    for _ in range(12):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert_allclose(rates(small_net().fit(X, y)), expected)


def test_the_steps_of_the_rows_to_train_on_count(X, y):
    net = small_net(train_split=ValidSplit(5)).fit(X, y)
    assert_allclose(rates(net), cosine(3 * 3))  # 40 rows in three batches


def test_without_a_schedule_the_rate_is_constant(X, y):
    assert set(rates(small_net(lr_schedule=None).fit(X, y))) == {0.005}


@pytest.mark.parametrize("again", ["partial_fit", "fit"])
def test_more_training_begins_with_the_rate_that_was_given(X, y, again):
    net = small_net(warm_start=True).fit(X, y)
    assert net.optimizer_.param_groups[0]["lr"] == 0.005
    assert "initial_lr" not in net.optimizer_.param_groups[0]
    getattr(net, again)(X, y)
    assert_allclose(rates(net), cosine(12) * 2)


def test_the_number_of_epochs_of_a_call_counts(X, y):
    net = small_net(module__n_features=3).initialize()
    net.partial_fit(X, y, epochs=5)
    assert_allclose(rates(net), cosine(5 * 4))


def test_a_schedule_of_the_user_takes_its_place(X, y):
    schedule = LRScheduler(StepLR, step_size=1, gamma=0.5)
    net = small_net(callbacks=[("rates", Rates()), schedule]).fit(X, y)
    assert_allclose(rates(net), np.repeat([0.005, 0.0025, 0.00125], 4))


def test_a_schedule_that_is_set_later_counts(X, y):
    net = small_net().fit(X, y).set_params(lr_schedule=None)
    net.partial_fit(X, y)
    assert set(rates(net)[-12:]) == {0.005}


def test_each_group_of_parameters_has_its_own_rate(X, y):
    net = small_net(optimizer__param_groups=[("*bias", {"lr": 0.1})]).fit(X, y)
    assert sorted(group["lr"] for group in net.optimizer_.param_groups) == [0.005, 0.1]


class Stream(IterableDataset):
    def __init__(self, X, y):
        self.X, self.y = X, y

    def __iter__(self):
        return zip(self.X, self.y[:, None].astype(np.float32), strict=True)


def test_rows_without_a_number_are_counted_in_the_first_epoch(X, y):
    net = small_net(module__n_features=3, max_epochs=4, iterator_train__shuffle=False)
    net.fit(Stream(X, y), None)
    assert_allclose(rates(net), [0.005] * 5 + cosine(16)[5:])


class Stop(Callback):
    def on_batch_end(self, net, training=False, **kwargs):
        if training and len(rates(net)) == 5:
            raise KeyboardInterrupt


def test_an_interrupt_puts_the_rate_back(X, y):
    net = small_net(callbacks=[("rates", Rates()), ("stop", Stop())]).fit(X, y)
    assert len(rates(net)) == 5
    assert net.optimizer_.param_groups[0]["lr"] == 0.005


# -- the number of epochs and the rows of a step -----------------------------------------------


@pytest.mark.parametrize("n_rows", [1, 10, 300, 1_000, 9_000, 50_000, 10**6])
def test_few_rows_get_thousands_of_steps_and_many_few_epochs(n_rows):
    size = batch_size_for(n_rows)
    epochs = n_epochs_for(n_rows, size)
    assert 32 <= size <= 256
    assert math.log2(size).is_integer()
    assert epochs <= 1_000
    if n_rows >= 300:
        assert epochs * math.ceil(n_rows / size) >= 2_000
    if n_rows >= 50_000:
        assert epochs < 50


@pytest.mark.slow
def test_the_length_of_the_training_is_told(X, y):
    net = small_net(max_epochs="auto", batch_size="auto", callbacks=None).fit(X, y)
    assert net.batch_size_ == batch_size_for(50)
    assert net.max_epochs_ == n_epochs_for(50, net.batch_size_) == len(net.history)
    assert len(net.history[-1, "batches"]) == math.ceil(50 / net.batch_size_)


def test_the_length_that_is_given_is_kept(X, y):
    net = small_net().fit(X, y)
    assert (net.max_epochs_, net.batch_size_) == (3, 16)


@pytest.mark.slow
def test_the_number_of_epochs_suits_the_rows_of_a_step_that_are_given(X, y):
    net = small_net(max_epochs="auto", batch_size=-1).fit(X, y)
    assert net.max_epochs_ == n_epochs_for(50, 50)


# -- the early end -----------------------------------------------------------------------------


def stopping(**params):
    return small_net(early_stopping=True, max_epochs=60, lr=0.05, n_iter_no_change=3, **params)


def test_early_stopping_takes_the_weights_that_were_best_for_held_out_rows(X, y):
    net = stopping(lr_schedule=None).fit(X, y)
    losses = net.history[:, "valid_loss"]
    assert len(losses) < 60
    held_out = net.get_split_datasets(X, y)[1]
    rows = np.asarray(held_out.indices)
    assert len(rows) == 5
    output = net.forward(Dataset(X[rows])).numpy()[:, 0]
    target = (y[rows] - net.y_mean_) / net.y_scale_
    assert_allclose(np.mean((output - target) ** 2), min(losses), rtol=1e-4)


def test_early_stopping_waits_for_as_many_epochs_as_it_was_told(X, y):
    losses = stopping(lr_schedule=None).fit(X, y).history[:, "valid_loss"]
    best = np.minimum.accumulate(losses)
    waited = len(losses) - 1 - np.flatnonzero(np.diff(best, prepend=np.inf) < -1e-4 * best)[-1]
    assert waited == 3


@pytest.mark.parametrize(("max_epochs", "waited"), [(60, 10), (170, 17)])
def test_early_stopping_waits_for_a_tenth_of_the_epochs(X, y, max_epochs, waited):
    net = stopping().set_params(max_epochs=max_epochs, n_iter_no_change="auto", lr=0.0)
    assert len(net.fit(X, y).history) == 1 + waited  # with a rate of 0 the first epoch is the best


def test_early_stopping_holds_out_the_fraction_that_was_told(X, y):
    net = stopping(validation_fraction=0.4).fit(X, y)
    train, valid = net.get_split_datasets(X, y)
    assert (len(train), len(valid)) == (30, 20)


def test_early_stopping_takes_the_rows_of_a_split_that_is_given(X, y):
    net = stopping(train_split=ValidSplit(2)).fit(X, y)
    assert len(net.get_split_datasets(X, y)[1]) == 25


def test_early_stopping_tells_the_noise_from_the_rows_that_it_holds_out(X, y):
    net = stopping(noise="estimate", validation_fraction=0.4).fit(X, y)
    assert net.noise_std_ > 0


def test_the_same_seed_stops_at_the_same_epoch(X, y):
    one, other = (stopping().fit(X, y) for _ in range(2))
    assert one.history[:, "valid_loss"] == other.history[:, "valid_loss"]


def test_early_stopping_is_silent(X, y, capsys):
    stopping().fit(X, y)
    assert capsys.readouterr().out == ""
