"""Default nets of one architecture that are trained as one."""

import pytest
import torch
from torch import nn

from sk_mcdropout import MLP
from sk_mcdropout.nn import StackedMLP

ROWS = [7, 6, 7]


def make_nets(rates=(0.1, 0.5, 0.0), **params):
    torch.manual_seed(0)
    params = {"hidden": (6, 5), "normalize_X": True, **params}
    nets = [MLP(3, 2, dropout=rate, **params).double() for rate in rates]
    for k, net in enumerate(nets):
        net.fit(torch.randn(20, 3).double() * (k + 1))
    return nets


def make_generators():
    return [torch.Generator().manual_seed(seed) for seed in (5, 6, 7)]


def scaled(nets, x):
    return torch.stack([net.scale(rows) for net, rows in zip(nets, x, strict=True)])


@pytest.fixture
def x():
    return 3 * torch.randn(3, 7, 3, generator=torch.Generator().manual_seed(1)).double()


ARCHITECTURES = {
    "default": {},
    "columns as they are": {"embedding": None, "normalize_X": False},
    "deeper": {"hidden": (4, 4, 4), "activation": nn.GELU},
    "linear": {"hidden": ()},
    "rates of 0 and 1": {"rates": (0.0, 1.0, 0.2)},
}


@pytest.mark.parametrize("params", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_each_net_is_trained_as_it_is_alone(x, params):
    nets, generators = make_nets(**params), make_generators()
    stack = StackedMLP(nets)
    together = torch.optim.AdamW([stack.flat], lr=0.01)
    expected, losses = [], []
    for masks in stack.masks([ROWS] * 2, generators) + stack.masks([ROWS] * 3, generators):
        answers = stack(scaled(nets, x), masks)
        parts = torch.stack([a[:n].square().mean() for a, n in zip(answers, ROWS, strict=True)])
        together.zero_grad()
        parts.sum().backward()
        together.step()
        losses.append(parts.detach())
    for net, rows, n, seed in zip(make_nets(**params), x, ROWS, (5, 6, 7), strict=True):
        torch.manual_seed(seed)
        alone, of_net = torch.optim.AdamW(net.parameters(), lr=0.01), []
        for _ in range(5):
            loss = net(rows[:n]).square().mean()
            alone.zero_grad()
            loss.backward()
            alone.step()
            of_net.append(loss.detach())
        expected.append(torch.stack(of_net))
    torch.testing.assert_close(
        torch.stack(losses), torch.stack(expected, dim=1), rtol=1e-10, atol=0
    )


def test_a_net_does_not_depend_on_its_neighbours(x):
    nets, x = make_nets(), scaled(make_nets(), x)
    one, all_nets = StackedMLP(nets[1:2]), StackedMLP(nets)
    expected = one(x[1:2, :6], *one.masks([ROWS[1:2]], make_generators()[1:2]))[0]
    answers = all_nets(x, *all_nets.masks([ROWS], make_generators()))
    torch.testing.assert_close(answers[1, :6], expected)


def test_rows_within_the_range_of_the_nets_need_less(x):
    nets = make_nets(hidden=(), normalize_X=False)
    stack = StackedMLP(nets)
    inside = torch.stack([torch.stack([net.embedding.lower, net.embedding.upper]) for net in nets])
    outside = inside + torch.tensor([[-0.1], [0.1]])
    expected = [stack(rows, []) for rows in (inside, outside)]
    stack.scaled(list(outside))
    assert not stack.within
    stack.scaled(list(inside))
    assert stack.within
    torch.testing.assert_close(stack(inside, []), expected[0])
    assert not torch.allclose(stack(outside, []), expected[1])


def test_the_nets_are_left_alone_until_they_are_put_back(x):
    nets = make_nets()
    before = [{k: v.clone() for k, v in net.state_dict().items()} for net in nets]
    stack = StackedMLP(nets)
    with torch.no_grad():
        stack.flat.add_(1.0)
    for net, state in zip(nets, before, strict=True):
        torch.testing.assert_close(net.state_dict(), state, rtol=0, atol=0)
    stack.put_back()
    for net, state in zip(nets, before, strict=True):
        for name, parameter in net.named_parameters():
            assert torch.equal(parameter, state[name] + 1.0)


def test_the_global_generator_is_left_alone(x):
    before = torch.get_rng_state()
    nets = make_nets()
    torch.set_rng_state(before)
    stack = StackedMLP(nets)
    stack(x, *stack.masks([ROWS], make_generators()))
    assert torch.equal(torch.get_rng_state(), before)


class Own(MLP):
    """A class of the user's, whose forward nobody knows."""


REFUSED = {
    "a class of your own": lambda: Own(3),
    "rates that are learned": lambda: MLP(3, dropout="concrete"),
    "an activation with parameters": lambda: MLP(3, activation=nn.PReLU),
    "an activation over a row": lambda: MLP(3, activation=nn.Softmax),
    "another module": lambda: nn.Linear(3, 1),
    "frozen parameters": lambda: MLP(3).requires_grad_(False),
}


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_other_nets_are_not_taken(make):
    assert not StackedMLP.takes(make())
    assert StackedMLP.takes(MLP(3))
