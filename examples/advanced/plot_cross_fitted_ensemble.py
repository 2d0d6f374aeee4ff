"""
An ensemble of folds, and what its held-out rows tell
=====================================================

`MCDropoutRegressorCV` trains a net for each rate of dropout and each fold, all as one stack. The
rows that a net was not trained on tell how likely they are under its predictions. The nets of all
folds of the best rate are kept, and those of other rates if the rows get likelier under all of them
together; their draws are pooled. The same rows place the intervals (CV+), so that no row is spent.

Run as a script, this saves ``cross_fitted_ensemble.png`` in the working directory.
"""

# %%
# Data that are noisier on the right, and a gap
# ---------------------------------------------
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from sk_mcdropout import MCDropoutRegressor, MCDropoutRegressorCV

rng = np.random.default_rng(0)


def draw(n_rows):
    """Return rows between -4 and 4, but for those between 0 and 1.5."""
    x = rng.uniform(-4, 4, size=n_rows)
    x = x[(x < 0) | (x > 1.5)]
    return x[:, None], np.sin(2 * x) + x + rng.normal(scale=0.1 + 0.1 * (x + 4))


X, y = draw(300)
rates = [0.005, 0.02, 0.1, 0.4]
model = MCDropoutRegressorCV(
    MCDropoutRegressor(max_epochs=200, optimizer__weight_decay=0.01),
    param_grid={"dropout": rates},
    calibration="conformal",
    random_state=0,
)
model.fit(X, y)
pooled = [setting["dropout"] for setting in model.pooled_params_]
print(f"Rates that are pooled, the best first: {pooled}, in all {len(model.estimators_)} nets.")

# %%
# The intervals hold new rows of the same kind
# --------------------------------------------
X_new, y_new = draw(3000)
lower, upper = model.predict_interval(X_new, coverage=0.9).T
print(f"{np.mean((lower <= y_new) & (y_new <= upper)):.1%} of new rows lie in intervals of 90 %.")

# %%
# Score against rate, and the band
# --------------------------------
fig, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
scores = model.cv_results_["mean_test_score"]
error = model.cv_results_["std_test_score"] / np.sqrt(model.n_splits_)
left.errorbar(rates, scores, error, color="#0072B2", marker="o", capsize=3)
left.set(xscale="log", xlabel="rate of dropout", ylabel="log density of held-out rows")
left.set_title("Mean and standard error over 5 folds")

grid = np.linspace(-6, 6, 401)[:, None]
lower, upper = model.predict_interval(grid, coverage=0.9).T
right.fill_between(grid[:, 0], lower, upper, alpha=0.25, color="#0072B2", label="90 % interval")
right.plot(grid, model.predict(grid), color="#0072B2", label="mean")
right.scatter(X, y, s=8, color="black", label="rows")
right.set(xlabel="x", ylabel="y", ylim=(-12, 12))
right.set_title("The ensemble")
right.legend(frameon=False)

if __name__ == "__main__":
    fig.savefig("cross_fitted_ensemble.png", dpi=100)
    print(f"The picture is in {Path('cross_fitted_ensemble.png').resolve()}")
    plt.show()
