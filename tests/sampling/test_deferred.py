"""Leaving out the units and channels that a dropout drops: how much is computed, and when.

That the draws are those of the loop, for every kind of net, is a law in `test_laws.py`.
"""

import math

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sk_mcdropout import dropout_sites, sample
from sk_mcdropout.sampling import Draws
from sk_mcdropout.sampling._masks import draw_masks

N_DRAWS = 6
PIXELS = 5 * 5


def dense(width, p):
    inside = nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(p)
    return nn.Sequential(
        nn.Linear(3, width), nn.Tanh(), nn.Dropout(p), *inside, nn.Linear(width, 1)
    )


def convolutional(width, p):
    inside = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()
    first = nn.Conv2d(3, width, 1), nn.Dropout2d(p)
    return nn.Sequential(*first, *inside, nn.Dropout2d(p), nn.Conv2d(width, 1, 1))


def table(n_rows):
    return torch.randn(n_rows, 3)


def images(n_rows):
    return torch.randn(n_rows, 3, 5, 5)


def flops(net, x, strategy):
    draws = Draws(net, lambda: [x], N_DRAWS, strategy=strategy)
    draws.sites()  # makes the plan
    with FlopCounterMode(display=False) as counter:
        draws.reduce(lambda outputs, rows: (outputs,), axis=1)
    return counter.get_total_flops()


def least_flops(net, x, inside, outside):
    """The multiplications and additions with kept units only; two layers see a mask."""
    sites = dropout_sites(net, x)
    masks = draw_masks(sites, N_DRAWS, 0, x.device)
    one, other = ((masks[site.call][0] != 0).flatten(1).sum(1) for site in sites)
    width = math.prod(sites[0].mask_shape)
    before = 3 * width * outside
    return 2 * len(x) * (before + int((one * other * inside).sum() + (other * outside).sum()))


@pytest.mark.parametrize(
    ("make", "inputs", "inside", "outside"),
    [(dense, table, 1, 1), (convolutional, images, 9 * PIXELS, PIXELS)],
    ids=["dense", "convolutional"],
)
@pytest.mark.parametrize("p", [0.2, 0.5])
def test_only_kept_units_are_multiplied(make, inputs, inside, outside, p):
    net, x = make(32, p), inputs(30)
    assert flops(net, x, "thinned") == least_flops(net, x, inside, outside)


@pytest.mark.parametrize(
    ("make", "inputs", "width", "p", "n_rows", "thins"),
    [
        (dense, table, 128, 0.5, 100, True),
        (dense, table, 128, 0.5, 99, False),  # for each draw weights are gathered
        (dense, table, 128, 0.1, 100, False),
        (dense, table, 1024, 0.1, 100, True),
        (convolutional, images, 64, 0.5, 20, True),
        (convolutional, images, 64, 0.5, 19, False),
        (convolutional, images, 64, 0.2, 100, False),  # 51 channels take as many blocks as 64
        (convolutional, images, 16, 0.5, 100, False),
    ],
)
def test_units_are_left_out_where_it_pays(make, inputs, width, p, n_rows, thins):
    net, x = make(width, p), inputs(n_rows)
    as_chosen, thinned = flops(net, x, "auto"), flops(net, x, "thinned")
    assert (as_chosen == thinned) == thins
    assert as_chosen >= thinned


def test_a_draw_that_drops_all_channels_is_answered():
    net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Dropout2d(0.9), nn.Conv2d(2, 4, 1)).double()
    x = images(4).double()
    draws = sample(net, x, 20, strategy="thinned")
    bias = net[2].bias.detach()[:, None, None].expand(4, 4, 5, 5)
    empty = [torch.allclose(draw, bias) for draw in draws]
    assert 5 < sum(empty) < 20  # 0.81 of all draws
    torch.testing.assert_close(draws, sample(net, x, 20, strategy="loop"))
