"""
Which digits to label next
==========================

A net that has seen 20 digits says by `batch_bald` which ones it would learn most from. Twenty more
are labelled each time, and as many at random for comparison. One start tells little of the
difference: ``benchmarks/active_learning.md`` has five. As a script, this saves
``active_learning.png`` in the working directory.
"""

# %%
# Digits whose labels are not asked for yet
# -----------------------------------------
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sk_mcdropout import MCDropoutClassifier
from sk_mcdropout.acquisition import batch_bald

X, y = load_digits(return_X_y=True)
X_pool, X_test, y_pool, y_test = train_test_split(X / 16, y, train_size=1000, random_state=0)
first = np.arange(20)

# %%
# Two ways to choose
# ------------------
# The classes are named, as the first labels may lack some. A pixel needs no scaling, and few rows
# no decay of weights: what the net does not know is for the draws to tell.
net = MCDropoutClassifier(
    module__dropout=0.3,
    module__embedding=None,
    normalize_X=False,
    optimizer__weight_decay=0.01,
    max_epochs=60,
    n_draws=50,
    classes=range(10),
    random_state=0,
)
rng = np.random.RandomState(0)
choices = {
    "BatchBALD": lambda left: batch_bald(net, X_pool[left], 20, max_outcomes=300, random_state=rng),
    "random": lambda left: rng.permutation(len(left))[:20],
}

# %%
# Label, train, ask again
# -----------------------
fig, (curves, digits) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for name, choose in choices.items():
    known, scores = first, []
    for _ in range(8):
        scores.append(net.fit(X_pool[known], y_pool[known]).score(X_test, y_test))
        left = np.setdiff1d(np.arange(len(X_pool)), known)
        known = np.append(known, left[choose(left)])
    curves.plot(20 * np.arange(1, 9), scores, marker="o", label=name)
    print(f"{name}: {scores[0]:.1%} correct with 20 labels, {scores[-1]:.1%} with 160")
    if name == "BatchBALD":
        asked = X_pool[known[20:60]].reshape(4, 10, 8, 8)
curves.set(xlabel="labels", ylabel="accuracy on other digits", title="What labels are worth")
curves.legend(frameon=False, loc="lower right")
digits.imshow(
    np.pad(asked, ((0, 0), (0, 0), (1, 1), (1, 1))).swapaxes(1, 2).reshape(40, 100), "Greys"
)
digits.set(title="The first 40 digits that BatchBALD asks for", xticks=[], yticks=[])

if __name__ == "__main__":
    fig.savefig("active_learning.png", dpi=100)
    print(f"The picture is in {Path('active_learning.png').resolve()}")
    plt.show()
