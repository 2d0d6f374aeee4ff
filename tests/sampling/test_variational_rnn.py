"""Recurrent nets with one dropout mask for all time steps, in training and in prediction.

The reference is the same net written layer by layer, with `nn.Dropout1d` over the time axis.
"""

from copy import deepcopy

import numpy as np
import pytest
import torch
from nets import Function
from torch import nn
from torch.testing import assert_close

from sk_mcdropout import MCDropoutRegressor, mean_and_std, sample

P = 0.4
LAYERS = [nn.LSTM, nn.GRU, nn.RNN]


class Stacked(nn.Module):
    """A recurrent net of three layers and a linear one."""

    def __init__(self, layer=nn.LSTM, batch_first=True, both=False, p=P):
        super().__init__()
        options = {"batch_first": batch_first, "bidirectional": both}
        self.rnn = layer(4, 3, 3, dropout=p, **options)
        self.head = nn.Linear(6 if both else 3, 1)
        self.batch_first = batch_first

    def forward(self, x):
        x = x if self.batch_first else x.transpose(0, 1)
        last = self.rnn(x)[0]
        return self.head(last[:, -1] if self.batch_first else last[-1])


class ByHand(nn.Module):
    """The same, each layer by itself and a dropout of whole series between them."""

    def __init__(self, net):
        super().__init__()
        rnn, both = net.rnn, net.rnn.bidirectional
        self.layers = nn.ModuleList()
        for number in range(3):
            width = 4 if number == 0 else (6 if both else 3)
            layer = type(rnn)(width, 3, batch_first=True, bidirectional=both)
            own = {
                name.replace(f"_l{number}", "_l0"): value
                for name, value in rnn.state_dict().items()
                if f"_l{number}" in name
            }
            layer.load_state_dict(own)
            self.layers.append(layer)
        self.dropout, self.head = nn.Dropout1d(rnn.dropout), net.head

    def forward(self, x):
        for number, layer in enumerate(self.layers):
            x = self.dropout(x.transpose(1, 2)).transpose(1, 2) if number else x
            x = layer(x)[0]
        return self.head(x[:, -1])


@pytest.fixture
def x():
    return torch.randn(5, 7, 4).double()


@pytest.mark.parametrize("strategy", ["fold", "loop", "auto"])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("layer", LAYERS)
def test_the_draws_are_those_of_the_net_by_hand(x, layer, batch_first, both, strategy):
    net = Stacked(layer, batch_first, both).double()
    draws = sample(net, x, 6, strategy=strategy, variational_rnn=True)
    assert_close(draws, sample(ByHand(net).double(), x, 6))
    assert_close(sample(net, x[[3, 1]], 6, variational_rnn=True), draws[:, [3, 1]])


@pytest.mark.parametrize("order", [[False, True], [True, False]])
def test_the_two_meanings_are_not_taken_for_each_other(x, order):
    net = Stacked().double()
    stds = {way: mean_and_std(net, x, variational_rnn=way)[1] for way in order}
    fresh = Stacked().double()
    fresh.load_state_dict(net.state_dict())
    for way in order[::-1]:
        assert_close(mean_and_std(fresh, x, variational_rnn=way)[1], stds[way])
    assert not torch.allclose(stds[False], stds[True], rtol=0.01)


def test_a_net_is_trained_as_by_hand(x):
    X, y = x.float().numpy(), np.arange(5.0, dtype=np.float32)
    net = Stacked()
    params = {"max_epochs": 4, "random_state": 0, "n_draws": 6, "lr": 0.01}
    theirs = MCDropoutRegressor(ByHand(deepcopy(net)), **params).fit(X, y)
    ours = MCDropoutRegressor(net, variational_rnn=True, **params).fit(X, y)
    losses = [[epoch["train_loss"] for epoch in model.history_] for model in (ours, theirs)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    for one, other in zip(
        ours.predict(X, return_std=True), theirs.predict(X, return_std=True), strict=True
    ):
        assert one == pytest.approx(other, rel=1e-3)


@pytest.mark.parametrize(
    "net",
    [nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)), Function(lambda x: x, nn.LSTM(4, 3))],
    ids=["no recurrent net", "one layer"],
)
def test_the_option_without_effect_is_said(net, x):
    words = r"`variational_rnn` must be False for a module without .* Got True\."
    with pytest.raises(ValueError, match=words):
        sample(net.double(), x, 4, variational_rnn=True)
    with pytest.raises(ValueError, match=words):
        MCDropoutRegressor(net, variational_rnn=True).fit(x.float().numpy(), np.ones(5))


def test_a_rate_of_zero_is_taken(x):
    net = Stacked(p=0.0).double()
    with pytest.warns(UserWarning, match="rate above 0 to draw from"):
        _, std = mean_and_std(net, x, variational_rnn=True)
    assert not std.any()


def test_the_option_can_be_set_after_training(x):
    X, y = x.float().numpy(), np.arange(5.0, dtype=np.float32)
    model = MCDropoutRegressor(Stacked, max_epochs=2, random_state=0).fit(X, y)
    by_step = model.predict(X, return_std=True)[1]
    over_time = model.set_params(variational_rnn=True).predict(X, return_std=True)[1]
    assert not np.allclose(by_step, over_time, rtol=0.01)
    _, expected = mean_and_std(model.module_, torch.from_numpy(X), seed=model.seed_,
                               variational_rnn=True)  # fmt: skip
    assert over_time == pytest.approx(expected[:, 0].numpy() * model.y_scale_, rel=1e-5)
