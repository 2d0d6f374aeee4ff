"""Draws of several modules: pooled for the same rows, or each for rows of its own."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from sk_mcdropout.sampling import ChainedDraws, Draws, PooledDraws, _pooled


def make_net(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 2)).double()


NETS = [make_net(seed) for seed in range(3)]
X = torch.randn(150, 3, generator=torch.Generator().manual_seed(0)).double()


def pooled(x=X, n_draws=10, seed=0, **params):
    members = [Draws(net, lambda: x.split(100)) for net in NETS]
    return PooledDraws(members, n_draws, seed, **params)


def drawn(draws):
    return draws.reduce(lambda outputs, rows: (outputs,), axis=1)[0]


def test_the_nets_take_turns():
    draws = drawn(pooled())
    seeds = [_pooled._seed_of(0, k) for k in range(3)]
    for k, (net, seed) in enumerate(zip(NETS, seeds, strict=True)):
        own = drawn(Draws(net, lambda: [X], n_draws=4, seed=seed))
        torch.testing.assert_close(draws[k::3], own[: len(draws[k::3])])


@pytest.mark.parametrize("n_draws", [1, 2, 7, 10])
def test_the_first_draws_are_the_same_for_any_number(n_draws):
    torch.testing.assert_close(drawn(pooled(n_draws=n_draws)), drawn(pooled())[:n_draws])


def test_a_draw_is_a_function_of_the_row():
    rows = torch.tensor([149, 3, 3, 0])
    torch.testing.assert_close(drawn(pooled(X[rows])), drawn(pooled())[:, rows])


def test_the_rows_at_once_do_not_matter(monkeypatch):
    expected, places = drawn(pooled()), []
    monkeypatch.setattr(_pooled, "_FIRST_ROWS", 7)
    monkeypatch.setattr(_pooled, "_AT_ONCE", 500)

    def note(outputs, rows):
        places.append(rows)
        return (outputs,)

    (draws,) = pooled().reduce(note, axis=1)
    torch.testing.assert_close(draws, expected)
    assert [place.start for place in places] == [0, *(place.stop for place in places[:-1])]
    assert len(places) > 6


def test_another_seed_gives_other_draws():
    assert not torch.allclose(drawn(pooled(seed=1)), drawn(pooled()))


def test_the_outputs_are_brought_to_a_common_scale():
    convert = [lambda outputs, k=k: outputs + 100 * k for k in range(3)]
    draws = drawn(pooled(convert=convert))
    torch.testing.assert_close(draws[1::3], drawn(pooled())[1::3] + 100)


def test_chained_draws_are_those_of_the_parts():
    parts = [pooled(X[:40]), pooled(X[40:]), PooledDraws([Draws(NETS[0], lambda: [X[:5]])])]
    places = []

    def note(outputs, rows):
        places.append((rows.start, rows.stop, outputs.shape[1]))
        return (outputs,)

    (draws,) = ChainedDraws(parts, n_draws=4, seed=3).reduce(note, axis=1)
    expected = [drawn(replace(part, n_draws=4, seed=3)) for part in parts]
    torch.testing.assert_close(draws, torch.cat(expected, dim=1))
    assert all(stop - start == n for start, stop, n in places)
    assert places[-1][1] == 155
