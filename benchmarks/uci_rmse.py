"""Test RMSE with the defaults, beside scikit-learn's default neural net.

``python benchmarks/uci_rmse.py --data FOLDER`` reads the ``.npz`` files of FOLDER (arrays ``X``,
``y`` and the official ``train_index`` and ``test_index``, a row for each split), fits both
regressors on the first splits and writes ``uci_rmse.md`` and ``uci_rmse.csv`` beside this file.
"""

import argparse
import csv
import os
import platform
import time
import warnings
from pathlib import Path

import numpy as np
import sklearn
import skorch
import torch
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

Command: `{threads}python benchmarks/uci_rmse.py --data FOLDER`

{versions}

| set | rows | features | MCDropoutRegressor | MLPRegressor | no worse | fit time ratio |
|---|---:|---:|---:|---:|:---:|---:|
"""

BOSTON = """
\\* boston has an ethical problem: its column B encodes the assumption that racial segregation
raises house prices, and LSTAT ("lower status") is of a similar kind; scikit-learn removed the set
for this reason. It is shown only because published tables use it; use it for nothing else.
"""


def rmse_and_seconds(regressor, data, split):
    """Answer the error on the test part of a split, and the time of the fit."""
    X, y, train, test = data["X"], data["y"], data["train_index"][split], data["test_index"][split]
    pipe = make_pipeline(StandardScaler(), regressor(random_state=0))
    start = time.perf_counter()
    pipe.fit(X[train], y[train])
    seconds = time.perf_counter() - start
    return root_mean_squared_error(y[test], pipe.predict(X[test])), seconds


def measure(path):
    """Answer the row of a set in the table."""
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


def as_markdown(row):
    """Answer the row as a line of the table."""
    ours, theirs = (f"{row[f'{name}_rmse']:.3f} ± {row[f'{name}_se']:.3f}" for name in REGRESSORS)
    better = "yes" if row["mcdropout_rmse"] <= row["mlp_rmse"] else "no"
    name = row["set"] + (r" \*" if row["set"] == "boston" else "")
    cells = (name, row["rows"], row["features"], ours, theirs, better)
    return "| " + " | ".join(map(str, cells)) + f" | {row['fit_time_ratio']:.1f} |\n"


def versions_and_machine():
    """Answer the line that says what the numbers were made with."""
    packages = ", ".join(f"{p.__name__} {p.__version__}" for p in (sklearn, torch, skorch, np))
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return f"Made with Python {platform.python_version()}, {packages}, on {machine}."


def main():
    """Run the benchmark and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the .npz files")
    args = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    for regressor in REGRESSORS.values():  # what is loaded at the first fit is not timed
        regressor().fit(np.eye(4), np.arange(4.0))
    rows = [measure(path) for path in sorted(args.data.glob("*.npz"))]
    threads = "OMP_NUM_THREADS=1 " if os.environ.get("OMP_NUM_THREADS") == "1" else ""
    head = INTRO.format(n_splits=N_SPLITS, threads=threads, versions=versions_and_machine())
    boston = BOSTON if any(row["set"] == "boston" for row in rows) else ""
    out = Path(__file__).with_suffix(".md")
    out.write_text(head + "".join(map(as_markdown, rows)) + boston, encoding="utf-8")
    print(out.read_text(encoding="utf-8"))
    with out.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
