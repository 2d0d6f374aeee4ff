"""Errors that code for dropout at prediction is known to make without a word.

Each was met in some published code, and none of them raises: the std is merely zero, too small, or
that of another model. So each is held here as a test of what is right.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nets import Function
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn
from torch.testing import assert_close

from sk_mcdropout import MLP, MCDropoutRegressor, dropout_sites, mean_and_std, sample
from sk_mcdropout.sampling import STRATEGIES

N_DRAWS = 4000
KINDS = {
    nn.Dropout: (4,),
    nn.Dropout1d: (4, 2),
    nn.Dropout2d: (4, 2, 2),
    nn.Dropout3d: (4, 2, 2, 2),
    nn.AlphaDropout: (4,),
    nn.FeatureAlphaDropout: (4, 2),
}
all_strategies = pytest.mark.parametrize("strategy", [*STRATEGIES, "auto"])


@pytest.fixture
def x():
    return torch.randn(6, 4).double()


def batch_norm_net():
    norm = nn.BatchNorm1d(8)
    return nn.Sequential(nn.Linear(4, 8), norm, nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2))


def std_of_torch(net, row):
    """The std of one row over torch's own dropout, where each row of a batch has its own mask."""
    net.train()
    with torch.no_grad():
        return net(row.repeat(N_DRAWS, *[1] * (row.ndim - 1))).std(0)


def assert_std(actual, expected):
    """Compare two stds over ``N_DRAWS`` draws; the relative error of each is near 1.5 %."""
    assert_close(actual, expected, rtol=0.1, atol=1e-12)


# -- dropouts that are passed over -----------------------------------------------------------------


def small_and_large(make):
    """A net with a dropout that everybody finds and a large one that is inside of ``make``."""
    large = make()
    after = nn.Linear(4, 1)

    def forward(x):
        h = large(x)
        return after(F.dropout((h[0] if isinstance(h, tuple) else h)[:, -1], 0.01, after.training))

    return Function(forward, large, after).double()


class SelfAttention(nn.MultiheadAttention):
    def forward(self, x):
        return super().forward(x, x, x)


HIDDEN = {
    "lstm": lambda: nn.LSTM(4, 4, 2, dropout=0.5, batch_first=True),
    "gru": lambda: nn.GRU(4, 4, 2, dropout=0.5, batch_first=True),
    "attention": lambda: SelfAttention(4, 2, 0.5, batch_first=True),
    "encoder layer": lambda: nn.TransformerEncoderLayer(4, 2, 8, 0.5, batch_first=True),
    "encoder": lambda: nn.TransformerEncoder(
        nn.TransformerEncoderLayer(4, 2, 8, 0.5, batch_first=True), 1
    ),
}


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # of vmap
@pytest.mark.parametrize("strategy", ["fold", "auto"])
@pytest.mark.parametrize("inside", HIDDEN)
def test_a_dropout_that_is_found_does_not_hide_one_inside_of_a_layer(inside, strategy):
    net, x = small_and_large(HIDDEN[inside]), torch.randn(1, 3, 4).double()
    draws = sample(net, x, N_DRAWS, strategy=strategy)
    assert_std(draws.std(0)[0], std_of_torch(net, x))


@pytest.mark.parametrize("training", [False, True])
def test_the_fast_path_of_an_encoder_layer_does_not_skip_its_dropout(training):
    layer = nn.TransformerEncoderLayer(4, 2, 8, 0.3, batch_first=True).double().train(training)
    x = torch.randn(1, 3, 4).double()
    _, std = mean_and_std(layer, x, N_DRAWS)
    assert std.min() > 0
    assert layer.training == training
    assert_std(std[0], std_of_torch(layer, x))
    assert [site.path for site in dropout_sites(layer, x)] == [
        *("self_attn", "dropout1", "dropout", "dropout2")
    ]


class OnlyInTraining(nn.Module):
    """Drops, but only where it says itself that it is in training."""

    def __init__(self, way):
        super().__init__()
        self.way, self.layer, self.small = way, nn.Linear(4, 4), nn.Dropout(0.01)

    def forward(self, x):
        h = self.layer(x)
        if self.way == "rate":
            p = 0.5 if self.training else 0.0
            h = F.scaled_dot_product_attention(h, h, h, dropout_p=p)
        elif self.way == "branch" and self.training:
            h = F.dropout(h, 0.5)
        elif self.way == "by hand" and self.training:
            h = h * (torch.rand_like(h) > 0.5) * 2
        return self.small(h)


