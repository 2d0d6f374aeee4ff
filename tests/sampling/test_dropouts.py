"""A dropout may be written in many ways; none of them may be missed or get other numbers.

The masks are a promise to the user (same seed, same draws, on every device and in every release),
so the expected values are made here from numpy's generator and the formulas of the dropouts.
"""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nets import Function, kept
from torch import nn
from torch.testing import assert_close

from sk_mcdropout import dropout_sites, sample
from sk_mcdropout.sampling import STRATEGIES
from sk_mcdropout.sampling._masks import DropoutSite

# name: layer, function, shape of one row, shape of the mask of one draw
KINDS = {
    "dropout": (nn.Dropout, F.dropout, (3, 2), (1, 3, 2)),
    "dropout1d": (nn.Dropout1d, F.dropout1d, (6, 4), (1, 6, 1)),
    "dropout2d": (nn.Dropout2d, F.dropout2d, (6, 2, 3), (1, 6, 1, 1)),
    "dropout3d": (nn.Dropout3d, F.dropout3d, (6, 2, 1, 2), (1, 6, 1, 1, 1)),
    "alpha_dropout": (nn.AlphaDropout, F.alpha_dropout, (3, 2), (1, 3, 2)),
    "feature_alpha_dropout": (nn.FeatureAlphaDropout, F.feature_alpha_dropout, (6, 4), (1, 6, 1)),
}
# The functions of torch itself, with the kind that they are.
TORCH_FUNCTIONS = {
    torch.dropout: "dropout",
    torch.dropout_: "dropout",
    torch.feature_dropout: "dropout1d",
    torch.feature_dropout_: "dropout1d",
    torch.alpha_dropout: "alpha_dropout",
    torch.alpha_dropout_: "alpha_dropout",
    torch.feature_alpha_dropout: "feature_alpha_dropout",
    torch.feature_alpha_dropout_: "feature_alpha_dropout",
}
WAYS = {
    "layer": lambda layer, function, p: layer(p),
    "layer in place": lambda layer, function, p: layer(p, inplace=True),
    "rate positional": lambda layer, function, p: Function(lambda x: function(x, p)),
    "rate by keyword": lambda layer, function, p: Function(lambda x: function(x, p=p)),
    "all by keyword": lambda layer, function, p: Function(
        lambda x: function(input=x, p=p, training=True, inplace=False)
    ),
    "training=False": lambda layer, function, p: Function(lambda x: function(x, p, training=False)),
    "in place": lambda layer, function, p: Function(lambda x: function(x, p, True, True)),
}
# Only double precision's own rounding is between a value and its formula.
exact = partial(assert_close, rtol=1e-14, atol=1e-14)


def thinned(x, kind, p, keep):
    """Apply masks as torch's documentation of the dropout says."""
    if p == 1:
        return torch.zeros_like(x * keep)
    if "alpha" not in kind:
        return x * keep / (1 - p)
    # aten/src/ATen/native/Dropout.cpp, with the constant written there
    alpha = 1.7580993408473766
    a = 1 / np.sqrt((alpha**2 * p + 1) * (1 - p))
    b = (keep - 1) * alpha * a + alpha * a * p
    return x * keep * a + b


@pytest.mark.parametrize("p", [0.3, 1.0])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_each_way_to_write_a_dropout_gets_the_masks_of_the_seed(kind, way, p):
    layer, function, row_shape, mask_shape = KINDS[kind]
    x = torch.randn(2, *row_shape).double()
    draws = sample(WAYS[way](layer, function, p), x, 5, seed=3)
    exact(draws, thinned(x, kind, p, kept(mask_shape, p, 5, seed=3)))


@pytest.mark.parametrize("function", TORCH_FUNCTIONS, ids=lambda f: f.__name__)
def test_the_functions_of_torch_itself_get_the_masks_of_the_seed(function):
    kind = TORCH_FUNCTIONS[function]
    _, _, row_shape, mask_shape = KINDS[kind]
    x = torch.randn(2, *row_shape).double()
    draws = sample(Function(lambda x: function(x, 0.3, False)), x, 5, seed=3)
    exact(draws, thinned(x, kind, 0.3, kept(mask_shape, 0.3, 5, seed=3)))


