"""The default net, and the rates of dropout of any net."""

import re

import numpy as np
import pytest
import torch
from torch import nn

from sk_mcdropout import MLP, MCDropoutRegressor, dropout_sites, sample
from sk_mcdropout.nn import set_rates
from sk_mcdropout.sampling import STRATEGIES


@pytest.fixture
def x():
    return torch.from_numpy(np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32))


class Attending(nn.Module):
    """Has dropouts of all kinds, in attributes of all names."""

    def __init__(self, rate=0.2):
        super().__init__()
        kinds = [nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d]
        kinds += [nn.AlphaDropout, nn.FeatureAlphaDropout]
        self.inputs = nn.ModuleList([kind(rate) for kind in kinds])
        self.attention = nn.MultiheadAttention(4, 2, dropout=rate)
        self.recurrent = nn.GRU(4, 4, num_layers=2, dropout=rate)
        self.shallow = nn.LSTM(4, 4)

    def rates(self):
        return [*(part.p for part in self.inputs), self.attention.dropout, self.recurrent.dropout]


# -- MLP ---------------------------------------------------------------------------------------


def test_the_mlp_is_the_formula(x):
    net = MLP(3, 2, hidden=(5, 4), activation=nn.Tanh, dropout=0.5, embedding=None).eval()
    (A, a), (B, b), (C, c) = ((layer.weight, layer.bias) for layer in net.layers[::3])
    expected = torch.tanh(torch.tanh(x @ A.T + a) @ B.T + b) @ C.T + c
    torch.testing.assert_close(net(x), expected)


@pytest.mark.parametrize("hidden", [(), (7,), [7, 5], (6, 5, 4)])
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_there_is_a_dropout_after_each_hidden_layer(x, hidden, n_outputs):
    net = MLP(3, n_outputs, hidden=hidden, dropout=0.25)
    assert net(x).shape == (10, n_outputs)
    sites = [(site.p, site.mask_shape) for site in dropout_sites(net, x)]
    assert sites == [(0.25, (1, width)) for width in hidden]


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, lambda: nn.LeakyReLU(0.3)])
def test_each_hidden_layer_has_an_activation_of_its_own(activation):
    net = MLP(3, hidden=(5, 4), activation=activation)
    first, second = net.layers[1], net.layers[4]
    assert type(first) is type(second) is type(activation())
    assert first is not second


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_the_bounds_of_the_rate_are_allowed(x, rate):
    answers = MLP(3, hidden=(5,), dropout=rate)(x).unique()
    assert (len(answers) > 1) == (rate == 0)


@pytest.mark.parametrize("rate", [-0.1, 1.5, float("nan")])
def test_a_rate_outside_of_its_bounds_is_refused(rate):
    with pytest.raises(ValueError, match=rf"rate in \[0, 1\], 'concrete' .* Got {rate!r}\."):
        MLP(3, dropout=rate)


@pytest.mark.parametrize(
    ("widths", "got"),
    [
        ({"n_features": 0}, r"\(0, 5, 1\)"),
        ({"n_outputs": 0}, r"\(3, 5, 0\)"),
        ({"hidden": (5, -2)}, r"\(3, 5, -2, 1\)"),
    ],
)
def test_a_layer_without_units_is_refused(widths, got):
    with pytest.raises(ValueError, match=f"widths of all layers must be at least 1. Got {got}"):
        MLP(**{"n_features": 3, "hidden": (5,), **widths})


@pytest.mark.parametrize(
    ("hidden", "got", "remedy"),
    [
        (50, "50", "(50,)"),
        (np.int64(7), repr(np.int64(7)), "(7,)"),
        (50.0, "50.0", "(50,)"),
        ("50", "'50'", "(50,)"),
        (None, "None", "(50,)"),
    ],
)
def test_hidden_that_is_no_sequence_is_told_how_to_be_one(hidden, got, remedy):
    match = f"Got {got}. Write `hidden={remedy}`, in an estimator `module__hidden={remedy}`."
    with pytest.raises(TypeError, match=re.escape(match)):
        MLP(3, hidden=hidden)


@pytest.mark.parametrize("hidden", [[50.0], ("5", 4), (None,)])
def test_widths_that_are_no_integers_are_refused(hidden):
    match = rf"must be integers. Got {(3, *hidden, 1)!r}. Write `hidden=(50,)`"
    with pytest.raises(TypeError, match=re.escape(match)):
        MLP(3, hidden=hidden)


@pytest.mark.parametrize("hidden", [np.array([5, 4]), range(5, 3, -1), [np.int32(5), 4]])
def test_widths_may_come_from_numpy(hidden):
    assert [layer.out_features for layer in MLP(3, hidden=hidden).layers[::3]] == [5, 4, 1]


@pytest.mark.parametrize(
    "activation", ["tanh", nn.ReLU(), torch.tanh, nn.functional.relu, lambda: torch.tanh, None]
)
def test_an_activation_that_makes_no_module_is_told_how_to(activation):
    match = re.escape(f"Got {activation!r}. Write the class itself, `activation=torch.nn.Tanh`")
    with pytest.raises(TypeError, match=match):
        MLP(3, activation=activation)


@pytest.mark.parametrize("params", [{"module__hidden": 50}, {"module__activation": "tanh"}])
def test_what_the_net_refuses_reaches_the_user_of_the_estimator(params):
    (name,) = params
    with pytest.raises(TypeError, match=f"in an estimator `{name}="):
        MCDropoutRegressor(**params).fit(np.ones((20, 3)), np.ones(20))


