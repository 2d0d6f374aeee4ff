"""
Find a minimum with few values
==============================

A function that takes hours to compute is minimised by asking a net, fitted to the values so far,
where it expects the most improvement. As a script, this saves ``bayesian_optimisation.png`` in
the working directory.
"""

# %%
# Hartmann's function of six variables
# ------------------------------------
# Its lowest value in the unit cube is -3.322; nearly everywhere it is close to 0.
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from sk_mcdropout import MCDropoutRegressor
from sk_mcdropout.acquisition import expected_improvement

WIDTHS = [10, 3, 17, 3.5, 1.7, 8, 0.05, 10, 17, 0.1, 8, 14]
WIDTHS += [3, 3.5, 1.7, 10, 17, 8, 17, 8, 0.05, 10, 0.1, 14]
PLACES = [0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886, 0.2329, 0.4135, 0.8307, 0.3736, 0.1004]
PLACES += [0.9991, 0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650, 0.4047, 0.8828, 0.8732, 0.5743]
PLACES += [0.1091, 0.0381]


def hartmann(x):
    squares = np.reshape(WIDTHS, (4, 6)) * (x[..., None, :] - np.reshape(PLACES, (4, 6))) ** 2
    return -np.exp(-squares.sum(axis=-1)) @ [1.0, 1.2, 3.0, 3.2]


rng = np.random.default_rng(0)
X = rng.uniform(size=(20, 6))
y = hartmann(X)

# %%
# Thirty values where they promise most
# -------------------------------------
# The function has no noise, so the weights need not decay. Half of the candidates lie anywhere, the
# other half near the best place so far.
net = MCDropoutRegressor(
    module__dropout=0.05,
    module__embedding=None,
    optimizer__weight_decay=0.0,
    lr=0.01,
    max_epochs=200,
    random_state=0,
)
for _ in range(30):
    near = X[y.argmin()] + rng.normal(scale=0.1, size=(500, 6))
    candidates = np.concatenate([rng.uniform(size=(500, 6)), near.clip(0, 1)])
    scores = expected_improvement(net.fit(X, y), candidates, y.min(), maximize=False)
    chosen = candidates[[scores.argmax()]]
    X, y = np.concatenate([X, chosen]), np.append(y, hartmann(chosen))

# %%
# The lowest value so far, beside searches at random
# --------------------------------------------------
at_random = np.minimum.accumulate(hartmann(rng.uniform(size=(1000, 50, 6))), axis=1)
low, middle, high = np.quantile(at_random, [0.1, 0.5, 0.9], axis=0)
counts = np.arange(1, 51)
fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
ax.scatter(counts, y, s=14, color="#0072B2", label="asked for, 20 at random first", zorder=3)
ax.step(counts, np.minimum.accumulate(y), where="post", color="#0072B2", label="the net's lowest")
ax.step(counts, middle, where="post", color="#D55E00", label="lowest at random, median")
ax.fill_between(counts, low, high, step="post", color="#F5D5C0", label="8 of 10 of them", zorder=0)
ax.axhline(-3.32237, color="black", ls=":", label="minimum")
ax.set(xlabel="values", ylabel="Hartmann's function", ylim=(-3.6, 0.1))
ax.legend(frameon=False, loc="lower left", fontsize="small", bbox_to_anchor=(0, 0.05))
print(f"The net found {y.min():.2f}; half of the searches at random {middle[-1]:.2f} or less")

if __name__ == "__main__":
    fig.savefig("bayesian_optimisation.png", dpi=100)
    print(f"The picture is in {Path('bayesian_optimisation.png').resolve()}")
    plt.show()
