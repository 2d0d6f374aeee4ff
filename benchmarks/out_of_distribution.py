"""Tell digits from digits on their side, from digits shown in negative and from noise.

``python benchmarks/out_of_distribution.py`` fits half of scikit-learn's digits and writes
``out_of_distribution.md``, its picture and ``out_of_distribution.csv`` beside this file.
"""

import numpy as np
from _report import STYLES, figure, intro, markdown, save, write
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from sk_mcdropout import MCDropoutClassifier

SEEDS = range(5)
SETTINGS = {
    "the default": {},
    "rate 0.3, pixels as they are": {
        "module__dropout": 0.3,
        "module__embedding": None,
        "normalize_X": False,
        "optimizer__weight_decay": 0.01,
    },
}
STRANGE = {
    "on their side": lambda X, rng: np.rot90(X.reshape(-1, 8, 8), axes=(1, 2)).reshape(-1, 64),
    "in negative": lambda X, rng: 1 - X,
    "pixels shuffled": lambda X, rng: rng.permuted(X, axis=1),
    "uniform noise": lambda X, rng: rng.uniform(size=X.shape),
}
SCORES = {
    "entropy": lambda unsure: unsure.predictive_entropy,
    "mutual information": lambda unsure: unsure.mutual_information,
    "1 - highest probability": lambda unsure: 1 - unsure.max_probability,
}
INTRO = f"""\
# Rows unlike those that were learned

Nets are fitted to half of scikit-learn's digits and asked for the other half and for rows made of
it. The area under the ROC curve (AUROC) of three scores by which the two may be told apart: the
chance that a strange row scores higher than a digit. Median over {len(SEEDS)} seeds, and the lowest
in brackets. The nets have `max_epochs=50`; pixels are divided by 16.
"""


def areas(settings, seed):
    """Return the area for each kind of strange rows and each score."""
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, _ = train_test_split(
        X / 16, y, test_size=0.5, stratify=y, random_state=seed
    )
    net = MCDropoutClassifier(max_epochs=50, random_state=seed, **settings).fit(X_train, y_train)
    rng, usual, found = np.random.default_rng(seed), net.predict_uncertainty(X_test), {}
    for kind, make in STRANGE.items():
        unusual = net.predict_uncertainty(make(X_test, rng))
        for name, score in SCORES.items():
            values = np.concatenate([score(usual), score(unusual)])
            found[kind, name] = roc_auc_score(np.repeat([0, 1], len(X_test)), values)
    return found


def draw(found):
    """Draw the areas of all settings, kinds and scores; return how Markdown shows the picture."""
    fig, axes = figure(len(SETTINGS))
    for ax, (setting, of_seeds) in zip(axes, found.items(), strict=True):
        for k, (name, (color, _)) in enumerate(zip(SCORES, STYLES, strict=True)):
            each = np.array([[areas[kind, name] for kind in STRANGE] for areas in of_seeds])
            low, middle, high = np.quantile(each, [0, 0.5, 1], axis=0)
            x = np.arange(len(STRANGE)) + 0.2 * (k - 1)
            ax.errorbar(x, middle, [middle - low, high - middle], fmt="o", label=name, **color)
        ax.axhline(0.5, color="black", linewidth=0.8, linestyle=":")
        ax.set(title=setting, ylabel="AUROC", ylim=(-0.02, 1.02))
        ax.set_xticks(range(len(STRANGE)), STRANGE)
    axes[-1].legend(frameon=False, loc="lower right")
    return save("out_of_distribution", fig)


def main():
    """Run the study and write the table."""
    rows, lines, by_setting = [], [], {}
    for setting, settings in SETTINGS.items():
        found = by_setting[setting] = [areas(settings, seed) for seed in SEEDS]
        for name in SCORES:
            cells = []
            for kind in STRANGE:
                each = [areas_of_seed[kind, name] for areas_of_seed in found]
                rows += [
                    (setting, name, kind, seed, f"{area:.4f}")
                    for seed, area in zip(SEEDS, each, strict=True)
                ]
                cells.append(f"{np.median(each):.3f} ({min(each):.3f})")
            lines.append((setting, name, *cells))
        print(setting, flush=True)
    table = markdown(("nets", "score", *STRANGE), lines, "ll" + "r" * len(STRANGE))
    text = intro(INTRO, "out_of_distribution.py") + draw(by_setting) + table
    write("out_of_distribution", text, ("nets", "score", "kind", "seed", "auroc"), rows)


if __name__ == "__main__":
    main()
