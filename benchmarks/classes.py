"""Compare the classifier, and decays of its weights, with scikit-learn's on rows held out.

``python benchmarks/classes.py`` predicts each half of scikit-learn's sets, and of two that it
generates with flipped labels, from the other half, and writes ``classes.md`` and ``classes.csv``
beside this file.
"""

import argparse
import warnings
from functools import partial

import numpy as np
from _report import intro, markdown, write
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.datasets import (
    load_breast_cancer,
    load_digits,
    load_iris,
    load_wine,
    make_classification,
)
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_mcdropout import MCDropoutClassifier, MCDropoutClassifierCV

flipped = partial(make_classification, random_state=0)
SETS = {
    "iris": partial(load_iris, return_X_y=True),
    "wine": partial(load_wine, return_X_y=True),
    "breast cancer": partial(load_breast_cancer, return_X_y=True),
    "digits": partial(load_digits, return_X_y=True),
    "600 rows, 20 % flipped": partial(flipped, 600, 10, n_informative=5, flip_y=0.2),
    "4,000 rows, 10 % flipped": partial(flipped, 4000, 20, n_informative=8, flip_y=0.1),
}
net = MCDropoutClassifier(random_state=0)
scaled = partial(make_pipeline, StandardScaler())
MODELS = {
    "the default": net,
    "`MCDropoutClassifierCV`": MCDropoutClassifierCV(random_state=0),
    **{
        f"decay {decay:g}": clone(net).set_params(optimizer__weight_decay=decay)
        for decay in (0.01, 0.3, 1.0, 3.0)
    },
    "`MLPClassifier`": scaled(MLPClassifier(max_iter=1000, random_state=0)),
    "`LogisticRegression`": scaled(LogisticRegression(max_iter=1000)),
    "`RandomForestClassifier`": RandomForestClassifier(random_state=0),
}
INTRO = """\
# Classes, and the decay of weights

Log loss, and accuracy in brackets, of rows held out: each half of a set is predicted from the
other one. The default decay of the classifier is 1,000 by the number of rows, 3 at most;
`MCDropoutClassifierCV` chooses it, and the rate, by its own folds of the rows of training. Nothing
else is set. scikit-learn's nets and linear models get scaled columns.
"""


def scores(model, load):
    """Return log loss and accuracy of the predictions of each half from the other."""
    warnings.simplefilter("ignore")
    X, y = load()
    halves = StratifiedKFold(2, shuffle=True, random_state=0)
    proba = cross_val_predict(clone(model), X, y, cv=halves, method="predict_proba")
    return log_loss(y, proba), np.mean(proba.argmax(axis=1) == y)


def main():
    """Run the comparison and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    pairs = [(name, model) for name in SETS for model in MODELS]
    run = Parallel(n_jobs=args.jobs, verbose=10)
    found = run(delayed(scores)(MODELS[model], SETS[name]) for name, model in pairs)
    table = [
        (*pair, *(f"{score:.4f}" for score in both))
        for pair, both in zip(pairs, found, strict=True)
    ]
    by_pair = dict(zip(pairs, found, strict=True))
    lines = [
        (model, *("{:.3f} ({:.3f})".format(*by_pair[name, model]) for name in SETS))
        for model in MODELS
    ]
    text = intro(INTRO, "classes.py") + markdown(("model", *SETS), lines, "l" + "r" * len(SETS))
    write("classes", text, ("set", "model", "log_loss", "accuracy"), table)


if __name__ == "__main__":
    main()
