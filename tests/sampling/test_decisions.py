"""Decisions that are made on a few rows are taken back when other rows disprove them."""

import random
import tracemalloc
import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nets import Function, kept
from torch import nn
from torch.testing import assert_close

from sk_mcdropout import dropout_sites, mean_and_std, sample
from sk_mcdropout.sampling import STRATEGIES, Draws, Plans

SINGLE = r"Each row is sampled by itself"
MIXED = r"must not depend on the other rows"


@pytest.fixture
def x():
    return torch.randn(7, 4).double()


def alone(net, x, n_draws=5, **options):
    """The draws of each row by itself."""
    return torch.cat([sample(net, x[[i]], n_draws, **options) for i in range(len(x))], 1)


def layers(*sizes):
    return nn.Sequential(*(nn.Linear(a, b) for a, b in pairwise(sizes))).double()


# -- what a strategy cannot do on later rows -------------------------------------------------------


def skips_its_mask():
    """Attention that leaves its mask out where no row is padded, as many do."""
    query, after = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(x, padding):
        mask = None if bool((~padding).all()) else ~padding[:, None, None, :]
        h = query(x).unflatten(2, (2, 2)).transpose(1, 2)
        h = F.scaled_dot_product_attention(h, h, h, mask, dropout_p=0.3)
        return after(F.dropout(h.transpose(1, 2).flatten(2), 0.2))

    return Function(forward, query, after).double()


def fails_where_rows_are_padded():
    """A net of which the weights strategy takes all but padded rows."""
    before, after = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(x, padding):
        h = F.dropout(before(x), 0.4)
        if bool(padding.any()):
            h = h.masked_fill(padding[..., None], 0.0)
        return after(h).mean(1)

    return Function(forward, before, after).double()


@pytest.mark.parametrize("make", [skips_its_mask, fails_where_rows_are_padded])
def test_rows_that_are_padded_may_come_after_rows_that_are_not(make):
    net = make()
    x = torch.randn(9, 3, 4).double()
    padding = torch.zeros(9, 3).bool()
    padding[4:6, 2:] = padding[7, 1:] = True
    draws = sample(net, (x, padding), 5)
    assert draws.std(0).flatten(1).amax(1).gt(0).all()
    for i in range(9):
        assert_close(sample(net, (x[[i]], padding[[i]]), 5), draws[:, [i]])
    plain = [0, 1, 2, 3]
    assert_close(sample(net, (x[plain], padding[plain]), 5), draws[:, plain])


def test_a_strategy_that_fails_on_later_rows_is_struck_off(x):
    before, after = layers(4, 8), layers(8, 2)

    def forward(x):
        h = F.dropout(before(x), 0.5)
        if len(x) > 3 and type(h) is not torch.Tensor:
            raise RuntimeError("no such luck")
        return after(h)

    net = Function(forward, before, after)
    draws = Draws(net, lambda: [x], n_draws=5)
    assert draws.sites().strategies[0] == "weights"
    (outputs,) = draws.reduce(lambda outputs, rows: (outputs,), axis=1)
    assert_close(outputs, alone(net, x))
    sites = draws.sites()
    assert sites.strategies == ("vmap",)
    assert sites.refused["weights"] == sites.refused["thinned"] == "no such luck"


def test_what_the_loop_raises_is_raised(x):
    def forward(x):
        if len(x) > 3:
            raise LookupError("of the user")
        return F.dropout(x)

    for strategy in ("auto", *STRATEGIES):
        with pytest.raises(LookupError, match="of the user"):
            sample(Function(forward), x, 5, strategy=strategy)


# -- what a probe of alike rows could get wrong ----------------------------------------------------


def sorted_inside(p=0.4):
    """Sorts its rows by what a dropout gave, and puts them back."""
    before, after = layers(4, 4), layers(4, 2)

    def forward(x):
        h = F.dropout(before(x), p)
        order = h.sum(1).argsort()
        h = F.dropout(h[order], p)
        return after(h[order.argsort()])

    return Function(forward, before, after)


