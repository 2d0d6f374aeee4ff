"""Uncertainty on real data: noise models raw and calibrated, beside two of scikit-learn's models.

``python benchmarks/uci_uncertainty.py --data FOLDER`` reads the ``.npz`` files of FOLDER (arrays
``X``, ``y`` and the official ``train_index`` and ``test_index``, a row for each split) and writes
``uci_uncertainty.md`` and ``uci_uncertainty.csv`` beside this file.
"""

import argparse
import csv
import os
import warnings
from pathlib import Path

import numpy as np
from scipy.stats import norm
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from uci_rmse import BOSTON, versions_and_machine

from sk_mcdropout import MCDropoutRegressor
from sk_mcdropout.metrics import crps_draws, crps_normal

COVERAGE = 0.9
LOW, HIGH = 0.87, 0.93
TEST_ROWS = 600
CALIBRATIONS = {None: ("std", "conformal")}
MORE_CALIBRATIONS = ("std", "isotonic", "conformal")
GP_ROWS = 1000
METRICS = ("rmse", "nll", "crps", "coverage", "width")
BASELINES = ("Gaussian process", "gradient boosting")

INTRO = """\
# Uncertainty on real data

`MCDropoutRegressor(noise=..., random_state=0)` with the defaults, on standardised features, raw
and calibrated; beside scikit-learn's `GaussianProcessRegressor` (`RBF` with a length scale for
each feature + `WhiteKernel`, by marginal likelihood, on at most {gp_rows} rows of training) and its
`HistGradientBoostingRegressor` with the quantile loss (5 %, 50 % and 95 %; the RMSE is that of the
median). Means over the first official splits, as many as make {test_rows} test rows, at least 3, at
most 20. RMSE, CRPS and the mean width of the 90 % intervals are in the units of the target; NLL is
the mean of minus the natural logarithm of the density: of the mixture over the draws, or without
noise and for the process of a normal. The coverage of the intervals is that of all test rows
together.

Raw, all rows of training are trained on. To be calibrated, the net is trained on 80 % of these rows
and calibrated with the other 20 %; no test row is ever used. `noise="estimate"` finds the noise by
five folds of what it trains on. Isotonic and conformal calibration give no density, and conformal
calibration no draws, so there is no NLL or CRPS.

Command: `{threads}python benchmarks/uci_uncertainty.py --data FOLDER`

{versions}

"""


def scores(y, mean=None, interval=None, nll=None, crps=None):
    """Answer the figures of one split, None where there are none."""
    inside = (interval[:, 0] <= y) & (y <= interval[:, 1])
    return {
        "rmse": np.sqrt(np.mean((y - mean) ** 2)),
        "nll": nll,
        "crps": crps,
        "coverage": inside.mean(),
        "width": (interval[:, 1] - interval[:, 0]).mean(),
    }


def of_net(net, X, y):
    """Answer the figures of our regressor, as it is calibrated."""
    kept = getattr(net, "calibration_", None)
    method = kept.method if kept is not None else None
    nll = crps = None
    if method in (None, "std"):
        distribution = "normal" if net.noise is None else "mixture"
        nll = -net.log_prob(X, y, distribution).mean()
        crps = crps_draws(y, net.sample_y(X, 400).T)
    elif method == "isotonic":
        levels = (np.arange(100) + 0.5) / 100
        crps = crps_draws(y, net.predict_quantiles(X, levels).T)
    return scores(y, net.predict(X), net.predict_interval(X, COVERAGE), nll, crps)


def nets(X, y, X_test, y_test):
    """Yield the name and the figures of each setting of our regressor."""
    X_fit, X_held, y_fit, y_held = train_test_split(X, y, test_size=0.2, random_state=0)
    for noise in (None, "estimate", "heteroscedastic"):
        net = MCDropoutRegressor(noise=noise, random_state=0)
        yield (f"noise={noise!r}", "raw"), of_net(net.fit(X, y), X_test, y_test)
        net.fit(X_fit, y_fit)
        for method in CALIBRATIONS.get(noise, MORE_CALIBRATIONS):
            net.calibrate(X_held, y_held, method)
            yield (f"noise={noise!r}", method), of_net(net, X_test, y_test)


def process(X, y, X_test, y_test):
    """Answer the figures of a Gaussian process whose kernel is tuned by its likelihood."""
    rows = np.random.default_rng(0).permutation(len(X))[:GP_ROWS]
    kernel = ConstantKernel() * RBF(np.ones(X.shape[1]), (1e-2, 1e3)) + WhiteKernel()
    model = GaussianProcessRegressor(kernel, normalize_y=True).fit(X[rows], y[rows])
    mean, std = model.predict(X_test, return_std=True)
    reach = norm.ppf((1 + COVERAGE) / 2) * std
    interval = np.column_stack([mean - reach, mean + reach])
    nll = -norm.logpdf(y_test, mean, std).mean()
    return scores(y_test, mean, interval, nll, crps_normal(y_test, mean, std))


