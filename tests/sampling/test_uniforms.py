"""The laws of masks: those of ``"qmc"`` keep each unit as often as its rate says, and no more."""

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nets import NETS, Function, mlp
from numpy.testing import assert_array_equal
from scipy.stats import kstest
from torch import nn
from torch.testing import assert_close

from sk_mcdropout import mean_and_std, sample
from sk_mcdropout.sampling import MASK_LAWS, STRATEGIES, Draws, PooledDraws

qmc = MASK_LAWS["qmc"]


@pytest.fixture(scope="module")
def over_seeds():
    """Numbers of 3 units in 20 draws, for many seeds."""
    return np.stack([qmc(3, range(20), seed, 0) for seed in range(1500)])


@pytest.mark.parametrize("n_draws", [16, 32, 128, 1024])
def test_each_block_of_draws_has_one_number_in_each_interval(n_draws):
    numbers = qmc(50, range(2048), 7, 3).reshape(-1, n_draws, 50)
    intervals = np.sort((numbers * n_draws).astype(int), axis=1)
    assert_array_equal(intervals, np.broadcast_to(np.arange(n_draws)[:, None], numbers.shape))


@pytest.mark.parametrize("law", MASK_LAWS)
@pytest.mark.parametrize("draws", [range(1), range(5, 40), range(1000, 1050), range(2047, 2048)])
def test_numbers_depend_on_draw_and_unit_alone(law, draws):
    whole = MASK_LAWS[law](600, range(2048), 1, 2)
    assert_array_equal(MASK_LAWS[law](600, draws, 1, 2), whole[draws.start : draws.stop])
    assert_array_equal(MASK_LAWS[law](37, draws, 1, 2), whole[draws.start : draws.stop, :37])


def test_seeds_and_calls_have_numbers_of_their_own():
    one = qmc(100, range(64), 1, 2)
    for other in (qmc(100, range(64), 2, 2), qmc(100, range(64), 1, 3)):
        assert (one == other).mean() < 0.001


@pytest.mark.parametrize("draw", [0, 1, 7, 15, 16, 19])
def test_the_number_of_each_draw_is_uniform(over_seeds, draw):
    assert kstest(over_seeds[:, draw].ravel(), "uniform").pvalue > 1e-3


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_units_do_not_know_of_each_other(over_seeds, p):
    kept = (over_seeds >= p) - (1 - p)
    products = kept[:, :, None, 0] * kept[:, None, :, 1]  # of each pair of draws
    error = p * (1 - p) / len(kept) ** 0.5
    assert abs(products.mean(0)).max() < 5 * error


@pytest.mark.parametrize("p", [0.05, 0.1, 0.5])
@pytest.mark.parametrize("n_draws", [64, 100])
def test_pairs_of_units_meet_over_the_draws_as_if_independent(p, n_draws):
    kept = (qmc(600, range(n_draws), 0, 0) >= p) - (1 - p)
    pairs = np.triu_indices(600, 1)
    mean_square = np.mean(((kept.T @ kept)[pairs] / (n_draws * p * (1 - p))) ** 2)
    # Of independent draws it is 1 / n_draws; pairs of draws in a block of 16 have a correlation of
    # -1 / 15 at most.
    assert 0.9 < mean_square * n_draws < 1 + 15 / 15**2 + 0.1


# -- through the engine ----------------------------------------------------------------------


class ByHand(nn.Module):
    """Drops by random numbers of its own, as users write it."""

    def forward(self, x):
        return x * torch.empty_like(x).bernoulli_(0.7) if self.training else x


def weights_of_attention(x):
    x = x.reshape(len(x), 1, 6)  # of one query; the keys are alike, and each has a value of its own
    zeros, values = torch.zeros(len(x), 6, 6), torch.eye(6).expand(len(x), 6, 6)
    return F.scaled_dot_product_attention(0 * x, zeros, values, dropout_p=0.3)[:, 0]


