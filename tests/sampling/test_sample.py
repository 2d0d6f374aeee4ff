"""`sample`, `mean_and_std` and `Draws`: closed forms, inputs of all forms, and what is refused.

The laws that hold for each kind of net are in `test_laws.py`. The nets are in double precision:
what differs, differs by a mistake.
"""

import re

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from nets import Function, kept, mlp, skip
from torch import nn
from torch.testing import assert_close
from torch.utils.data import DataLoader, TensorDataset

from sk_mcdropout import MCDropoutRegressor, dropout_sites, mean_and_std, sample
from sk_mcdropout.sampling import STRATEGIES, Draws

ALL = [*STRATEGIES, "auto"]


@pytest.fixture
def x():
    return torch.randn(7, 4).double()


@pytest.mark.parametrize("strategy", ALL)
def test_a_draw_is_the_net_with_its_masks_written_out(strategy, x):
    net = mlp().double()
    first, second = net[3].weight, net[6].weight
    one, two = (kept((1, 8), p, 5, seed=3, call=call) for call, p in enumerate([0.3, 0.5]))
    h = F.relu(net[0](x)) * one / 0.7
    h = F.relu(h @ first.T + net[3].bias) * two / 0.5
    assert_close(sample(net, x, 5, seed=3, strategy=strategy), (h @ second.T + net[6].bias).data)


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_mean_and_covariance_before_a_linear_layer_match_the_closed_form(x, p):
    net = nn.Sequential(nn.Dropout(p), nn.Linear(4, 1)).double()
    n_draws = 100_000
    draws = sample(net, x, n_draws)[..., 0]
    # The output is a sum over units j of w_j x_j m_j / (1 - p) with independent m_j of
    # mean 1 - p, so that rows i and k have the covariance p / (1 - p) sum_j w_j^2 x_ij x_kj.
    parts = (x * net[1].weight).detach()
    cov = p / (1 - p) * parts @ parts.T
    var = cov.diagonal()
    mean_error = (var / n_draws).sqrt()
    assert ((draws.mean(0) - net[1](x)[:, 0].detach()).abs() < 5 * mean_error).all()
    # The error of a sample covariance of such sums, with the fourth cumulant of m_j / (1 - p).
    cumulant = p * (1 - 6 * p * (1 - p)) / (1 - p) ** 3 * (parts**2) @ (parts**2).T
    cov_error = ((cumulant + torch.outer(var, var) + cov**2) / n_draws).sqrt()
    assert ((draws.T.cov() - cov).abs() < 5 * cov_error).all()


def recurrent():
    lstm = nn.LSTM(1, 3, batch_first=True)
    return Function(lambda x: F.relu(lstm(F.dropout(x)[..., None])[0]).flatten(1), lstm)


@pytest.mark.parametrize("make", [recurrent])
def test_auto_falls_back_where_vmap_refuses(x, make):
    net, before = make().double(), x.clone()
    with pytest.raises(NotImplementedError, match="Got 'vmap', which failed: Batching rule"):
        sample(net, x, 5, strategy="vmap")
    expected = sample(net, x, 5, strategy="loop")
    assert expected.std(0).max() > 0
    assert_close(sample(net, x, 5), expected)
    assert torch.equal(x, before)


@pytest.mark.parametrize("make", [mlp, recurrent])
def test_auto_runs_one_pass_for_all_draws_once_it_has_a_plan(x, make):
    net, passes = make().double(), []
    net.register_forward_hook(lambda *_: passes.append(1))
    draws = Draws(net, lambda: [x], n_draws=20)
    draws.sites()
    passes.clear()
    draws.reduce(lambda outputs, rows: (outputs,), axis=1)
    assert len(passes) == 1


@pytest.mark.parametrize("strategy", ["weights", "thinned"])
def test_a_strategy_refuses_a_net_that_it_would_draw_wrongly(x, strategy):
    with pytest.raises(RuntimeError, match=r"size of tensor a \(7\) must match .* b \(35\)"):
        sample(skip().double(), x, 5, strategy=strategy)


def test_a_dropout_without_rows_cannot_be_folded(x):
    weight = torch.ones(2, 4).double()
    net = Function(lambda x: F.linear(x, F.dropout(weight)))
    with pytest.raises(NotImplementedError, match="dropout at '' has no axis of rows"):
        sample(net, x, 5, strategy="fold")


def test_a_net_that_mixes_rows_warns(x):
    net = Function(lambda x: F.dropout(x - x.mean(0)))
    with pytest.warns(UserWarning, match="must not depend on the other rows"):
        sample(net, x, 5)