def gated_by_zero():
    """An untrained gate: nothing of the dropout comes through until it is trained."""
    layer, gate = layers(4, 4), nn.Parameter(torch.zeros(()).double())
    net = Function(
        lambda x: x.sum(1) + net.gate * torch.sort(F.dropout(layer(x), 0.5), 0)[0].sum(1)
    )
    net.layer, net.gate = layer, gate
    return net


@pytest.mark.parametrize("strategy", ["auto", "loop"])
def test_rows_may_be_sorted_inside_and_put_back(x, strategy):
    net = sorted_inside()
    for rows in (x, x[x.sum(1).argsort()], x[[0, 0, 0, 1]], torch.zeros_like(x)):
        assert_close(sample(net, rows, 5, strategy=strategy), alone(net, rows, strategy="loop"))


@pytest.mark.parametrize("size", [1e-7, 1.0, 1e7])
def test_outputs_of_any_size_tell_a_wrong_strategy(size):
    x = torch.randn(7, 4)
    before = nn.Linear(4, 4)

    def forward(x):  # one column is large, and the small one depends on the place among the rows
        h = F.dropout(before(x), 0.4)
        order = h.sum(1).argsort()
        small = F.dropout(h[order], 0.5)[order.argsort()]
        return torch.stack([h[:, 1], size * small[:, 2]], 1)

    net = Function(forward, before)
    expected = sample(net, x, 5, strategy="loop")
    assert_close(sample(net, x, 5)[..., 1], expected[..., 1], rtol=1e-4, atol=1e-6 * size)


def test_a_tie_is_not_remembered(x):
    net = nn.Sequential(sorted_inside(), nn.Linear(2, 1).double())
    nn.init.zeros_(net[1].weight)
    draws = Draws(net, lambda: [x], n_draws=5)
    assert draws.sites().strategies == ("loop",)
    with torch.no_grad():
        net[1].weight.fill_(1.0)
    (outputs,) = draws.reduce(lambda outputs, rows: (outputs,), axis=1)
    assert_close(outputs, alone(net, x))
    assert draws.sites().strategies[0] in ("vmap", "loop")


def test_rows_of_nan_among_the_first_say_nothing(x):
    x[:3] = torch.nan
    net = nn.Sequential(nn.Unflatten(1, (2, 2)), nn.Flatten(0, 1), nn.Linear(2, 3), nn.Dropout(0.3))
    net = nn.Sequential(net, nn.Unflatten(0, (-1, 2))).double()
    draws = sample(net, x, 5)
    assert draws[:, :3].isnan().all()
    assert_close(draws[:, 3:], sample(net, x[3:], 5))


def test_time_first_behind_padding_is_told_from_rows_first():
    layer = layers(4, 4)

    def forward(x):
        h = F.dropout(layer(x.transpose(0, 1).flatten(0, 1)), 0.4)
        return h.unflatten(0, (x.shape[1], -1)).transpose(0, 1)

    x = torch.randn(6, 5, 4).double()
    x[:3, 1:] = 0
    x[:3, 0] = x[0, 0]
    net = Function(forward, layer)
    expected = layer(x) * kept((5, 4), 0.4, 5)[:, None] / 0.6
    assert_close(sample(net, x, 5), expected.detach())


# -- rows whose axis cannot be told, calls that depend on values -----------------------------------


def ragged(x):
    """Drops at the steps of all rows that are above 0, one after the other."""
    mask = x[..., 0] > 0
    h = torch.zeros_like(x)
    h[mask] = F.dropout(x[mask], 0.5)
    return h.sum(1)


def trimmed(x):
    """Drops as many steps as the longest row has."""
    longest = int((x[..., 0] != 0).sum(1).max())
    return F.dropout(x[:, :longest].transpose(1, 2).flatten(2), 0.5).sum(2)


