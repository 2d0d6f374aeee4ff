"""The cases of ``speed.py``: a net, its rows, the limit to compare with, and the targets."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from time import perf_counter

import numpy as np
import torch
from skorch import NeuralNetRegressor
from torch import nn

from sk_mcdropout import MCDropoutRegressor

N_DRAWS = 100


@dataclass(frozen=True)
class Case:
    """One line of the table; ``limit`` makes the function whose time is the last one."""

    name: str
    net: Callable[[], nn.Module]
    shape: tuple[int, ...]
    limit: Callable | None = None
    limit_is: str = "matrix products"
    times_faster: float | None = None  # than the fastest rival, at least
    times_limit: float | None = None  # at most
    times_rewritten: float | None = None  # faster than the rewritten net, at least
    rival_draws: int = N_DRAWS  # fewer for slow rivals, whose time grows with the draws
    our_draws: int = N_DRAWS  # fewer where ours grows with the draws as well, and for its limit


def dense(*widths, p=0.1):
    """Return a dense net with a dropout after each hidden layer."""
    layers = []
    for before, after in pairwise(widths[:-1]):
        layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(p)]
    return nn.Sequential(*layers, nn.Linear(*widths[-2:]))


def convolutional():
    """Return a small convolutional net with a dropout before its last layer only."""
    first = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    second = [nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    last = [nn.Linear(32 * 7 * 7, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 1)]
    return nn.Sequential(*first, *second, *last)


def convolutional_with_classic_head():
    """Return a convolutional net whose head has a dropout on all that the convolutions give."""
    first = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()]
    second = [nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU()]
    third = [nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*first, *second, *third, nn.Dropout(0.5), nn.Linear(32 * 8 * 8, 1))


class Encoder(nn.Module):
    """One encoder layer, whose tokens are averaged."""

    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.1, batch_first=True)
        self.last = nn.Linear(32, 1)

    def forward(self, x):
        return self.last(self.layer(x).mean(1))


class Block(nn.Module):
    """One layer of a transformer as in BERT, with dropout of the attention too."""

    def __init__(self, width, n_heads, p):
        super().__init__()
        self.n_heads = n_heads
        self.attention, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.forget, self.drop = nn.Dropout(p), nn.Dropout(p)
        up, down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.feed = nn.Sequential(up, nn.GELU(), down, nn.Dropout(p))

    def forward(self, x):
        parts = self.attention(x).unflatten(-1, (3, self.n_heads, -1)).movedim(2, 0)
        queries, keys, values = parts.transpose(-2, -3)
        weights = (queries @ keys.transpose(-1, -2) / keys.shape[-1] ** 0.5).softmax(-1)
        mixed = (self.forget(weights) @ values).transpose(-2, -3).flatten(2)
        x = self.first(x + self.drop(self.mix(mixed)))
        return self.second(x + self.feed(x))


class Transformer(nn.Module):
    """A transformer of the size of DistilBERT, on tokens that are embedded already."""

    def __init__(self, n_layers=6, width=768, n_heads=12, p=0.1):
        super().__init__()
        self.layers = nn.Sequential(*(Block(width, n_heads, p) for _ in range(n_layers)))
        self.drop, self.last = nn.Dropout(p), nn.Linear(width, 1)

    def forward(self, x):
        return self.last(self.layers(self.drop(x))[:, 0])


def products_of_a_transformer(n_draws, net, x):
    """Return a function that computes the products alone of the layers of a `Transformer`.

    Each draw needs them all: they come after the first dropout.
    """
    layers = [part for part in net.layers.modules() if isinstance(part, nn.Linear)]
    shapes = [(layer.in_features, layer.out_features) for layer in layers]
    steps = [_mm(x.shape[0] * x.shape[1], *shape, n_draws) for shape in shapes]
    return lambda: [step() for step in steps]


def products(widths, net, x):
    """Return a function that computes the matrix products alone that the draws need.

    The first layer is there once, each later one for each draw: as one product with the weights
    of the draws side by side, or as products of so many lines at once. For each layer the
    fastest of these is taken.
    """
    steps = [_mm(len(x), widths[0], widths[1], 1)]
    for i in range(1, len(widths) - 1):
        lines = len(x) * N_DRAWS
        candidates = [_mm(n, *widths[i : i + 2], lines // n) for n in _lines_at_once(len(x))]
        if i == 1:
            beside = widths[2] * N_DRAWS
            candidates += [_mm(n, widths[1], beside, len(x) // n) for n in _parts(len(x))]
        steps.append(min(candidates, key=_seconds))
    return lambda: [step() for step in steps]


def _parts(n_rows):
    return [n for n in (125, 250, 500, n_rows) if n_rows % n == 0]


def _lines_at_once(n_rows):
    return [n_rows * n for n in (1, 2, 5, 10, 100)] + [n for n in (250, 1000) if n < n_rows]


def _mm(n, inner, m, times):
    a, b = torch.ones(n, inner), torch.ones(inner, m)
    out = torch.empty(n, m)

    def run(part=1):
        for _ in range(count := -(-times // part)):
            torch.mm(a, b, out=out)
        return times / count

    return run


def _seconds(run):
    """Return about how long a product takes, from a tenth of it."""

    def once():
        start = perf_counter()
        times = run(part=10)
        return times * (perf_counter() - start)

    return min(once() for _ in range(3))


def one_pass(net, x):
    """Return a function that makes one deterministic pass."""
    net.eval()

    def run():
        with torch.no_grad():
            return net(x)

    return run


def skorch_predict(net, x):
    """Return skorch's own ``predict``, which is one deterministic pass."""
    theirs = NeuralNetRegressor(net, verbose=0).initialize()
    return partial(theirs.predict, x.numpy())


