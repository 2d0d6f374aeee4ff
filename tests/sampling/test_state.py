"""What a module and the process hold is as before after sampling, whatever happens meanwhile.

Modules write into their attributes, users press Ctrl-C, programs fork and have threads. None of
that shows in a result at once: it shows later, as wrong numbers in code that is not ours.
"""

import os
import random
import sys
import threading
import time
import warnings
from collections import OrderedDict, defaultdict, deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from nets import mlp
from torch import nn
from torch.testing import assert_close

from sk_mcdropout import MCDropoutRegressor, sample
from sk_mcdropout.sampling import _memory, _turns, alone_with, evaluating, forked_generators

TIMEOUT = 60


@pytest.fixture
def x():
    return torch.randn(8, 4).double()


@pytest.fixture(autouse=True)
def _nothing_is_held_after():
    yield
    assert not _turns._threads


# -- what a pass writes into the module ------------------------------------------------------------


class Writer(nn.Module):
    """Writes down what it sees in each pass, in every way that modules have."""

    def __init__(self):
        super().__init__()
        self.layer, self.dropout = nn.Linear(4, 2), nn.Dropout(0.5)
        self.last, self.gone, self.none = torch.ones(3), "there", None
        self.seen, self.by_name, self.newest = ["first"], OrderedDict(a=1), deque([1], maxlen=3)
        self.names, self.nested, self.counts = {"a"}, {"deep": [[]]}, defaultdict(int, a=1)
        self.plain = torch.zeros(2)
        self.register_buffer("n_passes", torch.zeros((), dtype=torch.int64))
        self.register_buffer("replaced", torch.zeros(2))

    def forward(self, x):
        h = self.dropout(self.layer(x))
        self.last = self.fresh = h
        self.none = 1
        vars(self).pop("gone", None)
        self.seen.append(h)
        self.by_name.pop("a", None)
        self.by_name["b"] = h
        self.newest.append(h)
        self.names.add("b")
        self.nested["deep"][0].append(h)
        self.counts["a"] += 1
        self.plain += 1
        self.n_passes += 1
        self.replaced = torch.ones(2)
        self.register_buffer("late", torch.ones(2))
        return h


def contents(part):
    """All that is in the attributes of a module: the objects, their items, their numbers."""

    def inside(value):
        if isinstance(value, torch.Tensor):
            return id(value), value.tolist()
        if isinstance(value, dict):
            return id(value), [(key, inside(item)) for key, item in value.items()]
        if isinstance(value, list | deque | set):
            return id(value), [inside(item) for item in value]
        return value

    return inside(dict(sorted(vars(part).items())))[1]


@pytest.mark.parametrize("options", [{}, {"strategy": "loop"}, {"extra_dropout": (Writer,)}])
@pytest.mark.parametrize("training", [True, False])
def test_attributes_hold_what_they_held(x, training, options):
    net = nn.Sequential(Writer(), nn.ReLU()).double().train(training)
    seen = []
    net[1].register_forward_hook(lambda part, args, output: setattr(part, "output", output))
    net[1].register_forward_hook(lambda *_: seen.append(0))
    before = [contents(part) for part in net.modules()]
    sample(net, x, 5, **options)
    assert [contents(part) for part in net.modules()] == before
    assert seen


def test_numbers_written_into_a_large_buffer_stay_and_this_is_said(x):
    # It is the one thing that is not put back: a copy of each buffer would cost too much.
    net = nn.Sequential(nn.Dropout(0.5))
    net.register_buffer("table", torch.zeros(2**18 + 1))
    net.register_forward_pre_hook(lambda net, _: [net.table.add_(1)] and None)
    with pytest.warns(UserWarning, match=r"Got writes into 'table'\. Keep"):
        sample(net, x, 5)
    assert net.table.min() > 0


def test_lazy_modules_keep_the_weights_that_they_made(x):
    net = nn.Sequential(nn.LazyLinear(3), nn.Dropout(0.5)).double()
    draws = sample(net, x, 5)
    assert type(net[0]) is nn.Linear
    assert not net[0]._forward_pre_hooks
    assert torch.equal(sample(net, x, 5), draws)


# -- modes, in one thread --------------------------------------------------------------------------


def modes(net):
    return [part.training for part in net.modules()]


def test_just_the_named_instances_are_in_training_mode_and_the_outer_modes_come_back():
    net = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5)).train()
    net[1].eval()
    with evaluating(net, in_training=[net[0]]):
        assert modes(net) == [False, True, False]
        with evaluating(net, in_training=[net[1]]):
            assert modes(net) == [False, False, True]
            with evaluating(net):
                assert modes(net) == [False, False, False]
            assert modes(net) == [False, False, True]
        assert modes(net) == [False, True, False]
    assert modes(net) == [True, True, False]


# -- interrupts ------------------------------------------------------------------------------------


