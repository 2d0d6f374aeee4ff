"""Compute the errors with the defaults, beside scikit-learn's default neural net.

``python benchmarks/uci_rmse.py --data FOLDER`` reads the ``.npz`` files of FOLDER (arrays ``X``,
``y`` and the official ``train_index`` and ``test_index``, a row for each split), fits both
regressors on the first splits, and on scikit-learn's diabetes and generated rows, and writes
``uci_rmse.md`` and ``uci_rmse.csv`` beside this file.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
from _report import intro, markdown, write
from sklearn.datasets import load_diabetes, make_friedman1
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import root_mean_squared_error
from sklearn.model_selection import KFold, cross_validate
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_mcdropout import MCDropoutRegressor

N_SPLITS = 5
REGRESSORS = {
    "mcdropout": MCDropoutRegressor,
    "mlp": lambda **params: make_pipeline(StandardScaler(), MLPRegressor(**params)),
}

INTRO = """\
# Errors out of the box

`MCDropoutRegressor(random_state=0)`, which scales its columns itself, beside
`make_pipeline(StandardScaler(), MLPRegressor(random_state=0))`, both with their defaults: mean
RMSE over the first {n_splits} official splits ± standard error, in the units of the target. The
last column is the time of the fits of `MCDropoutRegressor`, as a multiple of that of
`MLPRegressor` in the same run, which stops after 200 epochs with far fewer steps on few rows.
"""
OTHERS = """
## Other data

R² of five shuffled folds of scikit-learn's diabetes data; of one half of 2,000 rows of
`make_friedman1` with columns in units of 1e6 and 1e-3, fitted on the other half; and of 20,000
rows and 20 columns of `make_friedman1` with a noise of 1, on 2,000 more, beside
`MLPRegressor(hidden_layer_sizes=(100, 100))`.

"""
COLUMNS = ("set", "rows", "features", "MCDropoutRegressor", "MLPRegressor", "no worse")
COLUMNS += ("fit time ratio",)

BOSTON = """
\\* boston has an ethical problem: its column B encodes the assumption that racial segregation
raises house prices, and LSTAT ("lower status") is of a similar kind; scikit-learn removed the set
for this reason. It is shown only because published tables use it; use it for nothing else.
"""


def rmse_and_seconds(regressor, data, split):
    """Return the error on the test part of a split, and the time of the fit."""
    X, y, train, test = data["X"], data["y"], data["train_index"][split], data["test_index"][split]
    model, seconds = timed(regressor(random_state=0), X[train], y[train])
    return root_mean_squared_error(y[test], model.predict(X[test])), seconds


def timed(model, X, y):
    """Return a fitted model, and the time of its fit."""
    start = time.perf_counter()
    return model.fit(X, y), time.perf_counter() - start


def other_data():
    """Return the Markdown table of data that are not in the folder."""
    lines = [("diabetes", 442, 10, *diabetes())]
    X, y = make_friedman1(2_000, noise=0.1, random_state=0)
    X *= np.where(np.arange(10) % 2, 1e6, 1e-3)
    lines.append(("raw columns", 1_000, 10, *halves(X, y, 1_000)))
    X, y = make_friedman1(22_000, 20, noise=1.0, random_state=0)
    lines.append(("large", 20_000, 20, *halves(X, y, 20_000, hidden_layer_sizes=(100, 100))))
    columns = ("data", "rows", "features", "R² of MCDropoutRegressor", "R² of MLPRegressor")
    return markdown((*columns, "fit time ratio"), lines, "lrrrrr")


def diabetes():
    """Return the two scores on diabetes, and the ratio of the times of the fits."""
    X, y = load_diabetes(return_X_y=True)
    folds = KFold(5, shuffle=True, random_state=0)
    ours, theirs = (
        cross_validate(regressor(random_state=0), X, y, cv=folds)
        for regressor in REGRESSORS.values()
    )
    ratio = ours["fit_time"].sum() / theirs["fit_time"].sum()
    return (*(f"{of['test_score'].mean():.3f}" for of in (ours, theirs)), f"{ratio:.1f}")


def halves(X, y, n_rows, **params):
    """Return the two scores on rows after the first ones, and the ratio of the times."""
    models = REGRESSORS["mcdropout"](random_state=0), REGRESSORS["mlp"](random_state=0, **params)
    fits = [timed(model, X[:n_rows], y[:n_rows]) for model in models]
    scores = (f"{model.score(X[n_rows:], y[n_rows:]):.4f}" for model, _ in fits)
    return (*scores, f"{fits[0][1] / fits[1][1]:.2f}")


def measure(path):
    """Return the row of a set in the table."""
    with np.load(path, allow_pickle=False) as arrays:
        data = dict(arrays)
    row = {"set": path.stem, "rows": data["X"].shape[0], "features": data["X"].shape[1]}
    # Both on one split before the next, so that the load of the machine falls on both.
    runs = [[rmse_and_seconds(r, data, k) for r in REGRESSORS.values()] for k in range(N_SPLITS)]
    rmse, seconds = np.transpose(runs)
    for name, errors in zip(REGRESSORS, rmse, strict=True):
        row[f"{name}_rmse"] = round(errors.mean(), 4)
        row[f"{name}_se"] = round(errors.std(ddof=1) / np.sqrt(N_SPLITS), 4)
    ours, theirs = seconds.sum(axis=1)
    note = "ethical problem, see uci_rmse.md" if row["set"] == "boston" else ""
    return {**row, "fit_time_ratio": round(ours / theirs, 2), "note": note}


def as_cells(row):
    """Return the row as the cells of a line of the Markdown table."""
    ours, theirs = (f"{row[f'{name}_rmse']:.3f} ± {row[f'{name}_se']:.3f}" for name in REGRESSORS)
    better = "yes" if row["mcdropout_rmse"] <= row["mlp_rmse"] else "no"
    name = row["set"] + (r" \*" if row["set"] == "boston" else "")
    ratio = f"{row['fit_time_ratio']:.1f}"
    return name, row["rows"], row["features"], ours, theirs, better, ratio


def main():
    """Run the benchmark and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the .npz files")
    args = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    for regressor in REGRESSORS.values():  # what is loaded at the first fit is not timed
        regressor().fit(np.eye(4), np.arange(4.0))
    rows = [measure(path) for path in sorted(args.data.glob("*.npz"))]
    text = intro(INTRO.format(n_splits=N_SPLITS), "uci_rmse.py --data FOLDER")
    text += markdown(COLUMNS, map(as_cells, rows), "lrrrrcr")
    text += OTHERS + other_data()
    text += BOSTON if any(row["set"] == "boston" for row in rows) else ""
    print(text)
    write("uci_rmse", text, rows[0], [row.values() for row in rows])


if __name__ == "__main__":
    main()
