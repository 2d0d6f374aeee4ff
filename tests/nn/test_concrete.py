"""A dropout rate that learns itself."""

import math
import pickle
from copy import deepcopy

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import quad
from scipy.special import expit, logit
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback
from skorch.dataset import ValidSplit
from torch import nn

from sk_mcdropout import MLP, ConcreteDropout, MCDropoutRegressor, sample
from sk_mcdropout.nn import learned_rates, regularisation, regularised_parameters, set_rates


def wave(n_samples, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.uniform(-3, 3, (n_samples, 1))
    return X, X[:, 0] + np.sin(2 * X[:, 0]) + rng.normal(scale=0.5, size=n_samples)


def small_net(**params):
    defaults = {"module__dropout": "concrete", "module__hidden": (20,), "max_epochs": 3}
    return MCDropoutRegressor(**{**defaults, "random_state": 0, **params})


@pytest.mark.parametrize("p", [0.02, 0.3, 0.5, 0.9])
def test_the_mask_in_training_has_the_mean_of_the_concrete_distribution(p):
    drop = ConcreteDropout(p=p)
    torch.manual_seed(0)
    mask = drop(torch.ones(400_000))
    # Gal, Hron & Kendall (2017), eq. 5, for what is kept, with the uniform number integrated out.
    kept, _ = quad(lambda u: 1 - expit((logit(p) + logit(u)) / 0.1), 0, 1, points=[1 - p])
    error = 5 * mask.std().item() / math.sqrt(len(mask))
    assert_allclose(mask.mean().item(), kept / (1 - p), atol=error)


@pytest.mark.parametrize("p", [0.05, 0.4, 0.9])
def test_the_regularisation_is_that_of_the_paper(p):
    drop = ConcreteDropout(nn.Linear(7, 3), p=p, length_scale=2.0)
    weight = drop.layer.weight.detach().double().numpy() / (1 - p)  # M, which is dropped unscaled
    entropy = -p * math.log(p) - (1 - p) * math.log(1 - p)
    expected = 2.0**2 * (1 - p) / 2 * (weight**2).sum() - 7 * entropy  # eqs. 3 and 4
    assert_allclose(drop.regularisation().item(), expected, rtol=1e-5)


def test_the_rate_has_the_gradient_of_finite_differences():
    torch.manual_seed(0)
    x = torch.randn(5, 4, dtype=torch.float64)
    drop = ConcreteDropout(nn.Linear(4, 2), p=0.3, length_scale=1.0).double()

    def loss(at):
        torch.manual_seed(1)
        with torch.no_grad():
            drop.logit.fill_(at)
        return drop(x).square().sum() + drop.regularisation()

    (gradient,) = torch.autograd.grad(loss(-1.0), drop.logit)
    slope = (loss(-0.99) - loss(-1.01)).item() / 0.02
    assert_allclose(gradient.item(), slope, rtol=0.01)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("logit", [-1000.0, 1000.0])
def test_a_rate_at_its_bounds_is_safe_and_finds_the_way_back(dtype, logit):
    drop = ConcreteDropout(nn.Linear(4, 2)).to(dtype)
    with torch.no_grad():
        drop.logit.fill_(logit)
    assert 0 < drop.rate.item() < 1
    loss = drop(torch.ones(3, 4, dtype=dtype)).float().sum() + drop.regularisation()
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(drop.logit.grad)
    assert drop.logit.grad != 0


@pytest.mark.parametrize(
    ("layer", "shape", "mask"),
    [
        (None, (6, 4), (1, 4)),
        (nn.Linear(4, 2), (6, 5, 4), (1, 5, 4)),
        (nn.Conv1d(4, 2, 3), (6, 4, 9), (1, 4, 1)),
        (nn.Conv2d(4, 2, 3), (6, 4, 9, 9), (1, 4, 1, 1)),
        (nn.Conv3d(4, 2, 3), (6, 4, 5, 5, 5), (1, 4, 1, 1, 1)),
    ],
)
def test_draws_are_those_of_ordinary_dropout_at_the_learned_rate(layer, shape, mask):
    drop, x = ConcreteDropout(layer, p=0.25), torch.randn(shape)
    kinds = {3: nn.Dropout1d, 4: nn.Dropout2d, 5: nn.Dropout3d}
    channels = layer is not None and not isinstance(layer, nn.Linear)
    kind = kinds[len(shape)] if channels else nn.Dropout
    plain = nn.Sequential(kind(0.25), layer or nn.Identity())
    torch.testing.assert_close(sample(drop, x, 6), sample(plain, x, 6))
    torch.testing.assert_close(sample(drop, x, 6), sample(drop, x, 6, strategy="loop"))
    assert drop._weakened(x, channels).shape[1:] == mask[1:]


def test_a_rate_that_changed_is_noticed():
    net, x = nn.Sequential(nn.Linear(3, 8), ConcreteDropout(nn.Linear(8, 1))), torch.randn(5, 3)
    sample(net, x, 4)
    net[1].set_rate(0.7)
    fresh = sample(deepcopy(net), x, 4)
    torch.testing.assert_close(sample(net, x, 4), fresh)
    assert_allclose(learned_rates(net)["1"], 0.7, rtol=1e-6)


def test_the_rates_of_the_default_net_can_be_set_and_saved():
    net = MLP(3, 1, hidden=(5, 6), dropout="concrete")
    set_rates(net, 0.3)
    other = MLP(3, 1, hidden=(5, 6), dropout="concrete")
    other.load_state_dict(net.state_dict())
    assert_allclose([*learned_rates(other).values()], [0.3, 0.3], rtol=1e-6)
    assert learned_rates(pickle.loads(pickle.dumps(net))) == learned_rates(net)
    assert [part.n_units for part in net.modules() if isinstance(part, ConcreteDropout)] == [5, 6]


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: ConcreteDropout(nn.ReLU()), TypeError, "Got a ReLU"),
        (lambda: ConcreteDropout(p=0), ValueError, r"\(0, 1\) to learn. Got 0\."),
        (lambda: ConcreteDropout(length_scale=-1), ValueError, "at least 0. Got -1"),
        (lambda: MLP(3, dropout="beton"), ValueError, "or 'masksembles'. Got 'beton'"),
        (lambda: set_rates(MLP(3, dropout="concrete"), 1.0), ValueError, r"Got 1\.0"),
    ],
)
def test_what_cannot_learn_is_refused(make, error, match):
    with pytest.raises(error, match=match):
        make()


