"""Estimators that are trained as one stack."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy import sparse
from skorch.callbacks import Callback
from skorch.dataset import ValidSplit
from torch import nn

from sk_mcdropout import MLP, MCDropoutRegressor
from sk_mcdropout.estimators import _stack, _together
from sk_mcdropout.estimators._together import Task, fit_together


def make_nets(**params):
    defaults = {"module__hidden": (8, 8), "max_epochs": 3, "batch_size": 20}
    return [MCDropoutRegressor(random_state=k, **{**defaults, **params}) for k in range(3)]


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(103, 3)) * [1.0, 100.0, 0.01]


@pytest.fixture(scope="module")
def y(X):
    noise = np.random.default_rng(1).normal(size=103)
    return 20 + 5 * np.sin(X[:, 0]) + X[:, 1] / 100 + 0.3 * noise


@pytest.fixture(scope="module")
def data(X, y):
    return [(X, y), (X[:102], y[:102]), (X[1:], y[1:])]


def fit_all(nets, data, **params):
    errors = fit_together(
        [Task(net, *rows) for net, rows in zip(nets, data, strict=True)], **params
    )
    for error in errors:
        if error is not None:
            raise error


@pytest.fixture
def stacks(monkeypatch):
    """Return the stacks that are made."""
    made, stacked = [], _stack._stacked

    def noted(*args):
        made.append(stacked(*args))
        return made[-1]

    monkeypatch.setattr(_stack, "_stacked", noted)
    return made


class Own(MLP):
    """A net of the user's."""


STACKED = {
    "default": {},
    "columns as they are": {"normalize_X": False, "module__embedding": None},
    "all rows at once": {"batch_size": -1},
    "chosen length": {"max_epochs": "auto", "batch_size": "auto", "lr": 0.001},
    "constant rate": {"lr_schedule": None, "lr": 0.01},
    "a decay of yours": {"optimizer__weight_decay": 0.5},
    "target as it is": {"normalize_y": False},
    "rows in order": {"iterator_train__shuffle": False},
    "a rate for all": {"dropout": 0.5},
    "other betas": {"optimizer__betas": (0.8, 0.9)},
    "a known noise": {"noise": 0.3},
    "a noise that is told": {"noise": "heteroscedastic"},
    "the absolute error": {"criterion": nn.L1Loss},
    "a net of your own": {"module": Own, "dropout": 0.2},
    "a net of your own that tells its noise": {"module": Own, "noise": "heteroscedastic"},
    "a noise that is told, of a target as it is": {
        "noise": "heteroscedastic",
        "normalize_y": False,
    },
}


@pytest.mark.parametrize("params", STACKED.values(), ids=STACKED)
def test_a_stacked_fit_is_the_plain_fit(X, data, stacks, monkeypatch, params):
    if "max_epochs" in params:
        monkeypatch.setattr("sk_mcdropout.estimators._length._STEPS", 30)
    nets = make_nets(**params)
    fit_all(nets, data)
    assert len(stacks) == 1
    for net, plain, rows in zip(nets, make_nets(**params), data, strict=True):
        plain.fit(*rows)
        assert_allclose(net.history[:, "train_loss"], plain.history[:, "train_loss"], rtol=1e-4)
        assert_allclose(net.predict(X), plain.predict(X), rtol=1e-3)
        assert net.dropout_sites_ == plain.dropout_sites_
        assert set(vars(net)) == set(vars(plain))
        assert len(net.history) == len(plain.history)


OPTIMIZERS = {
    "adam": {"optimizer": torch.optim.Adam, "optimizer__weight_decay": 0.1},
    "sgd": {"optimizer": torch.optim.SGD, "optimizer__momentum": 0.9},
    "rmsprop": {"optimizer": torch.optim.RMSprop, "optimizer__momentum": 0.5},
    "adagrad": {"optimizer": torch.optim.Adagrad, "optimizer__lr_decay": 0.1},
    "adadelta": {"optimizer": torch.optim.Adadelta},
    "adamax": {"optimizer": torch.optim.Adamax},
    "nadam": {"optimizer": torch.optim.NAdam},
    "radam": {"optimizer": torch.optim.RAdam},
}


