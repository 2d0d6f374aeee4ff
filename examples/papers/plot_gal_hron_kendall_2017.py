"""
Gal, Hron & Kendall (2017): a rate that learns itself
=====================================================

"Concrete dropout" (NeurIPS 2017, arXiv:1705.07832) trains the dropout rate of each layer with the
weights; here ``module__dropout="concrete"`` does. The more data there are, the smaller the
epistemic uncertainty, and the rates fall; the noise of y stays.

As a script, this saves ``gal_hron_kendall_2017.png`` in the working directory.
"""

# %%
# The same function, more and more rows
# -------------------------------------
# Each net takes the same number of steps. ``learned_rates_`` has the rate of each layer.
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from sk_mcdropout import MCDropoutRegressor

rng = np.random.default_rng(0)
x = rng.uniform(-3, 3, size=6400)
y = x + np.sin(2 * x) + rng.normal(scale=0.5, size=len(x))
x_new = np.linspace(-3, 3, 101)

sizes = [100, 400, 1600, 6400]
rates, epistemic, aleatoric = [], [], []
for size in sizes:
    net = MCDropoutRegressor(
        module__dropout="concrete",
        noise="heteroscedastic",
        criterion__beta=0,
        max_epochs=1000 // -(-size // 128),
        random_state=0,
    ).fit(x[:size, None], y[:size])
    _, *parts = net.predict_decomposed(x_new[:, None])
    rates.append(list(net.learned_rates_.values()))
    epistemic.append(parts[0].mean())
    aleatoric.append(parts[1].mean())
    print(f"{size:5} rows: rates {np.round(rates[-1], 3)}, epistemic std {epistemic[-1]:.2f}")

# %%
# The rates and the two parts of the std
# --------------------------------------
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), sharex=True, layout="constrained")
styles = [("#0072B2", "o-"), ("#D55E00", "s--")]
for layer, (color, style) in enumerate(styles):
    of_layer = [some[layer] for some in rates]
    left.plot(sizes, of_layer, style, color=color, label=f"after hidden layer {layer + 1}")
for std, label, (color, style) in zip(
    [epistemic, aleatoric], ["epistemic", "aleatoric"], styles, strict=True
):
    right.plot(sizes, std, style, color=color, label=label)
right.axhline(0.5, color="black", lw=1, ls=":", label="true noise")
left.set(xscale="log", xlabel="rows of training", ylabel="learned dropout rate", ylim=(0, None))
right.set(xlabel="rows of training", ylabel="mean std (units of y)", ylim=(0, None))
right.set_xticks(sizes, [str(size) for size in sizes])
right.minorticks_off()
for ax in (left, right):
    ax.legend(frameon=False)

if __name__ == "__main__":
    fig.savefig("gal_hron_kendall_2017.png", dpi=100)
    print(f"The picture is in {Path('gal_hron_kendall_2017.png').resolve()}")
    plt.show()
