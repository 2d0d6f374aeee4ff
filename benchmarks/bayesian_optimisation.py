"""Minimise two functions by expected improvement, and at random.

``python benchmarks/bayesian_optimisation.py`` minimises the functions of Branin and Hartmann by
the net, by a Gaussian process and at random, and writes ``bayesian_optimisation.md``, its picture
and ``bayesian_optimisation.csv`` beside this file.
"""

import warnings

import numpy as np
from _report import draw, intro, markdown, write
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern

from sk_mcdropout import MCDropoutRegressor
from sk_mcdropout.acquisition import expected_improvement

SEEDS, CANDIDATES = range(5), 1000
NET = {
    "module__dropout": 0.05,
    "module__embedding": None,
    "optimizer__weight_decay": 0.0,
    "lr": 0.01,
    "max_epochs": 200,
}


def branin(u):
    """Compute Branin's function on the unit square; its minimum is 0.397887."""
    x, y = 15 * u[:, 0] - 5, 15 * u[:, 1]
    valley = y - 5.1 / (4 * np.pi**2) * x**2 + 5 / np.pi * x - 6
    return valley**2 + 10 * (1 - 1 / (8 * np.pi)) * np.cos(x) + 10


def hartmann(u):
    """Compute Hartmann's function of six variables; its minimum is -3.32237."""
    widths = [
        [10, 3, 17, 3.5, 1.7, 8],
        [0.05, 10, 17, 0.1, 8, 14],
        [3, 3.5, 1.7, 10, 17, 8],
        [17, 8, 0.05, 10, 0.1, 14],
    ]
    places = [
        [0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886],
        [0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991],
        [0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650],
        [0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381],
    ]
    squares = (u[:, None] - np.array(places)) ** 2
    return -np.exp(-(np.array(widths) * squares).sum(axis=2)) @ [1.0, 1.2, 3.0, 3.2]


def net(seed):
    return MCDropoutRegressor(random_state=seed, **NET)


def process(seed):
    # Without bounds the length often shrinks to nothing, where the process knows nothing.
    kernel = ConstantKernel(1.0, (0.01, 1000)) * Matern(0.5, (0.05, 20), nu=2.5)
    return GaussianProcessRegressor(
        kernel, alpha=1e-6, normalize_y=True, n_restarts_optimizer=2, random_state=seed
    )


def improve(make, X, y, candidates, seed):
    """Score by the expected improvement on the lowest value."""
    return expected_improvement(make(seed).fit(X, y), candidates, y.min(), maximize=False)


# Each function with its variables, its minimum, and the values at first and in the end.
FUNCTIONS = {
    "Branin": (branin, 2, 0.397887, 10, 31),
    "Hartmann-6": (hartmann, 6, -3.32237, 20, 50),
}
CHOICES = {
    "random": lambda X, y, candidates, seed: np.arange(len(candidates)),
    "Gaussian process, expected improvement": lambda *task: improve(process, *task),
    "net, expected improvement": lambda *task: improve(net, *task),
}
INTRO = f"""\
# Bayesian optimisation of two functions

The regret, by how much the lowest value found is above the minimum: its median over {len(SEEDS)}
seeds, and in brackets the worst of them. First values are drawn at random, the same for all; then
the best of {CANDIDATES:,} candidates is taken, of which half are anywhere and half near the best
place so far, whatever scores them but in the search at random. The process has a Matern kernel with
a length from 0.05 to 20, the net
{", ".join(f"`{name}={value!r}`" for name, value in NET.items())}; nothing else is set.
"""


def candidates_for(X, y, rng):
    """Draw places in the unit cube, half of them about the best so far."""
    anywhere = rng.uniform(size=(CANDIDATES // 2, X.shape[1]))
    near = X[y.argmin()] + rng.normal(scale=0.1, size=anywhere.shape)
    return np.concatenate([anywhere, near.clip(0, 1)])


def regrets(name, choose, seed):
    """Return the regret after each value, from the last of the first ones on."""
    function, n_variables, lowest, first, last = FUNCTIONS[name]
    rng = np.random.default_rng(seed)
    X = rng.uniform(size=(first, n_variables))
    y = function(X)
    while len(X) < last:
        candidates = candidates_for(X, y, rng)
        if choose is CHOICES["random"]:
            candidates = candidates[: CANDIDATES // 2]
        best = candidates[[choose(X, y, candidates, seed).argmax()]]
        X, y = np.concatenate([X, best]), np.append(y, function(best))
    return np.minimum.accumulate(y)[first - 1 :] - lowest


def main():
    """Run the study and write the table."""
    warnings.simplefilter("ignore", ConvergenceWarning)
    rows, tables, panels = [], [], {}
    for function, (*_, first, last) in FUNCTIONS.items():
        counts = np.linspace(first, last, 4).astype(int)
        lines, panels[function] = [], {}
        for name, choose in CHOICES.items():
            found = np.array([regrets(function, choose, seed) for seed in SEEDS])
            print(function, name, np.median(found, axis=0)[-1], flush=True)
            panels[function][name] = np.arange(first, last + 1), found
            for seed, values in zip(SEEDS, found, strict=True):
                rows += [
                    (function, name, seed, first + step, f"{value:.5g}")
                    for step, value in enumerate(values)
                ]
            at = found[:, counts - first]
            cells = (f"{m:.3f} ({w:.3f})" for m, w in zip(np.median(at, 0), at.max(0), strict=True))
            lines.append((name, *cells))
        header = (f"{function}, values", *counts)
        tables.append(markdown(header, lines, "l" + "r" * len(counts)))
    labels = {"xlabel": "values", "ylabel": "regret", "yscale": "log"}
    picture = draw("bayesian_optimisation", panels, **labels)
    text = intro(INTRO, "bayesian_optimisation.py") + picture + "\n".join(tables)
    write("bayesian_optimisation", text, ("function", "choice", "seed", "values", "regret"), rows)


if __name__ == "__main__":
    main()
