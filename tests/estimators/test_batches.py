"""What takes less time than skorch's and torch's own, and does the same."""

import numpy as np
import pytest
import torch
from skorch.dataset import Dataset
from torch import nn
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler, Subset

from sk_mcdropout import MLP, MCDropoutRegressor
from sk_mcdropout.estimators._batches import BatchDataset, BatchLoader, as_is, order_of_rows
from sk_mcdropout.estimators._optimizer import clear_gradients, set_mode

X = np.random.default_rng(0).normal(size=(23, 3)).astype(np.float32)
Y = X.sum(axis=1, dtype=float)


class FrozenNorm(nn.BatchNorm1d):
    def train(self, mode=True):
        return super().train(False)


class OwnOptimizer(torch.optim.SGD):
    def zero_grad(self, set_to_none=True):
        super().zero_grad(set_to_none=False)


def two_epochs(cls, dataset, **params):
    """Answer the batches of two epochs, and the next number of the global generator."""
    torch.manual_seed(0)
    loader = cls(dataset, collate_fn=as_is, **params)
    return [batch for _ in range(2) for batch in loader], torch.rand(())


# -- batches -----------------------------------------------------------------------------------


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("y", [Y, None], ids=["y", "no y"])
@pytest.mark.parametrize("form", [np.asarray, torch.from_numpy])
def test_the_batches_are_those_of_a_data_loader(form, y, shuffle, drop_last):
    dataset = BatchDataset(form(X), y)
    params = {"batch_size": 5, "shuffle": shuffle, "drop_last": drop_last}
    expected = two_epochs(DataLoader, dataset, **params)
    torch.testing.assert_close(two_epochs(BatchLoader, dataset, **params), expected, rtol=0, atol=0)


@pytest.mark.parametrize("size", [1, 200])
def test_batches_do_not_depend_on_how_many_rows_are_fetched_at_once(monkeypatch, size):
    dataset = BatchDataset(X, Y)
    expected = two_epochs(BatchLoader, dataset, batch_size=5, shuffle=True)
    monkeypatch.setattr("sk_mcdropout.estimators._batches._FETCHED", size)
    actual = two_epochs(BatchLoader, dataset, batch_size=5, shuffle=True)
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


def test_the_batches_of_a_subset_are_those_of_a_data_loader():
    dataset = Subset(Subset(BatchDataset(X, Y), range(3, 20)), [4, 0, 9, 9, 16])
    expected = two_epochs(DataLoader, dataset, batch_size=2, shuffle=True)
    actual = two_epochs(BatchLoader, dataset, batch_size=2, shuffle=True)
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


class DoubledBatches(BatchDataset):
    def __getitems__(self, rows):
        assert len(rows) <= 5
        X, y = super().__getitems__(rows)
        return 2 * X, y


def test_a_subclass_of_the_dataset_is_asked_for_each_batch():
    batches, _ = two_epochs(BatchLoader, DoubledBatches(X, Y), batch_size=5)
    torch.testing.assert_close(torch.cat([x for x, _ in batches[:5]]), torch.from_numpy(2 * X))


def test_any_other_dataset_is_fetched_as_by_a_data_loader():
    loader = BatchLoader(Dataset(X, Y), batch_size=5)
    expected = list(DataLoader(Dataset(X, Y), batch_size=5))
    torch.testing.assert_close(list(loader), expected)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"generator": torch.Generator()},
        {"replacement": True},
        {"num_samples": 4},
        {"num_samples": 60},
    ],
)
def test_the_order_of_rows_is_that_of_the_sampler(params):
    generator = params.get("generator", torch.default_generator)
    orders = []
    for answer in (list, order_of_rows):
        generator.manual_seed(3)
        orders.append(list(answer(RandomSampler(range(9), **params))))
    assert orders[0] == orders[1]


def test_rows_in_a_row_stay_so():
    assert list(order_of_rows(SequentialSampler(range(4)))) == [0, 1, 2, 3]


# -- modes and gradients -----------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_one_part_in_the_other_mode_is_found(training):
    net = nn.Sequential(MLP(3), nn.Sequential(nn.Dropout()))
    net.train(training)
    net[1][0].training = not training
    set_mode(net, training)
    assert {m.training for m in net.modules()} == {training}


def test_a_part_that_is_to_stay_in_eval_mode_stays_in_it():
    net = nn.Sequential(nn.Linear(3, 2), FrozenNorm(2)).train()
    set_mode(net, False)
    set_mode(net, True)
    assert [m.training for m in net] == [True, False]


def test_a_mode_set_on_an_instance_alone_is_asked_each_time():
    net, calls = nn.Linear(3, 2), []
    net.train = calls.append
    set_mode(net, True)
    assert calls == [True]


@pytest.mark.parametrize(("optimizer", "left"), [(torch.optim.SGD, None), (OwnOptimizer, 0.0)])
def test_gradients_are_cleared_as_the_optimizer_does(optimizer, left):
    weight = nn.Parameter(torch.ones(()))
    (2 * weight).backward()
    clear_gradients(optimizer([weight], lr=0.1))
    assert weight.grad is left if left is None else weight.grad.item() == left


def test_a_callback_that_puts_a_part_in_eval_mode_is_overruled_as_in_skorch():
    class Watching(MCDropoutRegressor):
        def on_batch_begin(self, net, batch=None, training=None, **kwargs):
            super().on_batch_begin(net, batch=batch, training=training, **kwargs)
            self.module_.eval()

        def on_grad_computed(self, net, named_parameters, **kwargs):
            assert all(m.training for m in self.module_.modules())

    assert len(Watching(max_epochs=2).fit(X, Y).history) == 2