def to_a_multiple(x):
    """Pads the batch to a multiple of eight rows."""
    more = -len(x) % 8
    return F.dropout(torch.cat([x, x.new_zeros(more, *x.shape[1:])]), 0.5)[: len(x)].sum(1)


def unique_rows(x):
    values, places = x.sum((1, 2)).round().unique(return_inverse=True)
    return F.dropout(values[:, None].expand(-1, 3), 0.5)[places]


def with_self_loops(x):
    """Messages between the steps of each row, and those of all steps to themselves behind."""
    n_steps = x.shape[1]
    nodes = x.flatten(0, 1)
    first = torch.arange(len(nodes)).view(-1, n_steps)
    edges = torch.cat([first[:, 1:].flatten(), torch.arange(len(nodes))])
    to = torch.cat([first[:, :-1].flatten(), torch.arange(len(nodes))])
    weights = F.dropout(nodes[edges].sum(1, keepdim=True), 0.5)
    return torch.zeros_like(nodes).index_add(0, to, weights * nodes[edges]).view_as(x).sum(1)


def packed(x):
    lengths = 1 + (x[..., 0] > 0).sum(1)
    lengths = lengths.clamp(max=x.shape[1])
    packing = nn.utils.rnn.pack_padded_sequence(x, lengths, True, enforce_sorted=False)
    packing = packing._replace(data=F.dropout(packing.data, 0.5))
    return nn.utils.rnn.pad_packed_sequence(packing, True, total_length=x.shape[1])[0].sum(1)


def asks_if_large(x):
    if x.abs().max() > 2:
        x = 0.1 * F.dropout(x, 0.9)
    return F.dropout(x, 0.5).sum(1)


HARD = [ragged, trimmed, to_a_multiple, unique_rows, with_self_loops, packed, asks_if_large]


def rows_of_all_lengths():
    x = torch.randn(11, 4, 3).double()
    for i in range(11):
        x[i, 1 + i % 4 :] = 0
    return x


@pytest.mark.parametrize("strategy", ["auto", *STRATEGIES])
@pytest.mark.parametrize("forward", HARD)
def test_rows_that_cannot_be_told_apart_are_drawn_one_by_one(forward, strategy):
    net, x = Function(forward), rows_of_all_lengths()
    with pytest.warns(UserWarning, match=SINGLE) as caught:
        draws = sample(net, x, 5, strategy=strategy)
    assert len(caught) == 1
    assert draws.std(0).max() > 0
    with warnings.catch_warnings(action="ignore"):
        assert_close(draws, alone(net, x, strategy="loop"))
        assert_close(draws, sample(net, x, 5, batch_size=3))
        assert_close(draws[:, [9, 2, 2]], sample(net, x[[9, 2, 2]], 5))


@pytest.mark.parametrize("forward", HARD)
def test_the_draws_of_a_row_are_mapped_over_and_are_those_of_passes_one_by_one(forward):
    net, x = Function(forward), rows_of_all_lengths()
    with warnings.catch_warnings(action="ignore"):
        few = sample(net, x, 3)
        passes = []
        net.register_forward_hook(lambda *_: passes.append(1))
        many = sample(net, x, 60)
    assert_close(many[:3], few)
    assert len(passes) < 11 * 60 / 4


def test_rows_whose_draws_cannot_be_mapped_over_are_drawn_one_by_one():
    def forward(x):
        steps = 1 + int((x != 0).any(-1).sum())
        for _ in range(steps):
            x = F.dropout(x, 0.5)
        return x[:, 0] if x.sum().item() > 0 else -x[:, 0]  # each draw goes its own way

    net, x = Function(forward), rows_of_all_lengths()
    with pytest.warns(UserWarning, match=SINGLE):
        draws = sample(net, x, 12)
    with warnings.catch_warnings(action="ignore"):
        assert_close(draws[:3], sample(net, x, 3))
        assert_close(draws[:, [9, 2, 2]], sample(net, x[[9, 2, 2]], 12))


