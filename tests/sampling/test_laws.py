"""Every law of sampling holds for every kind of net and every strategy that takes it.

The kinds are in the zoo, which also says what takes them: a strategy that is lost for a net would
cost its users speed without a word, and one that is taken though it is wrong would cost them more.
All is in double precision: what differs, differs by a mistake.
"""

import warnings

import pytest
import torch
import torch.nn.functional as F
from nets import Function
from torch import nn
from torch.testing import assert_close
from zoo import N_ROWS
from zoo_of_sequences import ZOO, padded, sequence

from sk_mcdropout import dropout_sites, mean_and_std, sample
from sk_mcdropout.sampling import STRATEGIES
from sk_mcdropout.sampling._choice import agree
from sk_mcdropout.sampling._rows import map_tensors

P = 0.4
CASES = [(name, way) for name, net in ZOO.items() for way in (*STRATEGIES, "auto")]
TAKEN = [(name, way) for name, way in CASES if way in {*ZOO[name].takes, "auto"}]
REFUSED = [case for case in CASES if case not in TAKEN]

pytestmark = [
    pytest.mark.filterwarnings("ignore:There is a performance drop"),  # of vmap
    pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors"),
    pytest.mark.filterwarnings("ignore:enable_nested_tensor is True"),  # of torch's encoder
]


def one_of(cases, slow=()):
    params = (pytest.param(*c, marks=[pytest.mark.slow] if c in slow else []) for c in cases)
    return pytest.mark.parametrize(("name", "strategy"), params, ids=map("-".join, cases))


FORCED = [(name, way) for name, way in TAKEN if way != "auto"]


@pytest.fixture
def net(name):
    return ZOO[name].make(P).double()


@pytest.fixture
def x(net, name):
    return ZOO[name].inputs(N_ROWS)


def take(x, rows):
    return map_tensors(lambda tensor: tensor[rows], x)


@torch.no_grad()
def predict(net, x):
    output = net(**x) if isinstance(x, dict) else net(*x) if isinstance(x, tuple) else net(x)
    return output[0] if isinstance(output, tuple) else output


def test_the_zoo_has_at_least_forty_nets_and_each_strategy_takes_some():
    assert len(ZOO) >= 40
    assert {strategy for net in ZOO.values() for strategy in net.takes} == {*STRATEGIES}


@one_of([case for case in TAKEN if case[1] != "loop"])
def test_the_strategies_agree(net, x, strategy):
    assert_close(sample(net, x, 5, strategy=strategy), sample(net, x, 5, strategy="loop"))


@one_of(REFUSED)
def test_a_strategy_that_does_not_take_a_net_says_so(net, x, strategy):
    errors = NotImplementedError, RuntimeError, ValueError
    words = "no axis|inside of attention|past the mode|[Ss]ize|Batching rule|shape"
    with pytest.raises(errors, match=words):
        sample(net, x, 5, strategy=strategy)


@one_of(TAKEN)
def test_a_draw_is_a_function_of_the_row_in_batches_of_any_size(net, x, strategy):
    expected = sample(net, x, 4, strategy=strategy)
    for rows in ([4, 3, 2, 1, 0], [4, 0, 3, 4], [1, 1, 1, 2], [2]):
        assert_close(sample(net, take(x, rows), 4, strategy=strategy), expected[:, rows])
    for batch_size in (1, 2, 100):
        assert_close(sample(net, x, 4, strategy=strategy, batch_size=batch_size), expected)


@one_of(TAKEN, slow=FORCED)
def test_the_first_draws_do_not_depend_on_their_number(net, x, strategy):
    ten = sample(net, x, 10, strategy=strategy)
    assert_close(sample(net, x, 5, strategy=strategy), ten[:5])


