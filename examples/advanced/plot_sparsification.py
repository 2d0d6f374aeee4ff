"""
Are the errors large where the std is?
======================================

When the least certain predictions are left to a person, the error of the others should fall. A
`SparsificationDisplay` shows by how much it does. As a script, this saves ``sparsification.png``
in the working directory.
"""

# %%
# A function that is harder to learn, and to measure, in some places
# ------------------------------------------------------------------
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_friedman1
from sklearn.model_selection import train_test_split

from sk_mcdropout import MCDropoutRegressor
from sk_mcdropout.displays import SparsificationDisplay

rng = np.random.default_rng(0)
X, y = make_friedman1(n_samples=1500, random_state=0)
y += rng.normal(scale=4 * X[:, 4])
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)

# %%
# Two nets
# --------
# The std of the first is the spread of its draws; that of the second also holds the noise, which
# the net predicts for each row.
net = {"module__dropout": 0.1, "max_epochs": 60, "random_state": 0}
models = {
    "draws alone": MCDropoutRegressor(**net),
    "draws and noise of each row": MCDropoutRegressor(noise="heteroscedastic", **net),
}

# %%
# The curves, and the errors row by row
# -------------------------------------
# The oracle leaves out the largest errors first. No std can do that, as errors are partly random.
# So the area is compared between models, rather than with 0. The right plot shows what the curve
# does not: whether the std is also of the right size.
fig, axes = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")
for name, model in models.items():
    model.fit(X_train, y_train)
    display = SparsificationDisplay.from_estimator(model, X_test, y_test, name=name, ax=axes[0])
    print(f"{name}: AUSE {display.area:.3f}")
    display.plot(ax=axes[1], kind="error_vs_std")

if __name__ == "__main__":
    fig.savefig("sparsification.png", dpi=100)
    print(f"The picture is in {Path('sparsification.png').resolve()}")
    plt.show()
