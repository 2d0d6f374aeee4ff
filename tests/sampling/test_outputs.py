"""Inputs and outputs as nets have them: mappings, dataclasses, several tensors, single items.

The look-alikes have the forms of outputs of transformers, torchvision and torch.distributions.
"""

from collections import OrderedDict, UserDict, namedtuple
from dataclasses import dataclass, fields

import pytest
import torch
from nets import Function, mlp
from torch import nn
from torch.distributions import Independent, Normal
from torch.testing import assert_close

from sk_mcdropout import dropout_sites, mean_and_std, sample
from sk_mcdropout.sampling import STRATEGIES


class ModelOutput(OrderedDict):
    """A mapping whose items are attributes too, and whose keys are only those that are not None."""

    def __post_init__(self):
        for field in fields(self):
            if getattr(self, field.name) is not None:
                self[field.name] = getattr(self, field.name)


@dataclass
class Classified(ModelOutput):
    """What transformers calls a SequenceClassifierOutput."""

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    attentions: tuple | None = None


@dataclass
class Plain:
    """A dataclass, of which not all is a tensor."""

    name: str
    n_steps: torch.Tensor
    value: torch.Tensor


Pair = namedtuple("Pair", ["state", "value"])

OUTPUTS = {
    "a tuple": lambda h, x: (h, x),
    "a mapping": lambda h, x: {"out": h, "aux": x},
    "an ordered one": lambda h, x: OrderedDict(out=h, aux=x),
    "a loss first": lambda h, x: Classified(h.mean(), h, (x, x)),
    "no loss": lambda h, x: Classified(None, h),
    "whole numbers first": lambda h, x: (h.argmax(-1), h),
    "a dataclass": lambda h, x: Plain("h", torch.ones(len(x), dtype=torch.int64), h),
    "one inside the other": lambda h, x: {"a": [None, "b", {"c": (h, x)}]},
    "a distribution": lambda h, x: Independent(Normal(h, torch.ones_like(h)), 1),
    "a distribution inside": lambda h, x: ("normal", Normal(h, h.exp())),
    # Of 2 rows it has as many rows as the input, and of the 8 that are drawn.
    "a table first": lambda h, x: Pair(torch.ones(2, 8), h),
    "another table first": lambda h, x: (torch.ones(8, 2), h),
}


@pytest.fixture
def x():
    return torch.randn(8, 4).double()


def net_with(make):
    net = mlp().double()
    return net, Function(lambda x: make(net(x), x), net)


@pytest.mark.parametrize("strategy", [*STRATEGIES, "auto"])
@pytest.mark.parametrize("form", OUTPUTS)
def test_the_prediction_is_found_in_each_form(x, form, strategy):
    net, module = net_with(OUTPUTS[form])
    if strategy == "vmap" and "distribution" in form:
        strategy = "loop"  # torch's distributions ask for values, which vmap refuses
    assert_close(sample(module, x, 5, strategy=strategy), sample(net, x, 5))


@pytest.mark.parametrize(
    ("form", "output"),
    [
        ("a mapping", "aux"),
        ("a tuple", 1),
        ("a tuple", -1),
        ("a loss first", lambda all: all.attentions[1]),
        ("a loss first", "attentions"),
        ("one inside the other", lambda all: all["a"][2]["c"][1]),
    ],
)
def test_another_one_is_taken_where_it_is_named(x, form, output):
    net, module = net_with(lambda h, x: OUTPUTS[form](x, h))
    assert_close(sample(module, x, 5, output=output), sample(net, x, 5))
    mean, _ = mean_and_std(module, x, 5, output=output)
    assert_close(mean, sample(net, x, 5).mean(0))
    assert [site.p for site in dropout_sites(module, x, output=output)] == [0.3, 0.5]


def test_a_name_is_one_of_an_attribute_too(x):
    net, module = net_with(lambda h, x: Pair(x, h))
    assert_close(sample(module, x, 5, output="value"), sample(net, x, 5))


@pytest.mark.parametrize("output", ["gone", 2, 0.5])
def test_a_name_that_is_not_there_is_answered_with_what_is(x, output):
    _, module = net_with(OUTPUTS["a tuple"])
    with pytest.raises(ValueError, match=rf"Got {output!r} for a tuple of {{0: float64 of shape"):
        sample(module, x, 5, output=output)


@pytest.mark.parametrize("output", [0, "T"])
def test_an_output_that_is_one_tensor_has_no_names(x, output):
    with pytest.raises(ValueError, match=rf"Got {output!r} for float64 of shape \(2, 2\)\. Write"):
        sample(mlp().double(), x, 5, output=output)