@pytest.mark.parametrize("p", [None, 0.0])
@pytest.mark.parametrize("strategy", ALL)
def test_without_an_active_dropout_there_is_one_warning_and_no_spread(x, strategy, p):
    dropout = [] if p is None else [nn.Dropout(p)]
    net = nn.Sequential(*dropout, nn.Linear(4, 2)).double()
    with pytest.warns(UserWarning, match="a rate above 0") as warned:
        mean, std = mean_and_std(net, x, strategy=strategy)
    assert [warning.filename for warning in warned] == [__file__]
    assert torch.equal(std, torch.zeros(7, 2).double())
    assert_close(mean, net(x).detach())
    with pytest.warns(UserWarning, match="a rate above 0"):
        assert torch.equal(sample(net, x, 3), mean.expand(3, 7, 2))


def takes_two_inputs():
    return Function(lambda first, second: F.dropout(first, 0.3) - 2 * second)


def test_a_tuple_gives_positional_and_a_mapping_keyword_arguments(x):
    net, other = takes_two_inputs(), x + 1
    expected = sample(Function(lambda x: F.dropout(x, 0.3) - 2 * (x + 1)), x, 5)
    assert_close(sample(net, (x, other), 5), expected)
    assert_close(sample(net, {"second": other, "first": x}, 5), expected)


@pytest.mark.parametrize("rest", ["no tensor", None, torch.zeros(3, 3)], ids=str)
@pytest.mark.parametrize("several", [tuple, list])
@pytest.mark.parametrize("strategy", ALL)
def test_the_first_of_several_outputs_is_the_prediction(x, strategy, several, rest):
    net = mlp().double()
    several_outputs = Function(lambda x: several([net(x), rest]), net)
    assert_close(sample(several_outputs, x, 5, strategy=strategy), sample(net, x, 5))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("strategy", ALL)
def test_a_module_is_drawn_in_its_own_precision(x, strategy, dtype):
    net = mlp().to(dtype)
    draws = sample(net, x.to(dtype), 5, strategy=strategy)
    assert draws.dtype == dtype
    expected = sample(net.double(), x.to(dtype).double(), 5)
    # Each of about 30 sums and products on the way rounds once, relative to the largest number.
    error = 30 * torch.finfo(dtype).eps * expected.abs().max()
    assert (draws.double() - expected).abs().max() < error


def test_frozen_and_shared_weights_are_drawn_as_they_are(x):
    one, other = nn.Linear(4, 4).double(), nn.Linear(4, 4).double()
    other.weight = one.weight
    net = nn.Sequential(one, nn.Dropout(0.3), other)
    expected = sample(net, x, 5)
    net.requires_grad_(False)
    assert_close(sample(net, x, 5), expected)
    one.weight.mul_(2)  # both layers have it
    one.bias.mul_(2)
    other.bias.mul_(4)
    assert_close(sample(net, x, 5), 4 * expected)


@pytest.mark.parametrize("strategy", ALL)
def test_mean_and_std_are_those_of_the_draws(x, strategy):
    net = mlp().double()
    mean, std = mean_and_std(net, x, 20, strategy=strategy, batch_size=3)
    draws = sample(net, x, 20, strategy="loop").numpy()
    assert_close(mean.numpy(), draws.mean(0))
    assert_close(std.numpy(), draws.std(0, ddof=1))


def test_mean_and_std_of_low_precision_are_computed_in_double(x):
    net, x = mlp().bfloat16(), x.bfloat16()
    mean, std = mean_and_std(net, x, 20)
    draws = sample(net, x, 20).double()
    assert_close((mean, std), (draws.mean(0), draws.std(0)))


def test_a_small_std_of_a_large_mean_comes_out_right():
    net = Function(lambda x: 1000 + 1e-4 * F.dropout(x, 0.5))
    mean, std = mean_and_std(net, torch.ones(3, 5).double(), 100)
    # k of 100 draws are 1000.0002 and the others 1000; both are stored to 6e-14, which is 6e-10
    # of the std. The difference of squares would be off by 1e6 * 2e-16 in 1e-8, that is 2 %.
    k = kept((1, 5), 0.5, 100).sum(0).expand(3, 5)
    assert_close(std, 2e-4 * (k * (100 - k) / (100 * 99)).sqrt(), rtol=1e-9, atol=0)
    assert_close(mean, 1000 + 2e-6 * k, rtol=1e-15, atol=0)


def test_the_std_of_draws_that_are_all_the_same_is_exactly_zero(x):
    net = Function(lambda x: 1e8 * x + F.dropout(F.relu(x), 0.5))
    _, std = mean_and_std(net, -x.abs(), 100)
    assert torch.equal(std, torch.zeros_like(x))


