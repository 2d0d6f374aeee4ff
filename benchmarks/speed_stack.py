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
from _report import intro, markdown, write
from _timing import seconds
from sklearn.model_selection import GridSearchCV, KFold
from torch import nn

from sk_mcdropout import MCDropoutRegressor, MCDropoutRegressorCV
from sk_mcdropout.metrics import neg_log_predictive_density_scorer

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
    folds = KFold(5, shuffle=True, random_state=0)
    for call in (stack, partial(stack, n_jobs=N_JOBS), search):  # what is loaded first is not timed
        call(MCDropoutRegressor(max_epochs=1), folds, X, y)
    table, lines = [], []
    for name, params in CASES.items():
        net = MCDropoutRegressor(max_epochs=args.epochs, **params)
        ways = (stack, partial(stack, n_jobs=N_JOBS), search)
        calls = [partial(way, net, folds, X, y) for way in ways]
        times = in_turn(calls, args.repeats)
        ratios = [times[2] / time for time in times[:2]]
        table.append((name, *(f"{number:.4g}" for number in (*times, *ratios))))
        lines.append((name, *(f"{number:.1f}" for number in (*times, *ratios))))
        print(*lines[-1], sep=" | ", flush=True)
    text = INTRO.format(n_jobs=N_JOBS, target=TARGET, **vars(args))
    text = intro(text, f"speed_stack.py --data FOLDER --epochs {args.epochs}")
    columns = ("nets", "one process, s", "two, s", "grid search, s", "times one", "times two")
    text += markdown(columns, lines, "lrrrrr")
    header = ("nets", "one", "two", "search", "search_over_one", "search_over_two")
    write("speed_stack", text, header, table)


if __name__ == "__main__":
    main()
