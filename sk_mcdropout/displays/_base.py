"""What the displays share: how a model is asked, and how its answer is drawn."""

from inspect import signature
from typing import Any

import numpy as np
from sklearn.utils._optional_dependencies import check_matplotlib_support

from sk_mcdropout.metrics import check_like, check_numbers, check_std

__all__ = [
    "Display",
    "check_share",
    "checked_forecast",
    "free_curve",
    "knows",
    "mean_and_std",
    "name_of_target",
    "one_target",
]

# Colours that the colour-blind tell apart (Okabe & Ito, 2008), each with a line of its own.
CURVES: list[dict[str, Any]] = [
    {"color": "#0072B2", "linestyle": "-"},
    {"color": "#D55E00", "linestyle": "--"},
    {"color": "#009E73", "linestyle": "-."},
    {"color": "#CC79A7", "linestyle": ":"},
    {"color": "#56B4E9", "linestyle": (0, (5, 1))},
    {"color": "#E69F00", "linestyle": (0, (1, 1))},
]


class Display:
    """Find the axes, and write the labels and the legend, as all displays do."""

    def _begin(self, ax):
        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        self.ax_ = plt.subplots(layout="constrained")[1] if ax is None else ax
        self.figure_ = self.ax_.figure
        return self.ax_

    def _line(self, x, y, given, style):
        from matplotlib.lines import Line2D

        return self.ax_.plot(x, y, **_styled(Line2D, given, style))[0]

    def _fill(self, x, low, high, given, style):
        from matplotlib.collections import PolyCollection

        style = {"linewidth": 0, **style}
        return self.ax_.fill_between(x, low, high, **_styled(PolyCollection, given, style))

    def _end(self, **labels):
        handles, names = self.ax_.get_legend_handles_labels()
        once = dict(zip(names, handles, strict=True))
        self.ax_.legend(once.values(), once.keys(), frameon=False)
        self.ax_.set(**labels)
        return self


def _styled(artist, given, style):
    """Answer the user's style over ours, by whichever of matplotlib's names it was given."""
    from matplotlib import cbook

    return {**style, **cbook.normalize_kwargs(given, artist)}


def free_curve(ax):
    """Answer the colour and the line of the next curve on these axes."""
    taken = {line.get_color() for line in ax.lines}
    return next((curve for curve in CURVES if curve["color"] not in taken), CURVES[0])


def knows(model, method, parameter):
    """Tell whether a model has a method that takes such a parameter."""
    return hasattr(model, method) and parameter in signature(getattr(model, method)).parameters


def mean_and_std(model, X):
    """Answer ``model.predict(X, return_std=True)``, or say that the model knows no such call."""
    if not knows(model, "predict", "return_std"):
        raise TypeError(
            "`estimator` must answer `predict(X, return_std=True)`. Got "
            f"{type(model).__name__}. Give an MCDropoutRegressor, a GaussianProcessRegressor, a "
            "BayesianRidge or a pipeline that ends in one."
        )
    return model.predict(X, return_std=True)


def one_target(values, target, axis=1):
    """Answer the values of one target, where they have an axis for the targets."""
    values = np.asarray(values)
    n_targets = values.shape[axis] if values.ndim > axis else 1
    index = 0 if target is None and n_targets == 1 else target
    if index not in range(n_targets):
        raise ValueError(
            f"`target` must be the index of one of {n_targets} targets. Got {target!r}. Give one, "
            "such as `target=0`."
        )
    return values.take(index, axis) if values.ndim > axis else values


def name_of_target(y):
    """Answer the name that a series has."""
    return str(getattr(y, "name", None) or "y")


def check_share(name, value):
    """Refuse what is no share, such as a percentage."""
    if not 0 < value < 1:
        raise ValueError(f"`{name}` must lie in (0, 1). Got {value!r}. Give a share, such as 0.9.")


def checked_forecast(y_true, mean, std):
    """Answer one target and what was predicted of it, checked."""
    y_true = check_numbers("y_true", y_true, n_axes=(1,))
    mean = check_like(y_true, "mean", mean)
    return y_true, mean, check_std(check_like(y_true, "std", std))