@all_strategies
@pytest.mark.parametrize("way", ["rate", "branch"])
def test_a_dropout_that_is_written_only_for_training_is_drawn(way, strategy):
    net, x = nn.Sequential(OnlyInTraining(way)).double(), torch.randn(1, 3, 4).double()
    if way == "rate" and strategy in ("weights", "thinned"):
        with pytest.raises(NotImplementedError, match="dropout inside of attention"):
            sample(net, x, 5, strategy=strategy)
        return
    draws = sample(net, x, N_DRAWS, strategy=strategy)
    assert_std(draws.std(0)[0], std_of_torch(net, x))
    more = torch.cat([torch.randn(4, 3, 4).double(), x])
    assert_close(sample(net, more, N_DRAWS, strategy=strategy)[:, [4]], draws)


def test_randomness_that_is_written_only_for_training_does_not_stay_off_in_silence():
    net, x = nn.Sequential(OnlyInTraining("by hand")).double(), torch.randn(1, 3, 4).double()
    with pytest.warns(UserWarning, match=r"Got other randomness in '0' \(draws from .*is left off"):
        sample(net, x, 5)
    draws = sample(net, x, N_DRAWS, extra_dropout=(OnlyInTraining,))
    assert_std(draws.std(0)[0], std_of_torch(net, x))


@pytest.mark.parametrize("layer", KINDS)
def test_each_kind_of_dropout_is_on_also_as_the_root(layer):
    x = torch.randn(1, *KINDS[layer]).double()
    _, std = mean_and_std(layer(0.4), x, N_DRAWS)
    assert std.min() > 0
    assert_std(std[0], std_of_torch(layer(0.4), x))


@all_strategies
def test_a_subclass_of_a_dropout_keeps_its_own_forward(x, strategy):
    class Doubled(nn.Dropout):
        def forward(self, x):
            return 2 * super().forward(x)

    net, plain = nn.Sequential(Doubled(0.5)), nn.Sequential(nn.Dropout(0.5))
    expected = 2 * sample(plain, x, 5, strategy=strategy)
    assert_close(sample(net, x, 5, strategy=strategy), expected)
    assert type(net[0]) is Doubled


def test_all_dropouts_are_on_and_listed_as_they_run_not_as_they_are_registered(x):
    net = nn.ModuleDict({"last": nn.Dropout(0.2), "first": nn.Dropout(0.4)})
    module = Function(lambda x: net["last"](net["first"](x)), net)
    assert [(site.path, site.p) for site in dropout_sites(module, x)] == [
        *(("0.first", 0.4), ("0.last", 0.2))
    ]


def test_a_rate_of_zero_is_heard():
    net = MCDropoutRegressor(MLP(4, dropout=0.5), dropout=0.0).initialize()
    X = np.ones((3, 4), dtype=np.float32)
    with pytest.warns(UserWarning, match="rate above 0 to draw from"):
        _, std = net.predict(X, return_std=True)
    assert_array_equal(std, 0)


# -- the module of the user ------------------------------------------------------------------------


@all_strategies
def test_batch_norm_neither_learns_from_a_prediction_nor_mixes_its_rows(x, strategy):
    net = batch_norm_net().double()
    net(x)  # in training mode, so that the statistics are not those of a new layer
    before = {name: buffer.clone() for name, buffer in net[1].named_buffers()}
    draws = sample(net, 100 + x, 5, strategy=strategy)
    assert all(torch.equal(before[name], buffer) for name, buffer in net[1].named_buffers())
    assert all(module.training for module in net.modules())
    alone = [sample(net, 100 + row[None], 5, strategy=strategy) for row in x]
    assert_close(torch.cat(alone, 1), draws)


@all_strategies
def test_a_module_in_eval_mode_is_not_random_afterwards(x, strategy):
    net = batch_norm_net().double().eval()
    expected = net(x)
    sample(net, x, 5, strategy=strategy)
    assert torch.equal(net(x), expected)
    assert [type(module) for module in net.modules()] == [
        type(module) for module in batch_norm_net().modules()
    ]


@all_strategies
def test_no_answer_is_kept_from_before_the_weights_were_changed(x, strategy):
    net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 2)).double()
    first = sample(net, x, 5, strategy=strategy)
    with torch.no_grad():
        for parameter in net[2].parameters():
            parameter.mul_(2)
    assert_close(sample(net, x, 5, strategy=strategy), 2 * first)


# -- draws -----------------------------------------------------------------------------------------


@all_strategies
def test_equal_rows_get_equal_answers_in_each_draw(strategy):
    net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1)).double()
    draws = sample(net, torch.ones(50, 4).double(), 20, strategy=strategy, batch_size=7)
    assert draws[:, 0].std() > 0
    assert_close(draws, draws[:, :1].expand(20, 50, 1))


@all_strategies
def test_an_output_of_one_number_a_row_is_drawn(x, strategy):
    net = nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 1), nn.Flatten(0)).double()
    assert sample(net, x, 5, strategy=strategy).shape == (5, 6)


