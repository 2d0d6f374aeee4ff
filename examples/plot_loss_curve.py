"""
When to stop training
=====================

The loss on held-out rows falls, and rises again once the net overfits. Dropout delays that, and so
does the decay of weights, which by default follows the noise of the target and is switched off
here. The history of a skorch net holds the losses, and a `LossCurveDisplay` plots them. As a
script, this saves ``loss_curve.png`` in the working directory.
"""

# %%
# A net with hardly any dropout, and one with much
# ------------------------------------------------
# ``train_split`` holds out a fifth of the rows of scikit-learn's diabetes data.
from pathlib import Path

import matplotlib.pyplot as plt
from sklearn.datasets import load_diabetes
from skorch.dataset import ValidSplit

from sk_mcdropout import MCDropoutRegressor
from sk_mcdropout.displays import LossCurveDisplay

X, y = load_diabetes(return_X_y=True)


def fit(dropout, **params):
    net = MCDropoutRegressor(
        dropout=dropout,
        optimizer__weight_decay=0.0,
        train_split=ValidSplit(5),
        random_state=0,
        **{"max_epochs": 100, **params},
    )
    return net.fit(X, y)


fig, axes = plt.subplots(1, 2, figsize=(10, 4.5), sharey=True, layout="constrained")
for ax, dropout in zip(axes, [0.02, 0.5], strict=True):
    LossCurveDisplay.from_estimator(fit(dropout), name=f"dropout {dropout}", ax=ax)
    ax.label_outer()

# %%
# Early stopping
# --------------
# The training loss is computed with dropout on, the validation loss with dropout off, so the first
# may be the larger one. With ``early_stopping`` a net watches the second, stops in time, and takes
# the weights that were best.
net = fit(0.5, max_epochs=500, early_stopping=True, n_iter_no_change=15)
print(f"Stopped after {len(net.history_)} of {net.max_epochs_} epochs.")

if __name__ == "__main__":
    fig.savefig("loss_curve.png", dpi=100)
    print(f"The picture is in {Path('loss_curve.png').resolve()}")
    plt.show()
