"""A display of how unsure a classifier is over two features, and of where it draws the line."""

from typing import Any

import numpy as np
from sklearn.utils import check_consistent_length, column_or_1d

from sk_mcdropout.metrics import UNCERTAINTIES, predict_class_uncertainty, predict_probabilities

from ._base import CURVES, Display
from ._grid import columns_of, key_of, name_of_feature, rows_along

__all__ = ["UncertaintySurfaceDisplay"]

PLOT_METHODS = ("contourf", "contour", "pcolormesh")
MARKERS = "os^DvP"


class UncertaintySurfaceDisplay(Display):
    """Plot how unsure a classifier is over two features, and the boundaries of its classes.

    scikit-learn's ``DecisionBoundaryDisplay`` shows what is predicted, this one how sure that is:
    the darker, the less. A classifier that knows what it does not know is dark away from its data,
    and not only along the boundaries.

    Parameters
    ----------
    xx0, xx1 : ndarray of shape (grid_resolution, grid_resolution)
        The two features on a grid, as ``numpy.meshgrid`` returns them.
    uncertainty : ndarray of shape (grid_resolution, grid_resolution)
        The uncertainty at each point.
    proba : ndarray of shape (grid_resolution, grid_resolution, n_classes)
        The probabilities of the classes.
    x_data : ndarray of shape (n_samples, 2), default=None
        Data to show.
    y_data : ndarray of shape (n_samples,), default=None
        Their classes.
    uncertainty_name : str, default="uncertainty"
        What the uncertainty is, best with its units.
    xlabel, ylabel : str, default=None
        Labels of the axes.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        Where `plot` drew.
    surface_ : QuadContourSet or QuadMesh
        The uncertainty.
    colorbar_ : Colorbar or None
        The scale of the uncertainty.
    boundaries_ : list of QuadContourSet
        Where each class begins to be the likeliest; of two classes where one does.
    data_points_ : list of Line2D
        The data, class by class.

    See Also
    --------
    sklearn.inspection.DecisionBoundaryDisplay : The prediction in the place of its uncertainty.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sk_mcdropout.displays import UncertaintySurfaceDisplay
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> model = LogisticRegression(max_iter=1000).fit(X, y)
    >>> display = UncertaintySurfaceDisplay.from_estimator(model, X, y, features=(2, 3))
    >>> display.ax_.get_xlabel(), len(display.boundaries_)
    ('petal length (cm)', 3)
    """

    def __init__(
        self,
        *,
        xx0,
        xx1,
        uncertainty,
        proba,
        x_data=None,
        y_data=None,
        uncertainty_name="uncertainty",
        xlabel=None,
        ylabel=None,
    ):
        self.xx0 = xx0
        self.xx1 = xx1
        self.uncertainty = uncertainty
        self.proba = proba
        self.x_data = x_data
        self.y_data = y_data
        self.uncertainty_name = uncertainty_name
        self.xlabel = xlabel
        self.ylabel = ylabel

    def plot(
        self,
        ax=None,
        *,
        plot_method="contourf",
        colorbar=True,
        surface_kwargs=None,
        boundaries_kwargs=None,
        data_kwargs=None,
    ):
        """Plot the uncertainty.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        plot_method : {"contourf", "contour", "pcolormesh"}, default="contourf"
            How to draw the surface.
        colorbar : bool, default=True
            Whether to draw the scale of the uncertainty.
        surface_kwargs : dict, default=None
            Style of the surface, for ``plot_method``; its scale begins at 0 unless ``levels``,
            ``vmin`` or ``norm`` say otherwise.
        boundaries_kwargs : dict, default=None
            Style of the boundaries, for ``Axes.contour``.
        data_kwargs : dict, default=None
            Style of the data, for ``Axes.plot``.

        Returns
        -------
        self : object
            The display.

        Raises
        ------
        ValueError
            If there is no such ``plot_method``.
        """
        if plot_method not in PLOT_METHODS:
            raise ValueError(f"`plot_method` must be one of {PLOT_METHODS}. Got {plot_method!r}.")
        draw = getattr(self._begin(ax), plot_method)
        style = _surface_style(plot_method, self.uncertainty, surface_kwargs or {})
        self.surface_ = draw(self.xx0, self.xx1, self.uncertainty, **style)
        self.colorbar_ = None
        if colorbar:
            self.colorbar_ = self.figure_.colorbar(
                self.surface_, ax=self.ax_, label=self.uncertainty_name
            )
        self.boundaries_ = self._plot_boundaries(boundaries_kwargs)
        self.data_points_ = self._plot_data(data_kwargs)
        return self._end(xlabel=self.xlabel, ylabel=self.ylabel)

    def _plot_boundaries(self, given):
        n_classes = self.proba.shape[-1]
        leads = [_lead(self.proba, place) for place in range(n_classes if n_classes > 2 else 1)]
        style = {"colors": "black", "linewidths": 1.5, **(given or {})}
        return [
            self.ax_.contour(self.xx0, self.xx1, lead, levels=[0], **style)
            for lead in leads
            if lead.min() < 0 < lead.max()
        ]

    def _plot_data(self, given):
        if self.y_data is None:
            return []
        lines = []
        for place, label in enumerate(np.unique(self.y_data)):
            curve, marker = CURVES[place % len(CURVES)], MARKERS[place % len(MARKERS)]
            style = {"color": curve["color"], "linestyle": "none", "marker": marker}
            style |= {"markeredgecolor": "white", "markeredgewidth": 0.4, "label": str(label)}
            x, y = self.x_data[self.y_data == label].T
            lines.append(self._line(x, y, given, {"markersize": 6, **style}))
        return lines

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y=None,
        *,
        features=(0, 1),
        uncertainty="predictive_entropy",
        grid_resolution=100,
        eps=1.0,
        xlabel=None,
        ylabel=None,
        **plot_params,
    ):
        """Predict with a fitted classifier over two features, and plot how unsure it is.

        The other features are held at their median, those that are no numbers at their most
        frequent value.

        Parameters
        ----------
        estimator : object
            A fitted classifier with ``predict_proba``, alone or at the end of a pipeline or a
            search. It is asked how unsure it is by ``predict_uncertainty``, where it has that.
        X : array-like or data frame of shape (n_samples, n_features)
            Data, for the ranges and the medians of the features.
        y : array-like of shape (n_samples,), default=None
            Their classes; None draws no data.
        features : tuple of int or str, default=(0, 1)
            Indices or names of the two features.
        uncertainty : str, default="predictive_entropy"
            A field of `ClassUncertainty`; of a classifier without draws ``"predictive_entropy"``,
            ``"margin"`` or ``"max_probability"``. The last two are subtracted from 1.
        grid_resolution : int, default=100
            Number of points along each feature.
        eps : float, default=1.0
            How far the grid reaches beyond the data, in the units of the features.
        xlabel, ylabel : str, default=None
            Labels of the axes; None takes the names that X has.
        **plot_params : dict
            Passed to `plot`.

        Returns
        -------
        UncertaintySurfaceDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If the classifier predicts no probabilities, or not the uncertainty.
        ValueError
            If there are no two such features, one holds no numbers, there is no such uncertainty,
            ``grid_resolution`` is below 2 or ``eps`` below 0.
        """
        columns = columns_of(X)
        keys = _two_keys(features, columns)
        axes = [_span(columns[key], grid_resolution, eps) for key in keys]
        xx0, xx1 = np.meshgrid(*axes)
        rows = rows_along(X, columns, dict(zip(keys, (xx0.ravel(), xx1.ravel()), strict=True)))
        proba, _ = predict_probabilities(estimator, rows)
        if y is not None:
            y = column_or_1d(y)
            check_consistent_length(X, y)
        display = cls(
            xx0=xx0,
            xx1=xx1,
            uncertainty=predict_class_uncertainty(estimator, rows, uncertainty).reshape(xx0.shape),
            proba=proba.reshape(*xx0.shape, -1),
            x_data=np.column_stack([columns[key] for key in keys]),
            y_data=y,
            uncertainty_name=UNCERTAINTIES[uncertainty],
            xlabel=xlabel or name_of_feature(keys[0]),
            ylabel=ylabel or name_of_feature(keys[1]),
        )
        return display.plot(**plot_params)


