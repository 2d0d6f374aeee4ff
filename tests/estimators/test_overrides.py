"""What a user may replace or override in a skorch net, and the draws respect."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from skorch.dataset import Dataset
from torch.utils.data import DataLoader, default_collate

from sk_mcdropout import MLP, MCDropoutRegressor


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)


@pytest.fixture
def trained():
    torch.manual_seed(3)
    return MLP(3, hidden=(16,), dropout=0.2)


def ready(trained, cls=MCDropoutRegressor, **params):
    defaults = {"n_draws": 10, "random_state": 0, "batch_size": 16}
    return cls(trained, **{**defaults, **params}).initialize()


def doubled(batch):
    X, y = default_collate(batch)
    return 2 * X, y


class DoublingDataset(Dataset):
    def transform(self, X, y):
        X, y = super().transform(X, y)
        return 2 * X, y


class DoublingIterator(DataLoader):
    def __iter__(self):
        for X, y in super().__iter__():
            yield 2 * X, y


class DoublingInfer(MCDropoutRegressor):
    def infer(self, x, **fit_params):
        return super().infer(2 * x, **fit_params)


class DoublingStep(MCDropoutRegressor):
    def evaluation_step(self, batch, training=False):
        X, y = batch
        return super().evaluation_step((2 * X, y), training=training)


class DoublingIteratorMethod(MCDropoutRegressor):
    def get_iterator(self, dataset, training=False):
        for X, y in super().get_iterator(dataset, training):
            yield 2 * X, y


class DoublingDatasetMethod(MCDropoutRegressor):
    def get_dataset(self, X, y=None):
        return super().get_dataset(2 * X if isinstance(X, np.ndarray | torch.Tensor) else X, y)


class ShiftingForward(MCDropoutRegressor):
    def forward_iter(self, *args, **kwargs):
        for output in super().forward_iter(*args, **kwargs):
            yield output + 100


PARTS = {
    "collate_fn": {"iterator_valid__collate_fn": doubled},
    "iterator_valid": {"iterator_valid": DoublingIterator},
    "dataset": {"dataset": DoublingDataset},
    "infer": {"cls": DoublingInfer},
    "evaluation_step": {"cls": DoublingStep},
    "get_iterator": {"cls": DoublingIteratorMethod},
    "get_dataset": {"cls": DoublingDatasetMethod},
}


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
@pytest.mark.parametrize("as_input", [np.asarray, torch.tensor], ids=["array", "tensor"])
def test_a_part_that_doubles_the_inputs_is_used_once_in_each_draw(X, trained, part, as_input):
    expected = ready(trained).draws(2 * X)
    assert expected.std(axis=0).min() > 0
    net = ready(trained, **part)
    assert_allclose(net.draws(as_input(X)), expected, rtol=1e-5, atol=1e-6)
    # The same way is taken by skorch's own pass without dropout.
    assert_allclose(net.forward(as_input(X)), ready(trained).forward(2 * X), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("as_input", [np.asarray, torch.tensor], ids=["array", "tensor"])
def test_an_overridden_forward_iter_is_used_in_each_draw(X, trained, as_input):
    net = ready(trained, ShiftingForward)
    # There are more rows than in a batch, and each of them has its dropout.
    assert_allclose(net.draws(as_input(X)), ready(trained).draws(X) + 100, rtol=1e-5)


def test_overrides_are_used_in_training(X):
    y = X[:, 0]
    params = {"module__hidden": (16,), "max_epochs": 2, "n_draws": 10, "random_state": 0}
    # What the net learns about X it does not learn about 2 X.
    params.update(normalize_X=False, module__embedding=None)
    expected = MCDropoutRegressor(**params).fit(2 * X, y).predict(2 * X)
    assert_array_equal(DoublingInfer(**params).fit(X, y).predict(X), expected)
    assert_allclose(
        MCDropoutRegressor(dataset=DoublingDataset, **params).fit(X, y).predict(X), expected, 1e-5
    )


def test_a_batch_size_for_prediction_is_respected(X, trained):
    sizes = []

    def measured(batch):
        sizes.append(len(batch))
        return default_collate(batch)

    ready(trained, iterator_valid__batch_size=20, iterator_valid__collate_fn=measured).draws(X)
    assert sizes == [20, 20, 10]


@pytest.mark.parametrize("training", [False, True])
def test_a_forward_pass_keeps_the_order_of_the_rows(X, trained, training):
    trained.layers[2].p = 0.0
    net = ready(trained)
    expected = trained(torch.from_numpy(X)).detach()
    assert_allclose(net.forward(X, training=training).detach(), expected, rtol=1e-5, atol=1e-6)


def test_a_training_pass_has_its_dropout_on(X, trained):
    net = ready(trained)
    assert not torch.equal(net.forward(X, training=True), net.forward(X, training=True))


def test_a_forward_hook_of_the_user_sees_the_draws(X, trained):
    def shift(module, args, output):
        return output + 100

    expected = ready(trained).draws(X) + 100
    trained.register_forward_hook(shift)
    assert_allclose(ready(trained).draws(X), expected, rtol=1e-5)


def test_the_first_of_several_outputs_is_the_prediction(X):
    class TwoOutputs(MLP):
        def forward(self, X):
            output = super().forward(X)
            return output, 2 * output

    class FirstLoss(MCDropoutRegressor):
        def get_loss(self, y_pred, y_true, *args, **kwargs):
            return super().get_loss(y_pred[0], y_true, *args, **kwargs)

    params = {"module__hidden": (16,), "max_epochs": 2, "n_draws": 10, "random_state": 0}
    expected = MCDropoutRegressor(**params).fit(X, X[:, 0]).draws(X)
    assert_array_equal(FirstLoss(TwoOutputs, **params).fit(X, X[:, 0]).draws(X), expected)
