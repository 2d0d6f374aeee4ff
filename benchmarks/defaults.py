"""Compare settings of the default net out of fold, on training rows alone.

``python benchmarks/defaults.py --data FOLDER`` reads the ``.npz`` files of FOLDER (arrays ``X``,
``y`` and the official ``train_index``), takes the training rows of the first split of each, and
scikit-learn's diabetes and sets that it generates; it scores each setting by five folds and writes
``defaults.md`` and ``defaults.csv`` beside this file. What is in the CSV file is not measured
again: remove it to start anew.
"""

import argparse
import csv
import time
from itertools import product
from pathlib import Path

import numpy as np
import torch
from _report import HERE, intro, markdown, write
from joblib import Parallel, delayed
from scipy.special import logsumexp
from scipy.stats import norm
from sklearn.base import clone
from sklearn.datasets import (
    load_diabetes,
    make_friedman1,
    make_friedman3,
    make_regression,
)
from sklearn.metrics import r2_score, root_mean_squared_error
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from uci_rmse import BOSTON

from sk_mcdropout import MCDropoutRegressor
from sk_mcdropout.predictive import likeliest_noise

MOST_ROWS = 2_000
N_FOLDS = 5

BEFORE = {
    "lr_schedule": None,
    "max_epochs": 200,
    "batch_size": 128,
    "normalize_X": False,
    "module__embedding": None,
    "optimizer__weight_decay": 0.01,
}
# Each line undoes one more of what the first one sets.
STEPS = {
    "0.1.0": BEFORE,
    "and length, cosine": {k: v for k, v in BEFORE.items() if k[0] in "no"}
    | {"module__embedding": None},
    "and robust scale": {"module__embedding": None, "optimizer__weight_decay": 0.01},
    "and waves": {"optimizer__weight_decay": 0.01},
    "and decay: the default": {},
}
OTHERS = {
    "default, `lr=0.01`": {"lr": 0.01},
    "default, `dropout=0.1`": {"dropout": 0.1},
    "default, `dropout=0.5`, `optimizer__weight_decay=0.01`": {
        "dropout": 0.5,
        "optimizer__weight_decay": 0.01,
    },
    "default, `early_stopping=True`": {"early_stopping": True},
}
SETTINGS = STEPS | OTHERS
FIELDS = (
    "set",
    "rows",
    "features",
    "setting",
    "rmse",
    "rmse_se",
    "r2",
    "log_likelihood",
    "seconds",
)

INTRO = """\
# The defaults of the net, chosen out of fold

`MCDropoutRegressor(random_state=0)` with other settings, each scored on rows that it was not
trained on, in {n_folds} folds of the training rows of the first official split of each set (at
most {most_rows}, drawn once), or of all rows of diabetes and of the generated sets. No test row was
looked at. "0.1.0" is what the defaults were, behind a `StandardScaler`, which stays until the net
scales its columns itself; each of the next four lines adds one thing, and the last ones change
settings of the default. RMSE is in the units of the target, the log-likelihood that of the mixture
over the draws under its likeliest constant noise, and the time that of a fit of four folds, on
one core of a machine that does other things beside.
"""


def heavy_tails():
    """Return rows whose columns and target have long tails, as those of houses have."""
    X, y = make_regression(2_000, 8, n_informative=6, noise=30.0, random_state=0)
    return np.exp(1.5 * X), np.exp(y / y.std() / 2)


GENERATED = {
    "diabetes": lambda: load_diabetes(return_X_y=True),
    "friedman1, 500": lambda: make_friedman1(500, noise=1.0, random_state=0),
    "friedman3, 1,000": lambda: make_friedman3(1_000, noise=0.1, random_state=0),
    "linear, 300": lambda: make_regression(300, 8, noise=20.0, random_state=0),
    "long tails, 2,000": heavy_tails,
}


def training_rows(path):
    """Return the training rows of the first split of a set."""
    with np.load(path, allow_pickle=False) as arrays:
        train = arrays["train_index"][0]
        rows = np.sort(np.random.default_rng(0).permutation(train)[:MOST_ROWS])
        return arrays["X"][rows], arrays["y"][rows]


