"""Tests of dropouts that draw by hand: stochastic depth, DropBlock and classes of the user's own.

The classes here are written as torchvision, timm and transformers write theirs.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sk_mcdropout import (
    MCDropoutRegressor,
    dropout_sites,
    mean_and_std,
    register_dropout,
    sample,
)


class _Drops(nn.Module):
    def __init__(self, drop_prob=0.4):
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x):
        return self.drop(x, 1 - self.drop_prob) if self.training and self.drop_prob else x


def per_row(x):
    return (len(x), *(1 for _ in x.shape[1:]))


class DropPath(_Drops):
    def drop(self, x, keep):  # as in timm
        random_tensor = x.new_empty(per_row(x)).bernoulli_(keep)
        random_tensor.div_(keep)
        return x * random_tensor


class SwinDropPath(_Drops):
    def drop(self, x, keep):  # as in transformers
        random_tensor = keep + torch.rand(per_row(x), dtype=x.dtype, device=x.device)
        random_tensor.floor_()
        return x.div(keep) * random_tensor


class StochasticDepth(_Drops):
    mode = "row"

    def drop(self, x, keep):  # as in torchvision
        size = per_row(x) if self.mode == "row" else [1] * x.ndim
        noise = torch.empty(size, dtype=x.dtype, device=x.device)
        noise = noise.bernoulli_(keep)
        noise.div_(keep)
        return x * noise


class BatchStochasticDepth(StochasticDepth):
    mode = "batch"


class DropBlock(_Drops):
    def drop(self, x, keep):  # as in timm, in one dimension
        block = F.max_pool1d(torch.empty_like(x)[:, None].bernoulli_(1 - keep), 3, 1, 1)[:, 0]
        return x * (1 - block) * (block.numel() / (1 - block).sum().add(1e-7))


class GaussianDropout(_Drops):
    def drop(self, x, keep):
        return x * (1 + (1 / keep - 1) ** 0.5 * torch.randn_like(x))


class BernoulliDropout(_Drops):
    def drop(self, x, keep):
        return x * torch.bernoulli(torch.full_like(x, keep)) / keep


class NormalDropout(_Drops):
    def drop(self, x, keep):
        spread = torch.normal(1.0, 0.1, (len(x), 1), dtype=x.dtype)
        return x * torch.normal(torch.ones_like(x), 0.5) * spread


class InPlaceDropout(_Drops):
    def drop(self, x, keep):
        noise = torch.zeros_like(x)
        noise.uniform_(1, 3)
        noise.normal_(1, 0.5)
        return x * noise


DROPPING = {
    DropPath: "bernoulli_",
    SwinDropPath: "rand",
    StochasticDepth: "bernoulli_",
    BatchStochasticDepth: "bernoulli_",
    DropBlock: "bernoulli_",
    GaussianDropout: "randn_like",
    BernoulliDropout: "bernoulli",
    NormalDropout: "normal",
    InPlaceDropout: "normal_",
}


class Residual(nn.Module):
    def __init__(self, drop):
        super().__init__()
        self.layer, self.dropout, self.drop = nn.Linear(4, 4), nn.Dropout(0.1), drop

    def forward(self, x):
        return x + self.drop(self.dropout(self.layer(x).tanh()))


def net_of(drop):
    return nn.Sequential(Residual(drop()), Residual(drop()), nn.Linear(4, 1)).double()


@pytest.fixture
def x():
    return torch.randn(6, 4, dtype=torch.float64)


@pytest.mark.parametrize("drop", DROPPING)
def test_a_draw_is_a_function_of_the_row(drop, x):
    net = net_of(drop)
    draws = sample(net, x, 8, seed=1)
    assert (draws.std(0) > 0).all()
    torch.testing.assert_close(sample(net, x[[4, 1]], 8, seed=1), draws[:, [4, 1]])
    torch.testing.assert_close(sample(net, x, 8, seed=1, batch_size=1), draws)
    torch.testing.assert_close(sample(net, x, 3, seed=1), draws[:3])
    torch.testing.assert_close(sample(net, x, 8, seed=1, strategy="loop"), draws)
    assert not torch.equal(sample(net, x, 8, seed=2), draws)


@pytest.mark.parametrize("drop", DROPPING)
def test_its_numbers_are_shown_as_a_dropout(drop, x):
    own = [site for site in dropout_sites(net_of(drop), x) if site.path == "1.drop"]
    assert (own[-1].kind, own[-1].p) == (DROPPING[drop], 0.4)


@pytest.mark.parametrize("strategy", ["vmap", "fold"])
@pytest.mark.parametrize("drop", [DropPath, SwinDropPath, GaussianDropout, BernoulliDropout])
def test_fast_strategies_take_it(drop, strategy, x):
    net = net_of(drop)
    draws = sample(net, x, 8, strategy=strategy)
    torch.testing.assert_close(draws, sample(net, x, 8, strategy="loop"))


@pytest.mark.parametrize("drop", [DropPath, SwinDropPath, StochasticDepth, GaussianDropout])
def test_mean_and_std_are_those_of_the_mask(drop, x):
    # x + m (W x + b) with m of mean 1 and variance p / (1 - p); the standard error of a std from
    # 4000 draws is about 1.1 %.
    net = Residual(drop(0.3)).double()
    net.dropout.p = 0
    branch = net.layer(x).tanh()
    mean, std = mean_and_std(net, x, 4000)
    expected = branch.abs() * (0.3 / 0.7) ** 0.5
    torch.testing.assert_close(std, expected.detach(), rtol=0.06, atol=0)
    assert ((mean - x - branch).abs() < 5 * expected / 4000**0.5).all()


def test_a_path_that_is_hardly_ever_dropped_has_an_effect_all_the_same(x):
    draws = sample(nn.Sequential(nn.Linear(4, 2), DropPath(1e-6)).double(), x, 4)
    assert torch.equal(draws, draws[:1].expand_as(draws))


def test_one_that_is_off_or_frozen_stays_off(x):
    class Frozen(nn.Sequential):
        def train(self, mode=True):
            return super().train(False)

    class Unnamed(nn.Module):
        def forward(self, x):
            return x

    net = nn.Sequential(nn.Dropout(0.1), DropPath(0.0), Frozen(DropPath()), Unnamed()).double()
    assert [site.path for site in dropout_sites(net, x)] == ["0"]


def noisy():
    """Return a class of the user's own that no name gives away."""

    class Weaken(nn.Module):
        def forward(self, x):
            return x * (1 + torch.rand_like(x)) if self.training else x

    return Weaken