@one_of(TAKEN, slow=FORCED)
def test_the_seed_fixes_the_draws_and_they_differ(net, x, strategy):
    first = sample(net, x, 20, seed=1, strategy=strategy)
    torch.rand(3)  # the global state is another one, the draws are the same
    assert torch.equal(sample(net, x, 20, seed=1, strategy=strategy), first)
    other = sample(net, x, 20, seed=2, strategy=strategy)
    assert not agree(other, first)
    spread = torch.cat([first, other]).std(0).reshape(N_ROWS, -1).amax(1)
    assert (spread > 0).all()


@one_of(TAKEN, slow=FORCED)
def test_a_rate_of_zero_everywhere_has_no_spread_and_says_so(name, x, strategy):
    net = ZOO[name].make(0.0).double()
    with pytest.warns(UserWarning, match="rate above 0 to draw from"):
        mean, std = mean_and_std(net, x, 5, strategy=strategy)
    assert not std.any()
    assert_close(mean, predict(net.eval(), x))


@one_of(TAKEN, slow=FORCED)
def test_nothing_is_left_behind(net, x, strategy):
    own_modes = [module for module in net.modules() if not hasattr(module, "_orig_mod")]
    for i, module in enumerate(own_modes):
        module.training = i % 3 > 0

    def state():
        tensors = [*net.state_dict(keep_vars=True).values()]
        map_tensors(tensors.append, x)
        return (
            [module.training for module in net.modules()],
            [(id(t), t.tolist(), t._version, t.requires_grad, t.grad) for t in tensors],
            [{k: v for k, v in vars(m).items() if "hooks" in k} for m in net.modules()],
            [set(vars(module)) for module in net.modules()],
            torch.get_rng_state().tolist(),
            torch.is_grad_enabled(),
        )

    before = state()
    sample(net, x, 5, strategy=strategy)
    assert state() == before


def by_torch(net, row, masks_by_row, n_draws):
    """Draw for one row by torch's own dropout, in training mode."""
    net.train()
    if masks_by_row:
        return predict(net, take(row, [0] * n_draws))
    return torch.cat([predict(net, row) for _ in range(n_draws)])


@pytest.mark.parametrize("name", [name for name, net in ZOO.items() if net.like_torch])
def test_mean_and_std_are_those_of_torch_in_training_mode(net, x, name):
    row, n_draws = take(x, [1]), 3000
    ours = sample(net, row, n_draws)[:, 0]
    theirs = by_torch(net, row, ZOO[name].masks_by_row, n_draws)
    assert ours.shape == theirs.shape
    # Var(mean) = var / n and Var(var) = (m4 - var^2) / n, and the bias of a variance is of order
    # var / n; five sigmas, for each of the two samples.
    both = torch.cat([ours - ours.mean(0), theirs - theirs.mean(0)])
    var, m4 = both.square().mean(0), (both**4).mean(0)
    assert ((ours.mean(0) - theirs.mean(0)).abs() <= 5 * (2 * var / n_draws).sqrt() + 1e-12).all()
    bound = 5 * (2 * (m4 - var**2).clamp(min=0) / n_draws).sqrt() + 25 * var / n_draws + 1e-12
    assert ((ours.var(0) - theirs.var(0)).abs() <= bound).all()


# -- sequences whose length changes --------------------------------------------------------------

BY_LENGTH = [
    *("attention", "attention time first", "sdpa", "sdpa causal", "encoder norm first"),
    *("lstm", "lstm of both directions", "gru time first of both directions", "rnn"),
    *("cell by cell", "time first", "rows merged rows first", "rows merged time first"),
]
LENGTHS = [(name, way) for name, way in TAKEN if name in BY_LENGTH]


@one_of(LENGTHS)
def test_the_length_of_sequences_may_change_from_call_to_call(net, name, strategy):
    long = sequence(N_ROWS)
    short = long[:, :2]
    expected = [sample(net, each, 5, strategy="loop") for each in (long, short)]
    for each, draws in zip((long, short, long), (*expected, expected[0]), strict=True):
        assert_close(sample(net, each, 5, strategy=strategy), draws)
        assert_close(sample(net, each[3:], 5, strategy=strategy), draws[:, 3:])


