"""Nets that decide by the values of their input how often they call a dropout.

Which mask a call gets must then not depend on the rows that happen to be in the same batch, and
no pass may go without its dropout because the rows of the probe did not need one.
"""

import warnings

import pytest
import torch
import torch.nn.functional as F
from nets import Function
from torch import nn
from torch.testing import assert_close

from sk_mcdropout import MCDropoutRegressor, dropout_sites, mean_and_std, sample
from sk_mcdropout.sampling import STRATEGIES, Draws, Plans

SLOW = pytest.mark.filterwarnings("ignore:the module should make the same dropout calls")
ALL = [*STRATEGIES, "auto"]
SIZES = torch.tensor([3.0, 0.4, 9.0, 1.5, 3.0])


class UntilAllHalt(nn.Module):
    """Goes on with the rows that are big, and has a last dropout after that."""

    def __init__(self, p):
        super().__init__()
        self.inner, self.last, self.head = nn.Dropout(p), nn.Dropout(p / 2), nn.Linear(3, 2)

    def forward(self, x):
        while (big := x.abs().amax(1, keepdim=True) > 1).any():
            x = torch.where(big, self.inner(x) / 3, x)
        return self.head(self.last(x))


class AsLongAsTheLongest(nn.Module):
    """Reads sequences step by step, as many as the longest of the batch has."""

    def __init__(self, p):
        super().__init__()
        self.cell, self.dropout, self.head = nn.GRUCell(1, 3), nn.Dropout(p), nn.Linear(3, 2)

    def forward(self, x):
        lengths = x.abs().amax(1).clamp(max=6).int()
        state = x[:, :3] * 0
        for step in range(int(lengths.max())):
            after = self.cell(self.dropout(x[:, step % 3, None]), state)
            state = torch.where((step < lengths)[:, None], after, state)
        return self.head(self.dropout(state + 1))


class EarlyExit(nn.Module):
    """Leaves its layers as soon as the masked values are small."""

    def __init__(self, p):
        super().__init__()
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(3, 3), nn.Dropout(p)) for _ in range(4))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
            if x.abs().max() < 0.8:
                break
        return x


NETS = [UntilAllHalt, AsLongAsTheLongest, EarlyExit]


@pytest.fixture
def x():
    return SIZES[:, None].double() * torch.tensor([1.0, -0.5, 0.25]).double()


@pytest.fixture
def net(kind):
    return kind(0.4).double()


@SLOW
@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("strategy", ALL)
def test_a_draw_is_a_function_of_the_row(net, x, strategy):
    plans = Plans()  # of one owner, as an estimator is: rows that are alike tell nothing new

    def drawn(x, n_draws=4, **options):
        draws = Draws(net, lambda: [x], n_draws, strategy=strategy, plans=plans, **options)
        return draws.reduce(lambda outputs, rows: (outputs,), axis=1)[0]

    draws = drawn(x)
    assert (draws.std(0) > 0).any(1).all()
    for rows in ([4, 2, 0], [1], [3, 3]):
        assert_close(drawn(x[rows]), draws[:, rows])
    assert_close(drawn(x, 7)[:4], draws)
    assert_close(drawn(x, batch_size=2), draws)
    assert not torch.equal(drawn(x, seed=1), draws)
    assert_close(sample(net, x, 4, strategy=strategy), draws)


@pytest.mark.slow
@SLOW
@pytest.mark.parametrize("kind", [UntilAllHalt, AsLongAsTheLongest])
def test_mean_and_std_are_those_of_torch_in_training_mode(net, x):
    row, n_draws = x[[2]], 2000
    ours = sample(net, row, n_draws)[:, 0]
    net.train()
    with torch.no_grad():
        theirs = torch.cat([net(row) for _ in range(n_draws)])
    both = torch.cat([ours - ours.mean(0), theirs - theirs.mean(0)])
    var, m4 = both.square().mean(0), (both**4).mean(0)
    assert ((ours.mean(0) - theirs.mean(0)).abs() <= 5 * (2 * var / n_draws).sqrt()).all()
    bound = 5 * (2 * (m4 - var**2).clamp(min=0) / n_draws).sqrt() + 25 * var / n_draws
    assert ((ours.var(0) - theirs.var(0)).abs() <= bound).all()


def test_a_number_of_steps_that_all_rows_share_gives_the_masks_of_a_fixed_one(x):
    def steps(number):
        def forward(x):
            n_steps = number if number else int(x.abs().amax() * 0 + 3)
            for _ in range(n_steps):
                x = F.dropout(x, 0.5)
                assert number or x.abs().max() >= 0  # values asked for in a loop
            return x

        return Function(forward)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_close(sample(steps(None), x, 5), sample(steps(3), x, 5))


@SLOW
@pytest.mark.parametrize("strategy", ALL)
def test_the_first_rows_may_need_no_step_at_all(strategy):
    def forward(x):
        while x.abs().max() > 1:
            x = F.dropout(x, 0.1) / 4
        return x + 1

    x = torch.tensor([[0.5], [0.5], [0.5], [90.0]])
    with pytest.warns(UserWarning, match="rate above 0 to draw from"):
        mean, std = mean_and_std(Function(forward), x, 50, strategy=strategy)
    assert std[:3].tolist() == [[0.0]] * 3
    assert mean[:3].tolist() == [[1.5]] * 3
    assert std[3] > 0


@SLOW
@pytest.mark.parametrize("sign", [1, -1])
def test_a_decision_by_another_row_becomes_one_by_the_row_itself(sign):
    net = Function(lambda x: F.dropout(F.dropout(x) if x[0, 0] > 0 else x))
    x = sign * torch.tensor([1.0] * 4 + [-1.0] * 4)[:, None]
    draws = sample(net, x, 50, strategy="loop", batch_size=4)
    assert set(draws[:, x[:, 0] > 0].unique().tolist()) == {0.0, 4.0}
    assert set(draws[:, x[:, 0] < 0].unique().tolist()) == {0.0, -2.0}


def test_calls_that_depend_on_the_number_of_rows_are_those_of_one_row():
    net = Function(lambda x: F.dropout(x, 0.2) if len(x) == 3 else F.dropout(x, 0.5))
    with pytest.warns(UserWarning, match="Each row is sampled by itself"):
        draws = sample(net, torch.ones(3, 4), 20)
    assert set(draws.unique().tolist()) == {0.0, 2.0}


@pytest.mark.parametrize("kind", NETS[:2])
def test_the_table_of_sites_says_it(net, x):
    sites = dropout_sites(net, x)
    assert str(sites).endswith("strategy: row by row")
    assert {site.mask_shape for site in sites} <= {(1, 3), (1, 1)}


def test_code_that_asks_for_values_once_is_sampled_in_batches(x):
    net = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 2)).double()

    def forward(x):
        assert x.isfinite().all()
        return net(x)

    expected = sample(net, x, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_close(sample(Function(forward, net), x, 5), expected)


@SLOW
def test_the_estimator_takes_such_a_net(x):
    X, y = x.float().numpy(), SIZES.numpy()
    net = nn.Sequential(UntilAllHalt(0.4), nn.Linear(2, 1))
    model = MCDropoutRegressor(net, max_epochs=2, n_draws=6, random_state=0).fit(X, y)
    mean, std = model.predict(X, return_std=True)
    assert (std > 0).all()
    alone = [model.predict(X[[i]], return_std=True) for i in range(len(X))]
    assert mean.tolist() == [m.item() for m, _ in alone]
    assert std.tolist() == [s.item() for _, s in alone]
