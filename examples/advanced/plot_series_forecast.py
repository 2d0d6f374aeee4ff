"""
A series: a recurrent net forecasts several steps, with bands
=============================================================

A GRU with dropout between its layers and before its head, with one mask for all time steps, sees 40
steps of an electroencephalogram and forecasts the next twelve, as differences from the last value.
The noise of each step is that under which windows held out of training are likeliest, and the
forecasts are held against later windows: the further ahead, the larger the error and the wider the
bands. They hold more than they should, since the series jumps where it was held out.

Run as a script, this saves ``series_forecast.png`` in the working directory.
"""

# %%
# Windows of four traces that come with matplotlib, and how the last one goes on
# ------------------------------------------------------------------------------
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cbook import get_sample_data
from skorch.dataset import Dataset
from skorch.helper import predefined_split
from torch import nn

from sk_mcdropout import MCDropoutRegressor

PAST, AHEAD = 40, 12

with get_sample_data("eeg.dat") as file:
    series = np.frombuffer(file.read(), dtype=float).reshape(800, 4).astype(np.float32)
windows = np.lib.stride_tricks.sliding_window_view(series, PAST + AHEAD, axis=0)
X, y = windows[:, :, :PAST].swapaxes(1, 2).copy(), windows[:, 3, PAST:].copy()
fitted, held_out, new = slice(0, 400), slice(452, 552), slice(604, None)  # they share no step


class Forecaster(nn.Module):
    """Return the steps ahead: the last value of the fourth trace, and what is added to it."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(4, 16, num_layers=2, dropout=0.2, batch_first=True)
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(16, AHEAD))

    def forward(self, X):
        return X[:, -1:, 3] + self.head(self.gru(X)[0][:, -1])


later = predefined_split(Dataset(X[held_out], y[held_out]))
options = {"variational_rnn": True, "normalize_y": False, "max_epochs": 20, "random_state": 0}
net = MCDropoutRegressor(Forecaster, noise="estimate", train_split=later, **options)
net.fit(X[fitted], y[fitted])

# %%
# Bands and errors by the step
# ----------------------------
mean, epistemic, aleatoric = net.predict_decomposed(X[new])
lower, upper = np.moveaxis(net.predict_interval(X[new], coverage=0.8), -1, 0)
print(f"{np.mean((lower <= y[new]) & (y[new] <= upper)):.0%} of later steps lie in bands of 80 %.")

fig, (left, right) = plt.subplots(
    1, 2, figsize=(12, 4.5), layout="constrained", width_ratios=(3, 2)
)
for i in range(0, 120, 24):
    time = 604 + i + PAST + np.arange(AHEAD)
    left.fill_between(time, lower[i], upper[i], color="#0072B2", alpha=0.3)
    left.plot(time, mean[i], color="#0072B2")
left.plot(np.arange(630, 764), series[630:764, 3], color="black", linewidth=1)
left.set(xlabel="time step", ylabel="fourth trace", title="Forecasts with bands of 80 %")
curves = {"error": mean - y[new], "error of the last value": X[new][:, -1:, 3] - y[new]}
curves |= {"epistemic std": epistemic, "aleatoric std": aleatoric}
for (name, values), style in zip(curves.items(), ("k-o", "k:", "C0-", "C1-"), strict=True):
    right.plot(np.arange(1, AHEAD + 1), np.sqrt(np.mean(values**2, axis=0)), style, label=name)
right.set(xlabel="steps ahead", ylim=(0, None), title="Root mean squares over later windows")
right.legend(frameon=False)

if __name__ == "__main__":
    fig.savefig("series_forecast.png", dpi=100)
    print(f"The picture is in {Path('series_forecast.png').resolve()}")
    plt.show()