def packing(rnn):
    """Return a module that packs its padded sequences for a recurrent net."""

    def forward(x, padding):
        lengths = (~padding).sum(1)
        options = {"batch_first": True, "enforce_sorted": False}
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, **options)
        options = {"batch_first": True, "total_length": x.shape[1]}
        return nn.utils.rnn.pad_packed_sequence(rnn(packed)[0], **options)[0]

    return Function(forward, rnn)


@pytest.mark.parametrize("variational_rnn", [False, True])
@pytest.mark.parametrize("same_length", [False, True])
@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU, nn.RNN])
def test_packed_sequences_have_the_draws_of_padded_ones(layer, same_length, variational_rnn):
    rnn = layer(4, 3, num_layers=3, dropout=0.25, batch_first=True).double()
    x, padding = padded(N_ROWS)
    padding = torch.zeros_like(padding) if same_length else padding
    with warnings.catch_warnings(action="ignore"):  # of rows that go one by one
        draws = sample(packing(rnn), (x, padding), 5, variational_rnn=variational_rnn)
    expected = sample(Function(lambda x: rnn(x)[0], rnn), x, 5, variational_rnn=variational_rnn)
    assert expected.std(0).max() > 0
    assert_close(draws[:, ~padding], expected[:, ~padding])


@pytest.mark.parametrize("rows", [[4, 0, 2], [3], [1, 1]])
def test_rows_of_packed_sequences_of_both_directions_are_alone(rows):
    rnn = nn.LSTM(4, 3, 2, dropout=0.5, batch_first=True, bidirectional=True).double()
    x, padding = padded(N_ROWS)
    with warnings.catch_warnings(action="ignore"):
        draws = sample(packing(rnn), (x, padding), 5)
        assert_close(sample(packing(rnn), (x[rows], padding[rows]), 5), draws[:, rows])


@pytest.mark.parametrize("options", [{"num_layers": 1}, {"num_layers": 2, "dropout": 0.0}], ids=str)
def test_packed_sequences_are_taken_where_nothing_is_dropped_inside(options):
    rnn = nn.LSTM(4, 3, batch_first=True, **options).double()

    def forward(x, padding):
        lengths = (~padding).sum(1)
        options = {"batch_first": True, "enforce_sorted": False}
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, **options)
        output, _ = nn.utils.rnn.pad_packed_sequence(rnn(packed)[0], True, total_length=3)
        return F.dropout(output, 0.5)

    x = padded(N_ROWS)
    expected = sample(Function(forward, rnn), x, 5, strategy="loop")
    assert expected.std(0).max() > 0
    assert_close(sample(Function(forward, rnn), x, 5), expected)


# -- what a probe of the first rows could get wrong ------------------------------------------------

MERGED = [
    *("attention", "attention time first", "attention time first without weights"),
    "rows merged rows first",
    "rows merged time first",
]


@pytest.mark.parametrize("value", [0.0, 2.0])
@pytest.mark.parametrize("strategy", ["loop", "fold", "auto"])
@pytest.mark.parametrize("name", MERGED)
def test_equal_first_rows_do_not_hide_where_the_rows_are(net, x, strategy, value):
    x[:3] = value
    expected = sample(net, x, 5, strategy=strategy)
    assert_close(sample(net, x[[4, 0, 3]], 5, strategy=strategy), expected[:, [4, 0, 3]])


@pytest.mark.parametrize("name", ["whole transformer"])
def test_each_dropout_of_a_transformer_is_named_in_the_order_of_the_calls(net, x):
    sites = dropout_sites(net, x)
    encoder = [f"0.encoder.layers.0.{name}" for name in ("self_attn", "dropout1", "dropout")]
    decoder = ("self_attn", "dropout1", "multihead_attn", "dropout2", "dropout", "dropout3")
    assert [site.path for site in sites] == [
        *(*encoder, "0.encoder.layers.0.dropout2"),
        *(f"0.decoder.layers.0.{name}" for name in decoder),
    ]
    assert {site.row_axis for site in sites} == {0}
