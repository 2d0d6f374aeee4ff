"""In-place functions on what a dropout took or gave: right by each strategy, and fast by "auto".

`test_random_programs.py` holds that all strategies are right; here is which of them is used.
"""

import pytest
import torch
import torch.nn.functional as F
from nets import Function
from torch import nn
from torch.testing import assert_close

from sk_mcdropout import dropout_sites, sample


class Net(nn.Module):
    def __init__(self, forward):
        super().__init__()
        self.function = forward
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.relu, self.hardtanh = nn.ReLU(inplace=True), nn.Hardtanh(inplace=True)
        self.dropout, self.dropout_in_place = nn.Dropout(0.3), nn.Dropout(0.3, inplace=True)

    def forward(self, x):
        return self.function(self, x)


def functions_after_a_layer(net, x):
    h = net.second(net.dropout(net.first(x)))
    net.relu(h)
    net.hardtanh(h)
    return h


def function_after_a_dropout(net, x):
    h = net.dropout(net.first(x))
    net.relu(h)
    return net.second(h)


def dropout_after_a_layer(net, x):
    h = net.first(x)
    net.dropout_in_place(h)
    return net.second(h)


def dropouts_after_dropouts(net, x):
    h = net.dropout_in_place(net.first(x))
    net.dropout_in_place(h)
    h = net.second(h)
    net.dropout_in_place(h)
    return h


def dropout_of_what_is_kept_under_another_name(net, x):
    kept = h = net.first(x)
    h = net.dropout_in_place(h)
    return net.second(h) * kept


def values_and_views(net, x):
    h = net.dropout(net.first(x))
    view = h[:, :3]
    h += 1
    view.mul_(2)
    h[:, 4] = 0.5
    return net.second(h)


def what_a_dropout_took(net, x):
    h = net.first(x)
    dropped = net.dropout(h)
    h += 1
    return net.second(dropped) + h


def skip_in_place(net, x):
    h = net.first(x)
    h += net.dropout(net.second(h))
    return F.relu_(h)


def item_of_what_no_dropout_gave(net, x):
    h = net.first(x)
    h[:, :2] = net.dropout(h)[:, 2:4]
    return net.second(h)


def view_made_before_the_dropout(net, x):
    h = net.first(x)
    view = h[:, :3]
    net.dropout_in_place(h)
    return net.second(h) * view.sum(1, keepdim=True)


def dropout_of_a_view(net, x):
    h = net.first(x)
    net.dropout_in_place(h[:, :3])
    return net.second(h)


def out(net, x):
    h = net.dropout(net.first(x))
    torch.mul(h, 2, out=h)
    return net.second(h)


FASTEST = {
    functions_after_a_layer: "weights",
    function_after_a_dropout: "weights",
    dropout_after_a_layer: "weights",
    dropouts_after_dropouts: "weights",
    dropout_of_what_is_kept_under_another_name: "weights",
    values_and_views: "weights",
    what_a_dropout_took: "vmap",
    skip_in_place: "vmap",
    item_of_what_no_dropout_gave: "vmap",
    view_made_before_the_dropout: "fold",
    dropout_of_a_view: "fold",
    out: "fold",
}
by_name = pytest.mark.parametrize("forward", FASTEST, ids=lambda forward: forward.__name__)


@pytest.fixture
def net(forward):
    return Net(forward).double()


@pytest.fixture
def x():
    return torch.randn(5, 6).double()


@by_name
def test_auto_is_as_fast_as_it_can_be(net, x, forward):
    assert dropout_sites(net, x).strategies[0] == FASTEST[forward]
    expected = sample(net, x, 5, strategy="loop")
    for strategy in ("auto", FASTEST[forward]):
        assert_close(sample(net, x, 5, strategy=strategy), expected)


@pytest.mark.parametrize("forward", [f for f in FASTEST if FASTEST[f] != "weights"])
@pytest.mark.parametrize("strategy", ["weights", "thinned"])
def test_what_would_come_too_late_is_refused(net, x, strategy):
    words = "must not be (written into|used through a view)|`out=`|must match|[Ss]ize"
    with pytest.raises((NotImplementedError, RuntimeError), match=words):
        sample(net, x, 5, strategy=strategy)


@pytest.mark.parametrize("strategy", ["weights", "thinned"])
def test_tensors_that_count_no_writes_are_copied(x, strategy):
    first, second = nn.Linear(6, 6).double(), nn.Linear(6, 6).double()

    def forward(x):
        with torch.inference_mode():
            h = first(x)
            dropped = F.dropout(h, 0.3)
            h += 1
            return second(dropped)

    net = Function(forward, first, second)
    assert_close(sample(net, x, 5, strategy=strategy), sample(net, x, 5, strategy="loop"))
