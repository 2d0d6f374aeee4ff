"""
Images: a convolutional net with dropout in its head
====================================================

The layers before the first dropout are the same in all draws, and are run once. Here these are the
convolutions of a small net on scikit-learn's digits, and dropout is in its head alone, so that 100
draws take little longer than one pass. With the images put aside that the draws disagree most
about, the rest are classified with fewer errors.

Run as a script, this saves ``digits_convolutional.png`` in the working directory.
"""

# %%
# A net of torch, and a classifier around it
# ------------------------------------------
from pathlib import Path
from timeit import repeat

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from sk_mcdropout import MCDropoutClassifier

images, digits = load_digits(return_X_y=True)
images = images.reshape(-1, 1, 8, 8) / 16
X, X_new, y, y_new = train_test_split(images, digits, test_size=0.5, random_state=0)

torch.manual_seed(0)
net = nn.Sequential(
    *(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()),
    *(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(512, 64), nn.ReLU()),
    *(nn.Dropout(0.5), nn.Linear(64, 10)),  # the head
)
classifier = MCDropoutClassifier(net, max_epochs=20, random_state=0).fit(X, y)
print(f"Accuracy of the mean of the draws: {classifier.score(X_new, y_new):.1%}")


# %%
# What 100 draws cost
# -------------------
with torch.no_grad():
    module, x = classifier.module_.eval(), torch.from_numpy(X_new).float()
    once = min(repeat(lambda: module(x), number=1, repeat=5))
drawn = min(repeat(lambda: classifier.predict_proba(X_new, return_std=True), number=1, repeat=5))
print(f"One pass: {1000 * once:.0f} ms. 100 draws: {drawn / once:.1f} times as long.")

# %%
# The images that the draws disagree about, and the error on the rest
# -------------------------------------------------------------------
disagreement = classifier.predict_uncertainty(X_new).mutual_information
guess = classifier.predict(X_new)
order = np.argsort(-disagreement)
wrong = (guess != y_new)[order]
left_in = wrong[::-1].cumsum()[::-1] / np.arange(len(wrong), 0, -1)

options = {"figsize": (12, 4), "layout": "constrained", "width_ratios": (1, 1, 1, 1, 1, 3)}
fig, axes = plt.subplot_mosaic("abcdez;fghijz", **options)
for name, i in zip("abcdefghij", order, strict=False):
    axes[name].imshow(X_new[i, 0], cmap="gray_r")
    axes[name].set_title(f"{guess[i]}, is {y_new[i]}", color="C3" if guess[i] != y_new[i] else "k")
    axes[name].set_axis_off()
axes["z"].plot(100 * np.arange(len(wrong)) / len(wrong), 100 * left_in)
axes["z"].set(xlabel="put aside, %", ylabel="errors on the rest, %", xlim=(0, 30), ylim=(0, None))

if __name__ == "__main__":
    fig.savefig("digits_convolutional.png", dpi=100)
    print(f"The picture is in {Path('digits_convolutional.png').resolve()}")
    plt.show()
