"""Find how much of the likelihoods of ``default`` in ``uci.py`` hangs on the noise it estimates.

``python benchmarks/uci_noise.py --data FOLDER --published FILE`` fits the net of ``default`` on the
splits of ``uci_splits.csv``, finds the one noise under which the test rows of all splits of a set
are likeliest, and writes ``uci_noise.md`` and ``uci_noise.csv`` beside this file. FOLDER and FILE
are those of ``uci.py``.
"""

import argparse
import json
import warnings
from pathlib import Path

import numpy as np
from _report import intro, markdown, write
from joblib import Parallel, delayed
from scipy.optimize import minimize_scalar
from uci import BESIDE, finished, load
from uci_models import default
from uci_paper import log_densities
from uci_rmse import BOSTON

INTRO = """\
# What the noise is worth on the published benchmark

Mean log-likelihood of the test rows over the official splits. "Out of fold" is `default` of
[uci.md](uci.md), `MCDropoutRegressor(noise="estimate", random_state=0)`, whose noise comes from the
rows to train on of each split. "One for all" is the same nets with one noise for all splits, the
one under which the test rows are likeliest: no fair score, but near to how the published line was
scored, *{line}*,
whose precision is one for all splits and was tuned on rows that other splits test on. "More" is the
mean over the splits of "one for all" less the published one, ± its standard error. The splits test
on some rows several times: "each row once" is the one noise where they weigh together as one row.
"""
COLUMNS = ("set", "splits", "out of fold", "one for all", "published", "more")
COLUMNS += ("its noise", "each row once")


def draws(folder, name, split):
    """Return the test rows of a split, their targets and draws by the net of ``default``."""
    warnings.simplefilter("ignore")
    data = load(folder, name)
    rows, test = data["train_index"][split], data["test_index"][split]
    net = default().set_params(noise=None).fit(data["X"][rows], data["y"][rows])
    return test, data["y"][test], net.draws(data["X"][test])


def likeliest_for_all(parts, weights=None):
    """Return the noise under which the rows of all splits are likeliest, and their densities."""

    def densities(log_noise):
        precision = np.exp(-2 * log_noise)
        return np.concatenate([log_densities(y, of_split, precision) for _, y, of_split in parts])

    center = np.log(np.std(parts[0][1]))
    best = minimize_scalar(
        lambda log_noise: -np.average(densities(log_noise), weights=weights),
        bounds=(center - 5, center + 1),
        method="bounded",
    )
    return np.exp(best.x), densities(best.x)


def line(name, done, parts, published):
    """Return a line of the table."""
    noise, densities = likeliest_for_all(parts)
    rows = np.concatenate([rows for rows, _, _ in parts])
    ends = np.cumsum([len(y) for _, y, _ in parts])
    once, _ = likeliest_for_all(parts, 1 / np.bincount(rows)[rows])
    scores = np.array([of_split.mean() for of_split in np.split(densities, ends[:-1])])
    stated = published[name][BESIDE["default"]]["ll_per_split"]
    theirs = np.array([stated[int(row["split"])] for row in done])
    more = scores - theirs
    own = np.mean([float(row["ll"]) for row in done])
    error = more.std() / np.sqrt(len(more))
    return name, len(done), own, scores.mean(), theirs.mean(), more.mean(), error, noise, once


def main():
    """Fit the nets and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the .npz files")
    parser.add_argument("--published", type=Path, required=True, help="file of published lines")
    parser.add_argument("--jobs", type=int, default=1, help="number of processes")
    args = parser.parse_args()
    published = json.loads(args.published.read_text(encoding="utf-8"))
    done = [row for row in finished() if row["protocol"] == "default"]
    done.sort(key=lambda row: int(row["split"]))
    table = []
    for name in sorted({row["set"] for row in done}):
        rows = [row for row in done if row["set"] == name]
        calls = (delayed(draws)(args.data, name, int(row["split"])) for row in rows)
        table.append(line(name, rows, Parallel(args.jobs)(calls), published))
        print(*table[-1], flush=True)
    lines = []
    for name, n, *numbers in table:
        own, one, theirs, more, error, *noises = (f"{number:.3f}" for number in numbers)
        cells = own, one, theirs, f"{more} ± {error}", *noises
        lines.append((name + r" \*" * (name == "boston"), n, *cells))
    text = intro(
        INTRO.format(line=BESIDE["default"]), "uci_noise.py --data FOLDER --published FILE"
    )
    text += markdown(COLUMNS, lines, "lrrrrrrr") + BOSTON
    header = ("set", "splits", "ll", "ll_one", "ll_published", "more", "more_se")
    header += ("noise_one", "noise_once")
    rounded = [(*row[:2], *(f"{number:.5g}" for number in row[2:])) for row in table]
    write("uci_noise", text, header, rounded)


if __name__ == "__main__":
    main()
