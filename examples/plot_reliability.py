"""
Coverage of prediction intervals
================================

An interval of coverage 0.9 should hold 90 % of new y. A `ReliabilityDisplay` shows how many it
does hold, for many coverages at once, on scikit-learn's diabetes data. As a script, this saves
``reliability.png`` in the working directory.
"""

# %%
# Rows to train on, rows to calibrate on, rows to test on
# -------------------------------------------------------
from pathlib import Path

import matplotlib.pyplot as plt
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.model_selection import train_test_split

from sk_mcdropout import MCDropoutRegressor
from sk_mcdropout.displays import ReliabilityDisplay

X, y = load_diabetes(return_X_y=True)
X = X / X.std(axis=0)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.4, random_state=0)
X_train, X_held, y_train, y_held = train_test_split(X_train, y_train, random_state=0)

# %%
# Three nets and a Gaussian process
# ---------------------------------
# The spread of the draws is epistemic uncertainty, so intervals of it alone hold too few y, as the
# net warns. With ``noise="estimate"`` the noise is estimated on rows held out of training. Or
# ``calibrate`` widens all intervals until they hold as many held-out rows as they should.
net = MCDropoutRegressor(dropout=0.3, max_epochs=60, random_state=0)
process = GaussianProcessRegressor(ConstantKernel() * RBF() + WhiteKernel(), normalize_y=True)
models = {
    "draws alone": clone(net).fit(X_train, y_train),
    "draws and noise": clone(net).set_params(noise="estimate").fit(X_train, y_train),
    "draws, calibrated": clone(net).fit(X_train, y_train).calibrate(X_held, y_held, "conformal"),
    "Gaussian process": process.fit(X_train, y_train),
}

# %%
# Observed against nominal coverage
# ---------------------------------
# A curve inside the grey band may lie off the diagonal by chance. The band is that of the test
# rows; the rows calibrated on are fewer still, so that this curve may leave it.
fig, ax = plt.subplots(figsize=(6, 6), layout="constrained")
for name, model in models.items():
    display = ReliabilityDisplay.from_estimator(model, X_test, y_test, name=name, ax=ax)
    observed = dict(zip(display.nominal.round(2), display.observed, strict=True))
    print(f"{name}: intervals for 90 % hold {observed[0.9]:.0%} of y")

if __name__ == "__main__":
    fig.savefig("reliability.png", dpi=100)
    print(f"The picture is in {Path('reliability.png').resolve()}")
    plt.show()