def boosting(X, y, X_test, y_test):
    """Answer the figures of three quantiles, each by a model of its own."""
    low, median, high = (
        HistGradientBoostingRegressor(loss="quantile", quantile=level, random_state=0)
        .fit(X, y)
        .predict(X_test)
        for level in ((1 - COVERAGE) / 2, 0.5, (1 + COVERAGE) / 2)
    )
    return scores(y_test, median, np.column_stack([low, high]))


def measure(path):
    """Yield the rows of a set in the table."""
    with np.load(path, allow_pickle=False) as arrays:
        data = dict(arrays)
    n_test = data["test_index"].shape[1]
    n_splits = int(np.clip(TEST_ROWS // n_test, 3, len(data["test_index"])))
    found = {}
    for split in range(n_splits):
        train, test = data["train_index"][split], data["test_index"][split]
        scaler = StandardScaler().fit(data["X"][train])
        X, X_test = scaler.transform(data["X"][train]), scaler.transform(data["X"][test])
        parts = X, data["y"][train], X_test, data["y"][test]
        for key, figures in nets(*parts):
            found.setdefault(key, []).append(figures)
        for name, model in zip(BASELINES, (process, boosting), strict=True):
            found.setdefault((name, ""), []).append(model(*parts))
        print(f"{path.stem}: split {split + 1} of {n_splits}", flush=True)
    for (model, calibration), splits in found.items():
        row = {"set": path.stem, "splits": n_splits, "model": model, "calibration": calibration}
        for metric in METRICS:
            values = [figures[metric] for figures in splits]
            known = values[0] is not None
            row[metric] = round(float(np.mean(values)), 4) if known else ""
            error = np.std(values, ddof=1) / np.sqrt(n_splits) if known else ""
            row[f"{metric}_se"] = round(float(error), 4) if known else ""
        yield row


def as_markdown(rows):
    """Answer the table of one set."""
    name = rows[0]["set"]
    mark = r" \*" if name == "boston" else ""
    lines = [f"## {name}{mark}, {rows[0]['splits']} splits\n"]
    lines += ["| model | calibration | RMSE | NLL | CRPS | 90 % coverage | width |"]
    lines += ["|---|---|---:|---:|---:|---:|---:|"]
    for row in rows:
        cells = [f"`{row['model']}`" if "=" in row["model"] else row["model"], row["calibration"]]
        for metric in METRICS:
            value, error = row[metric], row[f"{metric}_se"]
            digits = 3 if metric == "coverage" else 2
            cells.append("" if value == "" else f"{value:.{digits}f} ± {error:.{digits}f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n\n"


def verdict(tables):
    """Say which settings cover between 0.87 and 0.93 on how many sets."""
    counts = {}
    for row in (row for rows in tables for row in rows):
        key = " ".join(filter(None, (row["model"], row["calibration"])))
        counts.setdefault(key, []).append((row["set"], row["coverage"]))
    lines = [
        f"## Coverage within {LOW} and {HIGH}\n",
        "| model | sets | others |",
        "|---|---:|---|",
    ]
    for key, of_sets in counts.items():
        outside = [(name, value) for name, value in of_sets if not LOW <= value <= HIGH]
        others = ", ".join(f"{name} {value:.3f}" for name, value in outside)
        lines.append(f"| {key} | {len(of_sets) - len(outside)} of {len(of_sets)} | {others} |")
    return "\n".join(lines) + "\n"


def write(tables, out):
    """Write what is known so far."""
    threads = "OMP_NUM_THREADS=1 " if os.environ.get("OMP_NUM_THREADS") == "1" else ""
    head = INTRO.format(
        gp_rows=GP_ROWS, test_rows=TEST_ROWS, threads=threads, versions=versions_and_machine()
    )
    boston = BOSTON if any(rows[0]["set"] == "boston" for rows in tables) else ""
    text = head + verdict(tables) + "\n" + "".join(map(as_markdown, tables)) + boston.lstrip()
    out.write_text(text, encoding="utf-8")
    with out.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, tables[0][0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(row for rows in tables for row in rows)


def main():
    """Run the benchmark and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the .npz files")
    args = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    tables = []
    for path in sorted(args.data.glob("*.npz")):
        tables.append(list(measure(path)))
        write(tables, Path(__file__).with_suffix(".md"))


if __name__ == "__main__":
    main()
