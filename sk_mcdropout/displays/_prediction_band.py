"""The picture of a prediction over one feature: its mean, its bands and its draws."""

import numpy as np
from scipy.stats import norm
from sklearn.utils import check_array

from sk_mcdropout.metrics import last_step

from ._base import (
    Display,
    check_share,
    free_curve,
    mean_and_std,
    name_of_target,
    one_target,
)

__all__ = ["PredictionBandDisplay"]


class PredictionBandDisplay(Display):
    """Draw the prediction over one feature, with a band that says how sure it is.

    The band is the mean plus and minus the std times a quantile of the normal. Where a model
    tells its doubt about the function (epistemic) from the noise of y (aleatoric), the band of
    the doubt is drawn inside the band of both, with some draws. What `plot` takes is said there.

    Parameters
    ----------
    x : ndarray of shape (n_points,)
        Values of the feature, ascending.
    mean, std : ndarray of shape (n_points,)
        Mean and standard deviation of the prediction.
    epistemic_std : ndarray of shape (n_points,), default=None
        The part of the std that is doubt about the function.
    draws : ndarray of shape (n_draws, n_points), default=None
        Draws of the function.
    x_data, y_data : ndarray of shape (n_samples,), default=None
        Data to show.
    feature_name, target_name : str, default=None
        Labels of the axes, best with the units.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        Where `plot` drew.
    mean_line_ : Line2D
        The mean.
    band_ : PolyCollection or None
        The band of the std; None where the std is epistemic altogether.
    epistemic_band_ : PolyCollection or None
        The band of the doubt about the function, if the model tells it.
    draw_lines_ : list of Line2D
        The draws that are shown.
    data_points_ : Line2D or None
        The data.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import BayesianRidge
    >>> from sk_mcdropout.displays import PredictionBandDisplay
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
    >>> model = BayesianRidge().fit(X, y)
    >>> display = PredictionBandDisplay.from_estimator(model, X, y, feature="bmi")
    >>> display.ax_.get_xlabel(), display.ax_.get_ylabel()
    ('bmi', 'target')
    """

    def __init__(
        self,
        *,
        x,
        mean,
        std,
        epistemic_std=None,
        draws=None,
        x_data=None,
        y_data=None,
        feature_name=None,
        target_name=None,
    ):
        self.x = x
        self.mean = mean
        self.std = std
        self.epistemic_std = epistemic_std
        self.draws = draws
        self.x_data = x_data
        self.y_data = y_data
        self.feature_name = feature_name
        self.target_name = target_name

    def plot(
        self,
        ax=None,
        *,
        coverage=0.9,
        n_draws=5,
        name=None,
        line_kwargs=None,
        band_kwargs=None,
        epistemic_band_kwargs=None,
        draws_kwargs=None,
        data_kwargs=None,
    ):
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        coverage : float, default=0.9
            Share of a normal that the bands hold.
        n_draws : int, default=5
            Number of draws to show, where there are draws.
        name : str, default=None
            Name of the model in the legend.
        line_kwargs, draws_kwargs, data_kwargs : dict, default=None
            Style of the mean, the draws and the data, for ``Axes.plot``.
        band_kwargs, epistemic_band_kwargs : dict, default=None
            Style of the bands, for ``Axes.fill_between``.

        Returns
        -------
        self : object
            The display.

        Raises
        ------
        ValueError
            If ``coverage`` is no share.
        """
        check_share("coverage", coverage)
        curve, of = free_curve(self._begin(ax)), f"{name}: " if name else ""
        parts = self.epistemic_std is not None
        self.band_ = self.epistemic_band_ = self.data_points_ = None
        self.draw_lines_ = []
        if not parts or np.any(self.std != self.epistemic_std):
            label = f"{of}{100 * coverage:g} % band" + (", total" if parts else "")
            style = {"label": label, "alpha": 0.2, "color": curve["color"]}
            self.band_ = self._band(self.std, coverage, band_kwargs, style)
        if parts:
            label = f"{of}{100 * coverage:g} % band, epistemic"
            style = {"label": label, "alpha": 0.35, "color": curve["color"]}
            self.epistemic_band_ = self._band(
                self.epistemic_std, coverage, epistemic_band_kwargs, style
            )
        if self.draws is not None:
            self.draw_lines_ = self._some_draws(n_draws, of, draws_kwargs)
        if self.y_data is not None:
            style = {"color": "#D55E00", "linestyle": "none", "marker": ".", "alpha": 0.6}
            style = {"markersize": 4, "label": "data", **style}
            self.data_points_ = self._line(self.x_data, self.y_data, data_kwargs, style)
        style = {"label": f"{of}mean", "linewidth": 2, **curve}
        self.mean_line_ = self._line(self.x, self.mean, line_kwargs, style)
        return self._end(xlabel=self.feature_name, ylabel=self.target_name)

    def _band(self, std, coverage, given, style):
        half = norm.ppf((1 + coverage) / 2) * np.asarray(std)
        return self._fill(self.x, self.mean - half, self.mean + half, given, style)

    def _some_draws(self, n_draws, of, given):
        some = self.draws[:n_draws]
        style = {"color": "0.3", "linewidth": 0.6}
        lines = [self._line(self.x, draw, given, style) for draw in some]
        for line in lines[:1]:
            line.set_label(f"{of}{len(some)} of {len(self.draws)} draws")
        return lines

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y=None,
        *,
        feature=0,
        grid=None,
        target=None,
        feature_name=None,
        target_name=None,
        **plot_params,
    ):
        """Ask a fitted regressor along one feature, and draw its answer.

        The other features are held at their median, those that are no numbers at their most
        frequent value. The data have values of their own there, so with several features they
        need not lie along the mean.

        Parameters
        ----------
        estimator : object
            A fitted regressor that answers ``predict(X, return_std=True)``, alone or at the end
            of a pipeline or a search. The parts of the std are drawn if it also has
            ``predict_decomposed``, and draws if it has ``draws``.
        X : array-like or data frame of shape (n_samples, n_features)
            Data, which say the range and the medians of the features.
        y : array-like of shape (n_samples,) or (n_samples, n_targets), default=None
            Their targets; None draws no data.
        feature : int or str, default=0
            Index or name of the feature.
        grid : array-like of shape (n_points,), default=None
            Values of the feature to ask about; None takes 200 over the range of X.
        target : int, default=None
            Index of the target, if there are several.
        feature_name, target_name : str, default=None
            Labels of the axes; None takes the names that X and y have.
        **plot_params : dict
            Passed to `plot`.

        Returns
        -------
        PredictionBandDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If the regressor does not know ``return_std``.
        ValueError
            If there is no such feature or target, or the feature holds no numbers.
        """
        columns = _columns_of(X)
        key = _key_of(feature, columns)
        if grid is None:
            grid = np.linspace(np.nanmin(columns[key]), np.nanmax(columns[key]), 200)
        grid = np.sort(np.asarray(grid, dtype=float))
        model, rows = last_step(estimator, _rows_along(X, columns, key, grid))
        display = cls(
            x=grid,
            **_decomposed(model, rows, target),
            x_data=None if y is None else columns[key],
            y_data=None if y is None else one_target(y, target),
            feature_name=feature_name or (key if isinstance(key, str) else f"feature {key}"),
            target_name=target_name or name_of_target(y),
        )
        return display.plot(**plot_params)


def _decomposed(model, X, target):
    """Answer mean, std, and where the model tells them its epistemic part and draws."""
    if not hasattr(model, "predict_decomposed"):
        mean, std = mean_and_std(model, X)
        return {"mean": one_target(mean, target), "std": one_target(std, target)}
    answers = model.predict_decomposed(X)
    mean, epistemic, aleatoric = (one_target(answer, target) for answer in answers)
    draws = one_target(model.draws(X), target, axis=2) if hasattr(model, "draws") else None
    # The law of total variance: the doubt and the noise add up as squares.
    std = np.hypot(epistemic, aleatoric)
    return {"mean": mean, "std": std, "epistemic_std": epistemic, "draws": draws}


def _columns_of(X):
    """Answer the columns of a frame by their names, those of an array by their indices."""
    if hasattr(X, "columns"):
        return {name: np.asarray(X[name]) for name in X.columns}
    return dict(enumerate(check_array(X, ensure_all_finite=False).T))


def _key_of(feature, columns):
    """Answer the name or the index of the column that is meant."""
    keys = list(columns)
    if feature not in keys and feature in range(len(keys)):
        feature = keys[feature]
    if feature not in keys:
        raise ValueError(
            f"`feature` must be one of {keys}, or an index below {len(keys)}. Got {feature!r}. "
            "Give one of these."
        )
    if not _holds_numbers(columns[feature]):
        raise ValueError(
            f"`feature` must be one that holds numbers. Got {feature!r} of dtype "
            f"{columns[feature].dtype}. Give another one."
        )
    return feature


def _rows_along(X, columns, key, grid):
    """Answer rows in the form of X with one feature on a grid and the others held."""
    held = {
        name: grid if name == key else np.full(len(grid), _typical(column))
        for name, column in columns.items()
    }
    return type(X)(held) if hasattr(X, "columns") else np.column_stack(list(held.values()))


def _typical(column):
    """Answer the median, or of what are no numbers the most frequent value."""
    if _holds_numbers(column):
        return np.nanmedian(column)
    values, counts = np.unique(column, return_counts=True)
    return values[counts.argmax()]


def _holds_numbers(column):
    return np.issubdtype(column.dtype, np.number)
