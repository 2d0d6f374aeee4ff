"""
Search for the rate of dropout
==============================

The rate is a parameter like any other. A grid search over a pipeline finds it by cross-validation
on scikit-learn's diabetes data. The parameter ``dropout`` sets the rate of every dropout layer,
so the same search works with a net of your own.

Run as a script, this saves ``grid_search_dropout_rate.png`` in the working directory.
"""

# %%
# A pipeline, a grid, a search
# ----------------------------
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_mcdropout import MCDropoutRegressor

X, y = load_diabetes(return_X_y=True)
net = MCDropoutRegressor(lr=0.005, max_epochs=30, batch_size=128, random_state=0)
rates = [0.01, 0.15, 0.3, 0.5, 0.7, 0.85]
search = GridSearchCV(
    make_pipeline(StandardScaler(), net),
    {"mcdropoutregressor__dropout": rates},
    scoring="neg_root_mean_squared_error",
    cv=KFold(5, shuffle=True, random_state=0),
)
search.fit(X, y)
best_rate = search.best_params_["mcdropoutregressor__dropout"]
print(f"Best rate: {best_rate}, with an RMSE of {-search.best_score_:.1f} in cross-validation.")

# %%
# The best pipeline is fitted on all rows and ready to be asked.
mean, std = search.best_estimator_.predict(X[:3], return_std=True)
for m, s in zip(mean, std, strict=True):
    print(f"{m:.0f} ± {s:.0f}")

# %%
# Score against rate
# ------------------
# The score looks at the mean only. The rate also sets how far the draws part, so near the best
# score a higher rate is the more careful choice.
rmse = -search.cv_results_["mean_test_score"]
standard_error = search.cv_results_["std_test_score"] / np.sqrt(search.n_splits_)
fig, ax = plt.subplots(figsize=(6, 4), layout="constrained")
ax.errorbar(rates, rmse, standard_error, color="#0072B2", marker="o", capsize=3)
ax.axvline(best_rate, color="#D55E00", ls="--", label=f"best rate, {best_rate}")
ax.set(xlabel="rate of dropout", ylabel="RMSE (units of y)")
ax.set_title("Diabetes data: mean and standard error over 5 folds")
ax.legend(frameon=False)

if __name__ == "__main__":
    fig.savefig("grid_search_dropout_rate.png", dpi=100)
    print(f"The picture is in {Path('grid_search_dropout_rate.png').resolve()}")
    plt.show()
