"""What is found out about a module is remembered while the module is what it was, and lives."""

import gc
import threading
import time
import warnings
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sk_mcdropout import dropout_sites, mean_and_std, register_dropout, sample
from sk_mcdropout.sampling import _draws, _memory


class Config:
    def __init__(self):
        self.gate = 1.0
        self.steps = [1, 2]


class Net(nn.Module):
    """Has a part of its own, a configuration and an attribute, and counts its passes."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(3, 8), nn.Linear(8, 2)
        self.drop, self.scale, self.config = nn.Dropout(0.5), 2.0, Config()
        self.n_passes = 0

    def forward(self, x):
        self.n_passes += 1
        hidden = self.drop(self.first(x).relu()) * self.scale * self.config.gate
        return self.last(hidden)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture
def x():
    torch.manual_seed(1)
    return torch.randn(6, 3)


@pytest.fixture
def planned(monkeypatch):
    """Return a list that grows by each plan that is made."""
    made, make = [], _draws.make_plan

    def count(*args):
        made.append(args)
        return make(*args)

    monkeypatch.setattr(_draws, "make_plan", count)
    return made


def test_the_second_call_for_a_module_plans_nothing(net, x, planned):
    first = sample(net, x, 5)
    assert torch.equal(sample(net, x, 5), first)
    mean_and_std(net, x[:2], 30, seed=1)
    dropout_sites(net, x)
    assert len(planned) == 1
    sample(net, (x,), 5)
    sample(net, x, 5, strategy="loop")
    assert len(planned) == 3


def write_weights(net):
    with torch.no_grad():
        net.first.weight.add_(1)


def step(net, **options):
    optimizer = torch.optim.Adam(net.parameters(), 0.1, **options)
    net(torch.ones(2, 3)).sum().backward()
    optimizer.step()


def replace_a_part(net):
    net.drop = nn.Dropout(0.5)


def replace_weights(net):
    net.first.weight = nn.Parameter(net.first.weight.detach().clone())


def hook(net):
    net.last.register_forward_hook(lambda part, args, output: output * 2)


def register(net):
    register_dropout(type("Own", (nn.Module,), {}))


CHANGES = {
    "weights": write_weights,
    "a step of training": step,
    "weights elsewhere": lambda net: setattr(net.last.weight, "data", torch.ones(2, 8)),
    "a part": replace_a_part,
    "the object that weights are": replace_weights,
    "a hook": hook,
    "an attribute": lambda net: setattr(net, "scale", 3.0),
    "a flag of torch's": lambda net: setattr(net.drop, "inplace", True),
    "a new attribute": lambda net: setattr(net, "other", None),
    "a configuration": lambda net: setattr(net.config, "gate", 0.5),
    "a list in a configuration": lambda net: net.config.steps.append(3),
    "a class that is registered": register,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_plan_is_made_anew_when_the_module_is_changed(net, x, planned, change):
    sample(net, x, 5)
    CHANGES[change](net)
    after = sample(net, x, 5)
    assert len(planned) == 2
    torch.testing.assert_close(after, sample(net, x, 5, strategy="loop"))


def test_a_gate_that_opens_in_a_fused_step_is_seen(net, x, planned):
    nn.init.zeros_(net.last.bias)  # torch does not count this step as a write
    sample(net, x, 5)
    step(net, fused=True)
    sample(net, x, 5)
    assert len(planned) == 2


def test_what_is_remembered_does_not_keep_a_module_alive(net, x):
    def sampled():
        class Holding(nn.Module):
            def __init__(self):
                super().__init__()
                self.net, self.way = net, lambda x: self.net(x)
                self.holder = [self]

            def forward(self, x):
                return F.dropout(self.way(x), 0.5, self.training)

        outer = Holding()
        Holding.forward.of = lambda: outer  # as a closure or a default may be
        outer.register_forward_hook(lambda part, args, output: outer.net.scale * output)
        sample(outer, x, 5)
        sample(outer, x, 5, output=lambda y: y * outer.net.scale)
        return weakref.ref(outer)

    outer, n_known = sampled(), len(_memory._remembered)
    gc.collect()
    assert outer() is None
    assert len(_memory._remembered) < n_known


def test_another_part_in_the_place_of_one_that_is_gone_is_another(net, x, planned):
    """Python gives the memory of objects that are gone to new ones, and with it their identity."""
    for n_plans in range(1, 6):
        net.drop = None
        net.drop = nn.Dropout(0.5)
        net.first.weight = None
        net.first.weight = nn.Parameter(torch.randn(8, 3))
        sample(net, x, 5)
        assert len(planned) == n_plans


def test_what_is_odd_is_said_at_each_call(x):
    class Noisy(nn.Module):
        def forward(self, x):
            return x + torch.randn_like(x) if self.training else x

    net = nn.Sequential(nn.Dropout(0.5), Noisy())
    for _ in range(2):
        with pytest.warns(UserWarning, match="left off"):
            sample(net, x, 5)
    none = nn.Linear(3, 2)
    for _ in range(2):
        with pytest.warns(UserWarning, match="must have a dropout"):
            sample(none, x, 5)


def test_rows_that_are_alike_teach_nothing_for_others(net, x, planned):
    zero = nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 2))
    nn.init.zeros_(zero[1].weight)
    nn.init.zeros_(zero[1].bias)
    with pytest.raises(ValueError, match="depend on its dropouts"):
        sample(zero, x, 5)
    nn.init.normal_(zero[1].weight)
    torch.testing.assert_close(sample(zero, x, 5), sample(zero, x, 5, strategy="loop"))
    with warnings.catch_warnings(action="error"):
        sample(zero, x, 5)


def test_threads_may_share_what_is_remembered_while_the_module_changes(net, x):
    net.note, wrong = 0, []
    expected = {n_rows: sample(net, x[:n_rows], 4) for n_rows in (1, 3, 6)}

    def draw():
        for _ in range(5):
            for n_rows, draws in expected.items():
                strategy = "loop" if n_rows == 3 else "auto"
                if not torch.allclose(sample(net, x[:n_rows], 4, strategy=strategy), draws):
                    wrong.append(n_rows)

    threads = [threading.Thread(target=draw) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        net.note += 1  # which no pass looks at
        del net.note
        net.note = 1
        time.sleep(1e-3)
    assert not wrong