@pytest.mark.parametrize("n_draws", [0, -1, 2.5, True, "5", None])
@pytest.mark.parametrize("function", [sample, mean_and_std])
def test_a_number_of_draws_that_is_none_is_refused(x, function, n_draws):
    with pytest.raises(ValueError, match=rf"`n_draws` must be .* Got {n_draws!r}\."):
        function(mlp().double(), x, n_draws)


def test_one_draw_has_no_spread_and_is_refused(x):
    with pytest.raises(ValueError, match=r"`n_draws` must be .* at least 2. Got 1\."):
        mean_and_std(mlp().double(), x, 1)
    assert sample(mlp().double(), x, np.int64(1)).shape == (1, 7, 2)


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, True])
@pytest.mark.parametrize("function", [sample, mean_and_std])
def test_a_batch_size_that_is_none_is_refused(x, function, batch_size):
    with pytest.raises(ValueError, match=rf"`batch_size` must be .* Got {batch_size!r}\."):
        function(mlp().double(), x, 5, batch_size=batch_size)


@pytest.mark.parametrize("function", [sample, mean_and_std])
def test_a_strategy_that_is_none_is_refused(x, function):
    with pytest.raises(ValueError, match=r"must be 'auto' or one of .*'fold'.* Got 'magic'"):
        function(mlp().double(), x, 5, strategy="magic")


@pytest.mark.parametrize(
    ("inputs", "got"),
    [
        (torch.ones(0, 4), "[0]"),
        ((torch.ones(3, 4), torch.ones(5, 4)), "[3, 5]"),
        ({"first": torch.ones(3, 4), "second": torch.ones(0, 4)}, "[0, 3]"),
        (torch.tensor(1.0), "tensor(1.)"),
    ],
    ids=["no rows", "tuple", "mapping", "no axis"],
)
def test_inputs_without_rows_or_of_different_lengths_are_refused(inputs, got):
    with pytest.raises(ValueError, match=rf"the same number of rows.* Got {re.escape(got)}\."):
        sample(takes_two_inputs(), inputs, 5)


@pytest.mark.parametrize(
    ("forward", "got"),
    [
        (lambda x: F.dropout(x).sum(), "float64 of shape () for 2 rows"),
        (lambda x: F.dropout(x).mean(0), "float64 of shape (4,) for 2 rows"),
        (lambda x: "text", "<class 'str'> for 2 rows"),
    ],
    ids=["number", "no rows", "no tensor"],
)
def test_an_output_without_rows_is_refused(x, forward, got):
    with pytest.raises(ValueError, match=rf"one row for each row .* Got {re.escape(got)}\."):
        sample(Function(forward), x, 5)


# -- what is no module and no input -----------------------------------------------------------


@pytest.mark.parametrize("ask", [sample, mean_and_std, dropout_sites])
@pytest.mark.parametrize(
    ("module", "match"),
    [
        (nn.Linear, r"Got the class Linear\. Make an instance of it"),
        (nn.Linear(4, 1).state_dict(), r"Got a OrderedDict\. Load the weights into a module"),
        (
            MCDropoutRegressor(),
            r"Got a MCDropoutRegressor\. Pass the net inside, `estimator\.module_`",
        ),
        (F.dropout, r"Got a function\. Pass a trained `torch\.nn\.Module`"),
    ],
    ids=["class", "state dict", "estimator", "function"],
)
def test_what_is_no_module_is_refused(ask, module, match, x):
    with pytest.raises(TypeError, match=match):
        ask(module, x)


@pytest.mark.parametrize("ask", [sample, mean_and_std, dropout_sites])
@pytest.mark.parametrize(
    ("inputs", "match"),
    [
        (np.ones((3, 4)), r"Got a ndarray\. Pass `torch\.as_tensor\(x, dtype=...\)`"),
        ([[1.0, 2.0, 3.0, 4.0]], r"Got a list\. Pass `torch\.tensor\(x\)`"),
        (pd.DataFrame(np.ones((3, 4))), r"Got a DataFrame\. Pass `torch\.as_tensor"),
        (DataLoader(torch.ones(3, 4)), r"Got a DataLoader\. Pass one batch after the other"),
        (TensorDataset(torch.ones(3, 4)), r"Got a TensorDataset\. Pass one batch after the other"),
        ("rows", r"Got a str\. Pass a tensor with the rows on its first axis"),
    ],
    ids=["array", "list", "frame", "loader", "dataset", "text"],
)
def test_what_holds_no_tensors_is_refused(ask, inputs, match):
    with pytest.raises(TypeError, match=match):
        ask(mlp(), inputs)
