"""`Draws`: batches of any size are reduced to the same, and a plan lives as long as its owner."""

import pytest
import torch
from nets import mlp
from torch import nn
from torch.testing import assert_close

from sk_mcdropout.sampling import Draws, Plans, sample


@pytest.fixture
def net():
    return mlp().double()


@pytest.fixture
def x():
    return torch.randn(9, 4).double()


def outputs_of(draws):
    return draws.reduce(lambda outputs, rows: (outputs,), axis=1)[0]


@pytest.mark.parametrize("sizes", [[9], [4, 5], [1] * 9, [7, 2]], ids=str)
@pytest.mark.parametrize("batch_size", [None, 2])
def test_the_batches_change_nothing(net, x, sizes, batch_size):
    draws = Draws(net, lambda: x.split(sizes), n_draws=5, seed=3, batch_size=batch_size)
    assert_close(outputs_of(draws), sample(net, x, 5, seed=3))


def test_the_function_is_told_which_rows_it_gets(net, x):
    places = []

    def note(outputs, rows):
        places.append((rows.start, rows.stop, outputs.shape))
        return outputs.mean(0), x[rows].sum(1)

    mean, sums = Draws(net, lambda: x.split([5, 4]), n_draws=6, batch_size=3).reduce(note)
    assert places == [
        (start, stop, (6, stop - start, 2)) for start, stop in [(0, 3), (3, 5), (5, 8), (8, 9)]
    ]
    assert mean.shape == (9, 2)
    assert_close(sums, x.sum(1))


def test_draws_are_the_same_each_time_they_are_asked(net, x):
    draws = Draws(net, lambda: [x], n_draws=4)
    first = outputs_of(draws)
    assert torch.equal(outputs_of(draws), first)
    assert (first.std(0) > 0).all()


def count_passes(net):
    passes = []
    net.register_forward_hook(lambda *_: passes.append(1))
    return passes


def test_a_plan_is_made_once_by_its_owner(net, x):
    passes, plans = count_passes(net), Plans()
    draws = Draws(net, lambda: [x], n_draws=4, plans=plans)
    outputs_of(draws)
    n_first = len(passes)
    outputs_of(Draws(net, lambda: [x[:5]], n_draws=40, seed=1, plans=plans))
    assert len(passes) == n_first + 1
    outputs_of(Draws(net, lambda: [x], n_draws=4))
    assert len(passes) == 2 * n_first + 1


def change_the_rate(net):
    net[2].p = 0.8


def change_the_kind(net):
    net[2] = nn.AlphaDropout(0.3)


def change_the_kind_in_place(net):
    net[2].__class__ = nn.AlphaDropout


def change_a_layer(net):
    net[1] = nn.Tanh()


def take_the_dropout_away(net):
    net[2] = nn.Identity()


def add_a_dropout(net):
    net.insert(0, nn.Dropout(0.2))


@pytest.mark.parametrize(
    "change",
    [
        change_the_rate,
        change_the_kind,
        change_the_kind_in_place,
        change_a_layer,
        take_the_dropout_away,
        add_a_dropout,
    ],
)
@pytest.mark.parametrize("strategy", ["auto", "weights", "vmap", "fold", "loop"])
def test_a_plan_of_the_net_as_it_was_is_not_used(net, x, change, strategy):
    plans = Plans()
    before = outputs_of(Draws(net, lambda: [x], n_draws=4, strategy=strategy, plans=plans))
    change(net)
    after = outputs_of(Draws(net, lambda: [x], n_draws=4, strategy=strategy, plans=plans))
    assert_close(after, sample(net, x, 4, strategy="loop"))
    assert not torch.allclose(after, before)
