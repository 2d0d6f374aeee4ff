"""Nets of any kind that are trained as one."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sk_mcdropout.nn import StackedModules

ROWS = [7, 6, 7]


class Images(nn.Module):
    """A net for images, with a dropout of whole channels and one as a function."""

    def __init__(self):
        super().__init__()
        self.conv, self.drop, self.last = nn.Conv2d(1, 3, 3), nn.Dropout2d(0.3), nn.Linear(12, 2)

    def forward(self, x):
        x = self.drop(F.relu(self.conv(x.reshape(-1, 1, 4, 4))))
        return self.last(F.dropout(x.flatten(1), 0.2, self.training))


class Sequences(nn.Module):
    """A net that looks at all steps of a sequence, written with a dropout in place."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(4, 5), nn.LayerNorm(5), nn.Linear(5, 1)
        self.drop = nn.Dropout(0.5, inplace=True)
        self.register_buffer("scale", torch.tensor(2.0))

    def forward(self, x):
        h = self.norm(self.first(x.reshape(-1, 4, 4)))
        h = self.drop((h @ h.mT).softmax(-1) @ h + self.scale)
        return self.last(h.mean(1))


def dense():
    """Return a net with dropouts of unlike rates, of which one is switched off."""
    drops = nn.Dropout(0.2), nn.Dropout(0.0), nn.Dropout(0.9)
    drops[2].train = lambda mode=True: drops[2]
    drops[2].training = False
    first, second = nn.Linear(16, 6), nn.Linear(6, 6)
    return nn.Sequential(first, nn.PReLU(), drops[0], second, drops[1], drops[2], nn.Linear(6, 1))


TAKEN = {"images": Images, "sequences": Sequences, "dense": dense}


@pytest.fixture
def x():
    return torch.randn(3, 7, 16, generator=torch.Generator().manual_seed(1)).double()


def make_nets(make):
    torch.manual_seed(0)
    return [make().double() for _ in ROWS]


def make_generators():
    return [torch.Generator().manual_seed(seed) for seed in (5, 6, 7)]


@pytest.mark.parametrize("make", [Images, Sequences])
def test_nets_match(x, make):
    nets = make_nets(make)
    before = [{k: v.clone() for k, v in net.state_dict().items()} for net in nets]
    state = torch.get_rng_state()
    assert StackedModules.matching(nets, x) == [True] * 3
    assert torch.equal(torch.get_rng_state(), state)
    for net, old in zip(nets, before, strict=True):
        torch.testing.assert_close(net.state_dict(), old, rtol=0, atol=0)


@pytest.mark.parametrize("make", TAKEN.values(), ids=TAKEN)
def test_each_net_is_trained_as_it_is_alone(x, make):
    stack, generators = StackedModules(make_nets(make), x[0, :3]), make_generators()
    together, losses = torch.optim.AdamW([stack.flat], lr=0.01), []
    for masks in stack.masks([ROWS] * 2, generators) + stack.masks([ROWS] * 3, generators):
        answers = stack(x, masks)
        parts = torch.stack([a[:n].square().mean() for a, n in zip(answers, ROWS, strict=True)])
        together.zero_grad()
        parts.sum().backward()
        together.step()
        losses.append(parts.detach())
    expected = []
    for net, rows, n, seed in zip(make_nets(make), x, ROWS, (5, 6, 7), strict=True):
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


def test_the_weights_are_put_back(x):
    nets = make_nets(Images)
    stack = StackedModules(nets, x[0, :3])
    with torch.no_grad():
        stack.flat.add_(1.0)
    expected = [{k: v + 1.0 for k, v in net.state_dict().items()} for net in nets]
    stack.put_back()
    for net, state in zip(nets, expected, strict=True):
        torch.testing.assert_close(net.state_dict(), state, rtol=0, atol=0)


class Branching(nn.Linear):
    """A net whose code looks at values."""

    def forward(self, x):
        return super().forward(x if x.sum() > 0 else -x)


class Counting(nn.Linear):
    """A net that changes in each pass."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x)


class Noisy(nn.Linear):
    """A net with random numbers of torch's that are no dropout."""

    def forward(self, x):
        return super().forward(x + torch.randn_like(x))


class NoisyByNumPy(nn.Linear):
    """A net with random numbers of another library."""

    def forward(self, x):
        return super().forward(x * np.random.default_rng().normal())


class Pair(nn.Linear):
    """A net with two outputs."""

    def forward(self, x):
        return super().forward(x), x


class OneMask(nn.Linear):
    """A net with one mask for all rows."""

    def forward(self, x):
        return super().forward(x * F.dropout(torch.ones(16, dtype=x.dtype), 0.5, self.training))


class Attention(nn.Module):
    """A net whose dropout is inside a function of torch's."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(4, 1)

    def forward(self, x):
        x = x.reshape(-1, 4, 4)
        return self.last(F.scaled_dot_product_attention(x, x, x, dropout_p=0.5)).mean(1)


class Scaled(nn.Linear):
    """A net with a number of its own, which it does not show."""

    def __init__(self, *args):
        super().__init__(*args)
        self.number = torch.rand(()).item()

    def forward(self, x):
        return self.number * super().forward(x)


def hooked():
    net = nn.Linear(16, 1)
    net.register_forward_hook(lambda module, args, output: 2 * output)
    return net


def hooked_on_the_way_back():
    net = nn.Linear(16, 1)
    net.weight.register_hook(lambda gradient: 2 * gradient)
    return net


REFUSED = {
    "a branch": lambda: Branching(16, 1),
    "a count": lambda: Counting(16, 1),
    "random numbers of torch's": lambda: Noisy(16, 1),
    "random numbers of NumPy's": lambda: NoisyByNumPy(16, 1),
    "two outputs": lambda: Pair(16, 1),
    "one mask for all rows": lambda: OneMask(16, 1),
    "attention with dropout": Attention,
    "batch norm": lambda: nn.Sequential(nn.Linear(16, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)),
    "alpha dropout": lambda: nn.Sequential(nn.Linear(16, 4), nn.AlphaDropout(0.2)),
    "frozen parameters": lambda: nn.Sequential(nn.Linear(16, 4).requires_grad_(False)),
    "unlike types": lambda: nn.Sequential(nn.Linear(16, 4).double(), nn.Linear(4, 1)),
    "a hook": hooked,
    "a hook on the way back": hooked_on_the_way_back,
}


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_other_nets_do_not_match(x, make):
    nets = [make() for _ in ROWS]
    x = x.to(next(nets[0].parameters()).dtype)
    assert StackedModules.matching(nets, x) == [False] * 3


def test_a_net_with_other_numbers_in_its_code_does_not_match(x):
    nets = [Scaled(16, 1).double() for _ in ROWS]
    assert StackedModules.matching(nets, x) == [True, False, False]