@all_strategies
def test_an_error_of_shape_is_not_called_one_of_memory(strategy):
    net = nn.Sequential(nn.Linear(7, 4), nn.Dropout(0.5))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied") as error:
        sample(net, torch.ones(3, 8), 5, strategy=strategy)
    assert "memory" not in str(error.value)


def test_the_std_is_that_of_the_draws_with_ddof_1_and_nothing_added(x):
    net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1)).double()
    mean, std = mean_and_std(net, x, 10)
    draws = sample(net, x, 10).numpy()
    assert_allclose(mean, draws.mean(0), rtol=1e-12)
    assert_allclose(std, draws.std(0, ddof=1), rtol=1e-12)


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-8), (torch.float32, 0.6)])
def test_a_std_of_1e_4_at_a_mean_of_1000_is_not_lost(dtype, rtol):
    # Doubles hold 1000 to 1e-13; single precision to 6e-5, so that only the size of it is there.
    net = Function(lambda x: 1000 + 1e-4 * F.dropout(x, 0.5))
    _, std = mean_and_std(net, torch.ones(3, 5, dtype=dtype), 100)
    _, exact = mean_and_std(nn.Dropout(0.5), torch.ones(3, 5).double(), 100)
    assert_close(std, 1e-4 * exact, rtol=rtol, atol=0)
    assert (std > 0).all()


def test_all_outputs_are_targets_and_none_is_read_as_a_variance():
    net = MCDropoutRegressor(MLP(4, 3, dropout=0.5), n_draws=50).initialize()
    X = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
    draws = net.draws(X)
    mean, std = net.predict(X, return_std=True)
    assert draws.shape == (50, 7, 3)
    assert_allclose(mean, draws.mean(0), rtol=1e-6)
    assert_allclose(std, draws.std(0, ddof=1), rtol=1e-6)


# -- the estimator ---------------------------------------------------------------------------------


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)


def ready(module, **params):
    return MCDropoutRegressor(module, n_draws=50, random_state=0, **params).initialize()


def test_a_pass_in_training_mode_keeps_all_rows_in_their_order(X):
    params = {"iterator_train__shuffle": True, "iterator_train__drop_last": True, "batch_size": 16}
    net = ready(MLP(4, dropout=0.1), **params)
    passes = [net.forward(X, training=True)[:, 0] for _ in range(50)]
    assert {part.shape for part in passes} == {(50,)}
    assert np.corrcoef(torch.stack(passes).mean(0).detach(), net.predict(X))[0, 1] > 0.98


@pytest.mark.parametrize("training", [False, True])
def test_predicting_leaves_batch_norm_and_modes_as_they_are(X, training):
    net = ready(batch_norm_net())
    net.module_.train(training)
    before = {name: tensor.clone() for name, tensor in net.module_.state_dict().items()}
    net.predict(100 + X, return_std=True)
    after = net.module_.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert {module.training for module in net.module_.modules()} == {training}


def test_a_row_is_answered_the_same_alone_in_a_part_and_among_all(X):
    net = ready(batch_norm_net())
    expected = net.predict(X, return_std=True)
    for rows in ([3], [10, 2, 30], range(49, -1, -1)):
        answers = net.predict(X[list(rows)], return_std=True)
        for answer, part in zip(answers, expected, strict=True):
            assert_allclose(answer, part[list(rows)], rtol=1e-4, atol=1e-6)


def test_one_row_is_answered_as_an_array_of_one(X):
    mean, std = ready(MLP(4)).predict(X[:1], return_std=True)
    assert mean.shape == std.shape == (1,)


def test_the_std_of_a_nonlinearity_is_not_the_nonlinearity_of_the_std(X):
    net = ready(MLP(4, dropout=0.5), predict_nonlinearity=torch.exp)
    plain = ready(net.module, predict_nonlinearity=None)
    expected = np.exp(plain.draws(X)).std(0, ddof=1)
    assert_allclose(net.predict(X, return_std=True)[1], expected, rtol=1e-5)


def test_each_target_has_its_std_in_its_own_units(X):
    y = X[:, :2] + np.random.default_rng(1).normal(size=(50, 2))
    fits = [
        MCDropoutRegressor(max_epochs=1, random_state=0, n_draws=10).fit(X, y * units + units)
        for units in ([1, 1], [1000, 0.001])
    ]
    (_, plain), (_, scaled) = (net.predict(X, return_std=True) for net in fits)
    assert_allclose(scaled, plain * [1000, 0.001], rtol=1e-3)


@pytest.mark.parametrize("p", [0.0, 0.5])
def test_two_masks_for_one_attention_are_refused_as_torch_refuses_them(p):
    mask = torch.ones(3, 3, dtype=torch.bool)
    net = Function(lambda x: F.scaled_dot_product_attention(x, x, x, mask, p, is_causal=True))
    with pytest.raises(RuntimeError, match=r"attn_mask.*is_causal=True"):
        sample(net, torch.randn(2, 3, 4), 3)
