"""Score noise models, raw and calibrated, on real data beside two of scikit-learn's models.

``python benchmarks/uci_uncertainty.py --data FOLDER`` reads the ``.npz`` files of FOLDER (arrays
``X``, ``y`` and the official ``train_index`` and ``test_index``, a row for each split) and writes
``uci_uncertainty.md`` and ``uci_uncertainty.csv`` beside this file.
"""

import argparse
import warnings
from itertools import chain
from pathlib import Path

import numpy as np
from _report import intro, markdown, write
from joblib import Parallel, delayed
from scipy.stats import norm
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from uci_rmse import BOSTON

from sk_mcdropout import MCDropoutRegressor
from sk_mcdropout.metrics import crps_draws, crps_normal

COVERAGE = 0.9
LOW, HIGH = 0.87, 0.93
TEST_ROWS = 600
CALIBRATIONS = {None: ("std", "conformal")}
MORE_CALIBRATIONS = ("std", "parts", "isotonic", "conformal")
GP_ROWS = 1000
METRICS = ("rmse", "nll", "crps", "coverage", "width")
COLUMNS = ("model", "calibration", "RMSE", "NLL", "CRPS", "90 % coverage", "width")

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
"""


def scores(y, mean=None, interval=None, nll=None, crps=None):
    """Return the scores of one split, None where there are none."""
    inside = (interval[:, 0] <= y) & (y <= interval[:, 1])
    return {
        "rmse": np.sqrt(np.mean((y - mean) ** 2)),
        "nll": nll,
        "crps": crps,
        "coverage": inside.mean(),
        "width": (interval[:, 1] - interval[:, 0]).mean(),
    }


def net_scores(net, X, y):
    """Return the scores of our regressor, as it is calibrated."""
    kept = getattr(net, "calibration_", None)
    method = kept.method if kept is not None else None
    nll = crps = None
    if method in (None, "std", "parts"):
        distribution = "normal" if net.noise is None else "mixture"
        nll = -net.log_prob(X, y, distribution).mean()
        crps = crps_draws(y, net.sample_y(X, 400).T)
    elif method == "isotonic":
        levels = (np.arange(100) + 0.5) / 100
        crps = crps_draws(y, net.predict_quantiles(X, levels).T)
    return scores(y, net.predict(X), net.predict_interval(X, COVERAGE), nll, crps)


def our_scores(X, y, X_test, y_test):
    """Yield the name and the scores of each setting of our regressor."""
    X_fit, X_held, y_fit, y_held = train_test_split(X, y, test_size=0.2, random_state=0)
    for noise in (None, "estimate", "heteroscedastic"):
        net = MCDropoutRegressor(noise=noise, random_state=0)
        yield (f"noise={noise!r}", "raw"), net_scores(net.fit(X, y), X_test, y_test)
        net.fit(X_fit, y_fit)
        for method in CALIBRATIONS.get(noise, MORE_CALIBRATIONS):
            net.calibrate(X_held, y_held, method)
            yield (f"noise={noise!r}", method), net_scores(net, X_test, y_test)


def gaussian_process(X, y, X_test, y_test):
    """Return the scores of a Gaussian process whose kernel is tuned by its likelihood."""
    rows = np.random.default_rng(0).permutation(len(X))[:GP_ROWS]
    kernel = ConstantKernel() * RBF(np.ones(X.shape[1]), (1e-2, 1e3)) + WhiteKernel()
    model = GaussianProcessRegressor(kernel, normalize_y=True).fit(X[rows], y[rows])
    mean, std = model.predict(X_test, return_std=True)
    reach = norm.ppf((1 + COVERAGE) / 2) * std
    interval = np.column_stack([mean - reach, mean + reach])
    nll = -norm.logpdf(y_test, mean, std).mean()
    return scores(y_test, mean, interval, nll, crps_normal(y_test, mean, std))


def gradient_boosting(X, y, X_test, y_test):
    """Return the scores of three quantiles, each by a model of its own."""
    low, median, high = (
        HistGradientBoostingRegressor(loss="quantile", quantile=level, random_state=0)
        .fit(X, y)
        .predict(X_test)
        for level in ((1 - COVERAGE) / 2, 0.5, (1 + COVERAGE) / 2)
    )
    return scores(y_test, median, np.column_stack([low, high]))


BASELINES = {"Gaussian process": gaussian_process, "gradient boosting": gradient_boosting}


def measure(path):
    """Return the rows of a set in the table."""
    warnings.simplefilter("ignore", ConvergenceWarning)
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
        for key, of_split in our_scores(*parts):
            found.setdefault(key, []).append(of_split)
        for name, baseline in BASELINES.items():
            found.setdefault((name, ""), []).append(baseline(*parts))
        print(f"{path.stem}: split {split + 1} of {n_splits}", flush=True)
    rows = []
    for (model, calibration), splits in found.items():
        row = {"set": path.stem, "splits": n_splits, "model": model, "calibration": calibration}
        for metric in METRICS:
            values = [of_split[metric] for of_split in splits]
            known = values[0] is not None
            row[metric] = round(float(np.mean(values)), 4) if known else ""
            error = np.std(values, ddof=1) / np.sqrt(n_splits) if known else ""
            row[f"{metric}_se"] = round(float(error), 4) if known else ""
        rows.append(row)
    return rows


def as_cells(row):
    """Return a row as the cells of a line of the Markdown table."""
    cells = [f"`{row['model']}`" if "=" in row["model"] else row["model"], row["calibration"]]
    for metric in METRICS:
        value, error = row[metric], row[f"{metric}_se"]
        digits = 3 if metric == "coverage" else 2
        cells.append("" if value == "" else f"{value:.{digits}f} ± {error:.{digits}f}")
    return cells


def set_table(rows):
    """Return the Markdown table of one set."""
    name = rows[0]["set"]
    mark = r" \*" if name == "boston" else ""
    table = markdown(COLUMNS, map(as_cells, rows), "llrrrrr")
    return f"## {name}{mark}, {rows[0]['splits']} splits\n\n{table}\n"


def coverage_table(tables):
    """Return the Markdown table of the sets on which a setting covers as much as it should."""
    coverages = {}
    for row in chain.from_iterable(tables):
        setting = " ".join(filter(None, (row["model"], row["calibration"])))
        coverages.setdefault(setting, {})[row["set"]] = row["coverage"]
    lines = []
    for setting, of_sets in coverages.items():
        outside = {name: value for name, value in of_sets.items() if not LOW <= value <= HIGH}
        others = ", ".join(f"{name} {value:.3f}" for name, value in outside.items())
        lines.append((setting, f"{len(of_sets) - len(outside)} of {len(of_sets)}", others))
    table = markdown(("model", "sets", "others"), lines, "lrl")
    return f"## Coverage within {LOW} and {HIGH}\n\n{table}\n"


def write_tables(tables):
    """Write the tables of the sets that are done."""
    text = INTRO.format(gp_rows=GP_ROWS, test_rows=TEST_ROWS)
    text = intro(text, "uci_uncertainty.py --data FOLDER") + coverage_table(tables)
    text += "".join(map(set_table, tables))
    text += BOSTON.lstrip() if any(rows[0]["set"] == "boston" for rows in tables) else ""
    rows = [row.values() for row in chain.from_iterable(tables)]
    write("uci_uncertainty", text, tables[0][0], rows)


def main():
    """Run the benchmark and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the .npz files")
    parser.add_argument("--jobs", type=int, default=1, help="number of sets at once")
    args = parser.parse_args()
    tasks = map(delayed(measure), sorted(args.data.glob("*.npz")))
    write_tables(Parallel(n_jobs=args.jobs)(tasks))


if __name__ == "__main__":
    main()