def net_and_rows(case):
    """Return the net of a case and its rows, both the same at every call."""
    torch.manual_seed(0)
    X = np.random.default_rng(0).normal(size=case.shape).astype(np.float32)
    return case.net(), torch.from_numpy(X)


def our_call(net, x, n_draws=N_DRAWS):
    """Return our public call."""
    estimator = MCDropoutRegressor(net, n_draws=n_draws, random_state=0).initialize()
    return partial(estimator.predict, x.numpy(), return_std=True)


_SMALL, _TWO, _MIDDLE, _WIDE = (8, 50, 1), (8, 50, 50, 1), (8, 256, 256, 1), (32, *[1024] * 3, 1)

CASES = [
    Case("8-50-1, 10,000 rows", partial(dense, *_SMALL), (10_000, 8),
         partial(products, _SMALL), "matrix products", 15, 4, 1.3, 50),
    Case("8-50-50-1, 10,000 rows", partial(dense, *_TWO), (10_000, 8),
         partial(products, _TWO), "matrix products", 6, 2.5, 1.3, 50),
    Case("8-256-256-1, 2,000 rows", partial(dense, *_MIDDLE), (2_000, 8),
         partial(products, _MIDDLE), "matrix products", 4, 1.3, 1.3, 20),
    Case("32-1024-1024-1024-1, p 0.1, 500 rows", partial(dense, *_WIDE), (500, 32),
         partial(products, _WIDE), "matrix products", 1.6, 1.1, rival_draws=10),
    Case("32-1024-1024-1024-1, p 0.5, 500 rows", partial(dense, *_WIDE, p=0.5), (500, 32),
         partial(products, _WIDE), "matrix products", 4, 0.5, rival_draws=10),
    Case("small conv net, dropout before the last layer, 200 rows", convolutional,
         (200, 1, 28, 28), one_pass, "one eval pass", 30, 1.3, rival_draws=10),
    Case("conv net, dropout of 2,048 features before the last layer, 200 rows",
         convolutional_with_classic_head, (200, 3, 32, 32), one_pass, "one eval pass", 30, 1.3,
         rival_draws=10),
    Case("8-50-50-1, one row", partial(dense, *_TWO), (1, 8),
         skorch_predict, "skorch's `predict`", None, 2),
    Case("transformer encoder layer, 64 tokens, 100 rows", Encoder, (100, 64, 32),
         times_faster=1.5, rival_draws=10),
    Case("transformer, 6 layers of 768, 32 tokens, 16 rows", Transformer, (16, 32, 768),
         partial(products_of_a_transformer, 2), "matrix products", None, 1.3,
         rival_draws=2, our_draws=2),
]  # fmt: skip
