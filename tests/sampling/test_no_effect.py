"""A dropout that the output has nothing of: its std would be zero everywhere without a word."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nets import Function, mlp
from torch import nn

from sk_mcdropout import MCDropoutRegressor, mean_and_std, sample
from sk_mcdropout.sampling import STRATEGIES

ALL = [*STRATEGIES, "auto"]
SAME = r"must depend on its dropouts\. Got rates above 0, and yet the same output"


def forgotten():
    before, after = nn.Linear(4, 8), nn.Linear(8, 1)

    def forward(x):
        h = before(x)
        F.dropout(h, 0.5)  # which answers, and does not write
        return after(h)

    return Function(forward, before, after)


def overwritten():
    layer = nn.Linear(4, 1)
    return Function(lambda x: F.dropout(layer(x), 0.5) * 0 + layer(x), layer)


def share_of_one():
    return nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1), nn.Softmax(1))


@pytest.fixture
def x():
    return torch.randn(6, 4)


@pytest.mark.parametrize(
    ("make", "strategy"),
    [
        *((make, way) for make in (forgotten, overwritten) for way in ("fold", "loop", "auto")),
        *((share_of_one, way) for way in ALL),
    ],
)
@pytest.mark.parametrize("n_rows", [1, 6])
def test_a_std_that_is_zero_everywhere_raises(x, make, strategy, n_rows):
    net = make()
    for answer in (sample, mean_and_std):
        with pytest.raises(ValueError, match=SAME):
            answer(net, x[:n_rows], 5, strategy=strategy)


@pytest.mark.parametrize("strategy", ALL)
def test_rows_without_a_spread_are_answered_alone_and_among_others(x, strategy):
    layer = nn.Linear(4, 1)
    net = Function(lambda x: layer(F.dropout(F.relu(x), 0.5)), layer)
    x = x.abs()
    x[[1, 4]] = -1.0
    _, std = mean_and_std(net, x, 20, strategy=strategy)
    assert (std[:, 0] > 0).tolist() == [True, False, True, True, False, True]
    assert not mean_and_std(net, x[[1, 4]], 20, strategy=strategy)[1].any()


@pytest.mark.parametrize("strategy", ALL)
def test_a_rate_at_which_nothing_happens_to_be_dropped_is_no_error(x, strategy):
    net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(1e-7), nn.Linear(8, 1))
    assert not mean_and_std(net, x, 5, strategy=strategy)[1].any()


def test_a_rate_of_one_leaves_nothing_to_differ(x):
    net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(1.0), nn.Linear(8, 1))
    assert not mean_and_std(net, x, 5)[1].any()


def test_one_draw_is_answered(x):
    assert sample(forgotten(), x, 1).shape == (1, 6, 1)


def test_whole_numbers_as_input(x):
    embedding, net, without = nn.Embedding(9, 4), mlp(), forgotten()
    deaf = Function(lambda rows: without(embedding(rows)), embedding, without)
    with pytest.raises(ValueError, match=SAME):
        sample(deaf, torch.tensor([1, 2, 8]), 5)
    lively = Function(lambda rows: net(embedding(rows)), embedding, net)
    assert sample(lively, torch.tensor([1, 2, 8]), 5).std(0).all()


def test_the_estimator_predicts_but_gives_no_spread(x):
    X, y = x.numpy(), np.arange(6.0)
    model = MCDropoutRegressor(forgotten(), max_epochs=1, random_state=0).fit(X, y)
    assert model.predict(X).shape == (6,)
    for ask in ("return_std", "return_cov"):
        with pytest.raises(ValueError, match=SAME):
            model.predict(X, **{ask: True})
    with pytest.raises(ValueError, match=SAME):
        model.sample_y(X, 3)
