"""Sampling leaves nothing behind: not in the module, not in torch, not in other threads or memory.

A user samples a module in the middle of its training, from threads, or compiled; each trace of
that would be a change of the model or of its next random number, and nobody would look for it here.
"""

import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import torch
from nets import Function, mlp
from torch import nn
from torch.testing import assert_close

from sk_mcdropout import dropout_sites, mean_and_std, sample
from sk_mcdropout.sampling import STRATEGIES
from sk_mcdropout.sampling import _chunks as plans
from sk_mcdropout.sampling._eval_mode import evaluating

ALL = [*STRATEGIES, "auto"]
ACTIONS = {
    "dropout_sites": dropout_sites,
    **{f"sample by {name}": partial(sample, n_draws=5, strategy=name) for name in ALL},
    **{f"mean_and_std by {name}": partial(mean_and_std, n_draws=5, strategy=name) for name in ALL},
}


@pytest.fixture
def x():
    return torch.randn(8, 4).double()


@pytest.fixture
def in_training():
    """A net amid its training: some parts in eval mode, some frozen, with gradients and hooks."""
    inner = nn.Sequential(nn.Dropout(0.2).eval(), nn.Linear(8, 2))
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), inner)
    net.double()[4][1].eval().requires_grad_(False)
    net(torch.randn(8, 4).double()).sum().backward()
    net[0].register_forward_hook(lambda *_: None)
    net[3].register_forward_pre_hook(lambda *_: None)
    net[4].register_full_backward_hook(lambda *_: None)
    return net


def numbers(tensor):
    """All that can be told of a tensor; its version counts the writes."""
    grad = None if tensor.grad is None else tensor.grad.tolist()
    return id(tensor), tensor.tolist(), tensor.requires_grad, tensor._version, grad


def state_of(net, x):
    """All that a call could change."""
    hooks = [{k: dict(v) for k, v in vars(m).items() if "hooks" in k and v} for m in net.modules()]
    return {
        "modules": [(name, id(module)) for name, module in net.named_modules()],
        "modes": [module.training for module in net.modules()],
        "hooks": hooks,
        "attributes": [set(vars(module)) for module in net.modules()],
        "numbers": {name: numbers(t) for name, t in net.state_dict(keep_vars=True).items()},
        "input": numbers(x),
        "torch": torch.get_rng_state().tolist(),
        "numpy": str(np.random.get_state(legacy=False)),  # noqa: NPY002 - the state of the user
        "python": random.getstate(),
        "threads": torch.get_num_threads(),
        "grad mode": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "dtype": torch.get_default_dtype(),
    }


@pytest.mark.parametrize("action", ACTIONS)
def test_nothing_is_touched(in_training, x, action):
    before = state_of(in_training, x.requires_grad_())
    ACTIONS[action](in_training, x)
    assert state_of(in_training, x) == before


@pytest.mark.parametrize("n_passes", [0, 1, 2, 4])
@pytest.mark.parametrize("action", ACTIONS)
def test_nothing_is_touched_when_forward_fails(in_training, x, action, n_passes):
    passes = iter(range(n_passes))

    def fail(*_):
        if next(passes, None) is None:
            raise KeyError("of the user")

    in_training[4].register_forward_pre_hook(fail)
    before = state_of(in_training, x)
    with pytest.raises(KeyError, match="of the user"):
        ACTIONS[action](in_training, x)
    assert state_of(in_training, x) == before


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad, torch.inference_mode])
def test_the_draws_are_the_same_in_each_grad_mode_and_carry_no_graph(in_training, x, mode):
    expected = sample(in_training, x, 5)
    with mode():
        before = state_of(nn.Identity(), x)["grad mode"]
        draws = sample(in_training, x + 0, 5)
        assert state_of(nn.Identity(), x)["grad mode"] == before
    assert torch.equal(draws, expected)
    assert not draws.requires_grad