def _surface_style(plot_method, uncertainty, given):
    """Return the user's style over ours, whose scale begins at 0, where a classifier is sure."""
    from matplotlib.ticker import MaxNLocator

    style: dict[str, Any] = {} if "colors" in given else {"cmap": "Greys"}
    low, high = min(uncertainty.min(), 0), max(uncertainty.max(), 0) or 1
    if plot_method != "pcolormesh":
        style["levels"] = MaxNLocator(8).tick_values(low, high)
    elif "norm" not in given:
        style |= {"vmin": low, "vmax": high}
    if plot_method == "contour" and "cmap" in style:
        style["cmap"] = "viridis_r"  # as the lightest lines of grey could not be seen
    return {**style, **given}


def _two_keys(features, columns):
    """Return the names or indices of two columns; check that they are two."""
    keys = [key_of(feature, columns) for feature in features]
    if len(set(keys)) != 2 or len(keys) != 2:
        raise ValueError(
            f"`features` must be two features. Got {features!r}. Give two, such as (0, 1)."
        )
    return keys


def _span(column, grid_resolution, eps):
    """Return even steps over the range of a column, and some way beyond it."""
    if grid_resolution < 2:
        raise ValueError(f"`grid_resolution` must be at least 2. Got {grid_resolution!r}.")
    if not eps >= 0:
        raise ValueError(f"`eps` must be at least 0. Got {eps!r}.")
    return np.linspace(np.nanmin(column) - eps, np.nanmax(column) + eps, grid_resolution)


def _lead(proba, place):
    """Return by how much one class is likelier than the likeliest other one."""
    others = np.delete(proba, place, axis=-1)
    return proba[..., place] - others.max(axis=-1, initial=0)
