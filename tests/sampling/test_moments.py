"""Means and standard deviations without draws: closed forms, integrals, and many draws."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from nets import Function
from torch import nn
from torch.testing import assert_close

from sk_mcdropout import mean_and_std, sample
from sk_mcdropout.nn import MLP, ConcreteDropout
from sk_mcdropout.sampling._moments import (
    moments_of_activation,
    moments_of_leaky_relu,
    moments_of_relu,
)


def moments(net, x, **options):
    return mean_and_std(net, x, strategy="moments", **options)


@pytest.fixture
def x():
    return torch.randn(9, 4).double()


# -- where there is a closed form ------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("in_place", [False, True])
def test_dropout_before_a_linear_layer_is_exact(x, p, in_place):
    net = nn.Sequential(nn.Dropout(p, in_place), nn.Linear(4, 3)).double()
    before, expected = x.clone(), net[1](x).detach()
    mean, std = moments(net, x)
    weight = net[1].weight.detach()
    # The output is a sum over j of w_j x_j m_j / (1 - p) with independent m_j of mean 1 - p.
    assert_close(mean, expected)
    assert_close(std.square(), p / (1 - p) * x.square() @ weight.square().T)
    assert torch.equal(x, before)


def test_linear_layers_after_the_dropout_are_exact_together(x):
    """Units of the second layer share the masks; taken for independent they would average out."""
    net = nn.Sequential(
        nn.Dropout(0.3), nn.Linear(4, 30), nn.BatchNorm1d(30), nn.Flatten(), nn.Linear(30, 2)
    ).double()
    with torch.no_grad():
        for buffer in (net[2].running_mean, net[2].running_var, net[2].weight, net[2].bias):
            buffer.uniform_(0.5, 2)
    net.eval()
    mean, std = moments(net, x)
    slopes = net(torch.eye(4).double()) - net(torch.zeros(1, 4).double())  # of a linear function
    assert_close(mean, net(x).detach())
    assert_close(std.square(), 0.3 / 0.7 * x.square() @ slopes.detach().square())


def test_two_dropouts_in_a_row_are_exact(x):
    net = nn.Sequential(nn.Dropout(0.3), nn.Dropout(0.5), nn.Linear(4, 1)).double()
    second_moment = 1 / (0.7 * 0.5)  # of the product of both masks, of mean 1
    variance = (second_moment - 1) * x.square() @ net[2].weight.detach().square().T
    assert_close(moments(net, x)[1].square(), variance)


def test_a_rate_of_0_has_no_spread_and_one_of_1_leaves_the_bias(x):
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.0), nn.Linear(8, 2)).double()
    with pytest.warns(UserWarning, match="must have a dropout with a rate above 0"):
        mean, std = moments(net, x)
    assert_close(mean, net(x).detach())
    assert not std.any()
    net[2].p = 1.0
    mean, std = moments(net, x)
    assert_close(mean, net[3].bias.detach().expand(9, 2))
    assert not std.any()


NUMBERS = torch.tensor([-40.0, -3, -0.4, 0, 0.1, 2, 50]).double()
VARIANCES = torch.tensor([1e-4, 0.3, 4.0]).double()[:, None]
RULES = {
    "relu": (F.relu, moments_of_relu, 1e-6),
    "leaky": (F.leaky_relu, moments_of_leaky_relu, 1e-6),
    "tanh": (F.tanh, partial(moments_of_activation, F.tanh), 0.015),
    "softplus": (F.softplus, partial(moments_of_activation, F.softplus), 1e-4),
    "square": (torch.square, partial(moments_of_activation, torch.square), 1e-6),
}


@pytest.mark.parametrize("name", RULES)
def test_moments_of_activations_are_those_of_numerical_integration(name):
    function, rule, error = RULES[name]
    means = NUMBERS.expand(3, 7)
    mean, slope, rest = rule(means, VARIANCES.expand(3, 7))
    scores = torch.linspace(-12, 12, 40_001).double()
    density = torch.exp(-0.5 * scores**2) / math.sqrt(2 * math.pi)
    std = VARIANCES.sqrt()
    values = function(means[..., None] + std[..., None] * scores)
    expected = torch.trapezoid(density * values, scores)
    by_std = torch.trapezoid(density * values * scores, scores)
    about = values - expected[..., None] - by_std[..., None] * scores
    assert_close(mean, expected, rtol=error, atol=error)
    assert_close(slope, by_std / std, rtol=error, atol=error)
    assert_close(rest, torch.trapezoid(density * about**2, scores), rtol=error, atol=error)


def test_numbers_without_a_spread_are_passed_on_as_they_are():
    none = torch.zeros_like(NUMBERS)
    for function, rule, _ in RULES.values():
        mean, slope, rest = rule(NUMBERS, none)
        assert_close(mean, function(NUMBERS))
        assert torch.isfinite(slope).all()
        assert (rest < 1e-20).all()  # but for rounding


# -- against draws -----------------------------------------------------------------------------


def double(net):
    torch.manual_seed(0)
    for part in net.modules():
        if isinstance(part, nn.Linear):
            part.reset_parameters()
    return net.double().eval()


NETS = {
    "one layer": lambda: MLP(4, 2, (100,), dropout=0.3),
    "three layers": lambda: MLP(4, 2, (100, 100, 100), dropout=0.2),
    "in place": lambda: MLP(4, 1, (100, 100), lambda: nn.ReLU(inplace=True), dropout=0.2),
    "leaky": lambda: MLP(4, 1, (100, 100), nn.LeakyReLU, dropout=0.5),
    "tanh": lambda: MLP(4, 1, (100, 100), nn.Tanh, dropout=0.2),
    "elu": lambda: MLP(4, 1, (100, 100), nn.ELU, dropout=0.2),
    "concrete": lambda: nn.Sequential(
        *(nn.Linear(4, 100), nn.GELU(), ConcreteDropout(nn.Linear(100, 100)), nn.SiLU()),
        *(ConcreteDropout(nn.Linear(100, 1), p=0.3),),
    ),
}


@pytest.mark.parametrize("make", NETS.values(), ids=NETS)
def test_moments_are_those_of_many_draws(make, x):
    net = double(make())
    mean, std = moments(net, x)
    many, spread = mean_and_std(net, x, 4000)
    # The std of 4,000 draws is off by 1.1 %, and the mean by 1.6 % of it; the rest is what the
    # approximation is off by in nets of 100 units.
    assert ((std / spread - 1).abs() < 0.08).all()
    assert ((std / spread - 1).mean().abs()) < 0.03
    assert ((mean - many).abs() < 0.12 * spread).all()


def test_the_shape_is_that_of_the_output(x):
    net = nn.Sequential(nn.Dropout(0.2), nn.Linear(4, 6)).double()
    flat = moments(net, x)
    shaped = moments(nn.Sequential(*net, nn.Unflatten(1, (2, 3))), x)
    for one, other in zip(flat, shaped, strict=True):
        assert torch.equal(one.view(9, 2, 3), other)
    column = moments(Function(lambda x: net(x)[:, 0], net), x)
    for one, other in zip(flat, column, strict=True):
        assert torch.equal(one[:, 0], other)


# -- laws ----------------------------------------------------------------------------------------


@pytest.fixture
def net():
    return double(MLP(4, 2, (20, 20), dropout=0.2))


def test_rows_are_answered_alone_in_any_number_at_once(net, x):
    mean, std = moments(net, x)
    some = moments(net, x[[3, 0]])
    for whole, part in zip((mean, std), some, strict=True):
        assert_close(whole[[3, 0]], part)
    for whole, part in zip((mean, std), moments(net, x, batch_size=2), strict=True):
        assert_close(whole, part)


def test_neither_seed_nor_number_of_draws_matters(net, x):
    assert torch.equal(moments(net, x)[1], moments(net, x, n_draws=2, seed=7)[1])


def test_a_row_with_nan_changes_no_other(net, x):
    poisoned = x.clone()
    poisoned[2] = torch.nan
    std, other = moments(net, x)[1], moments(net, poisoned)[1]
    assert other[2].isnan().all()
    keep = torch.arange(9) != 2
    assert_close(std[keep], other[keep])


def test_single_precision_is_as_good(net, x):
    mean, std = moments(net, x)
    single = moments(net.float(), x.float())
    assert single[0].dtype == single[1].dtype == torch.float64
    assert_close(single[0], mean, rtol=1e-4, atol=1e-5)
    assert_close(single[1], std, rtol=1e-4, atol=1e-6)


def test_a_rate_that_was_changed_is_seen(net, x):
    before = moments(net, x)[1]
    for part in net.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.5
    assert (moments(net, x)[1] > before).all()


def test_the_module_is_left_as_it_was(net, x):
    net.train()
    state = {name: value.clone() for name, value in net.state_dict().items()}
    generator = torch.get_rng_state()
    mean, std = moments(net, x)
    assert not mean.requires_grad
    assert not std.requires_grad
    assert torch.is_grad_enabled()
    assert all(part.training for part in net.modules())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)


@pytest.mark.parametrize("inside", [False, True])
def test_it_works_in_inference_mode_and_for_the_named_output(x, inside):
    with torch.inference_mode(inside):
        body = nn.Sequential(nn.Dropout(0.2), nn.Linear(4, 3), nn.BatchNorm1d(3)).double().eval()
    net = Function(lambda x: {"loss": x.sum(), "logits": body(x)}, body)
    with torch.inference_mode():
        mean, std = moments(net, x, output="logits")
    with torch.no_grad():
        assert_close(mean, body(x))
    assert (std > 0).all()


# -- what is refused -----------------------------------------------------------------------------

LINEAR, LSTM = nn.Linear(4, 4).double(), nn.LSTM(4, 2, 2, dropout=0.5, batch_first=True).double()
REFUSED = {
    "layer_norm": nn.Sequential(nn.Dropout(), nn.LayerNorm(4)),
    "softmax": nn.Sequential(nn.Dropout(), nn.Softmax(-1)),
    "alpha_dropout": nn.Sequential(LINEAR, nn.AlphaDropout()),
    "dropout1d": nn.Sequential(nn.Unflatten(1, (2, 2)), nn.Dropout1d(), nn.Flatten()),
    "add": Function(lambda x: F.dropout(x) + LINEAR(x), LINEAR),
    "cat": Function(lambda x: torch.cat([F.dropout(x), F.dropout(x)], 1), LINEAR),
    "lstm` with dropout inside": Function(lambda x: LSTM(x[:, None])[0], LSTM),
    "calls that depend": Function(lambda x: F.dropout(LINEAR(x) if x.sum() > 0 else x), LINEAR),
}


@pytest.mark.parametrize("got", REFUSED)
@pytest.mark.filterwarnings("ignore:the module")
def test_what_is_not_known_is_refused_by_name(got):
    x = torch.randn(3, 4).double() + torch.tensor([[9.0], [-9.0], [9.0]])
    with pytest.raises(NotImplementedError, match=rf"Got .*{got}.* in .*`strategy` at 'auto'"):
        moments(REFUSED[got].double(), x)


def test_rows_that_go_another_way_are_refused(x):
    net = Function(lambda x: F.dropout(LINEAR(x) if x.sum() < 1000 else -LINEAR(x)), LINEAR)
    mean, _ = moments(net, x)
    assert_close(mean, LINEAR(x).detach())
    x[4] = 1000
    with pytest.raises(NotImplementedError, match="Got code that goes another way for some"):
        moments(net, x)


def test_a_batch_norm_by_the_batch_is_refused(x):
    net = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(4, track_running_stats=False)).double()
    with (
        pytest.warns(UserWarning, match="must not depend on the other rows"),
        pytest.raises(NotImplementedError, match="Got rows that mix in the module itself"),
    ):
        moments(net, x)


def test_one_item_is_refused(net, x):
    with pytest.raises(NotImplementedError, match="Got `one_item=True`"):
        moments(net, x, one_item=True)


def test_there_are_no_draws(net, x):
    with pytest.raises(ValueError, match=r"that draws\. Got 'moments'.* Call `mean_and_std`"):
        sample(net, x, strategy="moments")


def test_dropouts_without_an_effect_are_refused(x):
    net = Function(lambda x: (F.dropout(x), LINEAR(x))[1], LINEAR)
    with pytest.raises(ValueError, match="must depend on its dropouts"):
        moments(net, x)