def interrupted_at(event, action):
    """Run an action with an interrupt at an event of its trace; return whether it came so far."""
    todo, came_so_far = iter(range(event)), False

    def trace(frame, kind, arg):
        nonlocal came_so_far
        if next(todo, None) is None:
            came_so_far = True
            sys.settrace(None)
            raise KeyboardInterrupt  # which Python ignores where it closes a generator
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return came_so_far


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("options", [{}, {"extra_dropout": (Writer,)}])
@pytest.mark.parametrize("first", range(4))
def test_an_interrupt_anywhere_leaves_nothing_behind(x, options, first):
    net = nn.Sequential(Writer(), nn.Linear(2, 2)).double().train()
    expected = sample(net, x, 2, **options)
    before = [contents(part) for part in net.modules()]
    state, filters = torch.get_rng_state(), list(warnings.filters)
    event = first

    def plan_and_sample():
        _memory._remembered.clear()
        sample(net, x, 2, **options)

    while interrupted_at(event, plan_and_sample):
        assert [contents(part) for part in net.modules()] == before
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.is_grad_enabled()
        assert warnings.filters == filters
        assert not _turns._threads
        event += 9973
    assert event > 4000
    assert torch.equal(sample(net, x, 2, **options), expected)
    dropped = nn.functional.dropout(torch.ones(64), 0.5, training=False)
    assert dropped.min() == 1  # no mode of ours sees it


# -- threads ---------------------------------------------------------------------------------------


def in_threads(*actions):
    """Run actions at once, each several times, and return the results of each."""
    start = threading.Barrier(len(actions), timeout=TIMEOUT)

    def several(action):
        start.wait()
        return [action() for _ in range(3)]

    with ThreadPoolExecutor(len(actions)) as pool:
        return [each.result(TIMEOUT) for each in [pool.submit(several, a) for a in actions]]


class OwnDropout(nn.Module):
    """Drops by hand; gives other threads time to come in between."""

    def forward(self, x):
        training = self.training
        time.sleep(1e-4)
        assert self.training is training
        return x * (torch.rand_like(x) >= 0.3) / 0.7 if training else x


def test_threads_that_want_other_modes_of_one_module_get_the_right_numbers(x):
    net = nn.Sequential(nn.Linear(4, 8), OwnDropout(), nn.Dropout(0.5)).double().train()
    with warnings.catch_warnings(action="ignore"):
        plain = sample(net, x, 3)
        extra = sample(net, x, 3, extra_dropout=(OwnDropout,))
        results = in_threads(
            lambda: sample(net, x, 3),
            lambda: sample(net, x, 3, extra_dropout=(OwnDropout,)),
            lambda: sample(net, x, 3),
        )
    for draws, expected in zip(results, (plain, extra, plain), strict=True):
        assert all(torch.equal(each, expected) for each in draws)
    assert modes(net) == [True] * 4


def test_threads_that_wait_for_each_other_inside_take_turns():
    # Each holds what the other needs: the modes in one thread, the generators in the other, and
    # a module in other modes inside of those that all share.
    net, both_are_in = nn.Sequential(nn.Dropout(0.5)), threading.Barrier(3, timeout=TIMEOUT)

    def inwards(*contexts):
        with contexts[0]():
            both_are_in.wait()
            number = torch.rand(()).item() if contexts[0] is seeded else None
            with contexts[1]():
                held = net[0].training
                time.sleep(1e-2)
                assert net[0].training is held
            if number is not None:
                assert torch.rand(()).item() == second
            return held

    def seeded():
        return forked_generators(3)

    with seeded():
        second = [torch.rand(()).item() for _ in range(2)][1]
    state = torch.get_rng_state()
    with ThreadPoolExecutor(3) as pool:
        jobs = [
            pool.submit(inwards, seeded, lambda: evaluating(net, in_training=[net[0]])),
            pool.submit(inwards, lambda: evaluating(net), forked_generators),
            pool.submit(
                inwards, lambda: evaluating(net), lambda: evaluating(net, in_training=[net[0]])
            ),
        ]
        assert [job.result(TIMEOUT) for job in jobs] == [True, False, True]
    assert torch.equal(torch.get_rng_state(), state)
    assert modes(net) == [True, True]


def test_who_waits_for_a_module_comes_before_who_takes_it_again():
    net, turns, started = nn.Linear(1, 1), [], threading.Event()

    def again_and_again():
        while len(turns) < 10_000 and "other" not in turns:
            with alone_with(net):
                turns.append("again")
                started.set()
                time.sleep(1e-4)

    def other():
        started.wait(TIMEOUT)
        with evaluating(net):
            turns.append("other")

    with ThreadPoolExecutor(2) as pool:
        jobs = pool.submit(again_and_again), pool.submit(other)
        [job.result(TIMEOUT) for job in jobs]
    assert len(turns) < 1000


