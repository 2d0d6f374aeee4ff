"""
Epistemic and aleatoric uncertainty
===================================

The std of a prediction has two parts. Monte-Carlo draws disagree where there were few data: this
epistemic uncertainty shrinks with more data. And y scatters about the function itself: this
aleatoric uncertainty stays. A net with ``noise="heteroscedastic"`` predicts both for each row, and
a `PredictionBandDisplay` plots them. As a script, this saves ``prediction_band.png`` in the
working directory.
"""

# %%
# Data that are noisier on the right
# ----------------------------------
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_mcdropout import MCDropoutRegressor
from sk_mcdropout.displays import PredictionBandDisplay

rng = np.random.default_rng(0)
x = rng.uniform(-4, 4, size=300)
y = np.sin(2 * x) + x + rng.normal(scale=0.1 + 0.1 * (x + 4))

net = MCDropoutRegressor(
    module__hidden=(100, 100),
    module__dropout=0.1,
    noise="heteroscedastic",
    batch_size=32,
    random_state=0,
)
net.fit(x[:, None], y)

# %%
# The two parts, at places of three kinds
# ---------------------------------------
places = {"little noise": -3.0, "much noise": 3.0, "no data": 6.0}
_, epistemic, aleatoric = net.predict_decomposed(np.array(list(places.values()))[:, None])
for place, *stds in zip(places, epistemic, aleatoric, strict=True):
    print("{}: epistemic std {:.2f}, aleatoric std {:.2f}".format(place, *stds))

# %%
# One of several features
# -----------------------
# With more than one feature the others are held at their median. The data have other values there,
# so they need not lie along the mean.
X, target = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
pipe = make_pipeline(
    StandardScaler(),
    MCDropoutRegressor(dropout=0.3, noise="heteroscedastic", max_epochs=40, random_state=0),
)
pipe.fit(X, target)

fig, axes = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")
PredictionBandDisplay.from_estimator(
    net, x[:, None], y, grid=np.linspace(-6, 6, 401), feature_name="x", ax=axes[0]
)
PredictionBandDisplay.from_estimator(
    pipe,
    X,
    target,
    feature="bmi",
    feature_name="body mass index (kg/m²)",
    target_name="progression of diabetes",
    ax=axes[1],
)

if __name__ == "__main__":
    fig.savefig("prediction_band.png", dpi=100)
    print(f"The picture is in {Path('prediction_band.png').resolve()}")
    plt.show()
