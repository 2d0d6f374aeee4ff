"""Compute the test RMSE with the defaults, beside scikit-learn's default neural net.

``python benchmarks/uci_rmse.py --data FOLDER`` reads the ``.npz`` files of FOLDER (arrays ``X``,
``y`` and the official ``train_index`` and ``test_index``, a row for each split), fits both
regressors on the first splits and writes ``uci_rmse.md`` and ``uci_rmse.csv`` beside this file.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
from _report import intro, markdown, write
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import root_mean_squared_error
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_mcdropout import MCDropoutRegressor

N_SPLITS = 5
REGRESSORS = {"mcdropout": MCDropoutRegressor, "mlp": MLPRegressor}

INTRO = """\
# Test RMSE out of the box

`make_pipeline(StandardScaler(), MCDropoutRegressor(random_state=0))` beside
`make_pipeline(StandardScaler(), MLPRegressor(random_state=0))`, both with their defaults: mean
over the first {n_splits} official splits ± standard error, in the units of the target. The last
column is the time of the fits of `MCDropoutRegressor`, as a multiple of that of `MLPRegressor` in
the same run. On the first split of each set `MLPRegressor` reached its limit of 200 epochs.
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
    pipe = make_pipeline(StandardScaler(), regressor(random_state=0))
    start = time.perf_counter()
    pipe.fit(X[train], y[train])
    seconds = time.perf_counter() - start
    return root_mean_squared_error(y[test], pipe.predict(X[test])), seconds


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
    text += BOSTON if any(row["set"] == "boston" for row in rows) else ""
    print(text)
    write("uci_rmse", text, rows[0], [row.values() for row in rows])


if __name__ == "__main__":
    main()