@pytest.mark.parametrize("random_state", [None, 0])
def test_a_net_is_trained_and_predicts_at_once(random_state):
    X, y = np.random.default_rng(0).normal(size=(2, 60, 4)).astype(np.float32)
    params = {"module": mlp(), "max_epochs": 5, "lr": 0.0, "optimizer": torch.optim.SGD}
    net = MCDropoutRegressor(**params, batch_size=20, n_draws=5, random_state=random_state)
    seen = []
    net.fit(X, y[:, :2])
    assert not any(modes(net.module_))
    own = id(net.module_[2])  # and not that of a copy, which is looked at in training mode
    net.module_[2].register_forward_pre_hook(
        lambda part, _: seen.append(part.training and id(part) == own)
    )
    expected = net.predict(X[:3], return_std=True)
    seen.clear()
    stop = threading.Event()

    def train():
        while not stop.is_set():
            net.partial_fit(X, y[:, :2])

    with ThreadPoolExecutor(2) as pool:
        training = pool.submit(train)
        predicted = [net.predict(X[:3], return_std=True) for _ in range(20)]
        stop.set()
        training.result(TIMEOUT)
    # The learning rate is 0: what differs could only be masks, modes or the scale of y.
    assert_close(predicted, [expected] * 20)
    steps = len(net.history) - 5
    assert steps > 0
    assert sum(seen) == 3 * steps
    assert not any(modes(net.module_))


def test_a_prediction_while_the_net_is_made_anew_is_refused():
    X = np.ones((4, 4), dtype=np.float32)
    net = MCDropoutRegressor(mlp, max_epochs=1).fit(X, X[:, :2])
    distribution = net.predict_distribution(X)
    net.fit(X, X[:, :2])
    with pytest.raises(RuntimeError, match="made anew while it predicts"):
        distribution.mean()


# -- forks and random states -----------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on Windows")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_fork_while_other_threads_hold_a_module_leaves_it_to_the_child(x):
    net, go_on = mlp().double(), threading.Event()
    is_held = threading.Event()
    expected, state = sample(net, x, 3), torch.get_rng_state()

    def hold():
        with forked_generators(0), evaluating(net, in_training=[net[2]]):
            is_held.set()
            go_on.wait(TIMEOUT)

    def locks():
        while not go_on.is_set():
            with evaluating(nn.Identity()):
                pass

    with ThreadPoolExecutor(2) as pool:
        pool.submit(hold), pool.submit(locks)
        is_held.wait(TIMEOUT)
        statuses = []
        for _ in range(4):
            child = os.fork()
            if child == 0:
                fine = torch.equal(torch.get_rng_state(), state)
                fine &= all(modes(net)) and torch.equal(sample(net, x, 3), expected)
                os._exit(0 if fine else 1)
            statuses.append(wait_for(child))
        go_on.set()
    assert statuses == [0] * 4


def wait_for(child):
    """Return the status of a child; end one that has stopped for ever."""
    for _ in range(500):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return "dead-locked"


def test_the_generators_of_torch_numpy_and_python_are_seeded_and_put_back():
    def numbers():
        return torch.rand(()).item(), np.random.rand(), random.random()  # noqa: NPY002

    with forked_generators(7):
        first = numbers()
        with forked_generators(7):
            assert numbers() == first
        second = numbers()
    torch.manual_seed(0), np.random.seed(0), random.seed(0)  # noqa: NPY002
    expected = numbers()
    torch.manual_seed(0), np.random.seed(0), random.seed(0)  # noqa: NPY002
    with forked_generators(7):
        assert (numbers(), numbers()) == (first, second)
    with forked_generators():
        numbers()
    assert numbers() == expected


class NumpyDropout(nn.Module):
    """Drops by numbers of numpy."""

    def forward(self, x):
        keep = np.random.rand(*x.shape) >= 0.3  # noqa: NPY002
        return x * torch.from_numpy(keep) / 0.7 if self.training else x


def test_a_module_that_draws_from_numpy_has_the_draws_of_the_seed(x):
    net = nn.Sequential(NumpyDropout(), nn.Linear(4, 2)).double()
    with pytest.warns(UserWarning, match="in a way that rows cannot share"):
        draws = sample(net, x, 5, extra_dropout=(NumpyDropout,))
    with pytest.warns(UserWarning, match="in a way that rows cannot share"):
        again = sample(net, x, 5, extra_dropout=(NumpyDropout,))
    assert torch.equal(again, draws)
    assert draws.std(0).min() > 0


def test_what_vmap_says_about_its_speed_is_not_for_the_user(x, recwarn):
    class Slow(nn.Module):
        def forward(self, x):
            h = nn.functional.dropout(x, 0.5)
            return h * torch.histc(h, 4).sum() ** 0

    filters = list(warnings.filters)
    torch.vmap(lambda row: torch.histc(row, 4))(x)
    assert "performance drop" in str(recwarn.pop().message)
    sample(Slow().double(), x, 3, strategy="vmap")
    assert not recwarn.list
    assert warnings.filters == filters
