"""Tests of what is random in training mode only: it is found, and told whether it can be drawn."""

import functools
import random
import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sk_mcdropout.nn import MLP
from sk_mcdropout.sampling._plan import call
from sk_mcdropout.sampling._training import look_into_training


def look(*layers, x=None, extra=()):
    """Look at some layers, and return the paths of those held, and what is left off."""
    net = nn.Sequential(*layers).double().eval()
    x = torch.randn(4, 3, dtype=torch.float64) if x is None else x
    found = look_into_training(net, call, x, extra)
    return list(found.held), found.left_off


def drop(module, x):
    return F.dropout(x, 0.5) if module.training else x


def rate_of(module):
    return 0.5 * getattr(module, "training")  # noqa: B009


def decorated(function):
    @functools.wraps(function)
    def run(*args):
        return function(*args)

    return run


class Held(nn.Module):
    """A dropout for training alone, written in one of many ways."""

    def __init__(self, way):
        super().__init__()
        self.way, self.layer, self.lock = way, nn.Linear(3, 3), None
        if way == "instance":
            self.forward = lambda x: drop(self, self.layer(x))
        elif way == "partial":
            self.forward = functools.partial(drop, self)
        elif way == "lock":
            self.lock = threading.Lock()
        elif way == "history":  # as weight_norm leaves behind
            self.lock = self.layer.weight * 2
        elif way == "hook":
            self.register_forward_hook(lambda module, _, y: drop(module, y))

    def forward(self, x):
        x = self.layer(x)
        return x if self.way == "hook" else getattr(self, f"by_{self.way}", self.by_helper)(x)

    def by_helper(self, x):
        return drop(self, x)

    def by_attention(self, x):
        p = 0.5 if self.training else 0.0
        return F.scaled_dot_product_attention(x, x, x, dropout_p=p)

    @decorated
    def by_decorated(self, x):
        return drop(self, x)

    def by_inner_function(self, x):
        def inner(x):
            return F.dropout(x) if self.training else x

        return inner(x)

    def by_lambda(self, x):
        return (lambda x: F.dropout(x, 0.5) if self.training else x)(x)

    def by_getattr(self, x):
        p = rate_of(self)
        return F.dropout(x, p) if p else x

    def by_submodule(self, x):
        return drop(self.layer, x)

    def by_property(self, x):
        return F.dropout(x, 0.5) if self.drops else x

    @property
    def drops(self):
        return self.training


WAYS = [
    *("helper", "attention", "decorated", "inner_function", "lambda", "getattr", "property"),
    *("instance", "partial", "lock", "history", "hook"),
]


@pytest.mark.parametrize("way", WAYS)
def test_a_dropout_for_training_alone_is_held_however_it_is_written(way):
    assert look(nn.Linear(3, 3), Held(way), Held("off")) == (["1", "2"], {})


def test_a_dropout_is_held_by_the_module_that_it_asks_for_its_mode():
    assert look(Held("submodule")) == (["0.layer"], {})


class Drawn(nn.Module):
    """Random in training, and no dropout."""

    def __init__(self, draw):
        super().__init__()
        self.draw, self.rng = draw, np.random.default_rng(0)
        self.torch_rng, self.dropout = torch.Generator(), nn.Dropout(0.1)

    def forward(self, x):
        x = self.dropout(x)
        return x * float(self.draw(self)) if self.training else x


DRAWS = {
    "torch's generator": lambda self: torch.rand(()),
    "NumPy's generator": lambda self: np.random.rand(),  # noqa: NPY002
    "Python's `random`": lambda self: random.random(),
    "a generator of its own": lambda self: self.rng.random(),
    "NumPy's generator and torch's generator": lambda self: np.random.rand() * torch.rand(()),  # noqa: NPY002
}


@pytest.mark.parametrize("source", DRAWS)
def test_a_draw_is_told_with_its_generator_beside_a_dropout_of_the_same_class(source):
    held, left_off = look(Drawn(DRAWS[source]), nn.Linear(3, 1))
    assert (held, left_off) == ([], {"0": f"draws from {source}"})


def test_a_generator_of_torch_that_a_module_has_is_told():
    net = Drawn(lambda self: torch.rand((), generator=self.torch_rng))
    assert look(net)[1] == {"0": "draws from a generator of its own"}


RNG = np.random.default_rng(0)


def test_a_generator_that_code_reaches_is_told_and_put_back():
    state = RNG.bit_generator.state
    assert look(Drawn(lambda self: RNG.random()))[1] == {"0": "draws from a generator of its own"}
    assert RNG.bit_generator.state == state


def test_entropy_from_elsewhere_is_told():
    net = Drawn(lambda self: np.random.default_rng().random())
    assert look(net)[1] == {"0": "gives another output each time"}


def test_a_draw_that_is_made_in_eval_mode_and_used_in_training_is_told():
    class Skips(nn.Module):
        def forward(self, x):
            chance = random.random()
            return x if self.training and chance < 0.5 else 2 * x

    held, left_off = look(Skips())
    assert (held, [*left_off]) == ([], ["0"])


def test_a_dropout_that_is_skipped_by_chance_is_told():
    class Chance(nn.Module):
        def forward(self, x):
            return F.dropout(x) if self.training and random.random() < 0.5 else x

    assert look(Chance()) == ([], {"0": "draws from Python's `random`"})


def test_rrelu_is_told():
    assert look(nn.RReLU(), nn.Linear(3, 3)) == ([], {"0": "draws from torch's generator"})


def test_of_one_class_those_that_can_be_held_are():
    class Either(nn.Module):
        def __init__(self, noise):
            super().__init__()
            self.noise = noise

        def forward(self, x):
            x = F.dropout(x) if self.training else x
            return x + torch.randn_like(x) * self.noise if self.training and self.noise else x

    held, left_off = look(Either(0), Either(1), Either(0))
    assert held == ["0", "2"]
    assert left_off == {"1": "draws from torch's generator"}


