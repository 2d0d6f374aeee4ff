"""
Kendall & Gal (2017): what more data explain, and what they do not
==================================================================

"What uncertainties do we need in Bayesian deep learning for computer vision?" (NeurIPS 2017,
arXiv:1703.04977) lets a net predict the noise of each row beside its mean, by the likelihood, and
takes the spread of the draws for the rest. Epistemic uncertainty falls as rows are added and is
larger on data of another kind; aleatoric uncertainty stays. So it is here when the rate is learned;
at a fixed rate the epistemic part hardly falls.

As a script, this saves ``kendall_gal_2017.png`` in the working directory.
"""

# %%
# Noise that depends on the row, and more and more rows
# -----------------------------------------------------
# ``criterion__beta=0`` is the likelihood of the paper. Its rate was fixed. Here one net has a fixed
# rate and another learns it, all in about the same number of steps.
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from sk_mcdropout import MCDropoutRegressor

rng = np.random.default_rng(0)


def noise(x):
    """Return the std of the noise, which is largest on the right."""
    return 0.1 + 0.1 * (x + 3)


x = rng.uniform(-3, 3, size=6400)
y = x + np.sin(2 * x) + rng.normal(scale=noise(x))
grid = np.linspace(-6, 6, 241)
inside, outside = np.abs(grid) <= 3, np.abs(grid) > 5

sizes = [100, 800, 6400]
curves = {}
for rate in (0.1, "concrete"):
    for size in sizes:
        net = MCDropoutRegressor(
            module__dropout=rate,
            noise="heteroscedastic",
            criterion__beta=0,
            batch_size=128,
            max_epochs=600 // -(-size // 128),
            random_state=0,
        ).fit(x[:size, None], y[:size])
        curves[rate, size] = net.predict_decomposed(grid[:, None])[1:]

# %%
# The two parts, over x and on average
# ------------------------------------
fig, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
for size, color in zip(sizes, ["#8CBFDE", "#0072B2", "black"], strict=True):
    for ax, curve in zip(axes, curves["concrete", size], strict=False):
        ax.plot(grid, curve, color=color, label=f"{size} rows")
axes[1].plot(grid[inside], noise(grid[inside]), "--", color="#D55E00", label="true noise")
for ax, part in zip(axes, ("epistemic", "aleatoric"), strict=False):
    ax.axvspan(-3, 3, color="0.93", zorder=0)
    ax.set(title=f"{part}, rate learned", xlabel="x", ylabel="std", yscale="log")
for rate, style in {0.1: "o--", "concrete": "o-"}.items():
    name = "rate learned" if rate == "concrete" else f"rate {rate}"
    for i, (part, color) in enumerate({"epistemic": "#0072B2", "aleatoric": "#D55E00"}.items()):
        within, beyond = (
            [curves[rate, size][i][where].mean() for size in sizes] for where in (inside, outside)
        )
        axes[2].plot(sizes, within, style, color=color, label=f"{part}, {name}")
        print(f"{part}, {name}: |x| < 3 {np.round(within, 3)}, |x| > 5 {np.round(beyond, 2)}")
axes[2].set(title="mean over |x| < 3", xlabel="rows", ylabel="std", xscale="log", ylim=(0, None))
for ax in axes:
    ax.legend(frameon=False)

if __name__ == "__main__":
    fig.savefig("kendall_gal_2017.png", dpi=100)
    print(f"The picture is in {Path('kendall_gal_2017.png').resolve()}")
    plt.show()