def skips_its_mask(x):
    """Attend to steps that are not padding, and not think of padding where there is none."""
    there = x[..., 0] != 0
    scores = x @ x.transpose(1, 2)
    if not there.all():
        scores = scores.masked_fill(~there[:, None], -torch.inf)
    return (F.dropout(scores.softmax(-1), 0.5) @ x).sum(1)


@pytest.mark.parametrize("strategy", ["auto", "vmap", "loop"])
def test_rows_that_go_a_few_ways_are_drawn_with_those_of_their_way(strategy):
    net, x = Function(skips_its_mask), torch.randn(24, 4, 3).double()
    x[1::3, 2:] = 0
    drawn = sample(net, x, 9, strategy=strategy)
    passes = []
    net.register_forward_hook(lambda net, args, _: passes.append(len(args[0])))
    draws = Draws(net, lambda: [x], n_draws=9, strategy=strategy)
    assert torch.equal(draws.reduce(lambda outputs, rows: (outputs,), axis=1)[0], drawn)
    assert set(passes[-2:]) <= {8, 16}
    assert_close(drawn, alone(net, x, 9, strategy="loop"))
    assert_close(drawn, sample(net, x, 9, strategy=strategy, batch_size=5))


def test_calls_of_rows_by_chance_alike_are_looked_at_again():
    # The rows that are planned with are all of two steps, as many as the longest of a later batch.
    x = rows_of_all_lengths()
    alike, unlike = x[[1, 5, 9]], x[[1, 0, 5]]
    net = Function(trimmed)
    draws = Draws(net, lambda: [alike, unlike], n_draws=5)
    with pytest.warns(UserWarning, match=SINGLE):
        (outputs,) = draws.reduce(lambda outputs, rows: (outputs,), axis=1)
    with warnings.catch_warnings(action="ignore"):
        assert_close(outputs, alone(net, torch.cat([alike, unlike])))


def mixed_by_norm(x):
    return F.dropout(x - x.mean(0), 0.5)


def mixed_by_attention(x):
    return F.dropout((x @ x.T).softmax(1), 0.3) @ x


def mixed_and_checked(x):
    assert torch.isfinite(x).all()
    return F.dropout(x.softmax(0), 0.5)


@pytest.mark.parametrize("strategy", ["auto", *STRATEGIES])
@pytest.mark.parametrize("forward", [mixed_by_norm, mixed_by_attention, mixed_and_checked])
def test_rows_that_mix_get_the_loop_and_one_warning(x, forward, strategy):
    with pytest.warns(UserWarning, match=MIXED) as caught:
        draws = sample(Function(forward), x, 5, strategy=strategy)
    assert len(caught) == 1
    with warnings.catch_warnings(action="ignore"):
        assert_close(draws, sample(Function(forward), x, 5, strategy="loop"))
        assert dropout_sites(Function(forward), x).strategies == ("loop",)
    assert draws.std(0).max() > 0


def test_rows_that_mix_by_the_masks_alone_are_found():
    # Without dropout the rows do not meet: each is multiplied by a row of the identity.
    def forward(x):
        return F.dropout(torch.eye(len(x)).to(x), 0.5).cumsum(0).clamp(max=1) @ x

    x = torch.randn(7, 4).double()
    with pytest.warns(UserWarning, match=f"{MIXED}|{SINGLE}"):
        sample(Function(forward), x, 5)


def dropped_over_all(x):
    """Drop, and scale by how much is left in all rows, as DropBlock does."""
    kept = F.dropout(torch.ones_like(x), 0.5)
    return x * kept * (kept.numel() / kept.sum())


def test_a_strategy_whose_draws_are_others_is_refused_when_it_is_asked_for(x):
    net = Function(dropped_over_all)
    with pytest.raises(NotImplementedError, match=r"Got 'fold', which failed: its draws were not"):
        sample(net, x, 5, strategy="fold")
    assert_close(sample(net, x, 5), sample(net, x, 5, strategy="loop"))


