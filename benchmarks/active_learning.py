"""Count the labels that digits take when they are chosen, and when they are not.

``python benchmarks/active_learning.py`` labels scikit-learn's digits in batches, at random, by
BALD and by BatchBALD, and writes ``active_learning.md``, its picture and ``active_learning.csv``
beside this file.
"""

import numpy as np
from _report import draw, intro, markdown, write
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sk_mcdropout import MCDropoutClassifier
from sk_mcdropout.acquisition import batch_bald, mutual_information

BATCH, SHOWN, MOST, GOAL, SEEDS = 20, 260, 600, 0.95, range(5)
COUNTS = (60, 100, 140, 200, 260)
SETTINGS = {
    "module__dropout": 0.3,
    "module__embedding": None,
    "normalize_X": False,
    "optimizer__weight_decay": 0.01,
    "max_epochs": 50,
}
CHOICES = {
    "random": lambda net, pool, rng: rng.permutation(len(pool))[:BATCH],
    "BALD": lambda net, pool, rng: np.argsort(-mutual_information(net, pool))[:BATCH],
    "BatchBALD": lambda net, pool, rng: batch_bald(net, pool, BATCH, random_state=rng),
}
INTRO = f"""\
# Active learning on scikit-learn's digits

{BATCH} rows, chosen at random, are labelled first, then {BATCH} at a time of the rest of 1,078,
by three choices; the other 719 rows are tested. Median accuracy over {len(SEEDS)} seeds, and the
labels at which {GOAL:.0%} was reached first, in the median and for each seed. The nets have
{", ".join(f"`{name}={value!r}`" for name, value in SETTINGS.items())}; pixels are divided by 16.
"""


def accuracies(choose, seed):
    """Return the accuracy on the test rows after each batch of labels."""
    X, y = load_digits(return_X_y=True)
    parts = train_test_split(X / 16, y, test_size=0.4, stratify=y, random_state=seed)
    X_train, X_test, y_train, y_test = parts
    rng = np.random.RandomState(seed)
    order = rng.permutation(len(X_train))
    known, pool, scores = order[:BATCH], order[BATCH:], []
    while True:
        net = MCDropoutClassifier(random_state=seed, classes=range(10), **SETTINGS)
        net.fit(X_train[known], y_train[known])
        scores.append(net.score(X_test, y_test))
        if len(known) == MOST or (len(known) >= SHOWN and max(scores) >= GOAL):
            return scores
        chosen = choose(net, X_train[pool], rng)
        known, pool = np.append(known, pool[chosen]), np.delete(pool, chosen)


def needed(scores):
    """Return the number of labels at which the goal is reached first."""
    reached = np.flatnonzero(np.array(scores) >= GOAL)
    return BATCH * (reached[0] + 1) if len(reached) else np.inf


def main():
    """Run the study and write the table."""
    found, rows = {}, []
    for name, choose in CHOICES.items():
        for seed in SEEDS:
            found[name, seed] = accuracies(choose, seed)
            print(name, seed, needed(found[name, seed]), flush=True)
    for (name, seed), scores in found.items():
        rows += [(name, seed, BATCH * n, f"{s:.4f}") for n, s in enumerate(scores, start=1)]
    lines = []
    for name in CHOICES:
        labels = [needed(found[name, seed]) for seed in SEEDS]
        told = [f"over {MOST}" if count == np.inf else f"{count:.0f}" for count in labels]
        middle = np.median(labels)
        middle = f"over {MOST}" if middle == np.inf else f"**{middle:.0f}**"
        median = np.median([found[name, seed][: SHOWN // BATCH] for seed in SEEDS], axis=0)
        some = (f"{median[n // BATCH - 1]:.3f}" for n in COUNTS)
        lines.append((name, middle, ", ".join(told), *some))
    counts = BATCH * np.arange(1, SHOWN // BATCH + 1)
    curves = {
        name: (counts, [100 * np.array(found[name, seed][: len(counts)]) for seed in SEEDS])
        for name in CHOICES
    }
    labels = {"xlabel": "labels", "ylabel": "accuracy on other digits, %"}
    picture = draw("active_learning", {"": curves}, ylim=(50, 100), **labels)
    columns = ("choice", f"labels to {GOAL:.0%}", "each seed", *COUNTS)
    text = intro(INTRO, "active_learning.py") + picture + markdown(columns, lines, "lrlrrrrr")
    write("active_learning", text, ("choice", "seed", "labels", "accuracy"), rows)


if __name__ == "__main__":
    main()
