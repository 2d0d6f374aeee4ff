"""
Beside a Gaussian process
=========================

``MCDropoutRegressor`` answers the call that ``GaussianProcessRegressor`` answers,
``predict(X, return_std=True)``. The two are drawn on the same axes and then measured on
scikit-learn's diabetes data. As a script, this saves ``compare_gaussian_process.png`` in the
working directory.
"""

# %%
# One function, two models
# ------------------------
# The process is told the noise by ``alpha``, which keeps it out of the std. So both bands are of
# the function, without the noise of y.
from pathlib import Path
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_mcdropout import MCDropoutRegressor

rng = np.random.default_rng(0)
x_seen = rng.uniform(-3, 3, size=100)
y_seen = x_seen + np.sin(2 * x_seen) + rng.normal(scale=0.2, size=100)
x = np.linspace(-6, 6, 401)
models = {
    "Monte-Carlo dropout": MCDropoutRegressor(module__dropout=0.2, batch_size=32, random_state=0),
    "Gaussian process": GaussianProcessRegressor(ConstantKernel() * RBF(), alpha=0.2**2),
}
fig, axes = plt.subplots(1, 2, figsize=(9, 4), sharex=True, sharey=True, layout="constrained")
for ax, (name, model) in zip(axes, models.items(), strict=True):
    mean, std = model.fit(x_seen[:, None], y_seen).predict(x[:, None], return_std=True)
    ax.fill_between(x, mean - 2 * std, mean + 2 * std, color="#CFE4F1", label="± 2 std")
    ax.plot(x, mean, color="#0072B2", lw=2, label="mean")
    ax.plot(x, x + np.sin(2 * x), color="black", ls="--", label="true function")
    ax.scatter(x_seen, y_seen, s=10, color="#D55E00", lw=0, label="training data", zorder=3)
    ax.set(title=name, xlabel="x", ylabel="y", xlim=(-6, 6))
axes[0].legend(loc="upper left", frameon=False)

# %%
# On real data
# ------------
# New y hold noise. So does the std of this process, by its ``WhiteKernel``, and that of the net
# with ``noise="estimate"``, found on cross-validated errors. The rate, 0.5, is what a grid search
# on the training rows finds.
X, y = load_diabetes(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.3, random_state=0)
net = MCDropoutRegressor(module__dropout=0.5, noise="estimate", max_epochs=30, random_state=0)
process = GaussianProcessRegressor(ConstantKernel() * RBF() + WhiteKernel(), normalize_y=True)

for name, model in zip(models, [net, process], strict=True):
    pipe = make_pipeline(StandardScaler(), model)
    start = perf_counter()
    mean, std = pipe.fit(X_train, y_train).predict(X_test, return_std=True)
    seconds = perf_counter() - start
    noise = net.noise_std_ if model is net else model.kernel_.k2.noise_level**0.5 * y_train.std()
    spreads = {"the function": np.sqrt(std**2 - noise**2), "new y": std}
    rmse = np.sqrt(np.mean((y_test - mean) ** 2))
    print(f"{name}: RMSE {rmse:.1f}, fitted and asked in {seconds:.2f} s")
    for of, spread in spreads.items():
        held = np.mean(np.abs(y_test - mean) <= 1.96 * spread)
        print(f"  std of {of}: {spread.mean():.1f} on average, ± 1.96 std hold {held:.0%} of y")

if __name__ == "__main__":
    fig.savefig("compare_gaussian_process.png", dpi=100)
    print(f"The picture is in {Path('compare_gaussian_process.png').resolve()}")
    plt.show()
