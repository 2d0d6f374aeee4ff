"""
What does a classifier not know?
================================

Two classes overlap, and a third kind of rows was never seen. Four displays ask whether the
probabilities of an `MCDropoutClassifier` come true, and whether it is unsure where it should be. As
a script, this saves ``classifier_uncertainty.png`` in the working directory.
"""

# %%
# Two classes that overlap, and rows of another kind
# --------------------------------------------------
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_moons
from sklearn.model_selection import train_test_split

from sk_mcdropout import MCDropoutClassifier
from sk_mcdropout.displays import (
    AccuracyRejectionDisplay,
    ClassReliabilityDisplay,
    UncertaintyHistogramDisplay,
    UncertaintySurfaceDisplay,
)

X, y = make_moons(2400, noise=0.3, random_state=0)
y = np.where(y == 1, "lower", "upper")
X_train, X_test, y_train, y_test = train_test_split(X, y, train_size=300, random_state=0)
X_held, X_test, y_held, y_test = train_test_split(X_test, y_test, train_size=300, random_state=0)
X_unknown = np.random.default_rng(0).normal((4.5, 3.5), 0.6, size=(300, 2))

# %%
# The net, and where it is unsure
# -------------------------------
# What the draws do not agree on, the mutual information, is greatest where the boundary runs on
# into places without data. Rows that appear there are told from known ones. Those that appear
# elsewhere need not be: put ``X_unknown`` around (0.5, 4), and the AUROC falls to nearly 0, as all
# draws are sure of the same class there.
net = MCDropoutClassifier(dropout=0.3, max_epochs=60, random_state=0).fit(X_train, y_train)

# %%
# Whether its probabilities come true, and which errors it foresees
# -----------------------------------------------------------------
# Where the classes overlap no net is always right, and it should say so. This one is right a little
# more often than it says. ``calibrate`` finds a temperature on held-out rows that mends this. It
# hardly changes the order of the rows: when those of highest entropy are left to a person, most
# errors go with them.
fig, axes = plt.subplots(2, 2, figsize=(11, 10), layout="constrained")
X_all, y_all = np.r_[X_train, X_unknown], np.r_[y_train, ["unknown"] * 300]
UncertaintySurfaceDisplay.from_estimator(
    net, X_all, y_all, uncertainty="mutual_information", ax=axes[0, 0]
)
histogram = UncertaintyHistogramDisplay.from_estimator(
    net, X_test, X_unknown, uncertainty="mutual_information", ax=axes[0, 1]
)
print(f"Unknown rows are told by the mutual information with an AUROC of {histogram.auroc:.3f}")

options = {"X": X_test, "y": y_test, "ax": axes[1, 0]}
before = ClassReliabilityDisplay.from_estimator(net, name="as trained", **options)
net.calibrate(X_held, y_held)
after = ClassReliabilityDisplay.from_estimator(net, name="calibrated", **options)
rejection = AccuracyRejectionDisplay.from_estimator(net, X_test, y_test, ax=axes[1, 1])
print(f"Expected calibration error: {before.error:.3f}, calibrated {after.error:.3f}")
for rejected in (0, 20, 40):
    print(f"Accuracy when {rejected} % are rejected: {rejection.accuracy[rejected]:.1%}")

if __name__ == "__main__":
    fig.savefig("classifier_uncertainty.png", dpi=100)
    print(f"The picture is in {Path('classifier_uncertainty.png').resolve()}")
    plt.show()
