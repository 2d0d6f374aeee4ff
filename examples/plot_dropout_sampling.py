"""
Where the net is unsure
=======================

A net is trained on [-3, 3] and asked about [-6, 6]. Dropout stays on while it answers: each draw
is one thinned net, a function of x. Where there were data the draws agree; outside they part, and
their standard deviation says so. As a script, this saves ``dropout_sampling.png`` in the working
directory, or in the file whose path is given.
"""

# %%
# Noisy values of a smooth function, seen on [-3, 3] only
# -------------------------------------------------------
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from sk_mcdropout import MCDropoutRegressor

rng = np.random.default_rng(0)


def truth(x):
    return x + np.sin(2 * x)


x_train = rng.uniform(-3, 3, size=200)
y_train = truth(x_train) + rng.normal(scale=0.2, size=200)

# %%
# Train, then predict on twice the range
# --------------------------------------
net = MCDropoutRegressor(
    module__hidden=(100, 100),
    module__dropout=0.2,
    lr=0.005,
    max_epochs=200,
    batch_size=32,
    random_state=0,
)
net.fit(x_train[:, None], y_train)

x = np.linspace(-6, 6, 401)
mean, std = net.predict(x[:, None], return_std=True)
draws = net.draws(x[:, None])

# %%
# How much less sure is the net where it saw nothing?
# ---------------------------------------------------
std_inside = std[np.abs(x) < 2].mean()
std_outside = std[np.abs(x) > 4].mean()
ratio = std_outside / std_inside
print(f"Mean std for |x| < 2: {std_inside:.2f}, for |x| > 4: {std_outside:.2f}.")
print(f"Outside its data the net is {ratio:.1f} times less sure.")

# %%
# The bands hold the epistemic uncertainty, not the noise of y. They are no promise either: how
# fast they widen follows from what the net learned. This function climbs on both sides; after a
# flat end the draws would part less, or not at all.
blue, light, lighter, orange = "#0072B2", "#8CBFDE", "#CFE4F1", "#D55E00"
fig, ax = plt.subplots(figsize=(8, 4.5), layout="constrained")
ax.axvspan(-3, 3, color="0.95", label="range of training")
ax.fill_between(x, mean - 2 * std, mean + 2 * std, color=lighter, lw=0, label="± 2 std")
ax.fill_between(x, mean - std, mean + std, color=light, lw=0, label="± 1 std")
lines = ax.plot(x, draws[:12].T, color="0.3", lw=0.6)
lines[0].set_label("12 of 100 draws")
ax.scatter(x_train, y_train, s=10, color=orange, lw=0, label="training data", zorder=3)
ax.plot(x, mean, color=blue, lw=2, label="mean of draws", zorder=4)
ax.plot(x, truth(x), color="black", ls="--", lw=1.5, label="true function", zorder=4)
ax.set(xlabel="x", ylabel="y", xlim=(-6, 6), title="A net that saw [-3, 3], asked about [-6, 6]")
ax.legend(loc="upper left", frameon=False, handlelength=1.5)

if __name__ == "__main__":
    picture = Path(sys.argv[1] if len(sys.argv) > 1 else "dropout_sampling.png").resolve()
    fig.savefig(picture, dpi=100)
    print(f"The picture is in {picture}")
    plt.show()
