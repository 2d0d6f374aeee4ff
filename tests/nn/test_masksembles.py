"""A few masks that stay the same, taken in turn by rows in training and by draws after."""

import pickle
import re

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from torch import nn
from torch.testing import assert_close

from sk_mcdropout import MCDropoutRegressor, MCDropoutRegressorCV, mean_and_std, sample
from sk_mcdropout.nn import Masksembles, set_rates
from sk_mcdropout.sampling import Draws, PooledDraws


@pytest.mark.parametrize("n_masks", [2, 4, 8])
@pytest.mark.parametrize("scale", [1.0, 1.5, 2.0, 4.0])
def test_masks_have_the_overlap_of_their_scale(n_masks, scale):
    masks = Masksembles(400, n_masks, scale).masks
    both, n_kept = masks @ masks.T, masks.sum(1)
    either = n_kept[:, None] + n_kept - both
    assert len(n_kept.unique()) == 1
    assert masks.sum(0).min() >= 1
    # Of m * s places each mask takes m, so that two share m / s of 2 m - m / s, and the places
    # that some mask takes, a share 1 - (1 - 1 / s)^n of them, are the features.
    assert_close(
        n_kept[0].item(), 400 / (scale * (1 - (1 - 1 / scale) ** n_masks)), rtol=0.01, atol=1
    )
    shared = (both / either)[~torch.eye(n_masks, dtype=bool)].mean().item()
    assert_close(shared, 1 / (2 * scale - 1), rtol=0.15, atol=0.03)


@pytest.mark.parametrize("shape", [(7, 8), (7, 8, 3), (7, 8, 3, 2)])
@pytest.mark.parametrize("strategy", ["auto", "vmap", "fold", "loop"])
def test_draws_and_rows_take_the_masks_in_turn(shape, strategy):
    drop, x = Masksembles(8, 3), torch.randn(shape)
    by_mask = [x * mask.view(8, *[1] * (x.ndim - 2)) for mask in drop.masks]
    draws = sample(drop, x, 7, strategy=strategy, batch_size=2)
    assert_close(draws, torch.stack([by_mask[t % 3] for t in range(7)]))
    assert_close(drop.train()(x), torch.stack([by_mask[i % 3][i] for i in range(7)]))
    assert_close(drop.eval()(x), sum(by_mask) / 3)


def test_the_seed_and_the_law_of_masks_change_nothing():
    drop, x = Masksembles(8, 3), torch.randn(5, 8)
    draws = sample(drop, x, 6)
    assert torch.equal(sample(drop, x, 6, seed=1, masks="qmc"), draws)
    assert torch.equal(draws[3:], draws[:3])


def test_as_many_draws_as_masks_give_the_mean_and_the_spread_of_the_ensemble():
    drop, x = Masksembles(8, 4), torch.randn(5, 8)
    members = x * drop.masks[:, None]
    mean, std = mean_and_std(drop, x, 4)
    assert_close(mean, members.mean(0).double())
    assert_close(std, members.std(0).double())


def test_all_layers_of_a_draw_have_the_mask_of_one_number():
    first, second = Masksembles(8, 3), Masksembles(8, 3)
    draws = sample(nn.Sequential(first, second), torch.ones(2, 8), 3)
    assert_close(draws[:, 0], first.masks * second.masks)


def test_each_member_of_pooled_draws_takes_its_masks_in_turn():
    nets, x = [Masksembles(8, 2), Masksembles(8, 2)], torch.ones(2, 8)
    pooled = PooledDraws([Draws(net, lambda: [x]) for net in nets], n_draws=4)
    (draws,) = pooled.reduce(lambda outputs, rows: (outputs,), axis=1)
    masks = [net.masks[t] for t in range(2) for net in nets]
    assert_close(draws[:, 0], torch.stack(masks))


class Net(nn.Module):
    """One hidden layer, with masks of the seed of the estimator."""

    def __init__(self, n_features=3):
        super().__init__()
        layers = nn.Linear(n_features, 20), nn.ReLU(), Masksembles(20, 4), nn.Linear(20, 1)
        self.layers = nn.Sequential(*layers)

    def forward(self, X):
        return self.layers(X)


default = {"module__dropout": "masksembles", "module__hidden": (20, 20)}
each_net = pytest.mark.parametrize("net", [{"module": Net}, default], ids=["own", "default"])


@pytest.mark.slow
@each_net
def test_an_estimator_trains_each_mask_and_draws_them_all(net):
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (120, 3))
    y = X[:, 0]
    params = {**net, "max_epochs": 60, "n_draws": 4, "random_state": 0}
    net = MCDropoutRegressor(**params).fit(X, y)
    assert net.score(X, y) > 0.8
    draws = net.draws(X)
    assert (np.corrcoef(draws, y)[-1, :4] > 0.8).all()
    assert draws.std(axis=0).min() > 0
    assert_array_equal(MCDropoutRegressor(**params).fit(X, y).draws(X), draws)
    loaded = pickle.loads(pickle.dumps(net))
    assert_array_equal(loaded.draws(X), draws)


@each_net
def test_an_ensemble_of_folds_keeps_the_masks_of_each_net(net):
    X, y = np.random.default_rng(0).normal(size=(2, 60, 3))
    net = MCDropoutRegressor(**net, max_epochs=2)
    grid = {"noise": [0.5]}
    model = MCDropoutRegressorCV(net, param_grid=grid, cv=2, n_draws=8, random_state=0)
    model.fit(X, y[:, 0])
    one, two = (learner.set_params(n_draws=4).draws(X) for learner in model.estimators_)
    assert np.allclose(model.draws(X)[::2], one)
    assert np.allclose(model.draws(X)[1::2], two)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Masksembles(8, 1), "at least 2, and at most .* Got 1 for 8 features"),
        (lambda: Masksembles(3, 4), "at least 2, and at most .* Got 4 for 3 features"),
        (lambda: Masksembles(8, scale=0.5), r"`scale` must be at least 1. Got 0\.5"),
        (lambda: Masksembles(8)(torch.ones(2, 3, 8)), re.escape("the shape (2, 3, 8)")),
        (lambda: set_rates(Masksembles(8), 0.1), "without dropout layers. Got 0.1"),
    ],
)
def test_what_cannot_be_is_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_it_shows_its_numbers():
    assert repr(Masksembles(8, 3)) == "Masksembles(8, n_masks=3, scale=2)"
