"""A layer whose weights are dropped: its law, in training and in draws."""

import pickle
from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from sk_mcdropout import MCDropoutRegressor, dropout_sites, mean_and_std, sample
from sk_mcdropout.nn import DropConnect, set_rates

LAYERS = [
    (nn.Linear(4, 3), (6, 4)),
    (nn.Linear(4, 3, bias=False), (6, 5, 4)),
    (nn.Conv1d(4, 2, 3, padding=1, padding_mode="reflect"), (6, 4, 9)),
    (nn.Conv2d(4, 2, 3, groups=2, stride=2), (6, 4, 9, 9)),
    (nn.Conv3d(4, 2, 3, dilation=2), (6, 4, 5, 5, 5)),
]


@pytest.mark.parametrize(("layer", "shape"), LAYERS)
def test_draws_are_those_of_layers_with_masked_weights(layer, shape):
    layer, x = layer.double(), torch.randn(shape).double()
    drop, n_draws = DropConnect(layer, 0.25), 6
    masks = sample(nn.Dropout(0.25), torch.ones(2, *layer.weight.shape), n_draws)[:, 0]
    expected = []
    for mask in masks:
        masked = deepcopy(layer)
        masked.weight.data *= mask
        expected.append(masked(x).detach())
    assert_close(sample(drop, x, n_draws), torch.stack(expected))
    assert_close(sample(drop, x, n_draws, strategy="loop"), torch.stack(expected))
    assert_close(drop.eval()(x), layer(x))


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_mean_and_variance_of_a_linear_layer_match_the_closed_form(p):
    layer, x, n_draws = nn.Linear(6, 2).double(), torch.randn(4, 6).double(), 4000
    draws = sample(DropConnect(layer, p), x, n_draws)
    # Sums over j of w_j x_j m_j with independent m_j, one for each weight, of mean 1 and variance
    # p / (1 - p); the fourth cumulant of m_j tells the error of the variance of the draws.
    parts = (x[:, None] * layer.weight).detach()
    var = p / (1 - p) * parts.square().sum(-1)
    cumulant = p * (1 - 6 * p * (1 - p)) / (1 - p) ** 3 * (parts**4).sum(-1)
    assert ((draws.mean(0) - layer(x)).abs() < 5 * (var / n_draws).sqrt()).all()
    assert ((draws.var(0) - var).abs() < 5 * ((2 * var**2 + cumulant) / n_draws).sqrt()).all()
    # Each output has weights of its own, so that outputs are independent, unlike with dropout.
    both = (draws - draws.mean(0)).prod(-1).mean(0)
    assert (both.abs() < 5 * (var.prod(-1) / n_draws).sqrt()).all()


def test_in_training_it_drops_weights_and_keeps_the_bias():
    layer = nn.Linear(300, 200)
    nn.init.ones_(layer.weight)
    torch.manual_seed(0)
    drop = DropConnect(layer, 0.25)
    n_kept = ((drop(torch.eye(300)) - layer.bias) > 0.5).double()
    assert abs(n_kept.mean() - 0.75) < 5 * (0.75 * 0.25 / n_kept.numel()) ** 0.5
    drop.set_rate(1.0)
    assert_close(drop(torch.eye(300)), layer.bias.expand(300, 200))
    assert torch.equal(drop.layer.weight, torch.ones(200, 300))


def test_the_rows_at_once_are_not_fewer_for_weights():
    net, passes = nn.Sequential(DropConnect(nn.Linear(100, 100), 0.2), nn.Linear(100, 1)), []
    net.register_forward_hook(lambda *_: passes.append(1))
    x = torch.randn(1000, 100)
    mean_and_std(net, x, 100)
    passes.clear()
    mean_and_std(net, x, 100)
    # 100 draws of 100 numbers of 4 bytes for each row, 4 MiB at once
    assert len(passes) <= 2 + 1000 * 100 * 100 * 4 / 2**22


def test_the_draws_at_once_are_fewer_for_large_weights(monkeypatch):
    net, passes = DropConnect(nn.Linear(100, 100), 0.2), []
    net.register_forward_hook(lambda *_: passes.append(1))
    x = torch.randn(1, 100)
    expected = sample(net, x, 100)
    monkeypatch.setattr("sk_mcdropout.sampling._chunks._CPU_LIMIT", 10 * net.layer.weight.nbytes)
    passes.clear()
    assert_close(sample(net, x, 100), expected)
    assert len(passes) >= 10


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: DropConnect(nn.ReLU()), TypeError, "Got a ReLU"),
        (lambda: DropConnect(nn.LazyLinear(3)), TypeError, "Got a LazyLinear"),
        (lambda: DropConnect(nn.Linear(2, 3), 1.5), ValueError, r"\[0, 1\]\. Got 1\.5\."),
        (lambda: set_rates(DropConnect(nn.Linear(2, 3)), -1), ValueError, r"Got -1\."),
    ],
)
def test_what_cannot_be_is_refused(make, error, match):
    with pytest.raises(error, match=match):
        make()


class Net(nn.Module):
    """One hidden layer."""

    def __init__(self, n_features=3):
        super().__init__()
        last = DropConnect(nn.Linear(20, 1), 0.3)
        self.layers = nn.Sequential(nn.Linear(n_features, 20), nn.ReLU(), last)

    def forward(self, X):
        return self.layers(X)


def test_the_estimator_sets_its_rate_and_draws_it():
    X, y = torch.randn(60, 3).numpy(), torch.randn(60).numpy()
    net = MCDropoutRegressor(Net, dropout=0.2, max_epochs=2, random_state=0).fit(X, y)
    assert [(site.path, site.p) for site in net.dropout_sites_] == [("layers.2", 0.2)]
    _, std = net.predict(X, return_std=True)
    assert std.min() > 0
    assert (pickle.loads(pickle.dumps(net)).predict(X, return_std=True)[1] == std).all()


def test_its_site_has_the_shape_of_the_weights():
    (site,) = dropout_sites(DropConnect(nn.Linear(2, 3), 0.1), torch.ones(5, 2))
    assert (site.mask_shape, site.row_axis, site.p) == ((3, 2), None, 0.1)
    assert repr(DropConnect(nn.Linear(2, 3), 0.1)).startswith("DropConnect(\n  p=0.1")