# -- questions that change nothing -----------------------------------------------------------------


def checks_its_input(x):
    assert torch.isfinite(x).all()
    h = F.dropout(x, 0.5)
    assert torch.isfinite(h).all()
    return h


def looks_at_what_it_masked(x):
    """Write down how much attention each step got, as nets for tables do."""
    weights = F.dropout((x @ x.transpose(1, 2)).softmax(-1), 0.5)
    importance = torch.zeros(x.shape[:2]).to(x)
    importance += weights.sum(1)
    looks_at_what_it_masked.importance = importance.detach().cpu().numpy()
    return (weights @ x).sum(1)


def test_a_look_at_masked_values_leaves_rows_together():
    net, x = Function(looks_at_what_it_masked), torch.randn(7, 4, 3).double()
    with warnings.catch_warnings(action="error"):
        draws = sample(net, x, 5)
    assert "row by row" not in dropout_sites(net, x).strategies
    assert_close(draws, alone(net, x, strategy="loop"))


def asks_for_parameters():
    layer = layers(4, 4)

    def forward(x):
        for _ in range(2):
            if layer[0].weight.abs().max() > 0 and float(layer[0].bias.sum()) < 100:
                x = F.dropout(layer(x), 0.5)
        return x

    return Function(forward, layer)


def takes_the_length_of_all():
    def forward(x):
        for _ in range(int((x[:, :1] * 0 + 2).max())):
            x = F.dropout(x, 0.5)
        return x

    return Function(forward)


def writes_down_what_it_saw():
    net = Function(lambda x: F.dropout(x, 0.5))

    def write(net, args, output):
        net.seen = output.mean(0).numpy()

    net.register_forward_hook(write)
    return net


QUESTIONS = [
    lambda: Function(checks_its_input),
    asks_for_parameters,
    takes_the_length_of_all,
]


@pytest.mark.parametrize("make", QUESTIONS)
def test_questions_that_change_nothing_cost_no_passes(make):
    net, passes = make(), []
    net.register_forward_hook(lambda *_: passes.append(1))
    x = torch.randn(200, 4).double()
    draws = Draws(net, lambda: [x], n_draws=50)
    draws.sites()
    passes.clear()
    (outputs,) = draws.reduce(lambda outputs, rows: (outputs,), axis=1)
    assert len(passes) <= 50 + 10
    assert_close(outputs[:5, :9], alone(net, x[:9]))


@pytest.mark.parametrize("strategy", ["auto", "loop"])
def test_values_that_are_written_down_decide_on_nothing(x, strategy):
    net = writes_down_what_it_saw()
    assert_close(sample(net, x, 5, strategy=strategy), x * kept((1, 4), 0.5, 5) / 0.5)
    net = Function(lambda x: torch.from_numpy(np.sort(F.dropout(x, 0.5).numpy(), axis=1)))
    expected = (x * kept((1, 4), 0.5, 5) / 0.5).sort(2)[0]
    assert_close(sample(net, x, 5, strategy=strategy), expected)


def test_one_by_one_keeps_memory_bounded():
    # All masks of 1,000 draws of a row of 2,000 steps would take 64 MB for each of its lengths.
    shapes = []

    def forward(x):
        longest = int(x[..., 0].sum(1).max())
        shapes.append(len(x))
        return F.dropout(x[:, :longest], 0.5).mean(1)

    x = torch.zeros(3, 2000, 8)
    for i in range(3):
        x[i, : 1000 + 400 * i] = 1
    tracemalloc.start()
    before = torch.zeros(())
    with pytest.warns(UserWarning, match=SINGLE):
        mean_and_std(Function(forward), x, 300)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert before == 0
    assert set(shapes) <= {1, 2, 3}
    assert peak < 20e6  # of numpy, which makes the masks


# -- a pass and the plan ---------------------------------------------------------------------------


