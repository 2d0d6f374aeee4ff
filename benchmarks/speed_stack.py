"""Time `MCDropoutRegressorCV`, which trains a stack, against a grid search over single fits.

``python benchmarks/speed_stack.py --data FOLDER`` trains 5 rates x 5 folds of ``concrete.npz``
(arrays ``X``, ``y`` and ``train_index``) in both ways, in turn, and writes ``speed_stack.md`` and
``speed_stack.csv`` beside this file.
"""

import argparse
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import torch
from _report import intro, markdown, write
from _timing import seconds
from sklearn.model_selection import GridSearchCV, KFold
from torch import nn

from sk_mcdropout import MCDropoutRegressor, MCDropoutRegressorCV
from sk_mcdropout.metrics import neg_log_predictive_density_scorer

N_FOLDS = 5
RATES = {"dropout": [0.005, 0.02, 0.05, 0.1, 0.2]}
N_JOBS, TARGET = 2, 4


class OwnNet(nn.Sequential):
    """A net of the user's, of which nobody knows the layers."""

    def __init__(self):
        first, last = nn.Linear(8, 100), nn.Linear(100, 1)
        middle = nn.LayerNorm(100), nn.ReLU(), nn.Dropout(), nn.Linear(100, 100), nn.ReLU()
        super().__init__(first, *middle, nn.Dropout(), last)


INTRO = """\
# Speed of a stack

5 rates x 5 folds of concrete (927 rows, 8 columns), {epochs} epochs each, without noise, scored by
the log density: `MCDropoutRegressorCV`, whose 25 nets are one stack, with one process and two
threads, and with `n_jobs={n_jobs}`, beside
`GridSearchCV(MCDropoutRegressor(), n_jobs={n_jobs}, refit=False)`; the processes have a thread
each. Medians of {repeats}, in turn in one run. The aim is {target} times.

"Products" and "masks" are what these trainings cannot do without: the matrix products of the layers
and of their gradients, in two threads; and the masks, which are drawn one after the other as
`nn.Dropout` draws them, so that each net of a stack is the one that would be trained alone. "At
most" is how many times faster two cores would be that did nothing else.
"""
CASES = {
    "default: 100-100 with waves, batches of 128": {},
    "100-100 without waves, batches of 128": {"module__embedding": None},
    "100-100 without waves, batches of 32": {"module__embedding": None, "batch_size": 32},
    "50-50 without waves, batches of 32": {
        "module__embedding": None,
        "batch_size": 32,
        "module__hidden": (50, 50),
    },
    "a net of your own, batches of 32": {"module": OwnNet, "batch_size": 32},
}


def stack(net, folds, X, y, n_jobs=None):
    """Train all nets as one stack, or one in each process."""
    params = {"param_grid": RATES, "noise": None, "n_jobs": n_jobs, "random_state": 0}
    MCDropoutRegressorCV(net, cv=folds, **params).fit(X, y)


def search(net, folds, X, y):
    """Train all nets by a grid search."""
    scoring = neg_log_predictive_density_scorer
    GridSearchCV(net, RATES, cv=folds, scoring=scoring, n_jobs=N_JOBS, refit=False).fit(X, y)


def least(net, X, y):
    """Return the seconds of the matrix products, and of the masks, of the trainings of all nets."""
    module = net.fit(X, y).module_
    layers = [part for part in module.modules() if isinstance(part, nn.Linear)]
    n_nets, n_rows = N_FOLDS * len(RATES["dropout"]), len(X) * (N_FOLDS - 1) // N_FOLDS
    n_steps = -(-n_rows // net.batch_size_) * net.max_epochs_
    parts = []
    for layer in layers:
        x = torch.randn(n_nets, net.batch_size_, layer.in_features)
        weight = torch.randn(n_nets, layer.in_features, layer.out_features)
        parts.append((x, weight, x @ weight))
    masks = [torch.empty_like(x) for x, _, _ in parts[1:]]

    def products():
        for x, weight, gradient in parts:
            _ = x @ weight, x.mT @ gradient
        for _, weight, gradient in parts[1:]:  # the rows need none
            _ = gradient @ weight.mT

    def draw():
        for mask in masks:
            mask.bernoulli_(0.9)

    return [n_steps * np.median([seconds(call) for _ in range(50)]) for call in (products, draw)]


def in_turn(calls, repeats):
    """Return the median time of each call."""
    return np.median([[seconds(call) for call in calls] for _ in range(repeats)], axis=0)


def main():
    """Run the benchmark and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the .npz files")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=100)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    with np.load(args.data / "concrete.npz", allow_pickle=False) as data:
        rows = data["train_index"][0]
        X, y = data["X"][rows], data["y"][rows]
    folds = KFold(N_FOLDS, shuffle=True, random_state=0)
    for call in (stack, partial(stack, n_jobs=N_JOBS), search):  # what is loaded first is not timed
        call(MCDropoutRegressor(max_epochs=1), folds, X, y)
    table, lines = [], []
    for name, params in CASES.items():
        net = MCDropoutRegressor(max_epochs=args.epochs, **params)
        ways = (stack, partial(stack, n_jobs=N_JOBS), search)
        calls = [partial(way, net, folds, X, y) for way in ways]
        times = in_turn(calls, args.repeats)
        ratios = [times[2] / time for time in times[:2]]
        products, masks = least(net, X, y)
        at_most = times[2] / (products + masks / 2)  # masks are drawn in both cores at once
        numbers = *times, *ratios, at_most, products, masks
        table.append((name, *(f"{number:.4g}" for number in numbers)))
        lines.append((name, *(f"{number:.1f}" for number in numbers)))
        print(*lines[-1], sep=" | ", flush=True)
    text = INTRO.format(n_jobs=N_JOBS, target=TARGET, **vars(args))
    text = intro(text, f"speed_stack.py --data FOLDER --epochs {args.epochs}")
    columns = ("nets", "one process, s", "two, s", "grid search, s", "times one", "times two")
    text += markdown((*columns, "at most", "products, s", "masks, s"), lines, "lrrrrrrrr")
    header = ("nets", "one", "two", "search", "search_over_one", "search_over_two")
    header += ("at_most", "products", "masks")
    write("speed_stack", text, header, table)


if __name__ == "__main__":
    main()