@pytest.mark.parametrize("rate", [None, [0.1, 0.2], "0.5"])
def test_a_rate_that_is_no_number_is_refused(rate):
    with pytest.raises(ValueError, match=re.escape(f"or 'masksembles'. Got {rate!r}.")):
        MLP(3, dropout=rate)


# -- its input -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(10, 4), (10, 1), (10, 1, 8, 8), (10, 3, 2), (4,), ()])
def test_an_input_of_another_width_is_told_what_to_do(shape):
    match = rf"must have 3 features on its last axis. Got the shape {shape}. Flatten"
    with pytest.raises(ValueError, match=re.escape(match)):
        MLP(3, hidden=(5,))(torch.zeros(shape))


@pytest.mark.parametrize("container", [np.asarray, torch.from_numpy])
def test_an_estimator_given_images_is_told_to_flatten_them(container):
    X = container(np.zeros((20, 3, 8, 8), np.float32))
    with pytest.raises(ValueError, match=r"Got the shape \(20, 3, 8, 8\). Flatten"):
        MCDropoutRegressor().fit(X, np.zeros(20, np.float32))


@pytest.mark.parametrize("shape", [(3,), (10, 3), (10, 7, 3), (0, 3)])
def test_axes_before_the_last_are_kept(shape):
    assert MLP(3, 2, hidden=(5,))(torch.zeros(shape)).shape == (*shape[:-1], 2)


def test_a_first_layer_that_was_exchanged_has_its_own_width(x):
    net = MLP(5, hidden=(4,), embedding=None)
    net.layers[0] = nn.Linear(3, 4)
    assert net(x).shape == (10, 1)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_net_behind_other_layers_is_drawn_by_each_strategy(x, strategy):
    net = nn.Sequential(nn.Linear(3, 6), nn.Dropout(0.4), MLP(6, hidden=(5,), dropout=0.4))
    actual = sample(net, x, 7, strategy=strategy)
    torch.testing.assert_close(actual, sample(net, x, 7, strategy="loop"))


def test_the_check_of_the_width_is_compiled_and_mapped(x):
    net = MLP(3, hidden=(5,)).eval()
    expected = net(x)
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), expected)
    torch.testing.assert_close(torch.vmap(net)(x), expected)


# -- the default net in the estimator ----------------------------------------------------------


@pytest.mark.parametrize("n_features", [1, 4])
@pytest.mark.parametrize("shape", [(20,), (20, 1), (20, 3)])
def test_the_default_net_learns_its_widths_from_the_data(n_features, shape):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(20, n_features)), rng.normal(size=shape)
    net = MCDropoutRegressor(max_epochs=1, module__hidden=(6,), module__dropout=0.3).fit(X, y)
    n_outputs = np.size(y[0])
    assert [tuple(layer.weight.shape) for layer in net.module_.layers[::3]] == [
        (6, 4 * n_features),  # with three numbers beside each column
        (n_outputs, 6),
    ]
    assert (net.n_features_in_, net.n_outputs_) == (n_features, n_outputs)
    assert [site.p for site in net.dropout_sites_] == [0.3]


def test_a_subclass_of_the_default_net_learns_its_widths_too():
    class Squashed(MLP):
        def forward(self, X):
            return torch.tanh(super().forward(X))

    X = np.ones((20, 4))
    net = MCDropoutRegressor(Squashed, max_epochs=1, n_draws=5).fit(X, X[:, :2])
    assert net.predict(X).shape == (20, 2)


def test_the_default_net_must_know_its_widths():
    with pytest.raises(ValueError, match=r"told its widths by the data. Got no data yet\."):
        MCDropoutRegressor().initialize()


# -- rates -------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.0, 0.4, 1.0])
def test_all_dropouts_get_the_rate_and_nothing_else_changes(rate):
    module = Attending()
    set_rates(module, rate)
    assert module.rates() == [rate] * 8
    # torch warns of a rate in a recurrent net of one layer, which has nothing to drop.
    assert module.shallow.dropout == 0


@pytest.mark.parametrize("module", [Attending, Attending()], ids=["class", "instance"])
def test_the_estimator_sets_the_rate_of_its_own_copy(module):
    net = MCDropoutRegressor(module, dropout=0.4).initialize()
    assert net.module_.rates() == [0.4] * 8
    if module is not Attending:
        assert module.rates() == [0.2] * 8


def test_a_copy_has_the_weights_of_the_module():
    module = MLP(3, dropout=0.2)
    net = MCDropoutRegressor(module, dropout=0.4).initialize()
    weight = net.module_.layers[0].weight
    assert weight is not module.layers[0].weight
    assert torch.equal(weight, module.layers[0].weight)


def test_without_a_rate_the_rates_of_the_module_stay():
    assert MCDropoutRegressor(Attending).initialize().module_.rates() == [0.2] * 8


@pytest.mark.parametrize("way", ["dropout", "module__dropout"])
def test_the_rate_can_be_given_in_two_ways(way):
    X = np.random.default_rng(0).normal(size=(20, 3))
    net = MCDropoutRegressor(max_epochs=1, **{way: 0.37}).fit(X, X[:, 0])
    assert {site.p for site in net.dropout_sites_} == {0.37}


def test_a_rate_for_a_module_without_dropout_is_refused():
    match = r"module without dropout layers. Got 0.4 for Linear\. Add a dropout layer"
    with pytest.raises(ValueError, match=match):
        MCDropoutRegressor(nn.Linear(3, 1), dropout=0.4).initialize()