KINDS = {
    "elementwise": (nn.Dropout(0.3), (2, 6)),
    "by channel": (nn.Dropout2d(0.3), (2, 6, 4, 4)),
    "alpha": (nn.AlphaDropout(0.3), (2, 6)),
    "attention": (Function(weights_of_attention), (2, 6)),
    "by hand": (ByHand(), (2, 6)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_draws", [16, 128])
def test_each_unit_of_each_kind_is_kept_as_often_as_its_rate_says(kind, n_draws):
    net, shape = KINDS[kind]
    extra = (ByHand,) if kind == "by hand" else ()
    draws = sample(net, torch.ones(shape), n_draws, masks="qmc", extra_dropout=extra)
    n_kept = (draws > draws.mean()).sum(0).double()
    assert (n_kept - 0.7 * n_draws).abs().max() < 1
    independent = sample(net, torch.ones(shape), n_draws, extra_dropout=extra)
    assert ((independent > independent.mean()).sum(0) - 0.7 * n_draws).abs().max() > 1


def test_the_mean_of_a_linear_net_is_exact():
    net, x = nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 2)).double(), torch.randn(4, 6).double()
    mean, _ = mean_and_std(net, x, 16, masks="qmc")
    assert_close(mean, net.eval()(x).detach())


def test_normal_numbers_are_stratified_too():
    class Noise(nn.Module):
        def forward(self, x):
            return x + torch.randn_like(x) if self.training else x

    draws = sample(Noise(), torch.zeros(2, 5), 64, masks="qmc", extra_dropout=(Noise,))
    shares = torch.special.ndtr(draws.double()).sort(0).values
    middles = (torch.arange(64) + 0.5) / 64
    assert (shares - middles[:, None, None]).abs().max() <= 0.5 / 64 + 1e-6


@pytest.mark.parametrize(
    ("make", "strategy"),
    [(mlp, name) for name in STRATEGIES] + [(make, "auto") for make in NETS],
)
def test_every_law_of_sampling_holds(make, strategy):
    net, x = make().double(), torch.randn(5, 4).double()
    expected = sample(net, x, 40, seed=1, masks="qmc", strategy="loop")
    options = {"seed": 1, "masks": "qmc", "strategy": strategy}
    assert_close(sample(net, x, 40, **options), expected)
    assert_close(sample(net, x, 20, **options), expected[:20])
    assert_close(sample(net, x[[3, 1]], 40, batch_size=1, **options), expected[:, [3, 1]])
    assert not torch.allclose(sample(net, x, 40, seed=1, strategy=strategy), expected)


def test_rows_that_go_one_by_one_have_the_draws_of_a_batch():
    net, x = mlp().double(), torch.randn(5, 4).double()
    expected = sample(net, x, 20, masks="qmc")

    def forward(x):  # whose rows call as many dropouts as they like
        h = net(x)
        return F.dropout(h, 0.5) * 0 + h if bool((x.sum() > 0).all()) else h

    with pytest.warns(UserWarning, match="same dropout calls for all rows"):
        draws = sample(Function(forward, net), x, 20, masks="qmc")
    assert_close(draws, expected)


def test_pooled_draws_keep_the_law_of_each_member():
    nets, x = [nn.Dropout(0.5), nn.Dropout(0.25)], torch.ones(2, 6)
    members = [Draws(net, lambda: [x], masks="qmc") for net in nets]
    (draws,) = PooledDraws(members, n_draws=32).reduce(lambda outputs, rows: (outputs,), axis=1)
    assert ((draws[::2] > 0).sum(0) == 8).all()
    assert ((draws[1::2] > 0).sum(0) == 12).all()


def test_numbers_that_rows_cannot_share_are_said():
    class OfNumPy(nn.Module):
        def forward(self, x):
            return x * np.random.rand() if self.training else x  # noqa: NPY002

    net, x = nn.Sequential(nn.Dropout(0.5), OfNumPy()), torch.ones(3, 2)
    with (
        pytest.warns(UserWarning, match="all rows can share"),
        pytest.warns(UserWarning, match="Got 'qmc', and random numbers that are seeded"),
    ):
        sample(net, x, 4, masks="qmc", extra_dropout=(OfNumPy,))


@pytest.mark.parametrize("masks", ["sobol", None, ["iid"]])
def test_another_law_is_refused(masks):
    said = re.escape(f"`masks` must be one of ['iid', 'qmc']. Got {masks!r}.")
    with pytest.raises(ValueError, match=said):
        sample(mlp(), torch.ones(3, 4), masks=masks)
