"""The protocol of the paper's code, for ``uci.py``: nets of one split trained as one.

Gal & Ghahramani (2016) with the grid search of 2018 (github.com/yaringal/DropoutUncertaintyExps,
commit 6eb4497): one hidden layer of 50, dropout before both layers, Adam, 4,000 epochs in batches
of 128, rates and precisions chosen on the last fifth of the rows to train on, 10,000 passes.
"""

import math

import numpy as np
import torch
from scipy.special import logsumexp
from scipy.stats import norm

from sk_mcdropout.predictive import likeliest_noise

RATES = (0.005, 0.01, 0.05, 0.1)
PRECISIONS = {  # of that commit, in 1 over squared units of y; the file names of its data
    "boston": (0.1, 0.15, 0.2),
    "concrete": (0.025, 0.05, 0.075),
    "energy": (0.25, 0.5, 0.75),
    "power-plant": (0.05, 0.1, 0.15),
    "wine-quality-red": (2.5, 3.0, 3.5),
    "yacht": (0.25, 0.5, 0.75),
}
WIDTH, EPOCHS, BATCH, LR, LENGTH_SCALE, PASSES, AT_ONCE = 50, 4000, 128, 1e-3, 1e-2, 10_000, 250


class PaperNets:
    """Nets of several rates and precisions, on the same rows.

    Parameters
    ----------
    rates, precisions : sequence of float
        Those of each net. The precision sets the decay of the weights, as in that code: in units of
        y, though the loss is on a standardised y.
    epochs : int
        Number of epochs.
    seed : int
        Seed of weights, order and masks.
    """

    def __init__(self, rates, precisions, epochs=EPOCHS, seed=0):
        self.rates = torch.tensor(rates, dtype=torch.float32)
        self.precisions = torch.tensor(precisions, dtype=torch.float32)
        self.epochs = epochs
        self.generator = torch.Generator().manual_seed(seed)

    def fit(self, X, y):
        self.center, scale = X.mean(axis=0), X.std(axis=0)
        self.scale = np.where(scale > 0, scale, 1.0)
        self.y_mean, self.y_scale = y.mean(), y.std()
        x = self._inputs(X)
        target = torch.as_tensor((y - self.y_mean) / self.y_scale, dtype=torch.float32)[:, None]
        self._make(X.shape[1])
        decays = LENGTH_SCALE**2 * (1 - self.rates) / (2 * len(y) * self.precisions)
        optimizer = torch.optim.Adam(self.weights, lr=LR, fused=True)
        for _ in range(self.epochs):
            order = torch.randperm(len(y), generator=self.generator)
            for rows in order.split(BATCH):
                errors = self._forward(x[rows].expand(len(self.rates), -1, -1)) - target[rows]
                squares = sum((self.weights[k] ** 2).sum(dim=(1, 2)) for k in (0, 2))
                loss = ((errors**2).mean(dim=(1, 2)) + decays * squares).sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return self

    def _inputs(self, X):
        return torch.as_tensor((X - self.center) / self.scale, dtype=torch.float32)

    def _make(self, n_features):
        shapes = [(n_features, WIDTH), (WIDTH, 1)]
        self.weights = []
        for n_in, n_out in shapes:
            bound = math.sqrt(6 / (n_in + n_out))  # Glorot's, as Keras has it
            weight = torch.empty(len(self.rates), n_in, n_out)
            weight.uniform_(-bound, bound, generator=self.generator)
            bias = torch.zeros(len(self.rates), 1, n_out)
            self.weights += [weight.requires_grad_(), bias.requires_grad_()]

    def _forward(self, x):
        first, first_bias, second, second_bias = self.weights
        hidden = torch.baddbmm(first_bias, self._drop(x), first).relu()
        return torch.baddbmm(second_bias, self._drop(hidden), second)

    def _drop(self, x):
        kept = (1 - self.rates)[:, None, None]
        return x * (torch.rand(x.shape, generator=self.generator) < kept) / kept

    @torch.no_grad()
    def draws(self, X, n_passes=PASSES):
        """Return passes in units of y, of shape (n_nets, n_passes, n_samples)."""
        x = self._inputs(X)
        parts = []
        for start in range(0, n_passes, AT_ONCE):
            n = min(AT_ONCE, n_passes - start)
            outputs = self._forward(x.repeat(n, 1).expand(len(self.rates), -1, -1))
            parts.append(outputs.reshape(len(self.rates), n, len(x)))
        return (torch.cat(parts, dim=1) * self.y_scale + self.y_mean).double().numpy()


def log_densities(y, draws, precision):
    """Return the log density of an equal mixture of normals at each y."""
    logs = norm.logpdf(y, draws, precision**-0.5)
    return logsumexp(logs, axis=0) - np.log(len(draws))


class Paper:
    """The protocol for one set, with its grid of precisions or the likeliest one."""

    def __init__(self, name, free=False, epochs=EPOCHS):
        self.name, self.free, self.epochs = name, free, epochs

    def fit(self, X, y):
        n = int(0.8 * len(y))  # in the order of the file
        precisions = PRECISIONS[self.name][1:2] if self.free else PRECISIONS[self.name]
        pairs = [(rate, precision) for rate in RATES for precision in precisions]
        nets = PaperNets(*zip(*pairs, strict=True), epochs=self.epochs).fit(X[:n], y[:n])
        best = -np.inf
        for (rate, precision), draws in zip(pairs, nets.draws(X[n:]), strict=True):
            chosen = likeliest(y[n:], draws) if self.free else precision
            score = log_densities(y[n:], draws, chosen).mean()
            if score > best:
                best, self.params = score, {"dropout": rate, "precision": float(chosen)}
        rate, precision = self.params.values()
        self.net = PaperNets([rate], [precision], self.epochs, seed=1).fit(X, y)
        return self

    def predict(self, X):
        return self.net.draws(X)[0].mean(axis=0)

    def log_prob(self, X, y):
        return log_densities(y, self.net.draws(X)[0], self.params["precision"])


def likeliest(y, draws):
    """Return the precision under which y is likeliest."""
    return float(likeliest_noise(torch.from_numpy(y), torch.from_numpy(draws))) ** -2