@pytest.mark.parametrize("strategy", ALL)
def test_two_threads_draw_from_one_module_at_once(x, strategy):
    net, together = mlp().double(), threading.Barrier(2, timeout=60)
    expected = sample(net, x, 5, seed=1), sample(net, -x, 5, seed=2)

    def forward(x):
        together.wait()  # in each pass, so that the threads are within the module side by side
        return net(x)

    module = Function(forward, net).train()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(sample, module, x, 5, seed=1, strategy=strategy)
        second = pool.submit(sample, module, -x, 5, seed=2, strategy=strategy)
        assert_close((first.result(), second.result()), expected)
    assert all(submodule.training for submodule in module.modules())


def compile_in_place(net, backend):
    module = Function(net, net)  # torch leaves a bare nn.Sequential as it is
    module.compile(backend=backend)
    return module


COMPILED = {
    "wrapped": lambda net, backend: torch.compile(net, backend=backend),
    "in place": compile_in_place,
    "within a net": lambda net, backend: nn.Sequential(torch.compile(net, backend=backend)),
}
ROOTS = {
    "one module": lambda net, backend: (net, net),
    "a part of two modules": lambda net, backend: (nn.Sequential(net), nn.Sequential(net)),
    "a compiled module and its inside": lambda net, backend: (
        COMPILED["wrapped"](net, backend),
        net,
    ),
    "two compiled modules": lambda net, backend: (
        COMPILED["wrapped"](net, backend),
        COMPILED["within a net"](net, backend),
    ),
}


@pytest.fixture
def graphs():
    """The graphs that were compiled."""
    torch._dynamo.reset()
    return []


@pytest.fixture
def backend(graphs):
    def backend(graph, inputs):
        graphs.append(graph)
        return graph

    return backend


@pytest.mark.parametrize("roots", ROOTS)
def test_the_last_thread_to_leave_puts_the_modes_back(x, roots, graphs, backend):
    net = mlp().double()
    one, other = ROOTS[roots](net, backend)
    both_are_in, one_left = threading.Barrier(2, timeout=60), threading.Event()

    def hold_one():
        with evaluating(one):
            both_are_in.wait()

    def hold_other():
        with evaluating(other):
            both_are_in.wait()
            one_left.wait(60)
            other(x)
            return [submodule.training for submodule in net.modules()]

    with ThreadPoolExecutor(2) as pool:
        leaves, stays = pool.submit(hold_one), pool.submit(hold_other)
        leaves.result()
        one_left.set()
        assert not any(stays.result())
    assert not graphs
    assert all(submodule.training for root in (one, other) for submodule in root.modules())
    if "compiled" in roots:
        one.eval()(x)
        assert graphs


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("way", COMPILED)
def test_a_compiled_module_is_drawn_from_and_stays_compiled(x, way, warm, graphs, backend):
    net = mlp().double()
    expected = sample(net, x, 5)
    compiled = COMPILED[way](net, backend)
    if warm:
        compiled.eval()(x)
        assert graphs
        graphs.clear()
    compiled.train()
    assert_close(sample(compiled, x, 5), expected)
    assert not graphs
    assert all(submodule.training for submodule in compiled.modules())
    torch._dynamo.reset()
    compiled.eval()(x)
    assert graphs


def limited(most, sizes):
    """An MLP with memory for so many rows; writes down the rows of each pass."""
    net = mlp().double()

    def forward(x):
        sizes.append(len(x))
        if len(x) > most:
            raise torch.OutOfMemoryError("no memory left")
        return net(x)

    return Function(forward, net), net


# The rows of each pass that plans with a strategy that is asked for: those of the probe, three
# draws of the rows as given and three of unlike rows, and one of fewer rows; then those by which
# the strategy is held against the loop.
PROBED = [3, 2, *[3] * 3, *[3] * 3, 2]
PLANNED = {"vmap": [*PROBED, 3, 3, 1], "fold": [*PROBED, 9, 9, 3]}