def test_a_class_is_drawn_once_it_is_registered_or_named(x):
    kind = noisy()
    net = net_of(kind)
    with pytest.warns(UserWarning, match="randomness"):
        off = sample(net, x, 5)
    named = sample(net, x, 5, extra_dropout=(kind,))
    assert [site.kind for site in dropout_sites(net, x, extra_dropout=(kind,))] == [
        *("dropout", "rand_like") * 2
    ]
    assert register_dropout(kind) is kind
    assert torch.equal(sample(net, x, 5), named)
    assert not torch.equal(named, off)
    torch.testing.assert_close(sample(net, x[[2]], 5), named[:, [2]])


@pytest.mark.parametrize("kind", [_Drops(), int, "DropPath"])
def test_what_is_no_class_of_modules_is_not_registered(kind):
    with pytest.raises(TypeError, match=r"must be a subclass of `torch.nn.Module`\. Got"):
        register_dropout(kind)


class NumpyDropout(_Drops):
    def drop(self, x, keep):
        return x * torch.from_numpy(np.random.rand(*x.shape) < keep)  # noqa: NPY002


class TransposedDropout(_Drops):
    def drop(self, x, keep):
        return x * torch.rand(x.numel(), dtype=x.dtype).view(x.shape)


UNSHARED = r"such that all rows can share them\. Got '0\.drop'"


@pytest.mark.parametrize("drop", [NumpyDropout, TransposedDropout])
def test_what_rows_cannot_share_is_said_and_drawn_by_batches_if_it_is_named(drop, x):
    net = net_of(drop)
    with pytest.warns(UserWarning, match=r"randomness in '0\.drop'"):
        off = sample(net, x, 6)
    with pytest.warns(UserWarning, match=UNSHARED):
        draws = sample(net, x, 6, seed=1, extra_dropout=(drop,))
    assert (draws.std(0) > 0).all()
    assert not torch.equal(draws, off)
    with pytest.warns(UserWarning, match=UNSHARED):
        assert torch.equal(sample(net, x, 6, seed=1, extra_dropout=(drop,)), draws)
    with pytest.raises(ValueError, match=r"must be 'auto' or 'loop' .* Got 'vmap', and '0\.drop'"):
        sample(net, x, 6, strategy="vmap", extra_dropout=(drop,))


class Encoder(nn.Module):
    def __init__(self, layerdrop=0.5):
        super().__init__()
        self.layerdrop, self.layers = layerdrop, nn.ModuleList(nn.Linear(4, 4) for _ in range(4))

    def forward(self, x):
        for layer in self.layers:
            if not (self.training and torch.rand([]) < self.layerdrop):
                x = layer(x)
        return x


def test_layers_that_are_skipped_by_chance_are_the_same_for_all_rows(x):
    net = Encoder().double()
    with pytest.warns(UserWarning, match="same dropout calls for all rows"):
        draws = sample(net, x, 8)
    assert (draws.std(0) > 0).all()
    with pytest.warns(UserWarning, match="same dropout calls for all rows"):
        torch.testing.assert_close(sample(net, x[[4, 1]], 8), draws[:, [4, 1]])


def test_an_estimator_draws_it():
    class Net(nn.Sequential):
        def __init__(self):
            super().__init__(Residual(DropPath()), nn.Linear(4, 1))
            self[0].dropout.p = 0

        def forward(self, X):
            return super().forward(X)

    X = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    net = MCDropoutRegressor(Net, max_epochs=1, random_state=0).fit(X, X[:, 0])
    mean, std = net.predict(X, return_std=True)
    (site,) = dropout_sites(net.module_, torch.from_numpy(X))
    assert site.path == "0.drop"
    np.testing.assert_allclose(net.predict(X[[3, 1]]), mean[[3, 1]], rtol=1e-5)
    assert (std > 0).all()


def test_its_module_and_the_generators_are_as_before(x):
    net = net_of(StochasticDepth).train()
    state = torch.get_rng_state()
    sample(net, x, 3)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(part.training for part in net.modules())
