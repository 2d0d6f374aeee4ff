"""Tests of classes that are named to be in training mode, where they draw by hand."""

import pytest
import torch
from torch import nn

from sk_mcdropout import MCDropoutRegressor, mean_and_std, sample


class OwnNoise(nn.Module):
    """Drops by hand, as users write it."""

    def __init__(self, p=0.3):
        super().__init__()
        self.p = p

    def forward(self, x):
        if not self.training:
            return x
        return x * (torch.rand_like(x) >= self.p) / (1 - self.p)


class Net(nn.Module):
    """A batch norm, a dropout by hand and one of torch."""

    def __init__(self, p=0.2):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(3, 16),
            nn.BatchNorm1d(16),
            OwnNoise(),
            nn.ReLU(),
            nn.Dropout(p),
            nn.Linear(16, 1),
        )

    def forward(self, X):
        return self.layers(X)


@pytest.fixture
def x():
    return torch.randn(6, 3)


@pytest.fixture
def net():
    return Net().double()


def test_by_itself_it_is_left_off_and_said(net, x):
    off = Net().double()
    off.load_state_dict(net.state_dict())
    off.layers[2] = nn.Identity()
    with pytest.warns(UserWarning, match=r"Got other randomness in 'layers\.2'"):
        draws = sample(net, x.double(), 8)
    torch.testing.assert_close(draws, sample(off, x.double(), 8))


def test_it_is_on_where_its_class_is_named(net, x):
    x = x.double()
    with pytest.warns(UserWarning, match="randomness"):
        _, off = mean_and_std(net, x)
    _, on = mean_and_std(net, x, extra_dropout=(OwnNoise,))
    assert (on > 1.2 * off).all()


def test_its_spread_is_that_of_its_mask(x):
    # For w . (m * x) with independent m of variance p / (1 - p) the variance is
    # p / (1 - p) sum (w x)^2; with 4000 draws the standard error of a std is about 1.1 %.
    net = nn.Sequential(OwnNoise(0.3), nn.Linear(3, 1)).double()
    x = x.double()
    _, std = mean_and_std(net, x, 4000, extra_dropout=(OwnNoise,))
    expected = (0.3 / 0.7 * ((net[1].weight * x) ** 2).sum(1, keepdim=True)).sqrt()
    torch.testing.assert_close(std, expected, rtol=0.06, atol=0)


def test_the_seed_fixes_its_draws_and_the_first_do_not_depend_on_their_number(net, x):
    x = x.double()
    draws = sample(net, x, 8, seed=1, extra_dropout=(OwnNoise,))
    assert torch.equal(sample(net, x, 8, seed=1, extra_dropout=(OwnNoise,)), draws)
    few = sample(net, x, 3, seed=1, extra_dropout=(OwnNoise,))
    torch.testing.assert_close(few, draws[:3])
    some = sample(net, x[[4, 0]], 8, seed=1, extra_dropout=(OwnNoise,))
    torch.testing.assert_close(some, draws[:, [4, 0]])
    assert not torch.equal(sample(net, x, 8, seed=2, extra_dropout=(OwnNoise,)), draws)


def test_a_class_that_passes_its_mode_to_a_dropout_of_torch_is_not_said(x, recwarn):
    class Functional(nn.Module):
        def forward(self, x):
            return nn.functional.dropout(x, 0.5, self.training)

    sample(Functional(), x, 5)
    assert not recwarn.list


@pytest.mark.parametrize("training", [True, False])
def test_modes_buffers_and_generators_are_as_before(net, x, training):
    net.train(training)
    buffers = {name: buffer.clone() for name, buffer in net.named_buffers()}
    state = torch.get_rng_state()
    sample(net, x.double(), 4, extra_dropout=(OwnNoise,))
    assert {part.training for part in net.modules()} == {training}
    assert torch.equal(torch.get_rng_state(), state)
    for name, buffer in net.named_buffers():
        assert torch.equal(buffer, buffers[name])


def test_alone_it_is_no_module_without_dropout(x, recwarn):
    net = nn.Sequential(OwnNoise(), nn.Linear(3, 1))
    assert sample(net, x, 5, extra_dropout=(OwnNoise,)).std(0).min() > 0
    assert not recwarn.list


def test_a_class_that_the_module_has_not_is_refused(net, x):
    with pytest.raises(ValueError, match=r"Got LSTM, of which the module has none"):
        sample(net, x.double(), 5, extra_dropout=(nn.LSTM, OwnNoise))


def test_the_estimator_passes_it_on(x):
    params = {"max_epochs": 2, "random_state": 0, "module__p": 0.0, "n_draws": 20}
    X, y = x.numpy(), x[:, 0].numpy()
    net = MCDropoutRegressor(Net, extra_dropout=(OwnNoise,), **params).fit(X, y)
    mean, std = net.predict(X, return_std=True)
    assert std.min() > 0
    assert (net.predict(X) == mean).all()
    with pytest.warns(UserWarning, match=r"randomness in 'layers\.2'"):
        off = MCDropoutRegressor(Net, **params).fit(X, y)
    with (
        pytest.warns(UserWarning, match=r"randomness in 'layers\.2'"),
        pytest.warns(UserWarning, match="dropout with a rate above 0"),
    ):
        assert (off.predict(X, return_std=True)[1] == 0).all()


class Attention(nn.Module):
    """Gives a rate to torch's attention in training only, the usual way to write it."""

    def forward(self, x):
        p = 0.5 if self.training else 0.0
        return nn.functional.scaled_dot_product_attention(x, x, x, dropout_p=p)


def test_a_rate_that_is_given_in_training_only_is_drawn_with_masks_shared_by_rows():
    x = torch.randn(5, 4, 3, dtype=torch.float64)
    draws = sample(Attention(), x, 6, extra_dropout=(Attention,))
    assert draws.std(0).max() > 0
    some = sample(Attention(), x[[3, 1]], 6, extra_dropout=(Attention,))
    torch.testing.assert_close(some, draws[:, [3, 1]])