def out_of_fold(X, y, settings):
    """Return the scores of a setting."""
    net = MCDropoutRegressor(random_state=0).set_params(**settings)
    if settings.get("normalize_X") is False:
        net = make_pipeline(StandardScaler(), net)
    draws, errors, seconds = np.empty((100, len(y))), [], 0.0
    for train, held_out in KFold(N_FOLDS, shuffle=True, random_state=0).split(X):
        start = time.perf_counter()
        fitted = clone(net).fit(X[train], y[train])
        seconds += time.perf_counter() - start
        learner, inputs = fitted, X[held_out]
        if hasattr(fitted, "steps"):
            learner, inputs = fitted[-1], fitted[:-1].transform(inputs)
        draws[:, held_out] = learner.draws(inputs)
        errors.append(root_mean_squared_error(y[held_out], draws[:, held_out].mean(axis=0)))
    noise = float(likeliest_noise(torch.from_numpy(y), torch.from_numpy(draws)))
    likelihoods = logsumexp(norm.logpdf(y, draws, noise), axis=0) - np.log(len(draws))
    return {
        "rmse": np.mean(errors),
        "rmse_se": np.std(errors, ddof=1) / np.sqrt(N_FOLDS),
        "r2": r2_score(y, draws.mean(axis=0)),
        "log_likelihood": likelihoods.mean(),
        "seconds": seconds / N_FOLDS,
    }


def measure(name, X, y, setting):
    """Return a line of the table."""
    torch.set_num_threads(1)
    scores = out_of_fold(X, y, SETTINGS[setting])
    known = {"set": name, "rows": len(X), "features": X.shape[1], "setting": setting}
    return known | {key: f"{value:.5g}" for key, value in scores.items()}


def table(name, rows):
    """Return the Markdown table of a set."""
    lines = [
        (
            row["setting"],
            f"{float(row['rmse']):.4g} ± {float(row['rmse_se']):.2g}",
            f"{float(row['r2']):.4f}",
            f"{float(row['log_likelihood']):.3f}",
            f"{float(row['seconds']):.1f}",
        )
        for row in rows
    ]
    columns = ("setting", "RMSE", "R²", "log-likelihood", "seconds")
    mark = r" \*" if name == "boston" else ""
    title = f"## {name}{mark}: {rows[0]['rows']} rows, {rows[0]['features']} features"
    return f"{title}\n\n{markdown(columns, lines, 'lrrrr')}\n"


def main():
    """Run the benchmark and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the .npz files")
    parser.add_argument("--jobs", type=int, default=2, help="processes, of a thread each")
    parser.add_argument("--sets", nargs="*", help="names of sets, by default all")
    args = parser.parse_args()
    sets = {path.stem: training_rows(path) for path in sorted(args.data.glob("*.npz"))}
    sets |= {name: make() for name, make in GENERATED.items()}
    file = HERE / "defaults.csv"
    rows = list(csv.DictReader(file.open(encoding="utf-8"))) if file.exists() else []
    done = {(row["set"], row["setting"]) for row in rows}
    asked = sets if args.sets is None else args.sets
    jobs = [pair for pair in product(sets, SETTINGS) if pair not in done and pair[0] in asked]
    order = {pair: k for k, pair in enumerate(product(sets, SETTINGS))}
    parallel = Parallel(args.jobs, return_as="generator_unordered")
    for row in parallel(delayed(measure)(name, *sets[name], kind) for name, kind in jobs):
        rows.append({key: str(value) for key, value in row.items()})
        print(*row.values(), flush=True)
        rows.sort(key=lambda row: order.get((row["set"], row["setting"]), len(order)))
        report(rows)
    report(rows)


def report(rows):
    """Write what was measured so far."""
    text = intro(INTRO.format(n_folds=N_FOLDS, most_rows=MOST_ROWS), "defaults.py --data FOLDER")
    for name in dict.fromkeys(row["set"] for row in rows):
        text += table(name, [row for row in rows if row["set"] == name])
    write("defaults", text + BOSTON.lstrip(), FIELDS, [row.values() for row in rows])


if __name__ == "__main__":
    main()
