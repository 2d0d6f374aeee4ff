"""
Foong et al. (2020): no more doubt between the data than at their ends
======================================================================

Foong, Burt, Li & Turner (2020, NeurIPS, arXiv:1909.00719) prove that a net of one hidden layer of
ReLUs cannot doubt in between. The variance of its draws is a sum of squared ReLUs of x, so it is
convex, and between two clusters of data it never exceeds the larger of its values at their ends.
Deeper nets can, they prove, but often do not when trained. Here a deeper net and an ensemble do,
and far less than a Gaussian process.

As a script, this saves ``foong_2020.png`` in the working directory.
"""

# %%
# Two clusters, and models that are asked about the gap
# -----------------------------------------------------
# The nets of the first two see x alone. The third is an ensemble of the default net, which joins
# each column by waves of it: its hidden units are no ReLUs of x, so the theorem does not bind them.
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel

from sk_mcdropout import MCDropoutRegressor, MCDropoutRegressorCV

rng = np.random.default_rng(0)
x = np.concatenate([rng.uniform(-3, -1.5, size=50), rng.uniform(1.5, 3, size=50)])
y = np.sin(x) + rng.normal(scale=0.1, size=len(x))


def dropout(**params):
    """Return a net that is trained for 800 steps, a batch being all rows."""
    return MCDropoutRegressor(dropout=0.05, batch_size=len(x), max_epochs=800).set_params(**params)


shallow = dropout(module__hidden=(100,), module__embedding=None, n_draws=1000, random_state=0)
deep = dropout(module__hidden=(100,) * 3, module__embedding=None, n_draws=1000, random_state=0)
models = {
    "one hidden layer": shallow,
    "three hidden layers": deep,
    "5 nets, with waves of x": MCDropoutRegressorCV(
        dropout(), param_grid={}, noise=None, n_draws=1000, random_state=0
    ),
    "Gaussian process": GaussianProcessRegressor(ConstantKernel() * RBF(), alpha=0.1**2),
}

# %%
# How sure they are between the clusters
# --------------------------------------
grid = np.linspace(-5, 5, 401)
gap, ends = np.abs(grid) < 1, np.searchsorted(grid, [-1.5, 1.5])
fig, axes = plt.subplots(2, 4, figsize=(12, 5), sharex=True, sharey="row", layout="constrained")
for (upper, lower), (name, model) in zip(axes.T, models.items(), strict=True):
    mean, std = model.fit(x[:, None], y).predict(grid[:, None], return_std=True)
    upper.fill_between(grid, mean - 2 * std, mean + 2 * std, color="#8CBFDE", lw=0)
    upper.plot(grid, mean, color="#0072B2")
    upper.scatter(x, y, s=6, color="#D55E00", lw=0, zorder=3)
    upper.set(title=name, ylim=(-4, 4))
    lower.plot(grid, std, color="#0072B2")
    lower.axvspan(-1.5, 1.5, color="0.93", zorder=0)
    lower.set(xlabel="x", yscale="log")
    print(f"{name}: std {std[ends].max():.3f} at the ends of the gap, {std[gap].max():.3f} inside")
axes[0, 0].set_ylabel("y, mean ± 2 std")
axes[1, 0].set_ylabel("std; the gap is grey")

if __name__ == "__main__":
    fig.savefig("foong_2020.png", dpi=100)
    print(f"The picture is in {Path('foong_2020.png').resolve()}")
    plt.show()
