"""
Rows unlike those that were learned
===================================

A net that learned digits is shown noise, and digits that lie on their side. Its draws disagree
about noise. Of digits on their side it is surer than of upright ones: no spread of draws replaces
a check of the input. As a script, this saves ``out_of_distribution.png`` in the working directory.
"""

# %%
# A net that learned upright digits
# ---------------------------------
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from sk_mcdropout import MCDropoutClassifier

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, _ = train_test_split(X / 16, y, test_size=0.5, random_state=0)
net = MCDropoutClassifier(
    module__dropout=0.3,
    module__embedding=None,
    normalize_X=False,
    optimizer__weight_decay=0.01,
    max_epochs=50,
    random_state=0,
).fit(X_train, y_train)

# %%
# What it says of other rows
# --------------------------
rng = np.random.default_rng(0)
rows = {
    "upright": X_test,
    "on their side": np.rot90(X_test.reshape(-1, 8, 8), axes=(1, 2)).reshape(-1, 64),
    "of noise": rng.uniform(size=X_test.shape),
}
unsure = {name: net.predict_uncertainty(images) for name, images in rows.items()}
for name, images in rows.items():
    counts = np.bincount(net.predict(images))
    print(f"{counts.max() / len(images):.0%} of those {name} are taken for a {counts.argmax()}")

# %%
# Can they be told apart?
# -----------------------
# The area under the ROC curve is the chance that a strange row scores higher than an upright
# digit. It is far below one half for digits on their side, all of which are taken for fours.
scores = {
    "entropy": lambda answer: answer.predictive_entropy,
    "mutual information": lambda answer: answer.mutual_information,
    "1 - highest probability": lambda answer: 1 - answer.max_probability,
}
fig, axes = plt.subplots(1, 3, figsize=(11, 3.5), layout="constrained")
for ax, (score, of) in zip(axes, scores.items(), strict=True):
    bins = np.linspace(0, max(of(answer).max() for answer in unsure.values()), 31)
    for name, answer in unsure.items():
        ax.hist(of(answer), bins, histtype="step", lw=1.8, label=name)
    ax.set(xlabel=score, ylabel="rows")
    for name in ("on their side", "of noise"):
        values = [of(unsure[which]) for which in ("upright", name)]
        strange = np.repeat([0, 1], [len(part) for part in values])
        area = roc_auc_score(strange, np.concatenate(values))
        print(f"{score}, upright or {name}: AUROC {area:.3f}")
axes[0].legend(frameon=False)

if __name__ == "__main__":
    fig.savefig("out_of_distribution.png", dpi=100)
    print(f"The picture is in {Path('out_of_distribution.png').resolve()}")
    plt.show()
