"""
Gal & Ghahramani (2016): a series is continued
==============================================

"Dropout as a Bayesian approximation" (ICML 2016, arXiv:1506.02142) continues the CO2 series of
Mauna Loa past its end with nets of ReLU and of tanh. Their figure 2 shows that the std of the
draws keeps growing with ReLU, that with tanh it does not, as tanh saturates, and that of a Gaussian
process returns to its prior. Here is a made-up series: a trend, a cycle and noise.

As a script, this saves ``gal_ghahramani_2016.png`` in the working directory.
"""

# %%
# Ten years of months, and the same nets but for the activation
# -------------------------------------------------------------
# Four hidden layers with a rate of 0.1, nearly as in the paper. Its nets see the time alone, so
# ours get no waves of it (``module__embedding=None``).
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from torch import nn

from sk_mcdropout import MCDropoutRegressor

rng = np.random.default_rng(0)
years = np.arange(120) / 12
series = 0.3 * years + np.sin(2 * np.pi * years / 4) + rng.normal(scale=0.2, size=len(years))


def dropout(activation):
    """Return a net with this activation."""
    return MCDropoutRegressor(
        module__hidden=(100,) * 4,
        module__activation=activation,
        module__dropout=0.1,
        module__embedding=None,
        normalize_X=True,
        batch_size=len(years),
        max_epochs=1500,
        random_state=0,
    )


models = {
    "dropout, ReLU": dropout(nn.ReLU),
    "dropout, tanh": dropout(nn.Tanh),
    "Gaussian process": GaussianProcessRegressor(RBF(1.0), alpha=0.04, normalize_y=True),
}

# %%
# Thirty years on
# ---------------
asked = np.linspace(-10, 40, 501)
fig, axes = plt.subplots(1, 3, figsize=(12, 4), sharex=True, sharey=True, layout="constrained")
for ax, (name, model) in zip(axes, models.items(), strict=True):
    mean, std = model.fit(years[:, None], series).predict(asked[:, None], return_std=True)
    inside = std[(asked > 0) & (asked < 10)].mean()
    beyond = ", ".join(f"{np.interp(10 + more, asked, std):.2f}" for more in (2, 10, 30))
    print(f"{name}: std {inside:.2f} inside; 2, 10 and 30 years on {beyond}")
    ax.fill_between(asked, mean - 2 * std, mean + 2 * std, color="#CFE4F1", label="± 2 std")
    ax.plot(asked, mean, color="#0072B2", lw=2, label="mean")
    ax.plot(years, series, ".", ms=3, color="#D55E00", label="months of training")
    ax.set(title=name, xlabel="year", xlim=(-10, 40))
axes[0].set_ylabel("series")
axes[0].legend(loc="upper left", frameon=False)

if __name__ == "__main__":
    fig.savefig("gal_ghahramani_2016.png", dpi=100)
    print(f"The picture is in {Path('gal_ghahramani_2016.png').resolve()}")
    plt.show()
