"""Nets in files: by pickle, and by skops, which tells what it is to be trusted with."""

import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sk_mcdropout import MCDropoutRegressor

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
Y = RNG.normal(size=40)

# What a net of the default parts is made of, as the README lists it.
TRUSTED = {
    "builtins.print",
    "functools.partial",
    "sk_mcdropout.estimators._batches.BatchDataset",
    "sk_mcdropout.estimators._callbacks.CosineSchedule",
    "sk_mcdropout.estimators._callbacks.DecayByNoise",
    "sk_mcdropout.estimators._callbacks.EarlyEnd",
    "sk_mcdropout.estimators._regressor.MCDropoutRegressor",
    "sk_mcdropout.nn._mlp.MLP",
    "sk_mcdropout.sampling._masks.DropoutSite",
    "skorch.callbacks.logging.EpochTimer",
    "skorch.callbacks.logging.PrintLog",
    "skorch.callbacks.scoring.PassthroughScoring",
    "skorch.history.History",
    "skorch.setter.optimizer_setter",
    "torch.nn.modules.loss.MSELoss",
    "torch.optim.adamw.AdamW",
    "torch.optim.lr_scheduler.LambdaLR",
    "torch.utils.data.dataloader.DataLoader",
}


class Own(nn.Module):
    """A module of the user's."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 5), nn.Dropout(0.2), nn.Linear(5, 1))

    def forward(self, X):
        return self.layers(X)


def small_net(**params):
    defaults = {"max_epochs": 2, "n_draws": 5, "random_state": 0}
    return MCDropoutRegressor(**{**defaults, **params})


def through_skops(estimator):
    skops = pytest.importorskip("skops.io", reason="skops is not installed")
    saved = skops.dumps(estimator)
    return skops.loads(saved, trusted=skops.get_untrusted_types(data=saved))


def through_pickle(estimator):
    return pickle.loads(pickle.dumps(estimator))


NETS = {
    "default": lambda: small_net().fit(X, Y),
    "calibrated": lambda: small_net(noise=1.0).fit(X, Y).calibrate(X, Y, "conformal"),
    "estimated": lambda: small_net(noise="estimate").fit(X, Y),
    "heteroscedastic": lambda: small_net(noise="heteroscedastic").fit(X, np.c_[Y, Y]),
    "concrete": lambda: small_net(module__dropout="concrete").fit(X, Y),
    "own module": lambda: small_net(module=Own, dropout=0.1).fit(X, Y),
    "pipeline": lambda: make_pipeline(StandardScaler(), small_net()).fit(X, Y),
}


@pytest.mark.parametrize("through", [through_skops, through_pickle])
@pytest.mark.parametrize("make", NETS.values(), ids=NETS)
def test_a_net_from_a_file_predicts_the_same(make, through):
    net = make()
    loaded = through(net)
    for ours, theirs in zip(
        net.predict(X, return_std=True), loaded.predict(X, return_std=True), strict=True
    ):
        assert_array_equal(ours, theirs)
    assert repr(loaded) == repr(net)


@pytest.mark.parametrize("through", [through_skops, through_pickle])
def test_a_net_from_a_file_has_its_dropouts_and_trains_on(through):
    net = small_net().fit(X, Y)
    loaded = through(net)
    assert str(loaded.dropout_sites_) == str(net.dropout_sites_)
    assert loaded.dropout_sites_ == net.dropout_sites_
    assert_array_equal(loaded.partial_fit(X, Y).predict(X), net.partial_fit(X, Y).predict(X))
    assert len(loaded.history) == 4


def test_skops_asks_to_trust_what_the_readme_lists():
    skops = pytest.importorskip("skops.io", reason="skops is not installed")
    assert set(skops.get_untrusted_types(data=skops.dumps(small_net().fit(X, Y)))) == TRUSTED


def test_no_fitted_attribute_is_a_dtype():
    net = small_net().fit(X, Y)
    held = [*vars(net).values(), *(part for s in net.dropout_sites_ for part in vars(s).values())]
    assert not [value for value in held if isinstance(value, torch.dtype)]
