"""What takes less time than skorch's and torch's own, and does the same."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from skorch.dataset import Dataset, ValidSplit
from torch import nn
from torch.utils.data import DataLoader, Subset

from sk_mcdropout import MLP, MCDropoutRegressor
from sk_mcdropout.estimators._batches import BatchDataset, BatchLoader, as_is

X = np.random.default_rng(0).normal(size=(23, 3)).astype(np.float32)
Y = X.sum(axis=1, dtype=float)


class FrozenNorm(nn.BatchNorm1d):
    def train(self, mode=True):
        return super().train(False)


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


# -- steps -------------------------------------------------------------------------------------


def test_a_callback_that_puts_a_part_in_eval_mode_is_overruled_as_in_skorch():
    class Watching(MCDropoutRegressor):
        def on_batch_begin(self, net, batch=None, training=None, **kwargs):
            super().on_batch_begin(net, batch=batch, training=training, **kwargs)
            list(self.module_.modules())[-1].eval()

        def on_grad_computed(self, net, named_parameters, **kwargs):
            assert all(m.training for m in self.module_.modules())

    assert len(Watching(max_epochs=2).fit(X, Y).history) == 2


def test_a_part_that_is_to_stay_in_eval_mode_stays_in_it():
    module = nn.Sequential(nn.Dropout(), nn.Linear(3, 1), FrozenNorm(1))
    net = MCDropoutRegressor(module, max_epochs=2).fit(X, Y)
    assert net.module_[2].running_mean == 0


class WithY(MCDropoutRegressor):
    """Changes the target of each batch where a subclass can."""

    def on_batch_begin(self, net, batch=None, training=None, **kwargs):
        super().on_batch_begin(net, batch=batch, training=training, **kwargs)
        self.written(batch[1])

    def get_loss(self, y_pred, y_true, X=None, training=False):
        return super().get_loss(y_pred, self.made(y_true), X=X, training=training)

    def written(self, y):
        pass

    def made(self, y):
        return y


@pytest.mark.parametrize("split", [None, ValidSplit(3)], ids=["all rows", "split"])
def test_the_target_of_a_batch_is_the_one_that_it_has_at_last(split):
    losses = []
    for name, change in [
        ("written", lambda self, y: y.mul_(3)),
        ("made", lambda self, y: y * 3),
        ("made", lambda self, y: y),
    ]:
        cls = type("Changed", (WithY,), {name: change})
        net = cls(max_epochs=2, batch_size=5, random_state=0, train_split=split).fit(X, Y)
        losses.append(net.history[:, "train_loss"])
    assert_allclose(losses[0], losses[1], rtol=1e-5)
    assert losses[0][0] > 2 * losses[2][0]


def test_a_target_is_standardised_as_precisely_as_the_net_counts():
    module = MLP(3).double()
    net = MCDropoutRegressor(module, max_epochs=1, batch_size=-1, dropout=0.0, lr=0.0)
    net.fit(X.astype(float), Y)
    residuals = (net.predict(X) - Y) / net.y_scale_
    assert_allclose(net.history[-1, "train_loss"], np.mean(residuals**2), rtol=1e-12)