def test_outputs_without_rows_or_floats_are_refused_with_their_shapes(x):
    _, module = net_with(lambda h, x: {"loss": h.mean(), "table": torch.ones(5, 2)})
    with pytest.raises(ValueError, match=r"loss: float64 of shape \(\), table: float32 of shape"):
        sample(module, x, 5)
    _, module = net_with(lambda h, x: (h > 0, h.argmax(-1)))
    with pytest.raises(TypeError, match=r"0: bool of shape \(2, 2\), 1: int64 of shape \(2,\)"):
        sample(module, x, 5)


@pytest.mark.parametrize("strategy", [*STRATEGIES, "auto"])
@pytest.mark.parametrize("n_more", [-1, 1])
def test_another_number_of_rows_out_than_in_is_refused_in_any_batch(x, strategy, n_more):
    def other_rows(h, x):
        return h if len(x) < 8 else torch.cat([h, h])[: len(x) + n_more]

    _, module = net_with(other_rows)
    shape = rf"Got the shape \({8 + n_more}, 2\) for 8 rows of float64 of shape \(8, 4\)"
    with pytest.raises((ValueError, NotImplementedError), match=f"{shape}|takes the module"):
        sample(module, x, 5, strategy=strategy)


# -- inputs ----------------------------------------------------------------------------------------


def test_a_mapping_that_is_one_argument_is_passed_in_a_tuple(x):
    net = mlp().double()
    module = Function(lambda batch: net(batch["x"]), net)
    assert_close(sample(module, ({"x": x},), 5), sample(net, x, 5))

    class Net(nn.Module):
        def forward(self, batch):
            return net(batch["x"])

    with pytest.raises(TypeError, match=r"Got \['x', 'y'\] for \(batch\)\. Pass `\(x,\)`"):
        sample(Net(), {"x": x, "y": x}, 5)


def test_a_type_error_of_the_module_is_left_alone(x):
    def wrong(x):
        return x + "a"

    with pytest.raises(TypeError, match="unsupported operand"):
        sample(Function(wrong), {"x": x}, 5)


class Batch(UserDict):
    """A mapping with attributes, as tokenizers give it."""

    def __getattr__(self, name):
        try:
            return self.data[name]
        except KeyError:
            raise AttributeError(name) from None


class Strict(OrderedDict):
    """A mapping that is changed item by item, as the outputs of transformers are."""

    def update(self, *args, **kwargs):
        raise NotImplementedError


Named = namedtuple("Named", ["x", "name"])


@pytest.mark.parametrize(
    ("make", "read"),
    [
        (lambda x: (Batch(x=x, task="a", scale=2, mask=None),), lambda b: b.x * b.scale),
        (lambda x: (Strict(x=x), 2.0), lambda b, scale: b["x"] * scale),
        (lambda x: (OrderedDict(x=x, shift=torch.tensor(1.0)),), lambda b: b["x"] + b["shift"]),
        (lambda x: ([x, "name", None],), lambda b: b[0]),
        (lambda x: (Named(x, "name"),), lambda b: b.x if b.name == "name" else None),
        (lambda x: (x, "name"), lambda x, name: x if name == "name" else None),
    ],
)
def test_what_is_no_tensor_is_handed_through_and_mappings_keep_their_class(x, make, read):
    net = mlp().double()
    module = Function(lambda *args: net(read(*args)), net)
    expected = sample(net, read(*make(x)), 5)
    assert_close(sample(module, make(x), 5, batch_size=3), expected)


def test_the_names_of_another_mapping_are_keywords(x):
    net = mlp().double()
    module = Function(lambda x, scale: net(x * scale), net)
    assert_close(sample(module, Batch(x=x, scale=2), 5), sample(net, x * 2, 5))


# -- one item --------------------------------------------------------------------------------------


