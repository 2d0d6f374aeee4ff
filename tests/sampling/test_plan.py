"""Tests of what is remembered about a module: it must never be out of date."""

import gc
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sk_mcdropout import dropout_sites, sample


class RateElsewhere(nn.Module):
    """Takes the rates of its two dropouts from a place where nobody looks."""

    def __init__(self, rates):
        super().__init__()
        self.first, self.last = nn.Linear(3, 8), nn.Linear(8, 2)
        self.where = {"rates": rates}

    def forward(self, x):
        for p in self.where["rates"]:
            x = F.dropout(F.relu(self.first(x)) if x.shape[-1] == 3 else x, p)
        return self.last(x)


@pytest.fixture
def x():
    return torch.randn(5, 3)


@pytest.mark.parametrize("strategy", ["auto", "weights", "vmap", "fold", "loop"])
@pytest.mark.parametrize("rates", [[0.5], [0.2, 0.2], [0.0, 0.3]])
def test_rates_that_changed_out_of_sight_are_noticed(x, strategy, rates):
    module = RateElsewhere([0.2])
    sample(module, x, 4, strategy=strategy)
    module.where["rates"] = rates
    fresh = RateElsewhere(rates)
    fresh.load_state_dict(module.state_dict())
    torch.testing.assert_close(
        sample(module, x, 4, strategy=strategy), sample(fresh, x, 4, strategy="loop")
    )


def test_a_layer_put_in_later_is_seen(x):
    module = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 2))
    sample(module, x, 4)
    module[1] = nn.AlphaDropout(0.5)
    assert [site.kind for site in dropout_sites(module, x)] == ["alpha_dropout"]
    torch.testing.assert_close(sample(module, x, 4), sample(module, x, 4, strategy="loop"))


def test_a_module_that_moved_to_another_precision_is_seen(x):
    module = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 2))
    before = sample(module, x, 4)
    after = sample(module.double(), x.double(), 4)
    assert after.dtype == torch.float64
    torch.testing.assert_close(after.float(), before)


def test_a_module_is_let_go():
    module = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5))
    sample(module, torch.randn(5, 3), 4)
    gone = weakref.ref(module)
    del module
    gc.collect()
    assert gone() is None


def test_the_sites_print_as_a_table():
    attention = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.25, batch_first=True)
    table = str(dropout_sites(attention, torch.randn(5, 6, 4)))
    assert "self_attn  dropout  0.25  (1, 2, 6, 6)  yes" in table
    assert table.splitlines()[5] == "strategy: vmap"
    assert "not weights: dropout inside of attention, a recurrent net or the like" in table


def test_the_sites_of_a_net_without_dropout_say_so():
    sites = dropout_sites(nn.Linear(3, 2), torch.randn(5, 3))
    assert not sites
    assert str(sites).endswith("no dropout is active")


@pytest.mark.parametrize("seed", [-1, None, 0.5])
def test_a_seed_that_is_no_natural_number_is_refused(x, seed):
    module = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5))
    with pytest.raises(ValueError, match=rf"`seed` must be .* at least 0\. Got {seed}\."):
        sample(module, x, 4, seed=seed)


def test_an_output_of_whole_numbers_is_refused(x):
    class Classes(nn.Module):
        def forward(self, x):
            return F.dropout(x, 0.5).argmax(1)

    with pytest.raises(TypeError, match=r"floating-point numbers\. Got int64 of shape"):
        sample(Classes(), x, 4)
