"""Dropout added to a copy of a net: where it acts, and that the net is left alone."""

import pickle
import re
from copy import deepcopy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from sk_mcdropout import MCDropoutRegressor, add_dropout, dropout_sites, sample
from sk_mcdropout.nn import set_rates


class Block(nn.Module):
    """A residual block, whose activation is called twice, as in torchvision's."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        return self.relu(x + self.second(self.relu(self.first(x))))


@pytest.fixture
def net():
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), Block(), nn.Linear(6, 2)).double().eval()


@pytest.fixture
def x():
    return torch.randn(5, 4).double()


class Written(nn.Module):
    """The same with its dropouts written out."""

    def __init__(self, net, p):
        super().__init__()
        self.net, self.p = net, p

    def forward(self, x):
        first, _, block, last = self.net
        x = F.dropout(first(x).relu(), self.p, self.training)
        h = F.dropout(block.first(x).relu(), self.p, self.training)
        return last(F.dropout((x + block.second(h)).relu(), self.p, self.training))


def test_draws_are_those_of_dropout_that_is_written_out(net, x):
    copy = add_dropout(net, 0.3)
    assert_close(sample(copy, x, 6), sample(Written(net, 0.3), x, 6))
    assert_close(sample(copy, x, 6, strategy="loop"), sample(Written(net, 0.3), x, 6))
    paths = ["1.added_dropout", "2.relu.added_dropout", "2.relu.added_dropout"]
    assert [(site.path, site.p) for site in dropout_sites(copy, x)] == [(p, 0.3) for p in paths]


def test_in_eval_mode_it_is_the_net_and_in_training_it_drops(net, x):
    copy = add_dropout(net, 0.3)
    assert not copy.training
    assert torch.equal(copy(x), net(x))
    copy.train()
    torch.manual_seed(0)
    expected = Written(net, 0.3).train()(x)
    torch.manual_seed(0)
    assert_close(copy(x), expected)


def test_nothing_of_the_net_is_changed_or_shared(net, x):
    def parts_of(module):
        return [(name, dict(part._forward_hooks)) for name, part in module.named_modules()]

    before, state = parts_of(net), deepcopy(net.state_dict())
    copy = add_dropout(net, 0.3)
    assert list(copy.state_dict()) == list(state)
    nn.init.zeros_(copy[0].weight)
    assert parts_of(net) == before
    assert all(torch.equal(net.state_dict()[name], value) for name, value in state.items())
    assert copy[2].first is not net[2].first


@pytest.mark.parametrize(
    ("after", "paths"),
    [
        (nn.Linear, ["0", "2.first", "2.second", "3"]),
        (Block, ["2"]),
        ((nn.Sequential, Block), ["2", ""]),
    ],
)
def test_it_goes_after_the_classes_that_are_named(net, x, after, paths):
    sites = dropout_sites(add_dropout(net, 0.3, after=after), x)
    assert [site.path for site in sites] == [f"{path}.added_dropout".lstrip(".") for path in paths]


def test_a_sequence_that_is_walked_through_has_it_too(x):
    class Walk(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = nn.Sequential(nn.Linear(4, 6), nn.Tanh())

        def forward(self, x):
            for part in self.parts:
                x = part(x)
            return x

    draws = sample(add_dropout(Walk().double(), 0.5, nn.Sequential), x, 8)
    assert (draws == 0).any()


def test_a_net_goes_through_pickle_and_its_rates_can_be_set(net, x):
    copy = add_dropout(net, 0.3)
    loaded = pickle.loads(pickle.dumps(copy))
    assert torch.equal(sample(loaded, x, 6), sample(copy, x, 6))
    set_rates(loaded, 0.1)
    assert {site.p for site in dropout_sites(loaded, x)} == {0.1}


def test_an_estimator_trains_and_recalibrates_it(net):
    X, y = np.random.default_rng(0).normal(size=(2, 80, 4))
    module = add_dropout(net.float(), 0.3)
    params = {"max_epochs": 3, "noise": 0.5, "random_state": 0}
    model = MCDropoutRegressor(nn.Sequential(module, nn.Linear(2, 1)), **params)
    model.fit(X[:40], y[:40, 0])
    assert len(model.dropout_sites_) == 3
    assert model.calibrate(X[40:], y[40:, 0]).predict(X, return_std=True)[1].min() > 0


class Functional(nn.Module):
    """A net whose activation is no part."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x):
        return F.relu(self.layer(x))


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ((nn.ReLU, 0.1), TypeError, "`module` must be .* Got a type"),
        (
            (Functional(), 0.1),
            ValueError,
            r"Got ReLU, and parts of Functional, Linear\..*F\.relu",
        ),
        ((nn.ReLU(), 0.0), ValueError, r"must lie in \(0, 1\)\. Got 0\.0"),
        ((nn.ReLU(), 1), ValueError, r"must lie in \(0, 1\)\. Got 1"),
        ((nn.ReLU(), 0.1, ()), TypeError, re.escape("Got ().")),
        ((nn.ReLU(), 0.1, (F.relu,)), TypeError, "`after` must be a class of modules"),
        ((add_dropout(nn.ReLU(), 0.1), 0.1), ValueError, "Got a ReLU that has"),
    ],
)
def test_what_cannot_be_is_refused(arguments, error, match):
    with pytest.raises(error, match=match):
        add_dropout(*arguments)


def test_a_part_that_returns_several_tensors_is_refused():
    copy = add_dropout(nn.LSTM(4, 3), 0.1, after=nn.LSTM)
    with pytest.raises(TypeError, match=r"must return a tensor\. Got a tuple of a LSTM"):
        copy(torch.randn(5, 2, 4))