def test_a_net_without_it_has_no_regularisation():
    assert regularisation(MLP(3)) is None
    assert regularised_parameters(MLP(3)) == []


# -- in the estimator ------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("noise", [None, 0.5, "heteroscedastic"])
def test_the_rates_fall_as_data_grow(noise):
    rates = []
    sizes = [(100, 300), (1000, 40), (10_000, 20)]
    for n_samples, max_epochs in sizes if noise == 0.5 else sizes[:2]:
        net = small_net(noise=noise, module__hidden=(50, 50), max_epochs=max_epochs)
        rates.append([*net.fit(*wave(n_samples)).learned_rates_.values()])
    assert (np.diff(rates, axis=0) < 0).all()


def test_the_learned_rates_are_those_of_the_sites_and_of_the_same_seed():
    X, y = wave(100)
    net, other = small_net().fit(X, y), small_net().fit(X, y)
    assert net.learned_rates_ == other.learned_rates_
    assert [site.p for site in net.dropout_sites_] == [*net.learned_rates_.values()]
    assert net.learned_rates_ != {"layers.2": 0.1}
    loaded = pickle.loads(pickle.dumps(net))
    assert_array_equal(loaded.predict(X, return_std=True), net.predict(X, return_std=True))


class LossOfOneBatch(Callback):
    """Keep the loss of the only step of training."""

    def on_batch_end(self, net, batch=None, training=False, loss=None, **kwargs):
        if training:
            self.loss_ = loss.item()


@pytest.mark.parametrize("train_split", [None, ValidSplit(4)])
def test_the_loss_of_training_holds_the_regularisation_over_the_rows(train_split, monkeypatch):
    X, y = wave(80)
    about = {"max_epochs": 1, "batch_size": -1, "lr": 0.0, "train_split": train_split, "noise": 0.5}
    net = small_net(callbacks=[("loss", LossOfOneBatch())], **about).fit(X, y)
    monkeypatch.setattr("sk_mcdropout.estimators._weighted.regularisation", lambda module: 0.0)
    plain = small_net(callbacks=[("loss", LossOfOneBatch())], **about).fit(X, y)
    n_rows = 80 if train_split is None else 60
    nats = regularisation(net.module_).item() / n_rows
    added = 2 * (0.5 / net.y_scale_) ** 2 * nats
    losses = [dict(one.callbacks_)["loss"].loss_ for one in (net, plain)]
    assert_allclose(losses[0] - losses[1], added, rtol=1e-3)


def test_what_is_regularised_has_no_weight_decay():
    net = small_net().fit(*wave(50))
    free = [g for g in net.optimizer_.param_groups if g["weight_decay"] == 0]
    decayed = [g for g in net.optimizer_.param_groups if g["weight_decay"] == 0.01]
    marked = {id(parameter) for parameter in regularised_parameters(net.module_)}
    assert {id(p) for g in free for p in g["params"]} == marked
    assert len([p for g in free + decayed for p in g["params"]]) == len([*net.module_.parameters()])


@pytest.mark.slow
def test_it_is_searched_in_a_pipeline_with_a_heteroscedastic_noise():
    pipe = make_pipeline(StandardScaler(), small_net(noise="heteroscedastic"))
    search = GridSearchCV(pipe, {"mcdropoutregressor__dropout": [0.05, 0.4]}, cv=2)
    search.fit(*wave(60))
    best = search.best_params_["mcdropoutregressor__dropout"]
    (rate,) = search.best_estimator_[-1].learned_rates_.values()
    assert abs(logit(rate) - logit(best)) < 0.2  # a few steps of 0.005 from where it started
