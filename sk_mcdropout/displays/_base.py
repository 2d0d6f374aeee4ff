"""What the displays share: axes, colours and the legend, and a check of a forecast."""

from typing import Any

from sk_mcdropout.metrics import check_like, check_numbers, check_std

__all__ = ["Display", "area_style", "band_style", "check_forecast", "free_curve", "name_of_target"]

# Colours that the colour-blind tell apart (Okabe & Ito, 2008), each with a line of its own.
CURVES: list[dict[str, Any]] = [
    {"color": "#0072B2", "linestyle": "-"},
    {"color": "#D55E00", "linestyle": "--"},
    {"color": "#009E73", "linestyle": "-."},
    {"color": "#CC79A7", "linestyle": ":"},
    {"color": "#56B4E9", "linestyle": (0, (5, 1))},
    {"color": "#E69F00", "linestyle": (0, (1, 1))},
]
HATCHES = ["//", "\\\\", "||", "--", "xx", "++"]


class Display:
    """Find the axes, and write the labels and the legend, as all displays do."""

    def _begin(self, ax):
        try:
            import matplotlib.pyplot as plt
        except ImportError as error:
            raise ImportError(
                f"{type(self).__name__}.plot requires matplotlib. Install it, such as by "
                "`pip install matplotlib`."
            ) from error
        self.ax_ = plt.subplots(layout="constrained")[1] if ax is None else ax
        self.figure_ = self.ax_.figure
        return self.ax_

    def _line(self, x, y, given, style):
        from matplotlib.lines import Line2D

        return self.ax_.plot(x, y, **_styled(Line2D, given, style))[0]

    def _fill(self, x, edges, given, style):
        from matplotlib.collections import PolyCollection

        low, high = edges
        return self.ax_.fill_between(x, low, high, **_styled(PolyCollection, given, style))

    def _stalks(self, x, edges, given, style):
        from matplotlib.collections import LineCollection

        low, high = edges
        return self.ax_.vlines(x, low, high, **_styled(LineCollection, given, style))

    def _end(self, **labels):
        """Write the labels, and the legend: below the axes, where a layout makes room for it."""
        from matplotlib.legend_handler import HandlerTuple

        self.ax_.set(**labels)
        names, handles = _legend_entries(self.ax_)
        if not names:
            return self
        place: dict[str, Any] = {"loc": "best"}
        if self.figure_.get_layout_engine() is not None:
            # Four heights of a letter below the axes, where the label of the x axis ends.
            place = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "borderaxespad": 4}
            place |= {"ncols": 2 if max(map(len, names), default=0) < 30 else 1, "frameon": False}
        self.ax_.legend(handles, names, handler_map={tuple: HandlerTuple(ndivide=None)}, **place)
        return self


def _styled(artist, given, style):
    """Return the user's style over ours, by whichever of matplotlib's names it was given."""
    from matplotlib import cbook

    return {**style, **cbook.normalize_kwargs(given, artist)}


def _legend_entries(ax):
    """Return each label once, and with it an artist of each colour that has this label."""
    entries: dict[str, dict[str, Any]] = {}
    for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
        color = handle.get_color() if hasattr(handle, "get_color") else handle.get_facecolor()
        entries.setdefault(label, {}).setdefault(str(color), handle)
    return list(entries), [tuple(handles.values()) for handles in entries.values()]


def band_style(curve, alpha):
    """Return the style of a band: a light fill, and an edge that tells it from other bands."""
    from matplotlib.colors import to_rgba

    color, line = curve["color"], curve["linestyle"]
    face, edge = to_rgba(color, alpha), to_rgba(color, 0.6)
    return {"facecolor": face, "edgecolor": edge, "linewidth": 0.8, "linestyle": line}


def area_style(curve):
    """Return the style of an area that others may lie over: fills would mix to grey."""
    hatch = HATCHES[CURVES.index(curve)]
    style = {"facecolor": "none", "edgecolor": curve["color"], "hatch": hatch}
    return {**style, "alpha": 0.3, "linewidth": 0}


def free_curve(ax):
    """Return the colour and the line of the next curve on these axes."""
    taken = {line.get_color() for line in ax.lines}
    return next((curve for curve in CURVES if curve["color"] not in taken), CURVES[0])


def name_of_target(y):
    """Return the name that a series has."""
    return str(getattr(y, "name", None) or "y")


def check_forecast(y_true, mean, std):
    """Check one target and its forecasts, and return them as arrays."""
    y_true = check_numbers("y_true", y_true, n_axes=(1,))
    mean = check_like(y_true, "mean", mean)
    return y_true, mean, check_std(check_like(y_true, "std", std))
