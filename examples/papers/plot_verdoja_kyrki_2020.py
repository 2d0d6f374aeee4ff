"""
Verdoja & Kyrki (2020): the spread depends on the net
=====================================================

"Notes on the behavior of MC dropout" (arXiv:2008.02627) warns that the spread of the draws hangs on
choices of architecture and training. A linear layer of K units, dropped at a rate p and trained to
its optimum, shares the answer evenly among its units: the std of the draws is then the mean times
``sqrt(p / (1 - p) / K)``, whatever the data and their noise. Nets of ReLU on real data follow no
such formula; their spread, too, falls with the width.

As a script, this saves ``verdoja_kyrki_2020.png`` in the working directory.
"""

# %%
# Linear nets, by their formula and as they are trained
# -----------------------------------------------------
# All units start as the column itself. The weights get as small as 1 / K, and so does the step.
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split
from torch import nn

from sk_mcdropout import MCDropoutRegressor, mean_and_std


def linear_net(width, rate):
    """Return a net of one linear hidden layer without biases."""
    first, last = nn.Linear(1, width, bias=False), nn.Linear(width, 1, bias=False)
    nn.init.ones_(first.weight)
    nn.init.normal_(last.weight, std=1 / width, generator=torch.Generator().manual_seed(0))
    return nn.Sequential(first, nn.Dropout(rate), last)


rng = np.random.default_rng(0)
x = rng.normal(size=(1000, 1)).astype("float32")
y = (2 * x + rng.normal(size=x.shape)).astype("float32")
settings = {"normalize_y": False, "max_epochs": 60, "random_state": 0}
widths, found = np.array([10, 40, 160, 640]), {}
for rate in (0.05, 0.2, 0.5):
    found[rate] = []
    for width in widths:
        net = MCDropoutRegressor(linear_net(width, rate), lr=0.1 / width, **settings).fit(x, y)
        mean, std = mean_and_std(net.module_, torch.ones(1, 1), 10_000, seed=0)
        found[rate].append(float(std / mean))

# %%
# Beside nets of ReLU, on the same rows of real data at the same rate
# -------------------------------------------------------------------
fig, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for (rate, drawn), color in zip(found.items(), ("C0", "C2", "C3"), strict=True):
    formula = np.sqrt(rate / (1 - rate) / widths)
    left.loglog(widths, formula, color, label=f"rate {rate}")
    left.loglog(widths, drawn, color + "o")
    print(f"rate {rate}: std / mean of draws {np.round(drawn, 3)}, formula {np.round(formula, 3)}")
X, y = load_diabetes(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.5, random_state=0)
for depth, style in {1: "o-", 2: "s--", 3: "^:"}.items():
    stds = []
    for width in (20, 80, 320):
        net = MCDropoutRegressor(dropout=0.2, max_epochs=40, random_state=0)
        net.set_params(module__hidden=(width,) * depth).fit(X_train, y_train)
        mean, std = net.predict(X_test, return_std=True)
        stds.append(std.mean())
        error = np.sqrt(np.mean((y_test - mean) ** 2))
        print(f"depth {depth}, width {width}: mean std {stds[-1]:.1f}, RMSE {error:.1f}")
    right.plot(["20", "80", "320"], stds, style, label=f"depth {depth}")
left.set(title="Linear nets: formula and draws", ylabel="std / mean")
right.set(title="ReLU, diabetes, rate 0.2", ylabel="mean std")
for ax in (left, right):
    ax.set_xlabel("width")
    ax.legend(frameon=False)

if __name__ == "__main__":
    fig.savefig("verdoja_kyrki_2020.png", dpi=100)
    print(f"The picture is in {Path('verdoja_kyrki_2020.png').resolve()}")
    plt.show()