def test_the_shapes_of_masks_and_their_number_of_rows_are_compared(x):
    layer = layers(4, 4)
    net = Function(lambda x: net.way(layer(x)), layer)
    plans = Plans()

    def drawn():
        draws = Draws(net, lambda: [x], n_draws=5, plans=plans)
        return draws.reduce(lambda outputs, rows: (outputs,), axis=1)[0]

    net.way = lambda h: F.dropout(h, 0.5)
    drawn()
    for way in (
        lambda h: F.dropout(h[:, :2], 0.5),
        lambda h: F.dropout(h.float(), 0.5),
        lambda h: F.dropout(torch.cat([h, h]), 0.5)[: len(h)],
        lambda h: F.dropout1d(h, 0.5),
    ):
        net.way = way
        with warnings.catch_warnings(action="ignore"):
            assert_close(drawn(), alone(net, x))


CHANGES = {
    "hook": lambda net: net[0].register_forward_hook(lambda m, args, out: out.sort(0)[0]),
    "pre-hook": lambda net: net[2].register_forward_pre_hook(lambda m, args: args[0].sort(0)[0]),
    "forward": lambda net: setattr(net[2], "forward", lambda x: x.sort(0)[0]),
    "function": lambda net: setattr(net[0], "function", lambda x: F.dropout(x.sort(0)[0], 0.5)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_plan_knows_what_a_module_is_made_of(x, change):
    net = nn.Sequential(Function(lambda x: F.dropout(x, 0.5)), nn.Linear(4, 4), nn.Linear(4, 2))
    net, plans = net.double(), Plans()

    def drawn(strategy="auto"):
        draws = Draws(net, lambda: [x], n_draws=5, strategy=strategy, plans=plans)
        return draws.reduce(lambda outputs, rows: (outputs,), axis=1)[0]

    drawn()
    CHANGES[change](net)
    with warnings.catch_warnings(action="ignore"):
        assert_close(drawn(), sample(net, x, 5, strategy="loop"))


def test_a_plan_knows_autocast(x):
    net, plans, x = layers(4, 8, 8).float(), Plans(), x.float()
    net = nn.Sequential(net, nn.Dropout(0.5), nn.Linear(8, 2))

    def drawn():
        draws = Draws(net, lambda: [x], n_draws=5, plans=plans)
        return draws.reduce(lambda outputs, rows: (outputs,), axis=1)[0]

    plain = drawn()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = drawn()
        assert half.dtype == torch.bfloat16
        assert_close(half, sample(net, x, 5, strategy="loop"), rtol=0.02, atol=0.02)
    assert torch.equal(drawn(), plain)


# -- random numbers in eval mode -------------------------------------------------------------------


@pytest.mark.parametrize("noise", [torch.randn_like, lambda x: x.new_tensor(random.random())])
def test_what_is_random_in_eval_mode_is_seeded_and_said(x, noise):
    layer = layers(4, 4)
    net = Function(lambda x: F.dropout(layer(x) + noise(x), 0.3), layer)
    before = torch.get_rng_state(), random.getstate()
    with pytest.warns(UserWarning, match="random numbers in eval mode") as caught:
        draws = sample(net, x, 5)
    assert len(caught) == 1
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    with pytest.warns(UserWarning, match="random numbers in eval mode"):
        assert torch.equal(sample(net, x, 5), draws)
    with pytest.warns(UserWarning, match="random numbers in eval mode"):
        assert torch.equal(sample(net, x, 3), draws[:3])
    assert draws.std(0).min() > 0


# -- masks and padding -----------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["auto", *STRATEGIES])
def test_padding_does_not_change_the_masks_of_tokens(strategy):
    net = nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.4), nn.Linear(6, 2), nn.Dropout(0.2)).double()
    x = torch.randn(3, 9, 4).double()
    longer = sample(net, x, 5, strategy=strategy)
    assert_close(sample(net, x[:, :5], 5, strategy=strategy), longer[:, :, :5])
