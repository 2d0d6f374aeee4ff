"""Compare the laws of masks: the error of mean and std by the number of draws.

``python benchmarks/masks_qmc.py`` fits nets, takes the mean and the standard deviation over many
draws for the truth, and writes how far those of few draws are from it, for both laws, to
``masks_qmc.md`` and ``masks_qmc.csv`` beside this file.
"""

import argparse
from functools import partial

import numpy as np
from _report import intro, markdown, write
from sklearn.datasets import load_diabetes, load_digits, make_friedman1
from sklearn.model_selection import train_test_split

from sk_mcdropout import MCDropoutClassifier, MCDropoutRegressor

N_DRAWS = (16, 50, 64, 100, 128, 256)
N_TRUE = 65_536
N_ROWS = 50
LAWS = ("iid", "qmc")
SETS = {
    "diabetes": (MCDropoutRegressor, partial(load_diabetes, return_X_y=True)),
    "friedman": (MCDropoutRegressor, partial(make_friedman1, 1000, random_state=0)),
    "digits": (MCDropoutClassifier, partial(load_digits, return_X_y=True)),
}
NETS = {"100-100": (100, 100), "50": (50,), "50-50-50": (50, 50, 50)}
RATES = (0.05, 0.2, 0.5)
CASES = [
    *((name, "100-100", rate) for name in SETS for rate in RATES),
    *(("diabetes", net, 0.2) for net in NETS if net != "100-100"),
]
INTRO = f"""\
# Masks whose units are kept as often as their rate says

The root mean square error of the mean, and of the standard deviation, over some draws against
those over {N_TRUE:,} draws of `masks="iid"`, over {N_ROWS} rows held out and 20 seeds; for
classes, of the probabilities. It is in units of the standard deviation of the draws (the root of
its mean square over rows): with independent draws the error of the mean is then
1 / sqrt(n_draws). "Ratio" is that of `masks="qmc"` to that of `masks="iid"`.

What it says: for regression the mean of 64 draws with `"qmc"` is nearer to the truth than that of
256 independent ones, in each case here, and nearer than that of 100 with `"qmc"`, which is no power
of two. For probabilities, to which units contribute together, it is a quarter less or so.
The error of the standard deviation is about that of independent draws. So take
`masks="qmc", n_draws=64` where the mean is all that is asked for, and as many draws as before where
a spread, intervals or densities are.
"""


def errors(name, hidden, rate, n_seeds):
    """Return rows of (law, n_draws, error of the mean, error of the std)."""
    kind, load = SETS[name]
    X, y = load()
    X, X_test, y, _ = train_test_split(X, y, test_size=0.3, random_state=0)
    net = kind(module__hidden=hidden, module__dropout=rate, max_epochs=100, random_state=0)
    net.fit(X, y)
    mean, std = summary(net, X_test[:N_ROWS], "iid", N_TRUE, 12345)
    scale = np.sqrt(np.mean(std**2))
    for masks in LAWS:
        for n_draws in N_DRAWS:
            found = [summary(net, X_test[:N_ROWS], masks, n_draws, seed) for seed in range(n_seeds)]
            means, stds = (np.array(part) for part in zip(*found, strict=True))
            parts = ((means, mean), (stds, std))
            yield masks, n_draws, *(rms(some - true) / scale for some, true in parts)


def summary(net, X, masks, n_draws, seed):
    """Return mean and standard deviation of the draws."""
    net.set_params(masks=masks, n_draws=n_draws)
    net.seed_ = seed
    if isinstance(net, MCDropoutClassifier):
        return net.predict_proba(X, return_std=True)
    return net.predict(X, return_std=True)


def rms(errors):
    """Return the root of the mean square."""
    return np.sqrt(np.mean(errors**2))


def main():
    """Run the comparison and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    args = parser.parse_args()
    table, by_case = [], {}
    for name, net, rate in CASES:
        for masks, n_draws, *found in errors(name, NETS[net], rate, args.seeds):
            table.append((name, net, rate, masks, n_draws, *(f"{number:.5f}" for number in found)))
            by_case[name, net, rate, masks, n_draws] = found
        print(name, net, rate, flush=True)
    text = intro(INTRO, "masks_qmc.py")
    for what, place in (("mean", 0), ("standard deviation", 1)):
        lines = [
            (*case, *(cell(by_case, case, n_draws, place) for n_draws in N_DRAWS)) for case in CASES
        ]
        columns = ("set", "hidden", "rate", *(f"{n_draws} draws" for n_draws in N_DRAWS))
        text += f"## Error of the {what}: iid, qmc (ratio)\n\n"
        text += markdown(columns, lines, "llr" + "r" * len(N_DRAWS)) + "\n"
    columns = ("set", "hidden", "rate", "masks", "n_draws", "mean_error", "std_error")
    write("masks_qmc", text.rstrip("\n") + "\n", columns, table)


def cell(by_case, case, n_draws, place):
    """Return the errors of both laws, and their ratio."""
    iid, qmc = (by_case[*case, masks, n_draws][place] for masks in LAWS)
    return f"{iid:.3f}, {qmc:.3f} ({qmc / iid:.2f})"


if __name__ == "__main__":
    main()