class Normalised(nn.Module):
    """Changes something in training beside its dropout."""

    def __init__(self, change):
        super().__init__()
        self.change, self.calls, self.layer = change, 0, nn.Linear(3, 3)
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, x):
        x = self.layer(x)
        if not self.training:
            return x
        if self.change == "output":
            x = x - x.mean(0)
        elif self.change == "buffer":
            self.mean.lerp_(x.mean(0), 0.1)
        elif self.change == "new buffer":
            self.mean = x.mean(0)
        elif self.change == "parameter":
            self.layer.weight.data *= 0.9
        elif self.change == "attribute":
            self.calls += 1
        return F.dropout(x)


@pytest.mark.parametrize("change", ["output", "buffer", "new buffer", "parameter", "attribute"])
@pytest.mark.parametrize("copied", [True, False])
def test_what_changes_more_than_its_dropout_is_not_held_and_the_module_is_as_before(change, copied):
    layer = Normalised(change)
    layer.lock = None if copied else threading.Lock()
    layer.double()
    before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    attributes, tensors = dict(vars(layer)), [*layer.parameters(), *layer.buffers()]
    held, left_off = look(layer)
    assert (held, left_off) == ([], {"0": "does more in training mode than to call dropouts"})
    assert all(torch.equal(tensor, before[name]) for name, tensor in layer.state_dict().items())
    assert all(vars(layer)[name] is attributes[name] for name in attributes if name != "training")
    assert all(map(lambda a, b: a is b, [*layer.parameters(), *layer.buffers()], tensors))


@pytest.mark.parametrize("way", ["instance", "lambda"])
def test_modes_and_generators_are_as_before(way):
    layers = Held(way), Drawn(lambda self: random.random() * np.random.rand() * torch.rand(()))  # noqa: NPY002
    x = torch.ones(4, 3, dtype=torch.float64)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()  # noqa: NPY002
    look(*layers, x=x)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert (np.random.get_state()[1] == states[2][1]).all()  # noqa: NPY002
    assert not any(part.training for layer in layers for part in layer.modules())


def test_what_is_switched_off_or_frozen_or_does_not_reach_the_output_is_not_told():
    class Off(Held):
        use_dropout = False

        def by_helper(self, x):
            return super().by_helper(x) if self.use_dropout else x

    class Frozen(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = Held("helper")

        def train(self, mode=True):
            super().train(mode)
            self.backbone.eval()
            return self

        def forward(self, x):
            return self.backbone(x)

    class Auxiliary(nn.Module):
        def forward(self, x):
            return (x, F.dropout(x)) if self.training else x

    assert look(Off("off"), Frozen()) == ([], {})
    assert look(Auxiliary()) == ([], {})


def test_a_dropout_over_zeros_is_held():
    x = torch.zeros(4, 3, dtype=torch.float64)
    assert look(Held("helper"), nn.ReLU(), x=x)[0] == ["0"]


def test_a_norm_that_only_asks_is_neither_held_nor_told():
    class Norm(nn.BatchNorm1d):
        def forward(self, x):
            return super().forward(x) if self.training else x

    assert look(Norm(3), nn.BatchNorm1d(3)) == ([], {})


def test_a_class_that_is_named_is_left_out():
    assert look(Drawn(lambda self: torch.rand(())), Held("helper"), extra=(Drawn,)) == (["1"], {})
    assert look(Held("helper"), extra=(Held,)) == ([], {})


class Seeds(nn.Module):
    """Seeds torch's generator in training, as reversible layers do to repeat their dropout."""

    def __init__(self, draws):
        super().__init__()
        self.draws = draws

    def forward(self, x):
        if self.training:
            torch.manual_seed(torch.seed())
            if self.draws:
                return x + torch.rand(())
        return x


@pytest.mark.parametrize("draws", [False, True])
def test_to_seed_a_generator_is_not_to_draw_from_it(draws):
    _, left_off = look(nn.Dropout(0.5), Seeds(draws))
    assert left_off == ({"1": "draws from torch's generator"} if draws else {})


def test_a_class_that_needs_targets_in_training_is_told():
    class Detector(nn.Module):
        def forward(self, x, targets=None):
            if self.training and targets is None:
                raise ValueError("targets should not be None")
            return x

    held, left_off = look(Detector(), Held("helper"))
    assert held == ["1"]
    assert left_off == {"0": "raises in training mode (ValueError: targets should not be None)"}


def test_a_net_of_plain_layers_is_not_run():
    def never(module, x):
        raise AssertionError

    net = nn.Sequential(
        nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.TransformerEncoderLayer(8, 2)
    )
    found = look_into_training(net, never, torch.ones(2, 3))
    assert (found.held, found.left_off) == ((), {})


def exported(p):
    """Return a module as `torch.export` makes it."""
    graph = torch.fx.Graph()
    x = graph.placeholder("x")
    graph.output(graph.call_function(torch.ops.aten.dropout.default, (x, p, False)))
    return torch.fx.GraphModule(nn.Module(), graph)


@pytest.mark.parametrize("make", [exported, torch.ao.nn.quantized.Dropout])
def test_a_dropout_that_is_exported_or_quantised_is_told_if_it_has_a_rate(make):
    (why,) = look(nn.Linear(3, 3), make(0.5))[1].values()
    assert "sample the module from before" in why
    assert look(make(0.0)) == ([], {})


def test_draws_in_the_place_of_dropout_calls_are_not_told():
    assert look(Held("helper"), MLP(3, dropout="concrete")) == (["0"], {})