# 8 rows and 10 draws are asked for.
@pytest.mark.parametrize(
    ("strategy", "most", "expected"),
    [
        ("vmap", 3, [8, 4, *[2] * 4]),
        ("fold", 20, [80, 40, *[20] * 4]),
        ("fold", 9, [80, 40, 20, 10, *[5] * 16]),  # halves a row's draws too
    ],
)
def test_out_of_memory_halves_the_chunk_and_changes_no_number(x, strategy, most, expected):
    sizes = []
    module, net = limited(most, sizes)
    draws = sample(module, x, 10, strategy=strategy)
    assert sizes == [*PLANNED[strategy], *expected]
    assert_close(draws, sample(net, x, 10))


def test_what_the_allocator_of_the_cpu_says_is_out_of_memory_too(x):
    net = mlp().double()
    # 2**60 bytes are more than any machine has.
    module = Function(lambda x: net(x + torch.empty(2**60 if len(x) > 3 else 1).numel() * 0), net)
    assert_close(sample(module, x, 5), sample(net, x, 5))


def test_out_of_memory_for_one_draw_of_one_row_is_raised(x):
    sizes = []
    net, _ = limited(3, sizes)
    planned = PLANNED["vmap"]
    net.register_forward_pre_hook(
        lambda net, args: (torch.cat([args[0]] * 4),) if sizes[len(planned) - 1 :] else None
    )
    with pytest.raises(torch.OutOfMemoryError, match="no memory left"):
        sample(net, x, 4, strategy="vmap")
    # rows 8, 4, 2, 1, and then the draws of the one row 2, 1; the hook makes four of each row
    assert sizes[: len(planned)] == planned
    assert sizes[len(planned) :] == [32, 16, 8, 4, 4, 4]


def test_an_error_of_shape_is_reported_as_such():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        sample(mlp(), torch.ones(7, 5), 5)


def test_another_error_is_not_taken_for_out_of_memory(x):
    sizes = []

    def forward(x):
        sizes.append(len(x))
        if len(x) > 3:
            raise RuntimeError("broken")
        return nn.functional.dropout(x)

    with pytest.raises(RuntimeError, match="broken"):
        sample(Function(forward), x, 5, strategy="vmap")
    assert sizes == [*PLANNED["vmap"], 8, 8]  # the strategy, and the loop to see whose fault it is


# In double precision the widest activation, of 8 units, takes 64 bytes a row. Before the dropout
# it is there once and after it for each of the 10 draws: 704 bytes a row.
@pytest.mark.parametrize(
    ("chunk", "limit", "expected"),
    [
        (2**20, 2**20, [80]),
        (3 * 704, 2**20, [30, 30, 20]),
        (2 * 704 - 1, 2**20, [10] * 8),
        (3 * 704, 3 * 5 * 64, [15, 15, 15, 15, 10, 10]),
        (1, 4 * 64, [4, 4, 2] * 8),
        (1, 1, [1] * 80),
    ],
)
def test_rows_and_draws_are_cut_to_the_budget(x, monkeypatch, chunk, limit, expected):
    net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 2)).double()
    whole = sample(net, x, 10)
    monkeypatch.setattr(plans, "_CPU_CHUNK", chunk)
    monkeypatch.setattr(plans, "_CPU_LIMIT", limit)
    sizes = []
    net.register_forward_pre_hook(lambda net, args: sizes.append(len(args[0])))
    assert_close(sample(net, x, 10, strategy="fold"), whole)
    assert sizes == [*PLANNED["fold"], *expected]


@pytest.mark.slow
def test_parts_that_are_kept_leave_no_holes_between_the_chunks():
    # Each answer of a chunk that were kept by itself would stay between the big tensors of the
    # chunks, and the next ones would not fit in: 40,000 rows then took about 400 MB.
    code = """
import resource, torch
from torch import nn
from sk_mcdropout import mean_and_std
net = nn.Sequential(nn.Linear(8, 50), nn.Dropout(0.1), nn.Linear(50, 50), nn.ReLU(),
                    nn.Dropout(0.1), nn.Linear(50, 1))
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
x = torch.randn(40_000, 8)
mean_and_std(net, x[:2_000])
before = peak()
mean_and_std(net, x)
print(peak() - before)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(run.stdout) < 50