@pytest.mark.slow
@pytest.mark.parametrize("params", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_other_optimizers_have_rates_of_their_own(data, stacks, params):
    params = {**params, "max_epochs": 2}
    nets, alone = make_nets(**params), make_nets(**params)
    for net in (nets[0], alone[0]):
        net.set_params(lr=0.002)
    fit_all(nets, data)
    assert len(stacks) == 1
    for net, plain, rows in zip(nets, alone, data, strict=True):
        plain.fit(*rows)
        assert_allclose(net.history[:, "train_loss"], plain.history[:, "train_loss"], rtol=1e-4)


SEVERAL_TARGETS = [{}, {"noise": "heteroscedastic"}, {"normalize_y": False}]


@pytest.mark.parametrize("params", SEVERAL_TARGETS)
def test_several_targets_are_stacked(X, y, stacks, params):
    Y = np.column_stack([y, -3 * y + 1])
    nets = make_nets(**params)
    fit_all(nets, [(X, Y)] * 3)
    assert len(stacks) == 1
    expected = make_nets(**params)[2].fit(X, Y).predict(X)
    assert_allclose(nets[2].predict(X), expected, rtol=1e-3)


@pytest.mark.parametrize("noise", [None, "heteroscedastic"])
def test_rows_with_weights_are_stacked(X, data, stacks, noise):
    weights = [np.random.default_rng(k).integers(0, 3, len(rows[0])) for k, rows in enumerate(data)]
    data = [(*rows, some.astype(float)) for rows, some in zip(data, weights, strict=True)]
    nets, alone = make_nets(noise=noise), make_nets(noise=noise)
    fit_all(nets, data)
    assert len(stacks) == 1
    for net, plain, rows in zip(nets, alone, data, strict=True):
        plain.fit(*rows)
        assert_allclose(net.history[:, "train_loss"], plain.history[:, "train_loss"], rtol=1e-4)


def test_each_net_has_a_rate_and_a_learning_rate_and_a_decay_of_its_own(X, data, stacks):
    own = [
        {"lr": 0.01, "dropout": 0.0},
        {"lr": 0.001, "dropout": 0.5},
        {"lr": 0.0, "dropout": 0.2},
    ]
    for decays in ({}, {"optimizer__weight_decay": 0.5}):
        nets, alone = make_nets(), make_nets()
        for k, params in enumerate(own):
            more = {name: decay * k for name, decay in decays.items()}
            nets[k].set_params(**params, **more)
            alone[k].set_params(**params, **more)
        fit_all(nets, data)
        for net, plain, rows in zip(nets, alone, data, strict=True):
            losses = plain.fit(*rows).history[:, "train_loss"]
            assert_allclose(net.history[:, "train_loss"], losses, rtol=1e-4)
    assert len(stacks) == 2


def test_a_sparse_table_is_not_made_dense(X, data, stacks):
    nets = make_nets()
    fit_all(nets, [(sparse.csr_array(table), target) for table, target in data])
    assert not stacks
    assert_allclose(nets[1].predict(X), make_nets()[1].fit(*data[1]).predict(X), rtol=1e-3)


def test_nets_of_one_table_share_its_rows(X, y, stacks, monkeypatch):
    given = []
    monkeypatch.setattr(_together, "Rows", lambda *parts: given.append(1) or _stack.Rows(*parts))
    nets, folds = make_nets() + make_nets(), [(X, y), (X[1:], y[1:]), (X[2:], y[2:])] * 2
    fit_all(nets, folds)
    assert (len(stacks), len(given)) == (1, 3)
    assert_allclose(nets[0].predict(X), nets[3].predict(X), rtol=1e-5)
    assert_allclose(nets[4].predict(X), make_nets()[1].fit(*folds[1]).predict(X), rtol=1e-3)


def test_a_net_does_not_depend_on_its_neighbours(X, data):
    together, alone = make_nets(), make_nets()
    fit_all(together, data)
    fit_all(alone[1:2], data[1:2])
    assert_allclose(together[1].predict(X), alone[1].predict(X), rtol=1e-5)


class Watch(Callback):
    """Something that wants to see each step."""


class Doubling(MCDropoutRegressor):
    """An estimator whose steps are others."""

    def infer(self, x, **params):
        return super().infer(2 * x, **params)


class OwnLoss(nn.MSELoss):
    """A loss of the user's."""


ONE_BY_ONE = {
    "a loss of your own": {"criterion": OwnLoss},
    "another optimizer": {"optimizer": torch.optim.Rprop},
    "a callback": {"callbacks": [Watch()]},
    "held-out rows": {"train_split": ValidSplit(5)},
    "an early end": {"early_stopping": True},
    "rates that are learned": {"module__dropout": "concrete"},
    "groups of parameters": {"optimizer__param_groups": [("*bias", {"lr": 0.1})]},
}


@pytest.mark.slow
@pytest.mark.parametrize("params", ONE_BY_ONE.values(), ids=ONE_BY_ONE)
def test_what_a_stack_does_not_know_is_trained_one_by_one(X, data, stacks, params):
    nets = make_nets(**params)
    fit_all(nets, data)
    assert not stacks
    assert_allclose(nets[2].predict(X), make_nets(**params)[2].fit(*data[2]).predict(X))


def test_a_subclass_is_trained_one_by_one(X, data, stacks):
    nets = [Doubling(max_epochs=2, random_state=k) for k in range(3)]
    fit_all(nets, data)
    assert not stacks
    expected = Doubling(max_epochs=2, random_state=0).fit(*data[0]).predict(X)
    assert_allclose(nets[0].predict(X), expected)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_processes_give_what_one_gives(X, data, n_jobs):
    nets = make_nets(criterion=OwnLoss)
    fit_all(nets, data, n_jobs=n_jobs)
    expected = make_nets(criterion=OwnLoss)[1].fit(*data[1])
    assert_allclose(nets[1].predict(X), expected.predict(X))
    assert nets[1].history[:, "train_loss"] == expected.history[:, "train_loss"]


def test_processes_share_a_stack(X, data):
    nets = make_nets()
    nets[1].set_params(lr=1e30)
    tasks = [Task(net, *rows) for net, rows in zip(nets, data, strict=True)]
    errors = fit_together(tasks, n_jobs=2)
    assert "Lower `lr`" in str(errors[1])
    assert errors[0] is errors[2] is None
    assert not hasattr(nets[1], "module_")
    for k in (0, 2):
        plain = make_nets()[k].fit(*data[k])
        assert_allclose(nets[k].predict(X), plain.predict(X), rtol=1e-3)
        assert set(vars(nets[k])) == set(vars(plain))


SCRIPT = """
import numpy as np
from torch import nn
from sk_mcdropout import MCDropoutRegressor, MCDropoutRegressorCV


class Own(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(3, 8), nn.Dropout(0.1), nn.Linear(8, 1))


class OwnLoss(nn.MSELoss):
    pass


X = np.random.default_rng(0).normal(size=(40, 3)).astype("f")
for params in ({}, {"criterion": OwnLoss}):
    net = MCDropoutRegressor(Own, max_epochs=2, **params)
    model = MCDropoutRegressorCV(net, param_grid={}, cv=2, noise=None, n_jobs=2).fit(X, X[:, 0])
    print(model.predict(X).shape)
"""


@pytest.mark.slow
def test_processes_take_nets_of_a_script(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.stdout.split("\n") == ["(40,)", "(40,)", ""], done.stderr


def test_nets_of_unlike_steps_are_stacked_apart(X, y, stacks):
    nets = make_nets()
    fit_all(nets, [(X, y), (X[:50], y[:50]), (X, y)])
    assert len(stacks) == 2
    assert_allclose(nets[1].predict(X), make_nets()[1].fit(X[:50], y[:50]).predict(X))


def test_a_stack_has_no_more_numbers_than_may_be(X, data, stacks, monkeypatch):
    nets, own = make_nets(), make_nets(module=Own)
    size = sum(part.numel() for part in MLP(3, hidden=(8, 8)).parameters())
    monkeypatch.setattr(_together, "_MOST_NUMBERS", 2 * size + 1)
    fit_all(nets, data)
    assert [len(stack.nets) for stack in stacks] == [2, 1]
    fit_all(own, data)
    assert [len(stack.nets) for stack in stacks[2:]] == [2]  # and one alone
    assert_allclose(nets[2].predict(X), make_nets()[2].fit(*data[2]).predict(X), rtol=1e-3)


def test_an_interrupt_keeps_what_was_trained(X, data, monkeypatch):
    steps = iter(range(10**6))

    def cosine(progress):
        if next(steps) == 7:
            raise KeyboardInterrupt
        return 1.0

    monkeypatch.setattr(_stack, "cosine", cosine)
    nets = make_nets()
    fit_all(nets, data)
    assert all(net._interrupted for net in nets)
    assert all(len(net.history) == 1 for net in nets)  # six steps are an epoch
    assert np.isfinite(nets[0].predict(X)).all()


def test_a_fit_that_diverges_is_refused_and_the_nets_are_as_before(data):
    nets = make_nets(lr=1e30, max_epochs=5)
    with pytest.raises(ValueError, match="Lower `lr`"):
        fit_all(nets, data)
    assert not any(hasattr(net, "module_") for net in nets)


def test_a_net_that_diverges_does_not_take_the_others_along(X, data):
    nets = make_nets()
    nets[1].set_params(lr=1e30)
    tasks = [Task(net, *rows) for net, rows in zip(nets, data, strict=True)]
    errors = fit_together(tasks)
    assert "Lower `lr`" in str(errors[1])
    assert errors[0] is errors[2] is None
    assert not hasattr(nets[1], "module_")
    expected = make_nets()[2].fit(*data[2]).predict(X)
    assert_allclose(nets[2].predict(X), expected, rtol=1e-3)


def test_after_an_interrupt_later_stacks_are_not_trained(X, y, monkeypatch):
    def cosine(progress):
        raise KeyboardInterrupt

    monkeypatch.setattr(_stack, "cosine", cosine)
    nets = make_nets()
    assert fit_together([Task(nets[0], X, y), Task(nets[1], X[:50], y[:50])]) == [None, None]
    assert nets[0]._interrupted
    assert not hasattr(nets[1], "module_")


def test_bad_rows_are_refused_before_any_training(X, y):
    nets = make_nets()
    with pytest.raises(ValueError, match="Input X contains NaN"):
        fit_all(nets[:2], [(X, y), (np.full_like(X, np.nan), y)])
    assert not any(hasattr(net, "module_") for net in nets)


def test_the_steps_are_shown(X, y, capsys):
    fit_all(make_nets(), [(X, y)] * 3, progress=True)
    assert "18/18" in capsys.readouterr().err


@pytest.mark.slow
def test_the_noise_is_that_of_nets_trained_one_by_one(X, y, stacks, monkeypatch):
    params = {"noise": "estimate", "max_epochs": 20, "random_state": 0}
    noise = MCDropoutRegressor(**params).fit(X, y).noise_std_
    assert len(stacks) == 1
    monkeypatch.setattr(_together, "_why_alone", lambda learner: "nothing")
    assert_allclose(MCDropoutRegressor(**params).fit(X, y).noise_std_, noise, rtol=1e-3)
    assert len(stacks) == 1