def test_a_rate_that_is_not_given_is_one_half_as_in_torch():
    x = torch.randn(2, 6).double()
    exact(sample(Function(F.dropout), x, 5), thinned(x, "dropout", 0.5, kept((1, 6), 0.5, 5)))


@pytest.mark.parametrize("p", [0.3, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_a_draw_has_the_values_that_torch_gives_in_training(kind, p):
    _, function, row_shape, _ = KINDS[kind]
    x = torch.full((2, *row_shape), 1.5).double()
    # Of 200 masks of 6 units at least one is dropped and one kept, but for a chance of 0.7**1200.
    expected = torch.cat([function(x, p, training=True) for _ in range(200)])
    draws = sample(Function(lambda x: function(x, p)), x, 200)
    exact(draws.unique(), expected.unique())


@pytest.mark.parametrize("kind", KINDS)
def test_a_rate_of_zero_passes_the_input_on_and_counts_as_a_call(kind):
    layer, _, row_shape, mask_shape = KINDS[kind]
    x = torch.randn(2, *row_shape).double()
    draws = sample(nn.Sequential(layer(0.0), layer(0.3)), x, 5)
    exact(draws, thinned(x, kind, 0.3, kept(mask_shape, 0.3, 5, call=1)))


@pytest.mark.parametrize("p", [0.1, 0.5])
@pytest.mark.parametrize("kind", ["alpha_dropout", "feature_alpha_dropout"])
def test_alpha_dropout_keeps_mean_and_variance_of_what_selu_gives(kind, p):
    layer, _, _, _ = KINDS[kind]
    x = torch.tensor([-1.0, 1.0]).double()[:, None]  # mean 0 and variance 1, over the rows
    n_draws = 100_000
    draws = sample(layer(p), x, n_draws)
    # Given its mask, a unit has the mean a alpha p or -a alpha (1 - p) and the mean square
    # a**2 + (a alpha p)**2 or (a alpha (1 - p))**2: two values, so the error of a frequency.
    a, alpha = ((1 - p) * (1 + p * 1.7580993408473766**2)) ** -0.5, 1.7580993408473766
    error = np.sqrt(p * (1 - p) / n_draws)
    assert abs(draws.mean()) < 5 * error * a * alpha
    squares = a**2 + (a * alpha * p) ** 2, (a * alpha * (1 - p)) ** 2
    assert abs((draws**2).mean() - 1) < 5 * error * abs(squares[0] - squares[1])


@pytest.mark.parametrize("p", [-0.1, 1.5])
@pytest.mark.parametrize("kind", KINDS)
def test_a_rate_that_is_none_is_refused_by_name(kind, p):
    _, function, row_shape, _ = KINDS[kind]
    net = nn.Sequential(nn.Dropout(0.5), Function(lambda x: function(x, p)))
    with pytest.raises(ValueError, match=rf"Got {p} in the submodule '1'"):
        sample(net, torch.ones(2, *row_shape), 5)


def test_each_call_of_one_module_has_a_mask_of_its_own():
    dropout = nn.Dropout(0.3)
    net = nn.Sequential(dropout, nn.ReLU(), dropout)
    x = torch.rand(2, 6).double()
    expected = x * kept((1, 6), 0.3, 5, call=0) * kept((1, 6), 0.3, 5, call=1) / 0.7**2
    exact(sample(net, x, 5), expected)


def test_rows_that_are_not_on_the_first_axis_share_the_mask_too():
    # time-first, as recurrent nets and transformers have it: (time, rows, features)
    net = Function(lambda x: F.dropout(x.transpose(0, 1), 0.3).transpose(0, 1))
    x = torch.randn(2, 4, 3).double()
    keep = kept((4, 1, 3), 0.3, 5).transpose(1, 2)
    exact(sample(net, x, 5), x * keep / 0.7)


@pytest.mark.parametrize("strategy", ["vmap", "loop", "auto"])
def test_a_dropout_of_a_weight_is_drawn_too(strategy):
    net = nn.Linear(3, 2).double()
    net.forward = lambda x: F.linear(x, F.dropout(net.weight, 0.3))
    x = torch.randn(4, 3).double()
    weights = net.weight.detach() * kept((2, 3), 0.3, 5) / 0.7
    exact(sample(net, x, 5, strategy=strategy), x @ weights.mT)


@pytest.mark.parametrize("strategy", [*STRATEGIES, "auto"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_dropout_in_place_acts_where_its_answer_is_ignored(kind, strategy):
    _, function, row_shape, mask_shape = KINDS[kind]

    def forward(x):
        h = x + 0
        function(h, 0.3, True, True)
        return h

    x = torch.randn(2, *row_shape).double()
    draws = sample(Function(forward), x, 5, strategy=strategy)
    exact(draws, thinned(x, kind, 0.3, kept(mask_shape, 0.3, 5)))


@pytest.mark.parametrize("function", [f for f in TORCH_FUNCTIONS if f.__name__.endswith("_")])
def test_the_functions_of_torch_itself_act_in_place_too(function):
    kind = TORCH_FUNCTIONS[function]
    _, _, row_shape, mask_shape = KINDS[kind]

    def forward(x):
        h = x + 0
        function(h, 0.3, False)
        return h

    x = torch.randn(2, *row_shape).double()
    exact(sample(Function(forward), x, 5), thinned(x, kind, 0.3, kept(mask_shape, 0.3, 5)))


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("strategy", [*STRATEGIES, "auto"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_dropout_in_place_of_the_input_leaves_the_users_tensor(kind, strategy, ignored):
    _, function, row_shape, mask_shape = KINDS[kind]

    def forward(x):
        y = function(x, 0.3, True, True)
        return x if ignored else y

    x = torch.randn(2, *row_shape).double()
    before = x.clone()
    draws = sample(Function(forward), x, 5, strategy=strategy)
    exact(x, before, rtol=0, atol=0)
    exact(draws, thinned(before, kind, 0.3, kept(mask_shape, 0.3, 5)))


def attention(p):
    layer = nn.MultiheadAttention(4, 2, dropout=p, batch_first=True)
    return Function(lambda x: layer(x, x, x)[0], layer)


def scaled_dot_product(p):
    return Function(lambda x: F.scaled_dot_product_attention(x, x, x, None, p))


def recurrent(layer, p, **options):
    layer = layer(4, 4, num_layers=2, dropout=p, batch_first=True, **options)
    return Function(lambda x: layer(x)[0], layer)


FUSED = {
    "multi-head attention": (attention, "0"),
    "scaled dot product": (scaled_dot_product, ""),
    "transformer": (
        lambda p: nn.TransformerEncoderLayer(4, 2, 8, dropout=p, batch_first=True),
        "self_attn",
    ),
    "lstm": (partial(recurrent, nn.LSTM), "0"),
    "gru": (partial(recurrent, nn.GRU), "0"),
    "rnn": (partial(recurrent, nn.RNN), "0"),
    "relu rnn": (partial(recurrent, nn.RNN, nonlinearity="relu"), "0"),
}


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # of vmap
@pytest.mark.parametrize("fused", FUSED)
def test_attention_and_recurrent_dropout_are_never_missed(fused):
    make, path = FUSED[fused]
    net = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.0), nn.Sequential(make(0.25))).double()
    x = torch.randn(2, 3, 4).double()
    name = f"2.0.{path}".removesuffix(".")
    assert (name, 0.25) in [(site.path, site.p) for site in dropout_sites(net, x)]
    assert (sample(net, x, 20).std(0).flatten(1).amax(1) > 0).all()


def test_attention_drops_its_weights():
    x = torch.randn(2, 3, 4).double()
    weights = (x @ x.mT / 4**0.5).softmax(-1) * kept((1, 3, 3), 0.25, 5) / 0.75
    net = Function(lambda x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.25))
    assert_close(sample(net, x, 5), weights @ x)


@pytest.mark.filterwarnings("ignore:dropout option adds dropout after all but last")
def test_a_recurrent_net_of_one_layer_has_no_dropout():
    assert dropout_sites(nn.LSTM(4, 4, dropout=0.25), torch.randn(2, 3, 4)) == []


def test_recurrent_dropout_is_between_the_layers():
    lstm = nn.LSTM(4, 4, num_layers=2, dropout=0.25, batch_first=True).double()
    layers = nn.LSTM(4, 4, batch_first=True).double(), nn.LSTM(4, 4, batch_first=True).double()
    weights = lstm.state_dict()
    layers[0].load_state_dict({k: v for k, v in weights.items() if k.endswith("l0")})
    layers[1].load_state_dict({k[:-1] + "0": v for k, v in weights.items() if k.endswith("l1")})
    x = torch.randn(2, 3, 4).double()
    inner = layers[0](x)[0].detach() * kept((1, 3, 4), 0.25, 5) / 0.75
    expected = layers[1](inner.flatten(0, 1))[0].detach().unflatten(0, (5, 2))
    assert_close(sample(lstm, x, 5), expected)


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # of vmap
@pytest.mark.parametrize("fused", FUSED)
def test_attention_and_recurrence_without_dropout_are_passed_through(fused):
    make, _ = FUSED[fused]
    fused = make(0.0).double().eval()
    x = torch.randn(2, 3, 4).double()
    draws = sample(nn.Sequential(nn.Dropout(0.3), fused), x, 5)
    inputs = x * kept((1, 3, 4), 0.3, 5) / 0.7
    expected = fused(inputs.flatten(0, 1)).unflatten(0, (5, 2))
    assert_close(draws, expected)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    "freeze", [torch.jit.script, partial(torch.jit.trace, example_inputs=torch.ones(2, 4))]
)
def test_a_scripted_dropout_is_refused_by_name(freeze):
    scripted = freeze(nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)).eval())
    with pytest.raises(NotImplementedError, match="scripted module with dropout at '1'"):
        sample(nn.Sequential(nn.Dropout(0.5), scripted), torch.ones(2, 4), 5)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_scripted_module_without_dropout_is_passed_through():
    scripted = torch.jit.script(nn.Sequential(nn.Linear(4, 4), nn.ReLU())).double()
    x = torch.randn(2, 4).double()
    draws = sample(nn.Sequential(scripted, nn.Dropout(0.3)), x, 5)
    exact(draws, scripted(x).detach() * kept((1, 4), 0.3, 5) / 0.7)


