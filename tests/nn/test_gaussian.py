"""A dropout by normal factors: its law, in training and in draws. `test_laws.py` has the rest."""

import pickle

import pytest
import torch
from scipy.stats import kstest
from torch import nn
from torch.testing import assert_close

from sk_mcdropout import MCDropoutRegressor, dropout_sites, mean_and_std, sample
from sk_mcdropout.nn import GaussianDropout, set_rates
from sk_mcdropout.sampling._strategies import thinning_pays


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_factors_have_the_normal_law_of_the_rate(p):
    drop, ones = GaussianDropout(p), torch.ones(20_000)
    torch.manual_seed(0)
    for factors in (drop(ones), sample(drop, torch.ones(2, 200), 100)[:, 0].flatten()):
        law = torch.distributions.Normal(1.0, (p / (1 - p)) ** 0.5)
        assert kstest(law.cdf(factors).numpy(), "uniform").pvalue > 1e-3


def test_rows_share_a_draw_and_draws_are_of_one_seed():
    draws = sample(GaussianDropout(0.5), torch.ones(3, 50), 4, seed=5)
    assert torch.equal(draws[:, :1].expand(4, 3, 50), draws)
    assert len(draws[:, 0].unique()) == 200
    assert torch.equal(sample(GaussianDropout(0.5), torch.ones(3, 50), 4, seed=5), draws)


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_the_variance_before_a_linear_layer_is_that_of_dropout(p):
    net, x = nn.Sequential(GaussianDropout(p), nn.Linear(6, 2)).double(), torch.randn(4, 6).double()
    n_draws = 4000
    mean, std = mean_and_std(net, x, n_draws)
    # Sums over units j of w_j x_j m_j with independent normal m_j of variance p / (1 - p).
    var = p / (1 - p) * (x**2 @ (net[1].weight ** 2).T).detach()
    assert ((mean - net.eval()(x)).abs() < 5 * (var / n_draws).sqrt()).all()
    assert_close(std**2, var, rtol=5 * (2 / n_draws) ** 0.5, atol=0)


@pytest.mark.parametrize("training", [False, True])
def test_without_a_rate_or_training_it_does_nothing(training):
    x = torch.randn(3, 4)
    assert GaussianDropout(0.0 if training else 0.5).train(training)(x) is x


@pytest.mark.parametrize(("drop", "pays"), [(nn.Dropout, True), (GaussianDropout, False)])
def test_no_units_are_left_out_of_wide_layers(drop, pays):
    layers = nn.Linear(200, 200), drop(0.5), nn.Linear(200, 200), drop(0.5)
    sites = dropout_sites(nn.Sequential(*layers), torch.randn(100, 200))
    assert thinning_pays(tuple(sites), 100) == pays


class Net(nn.Module):
    """One hidden layer."""

    def __init__(self, n_features=3):
        super().__init__()
        drop = GaussianDropout(0.3)
        self.layers = nn.Sequential(nn.Linear(n_features, 20), nn.ReLU(), drop, nn.Linear(20, 1))

    def forward(self, X):
        return self.layers(X)


def test_the_estimator_sets_its_rate_and_draws_it():
    X, y = torch.randn(60, 3).numpy(), torch.randn(60).numpy()
    net = MCDropoutRegressor(Net, dropout=0.2, max_epochs=2, random_state=0).fit(X, y)
    assert [(site.path, site.p) for site in net.dropout_sites_] == [("layers.2", 0.2)]
    _, std = net.predict(X, return_std=True)
    assert std.min() > 0
    assert (pickle.loads(pickle.dumps(net)).predict(X, return_std=True)[1] == std).all()


@pytest.mark.parametrize("p", [1, -0.1, 2.0])
def test_a_rate_out_of_bounds_is_refused(p):
    with pytest.raises(ValueError, match=rf"must lie in \[0, 1\)\. Got {p}\."):
        GaussianDropout(p)
    with pytest.raises(ValueError, match=rf"must lie in \[0, 1\)\. Got {p}\."):
        set_rates(nn.Sequential(GaussianDropout()), p)


def test_it_shows_its_rate():
    assert repr(GaussianDropout(0.25)) == "GaussianDropout(p=0.25)"
