"""Laws of `sample` for shapes, dtypes, seeds and chunks that hypothesis makes up."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from sk_mcdropout import mean_and_std, sample
from sk_mcdropout.sampling import STRATEGIES

seeds = st.integers(0, 2**64)
rates = st.sampled_from([1e-6, 0.1, 0.5, 0.9, 1 - 1e-6])
dtypes = st.sampled_from([torch.float32, torch.float64])
shapes = st.lists(st.integers(1, 5), max_size=2).map(tuple)  # between the rows and the features
some = settings(max_examples=50)


def made_up(shape, dtype, rate):
    """Return a net of two dropouts, and rows of a shape."""
    hidden = nn.Linear(3, 6), nn.Tanh(), nn.Dropout(rate), nn.Linear(6, 4), nn.GELU()
    net = nn.Sequential(*hidden, nn.Dropout(rate), nn.Linear(4, 2)).to(dtype)
    return net, torch.randn(*shape, 3).to(dtype)


@some
@given(
    st.sampled_from([*STRATEGIES, "auto"]),
    *(st.integers(1, 9), shapes, dtypes, rates, seeds, st.integers(1, 9), st.integers(1, 11)),
)
def test_strategies_and_batches_agree(
    strategy, n_rows, shape, dtype, rate, seed, n_draws, batch_size
):
    net, x = made_up((n_rows, *shape), dtype, rate)
    expected = sample(net, x, n_draws, seed=seed, strategy="loop")
    assert expected.shape == (n_draws, n_rows, *shape, 2)
    assert expected.dtype == dtype
    draws = sample(net, x, n_draws, seed=seed, strategy=strategy, batch_size=batch_size)
    # What is kept is divided by as little as 1e-6: the numbers are judged beside the largest.
    scale = expected.abs().max().item()
    assert_close(draws / scale, expected / scale)


@some
@given(
    *(st.integers(2, 9), shapes, rates, seeds, st.integers(1, 9), st.integers(1, 9)),
    *(st.sampled_from(["iid", "qmc"]), st.data()),
)
def test_draws_and_rows_do_not_depend_on_those_beside_them(
    n_rows, shape, rate, seed, n_draws, n_more, masks, data
):
    net, x = made_up((n_rows, *shape), torch.float64, rate)
    rows = data.draw(st.lists(st.integers(0, n_rows - 1), min_size=1, max_size=9))
    whole = sample(net, x, n_draws + n_more, seed=seed, masks=masks)
    assert_close(sample(net, x[rows], n_draws, seed=seed, masks=masks), whole[:n_draws, rows])


@some
@given(st.integers(1, 9), shapes, dtypes, rates, seeds, st.integers(2, 40), st.integers(1, 11))
def test_mean_and_std_are_those_of_the_draws(n_rows, shape, dtype, rate, seed, n_draws, batch_size):
    net, x = made_up((n_rows, *shape), dtype, rate)
    draws = sample(net, x, n_draws, seed=seed).double()
    mean, std = mean_and_std(net, x, n_draws, seed=seed, batch_size=batch_size)
    scale = draws.abs().max()
    tolerance = {"rtol": 0, "atol": 1e-5 if dtype == torch.float32 else 1e-12}
    assert_close(mean.double() / scale, draws.mean(0) / scale, **tolerance)
    assert_close(std.double() / scale, draws.std(0) / scale, **tolerance)
    assert (std >= 0).all()