class Graph(nn.Module):
    """Sums over the neighbours of each node, twice, with dropout on the nodes and on the edges."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 1)
        self.dropout = nn.Dropout(0.5)

    def forward(self, nodes, edges):
        source, target = edges
        weights = nn.functional.dropout(torch.ones(len(source)).to(nodes), 0.2)
        h = self.dropout(self.first(nodes).relu())
        h = torch.zeros_like(h).index_add(0, target, h[source] * weights[:, None])
        return self.last(h)


@pytest.fixture
def graph(x):
    return x, torch.tensor([[0, 1, 2, 3, 4, 5, 6, 7, 0, 3], [1, 2, 3, 4, 5, 6, 7, 0, 4, 7]])


def test_one_item_is_passed_whole_with_masks_of_the_shapes_of_its_activations(graph):
    net = Graph().double()
    sites = dropout_sites(net, graph, one_item=True)
    assert [(site.path, site.p, site.mask_shape) for site in sites] == [
        ("", 0.2, (10,)),
        ("dropout", 0.5, (8, 6)),
    ]
    draws = sample(net, graph, 6, one_item=True)
    assert draws.shape == (6, 8, 1)
    assert draws.std(0).min() > 0
    assert torch.equal(sample(net, graph, 3, one_item=True), draws[:3])
    assert not torch.equal(sample(net, graph, 6, seed=1, one_item=True), draws)
    mean, std = mean_and_std(net, graph, 6, one_item=True)
    assert_close((mean, std), (draws.mean(0), draws.std(0)))


def test_the_spread_of_one_item_is_that_of_its_masks():
    # Of w . (m * x) with independent m of variance p / (1 - p) the variance is
    # p / (1 - p) sum (w x)^2; with 1000 draws the standard error of a std is about 2.2 %.
    net, x = nn.Sequential(nn.Dropout(0.3), nn.Linear(4, 1)).double(), torch.randn(4).double()
    mean, std = mean_and_std(net, x, 1000, one_item=True)
    assert mean.shape == std.shape == (1,)
    expected = (0.3 / 0.7 * ((net[1].weight * x) ** 2).sum(1)).sqrt()
    assert_close(std, expected, rtol=0.12, atol=0)


def test_the_output_of_one_item_has_any_shape(graph):
    net = Graph().double()
    total = Function(lambda graph: {"n": torch.tensor(8), "sum": net(*graph["all"]).sum()}, net)
    draws = sample(total, ({"all": graph},), 5, one_item=True)
    assert_close(draws, sample(net, graph, 5, one_item=True).sum((1, 2)))


def test_dropout_of_training_mode_is_drawn_for_one_item_too(graph):
    class InTraining(Graph):
        def forward(self, nodes, edges):
            h = self.first(nodes)
            if self.training:
                h = nn.functional.dropout(h, 0.5)
            return self.last(h)

    net = InTraining().double()
    assert [site.mask_shape for site in dropout_sites(net, graph, one_item=True)] == [(8, 6)]
    assert sample(net, graph, 6, one_item=True).std(0).min() > 0
    assert net.training


def test_options_without_a_meaning_for_one_item_are_refused(graph):
    net = Graph().double()
    with pytest.raises(ValueError, match=r"`strategy` must be .* with `one_item`\. Got 'vmap'"):
        sample(net, graph, 5, strategy="vmap", one_item=True)
    with pytest.raises(ValueError, match=r"`batch_size` must be None .* Got 3"):
        sample(net, graph, 5, batch_size=3, one_item=True)
    with pytest.warns(UserWarning, match="dropout with a rate above 0"):
        sample(nn.Linear(4, 1).double(), graph[0], 5, one_item=True)


# -- precision -------------------------------------------------------------------------------------


# Of those vmap is left out: what is mapped over is computed in other precision than planned.
@pytest.mark.parametrize("strategy", ["weights", "thinned", "fold", "loop", "auto"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_draws_under_autocast_are_those_of_single_precision(dtype, strategy):
    net, x = mlp(), torch.randn(8, 4)
    expected = sample(net, x, 5)
    with torch.autocast("cpu", dtype):
        draws = sample(net, x, 5, strategy=strategy)
    assert draws.dtype == dtype
    assert_close(draws.float(), expected, rtol=0, atol=8 * torch.finfo(dtype).eps)
    half = sample(net.to(dtype), x.to(dtype), 5, strategy=strategy)
    assert_close(half.float(), expected, rtol=0, atol=16 * torch.finfo(dtype).eps)


def test_strategies_of_unlike_precision_are_compared_all_the_same(x):
    # The loop and vmap run the function in other precision: it asks whether it is mapped over.
    net = mlp()

    def forward(x):
        h = net(x)
        return h.bfloat16() if torch._C._functorch.is_batchedtensor(h) else h

    draws = sample(Function(forward, net), x.float(), 5)
    assert_close(draws.float(), sample(net, x.float(), 5), rtol=0, atol=0.02)


def test_a_net_made_in_inference_mode_is_drawn_from(x):
    net = mlp().double()
    expected = sample(net, x, 5)
    with torch.inference_mode():
        frozen = mlp().double()
        frozen.load_state_dict(net.state_dict())
        frozen.register_buffer("n", torch.zeros(2))
        draws = sample(frozen, x + 0, 5)
    assert torch.equal(draws, expected)
    assert torch.equal(sample(frozen, x, 5), expected)