@pytest.mark.parametrize("strategy", ["fold", "loop", "auto"])
def test_rows_that_share_an_axis_with_something_else_share_the_mask_too(strategy):
    x = torch.randn(5, 4).double()
    rows_first = nn.Sequential(nn.Flatten(0), nn.Dropout(0.3), nn.Unflatten(0, (-1, 4)))
    rows_last = Function(lambda x: rows_first[1](x.T.flatten()).unflatten(0, (4, -1)).T)
    expected = x * kept((1, 4), 0.3, 5) / 0.7
    exact(sample(rows_first, x, 5, strategy=strategy), expected)
    exact(sample(rows_last, x, 5, strategy=strategy), expected)


def test_rows_on_two_axes_are_drawn_together_and_said():
    net = nn.Sequential(Function(lambda x: x @ x.T), nn.Dropout(0.3))
    x = torch.randn(5, 4).double()
    with pytest.warns(UserWarning, match="must not depend on the other rows"):
        draws = sample(net, x, 5)
    exact(draws, x @ x.T * kept((5, 5), 0.3, 5) / 0.7)


def test_the_sites_say_where_each_dropout_is_and_what_it_does():
    inner = Function(lambda x: F.alpha_dropout(x.transpose(0, 1), 0.2).transpose(0, 1))
    net = nn.Sequential(nn.Dropout(0.0), nn.Sequential(nn.Dropout1d(0.1), inner))
    assert dropout_sites(net, torch.ones(7, 4, 5)) == [
        DropoutSite("1.0", "dropout1d", 0.1, (1, 4, 1), call=1, row_axis=0),
        DropoutSite("1.1", "alpha_dropout", 0.2, (4, 1, 5), call=2, row_axis=1),
    ]


@pytest.mark.parametrize("kind", ["dropout1d", "dropout3d"])
def test_one_item_without_an_axis_of_rows_has_its_channels_on_the_first_axis(kind):
    _, function, row_shape, _ = KINDS[kind]
    weight, x = torch.randn(row_shape).double(), torch.randn(4, 6).double()
    net = Function(lambda x: x * function(weight, 0.3).flatten(1).sum(1))
    exact(sample(net, x, 5), x * weight.flatten(1).sum(1) * kept((1, 6), 0.3, 5) / 0.7)


def test_dropout2d_of_three_axes_drops_the_second_as_in_torch():
    x = torch.randn(2, 6, 4).double()
    exact(sample(nn.Dropout2d(0.3), x, 5), x * kept((1, 6, 1), 0.3, 5) / 0.7)
