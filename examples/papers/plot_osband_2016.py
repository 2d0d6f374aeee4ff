"""
Osband (2016): a fixed rate is no posterior
===========================================

"Risk versus uncertainty in deep learning: Bayes, bootstrap and the dangers of dropout" (workshop
on Bayesian deep learning, NIPS 2016) objects that the spread of draws of a fixed rate does not
shrink as rows are added: it is a property of the rate, and not of what is left to be known. A rate
that is learned follows the rows some of the way, and rows held out can give the spread a factor.

As a script, this saves ``osband_2016.png`` in the working directory.
"""

# %%
# The same function, more and more rows
# -------------------------------------
# All nets take about the same number of steps.
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from sk_mcdropout import MCDropoutRegressor

rng = np.random.default_rng(0)


def truth(x):
    """Return the function that is to be learned."""
    return x + np.sin(2 * x)


x = rng.uniform(-3, 3, size=8400)
y = truth(x) + rng.normal(scale=0.5, size=len(x))
x_held_out, y_held_out = x[6400:], y[6400:]
grid = np.linspace(-3, 3, 101)
sizes = [100, 800, 6400]

# %%
# The std of the function, and the error that it is to tell
# ---------------------------------------------------------
# Of a std of the function one may ask that it is as large as the error of the mean. By
# ``method="parts"``, `calibrate` gives a factor to the spread and another to the noise.


def rms(values):
    """Return the root mean square."""
    return np.sqrt(np.mean(np.square(values)))


fig, axes = plt.subplots(1, 3, figsize=(12, 4), sharex=True, sharey=True, layout="constrained")
rates = {"rate 0.3": 0.3, "rate 0.05": 0.05, "rate learned": "concrete"}
for ax, (name, rate) in zip(axes, rates.items(), strict=True):
    lines = {"std of the function": [], "the same, calibrated": [], "error of the mean": []}
    for size in sizes:
        net = MCDropoutRegressor(
            module__dropout=rate,
            noise=0.5,
            batch_size=128,
            max_epochs=500 // -(-size // 128),
            random_state=0,
        ).fit(x[:size, None], y[:size])
        mean, std, _ = net.predict_decomposed(grid[:, None])
        net.calibrate(x_held_out[:, None], y_held_out, method="parts")
        _, calibrated, _ = net.predict_decomposed(grid[:, None])
        for line, values in zip(lines.values(), (std, calibrated, mean - truth(grid)), strict=True):
            line.append(rms(values))
    for (label, line), style in zip(lines.items(), ("o-", "^:", "s--"), strict=True):
        ax.plot(sizes, line, style, label=label)
        print(f"{name}, {label}: {np.round(line, 3)}")
    ax.set(xscale="log", yscale="log", title=name, xlabel="rows of training")
axes[0].set_ylabel("root mean square (units of y)")
axes[2].legend(frameon=False, loc="lower left")

if __name__ == "__main__":
    fig.savefig("osband_2016.png", dpi=100)
    print(f"The picture is in {Path('osband_2016.png').resolve()}")
    plt.show()
