"""A display of the prediction over one feature: its mean, its bands and its draws."""

import numpy as np
from scipy.stats import norm

from sk_mcdropout.metrics import (
    check_shares,
    is_calibrated,
    last_step,
    one_target,
    predict_mean_and_std,
)

from ._base import Display, band_style, free_curve, name_of_target
from ._grid import columns_of, key_of, name_of_feature, rows_along

__all__ = ["PredictionBandDisplay"]


class PredictionBandDisplay(Display):
    """Plot the prediction over one feature, with the band of its uncertainty.

    The band is the mean plus and minus the std times a quantile of the normal; or, of a model
    that was calibrated on held-out data, the interval that it predicts. Where a model decomposes
    its uncertainty into an epistemic and an aleatoric part, the band of the epistemic one is
    drawn too, with draws. The options of the plot are described in `plot`.

    Parameters
    ----------
    x : ndarray of shape (n_points,)
        Values of the feature, ascending.
    mean, std : ndarray of shape (n_points,)
        Mean and standard deviation of the prediction.
    epistemic_std : ndarray of shape (n_points,), default=None
        The part of the std that is epistemic, of uncertainty about the function.
    interval : ndarray of shape (n_points, 2), default=None
        Lower and upper ends of a calibrated interval, drawn in the place of the band of the std.
    coverage : float, default=0.9
        Coverage of the bands, and of ``interval``.
    draws : ndarray of shape (n_draws, n_points), default=None
        Monte-Carlo draws of the function.
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
        The calibrated interval, or the band of the std; None where the std is all epistemic.
    epistemic_band_ : PolyCollection or None
        The band of the epistemic uncertainty, if the model has ``predict_decomposed``.
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
        interval=None,
        coverage=0.9,
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
        self.interval = interval
        self.coverage = coverage
        self.draws = draws
        self.x_data = x_data
        self.y_data = y_data
        self.feature_name = feature_name
        self.target_name = target_name

    def plot(
        self,
        ax=None,
        *,
        coverage=None,
        n_draws=5,
        name=None,
        line_kwargs=None,
        band_kwargs=None,
        epistemic_band_kwargs=None,
        draws_kwargs=None,
        data_kwargs=None,
    ):
        """Plot the prediction.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        coverage : float, default=None
            Share of a normal that the bands hold; None takes the one that is stored. That of a
            calibrated interval cannot be changed here: give it to `from_estimator`.
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
            If ``coverage`` is not in (0, 1), or not that of the calibrated interval.
        """
        coverage = self._check_coverage(coverage)
        curve = free_curve(self._begin(ax))
        label = f"{100 * coverage:g} % band"
        self.data_points_ = None
        if self.y_data is not None:
            style = {"color": "0.4", "linestyle": "none", "marker": ".", "alpha": 0.6}
            style = {"markersize": 4, "label": "data", **style}
            self.data_points_ = self._line(self.x_data, self.y_data, data_kwargs, style)
        self.band_ = self._plot_band(coverage, label, curve, band_kwargs)
        self.epistemic_band_ = None
        if self.epistemic_std is not None:
            edges = self._normal(self.epistemic_std, coverage)
            style = {"label": f"{label}, epistemic", **band_style(curve, 0.35)}
            self.epistemic_band_ = self._fill(self.x, edges, epistemic_band_kwargs, style)
        self.draw_lines_ = self._plot_draws(n_draws, curve["color"], draws_kwargs)
        style = {"label": name or "mean", "linewidth": 2, **curve}
        self.mean_line_ = self._line(self.x, self.mean, line_kwargs, style)
        return self._end(xlabel=self.feature_name, ylabel=self.target_name)

    def _check_coverage(self, coverage):
        coverage = self.coverage if coverage is None else coverage
        check_shares("coverage", coverage)
        if self.interval is not None and coverage != self.coverage:
            raise ValueError(
                f"`coverage` must be that of the calibrated interval, {self.coverage!r}. Got "
                f"{coverage!r}. Give it to `from_estimator`, which predicts the interval."
            )
        return coverage

    def _normal(self, std, coverage):
        half = norm.ppf((1 + coverage) / 2) * np.asarray(std)
        return self.mean - half, self.mean + half

    def _plot_band(self, coverage, label, curve, given):
        style = band_style(curve, 0.15)
        if self.interval is not None:
            style["label"] = f"{label}, calibrated"
            return self._fill(self.x, np.transpose(self.interval), given, style)
        if self.epistemic_std is not None:
            label = f"{label}, total"
            if np.all(self.std == self.epistemic_std):
                return None
        style["label"] = label
        return self._fill(self.x, self._normal(self.std, coverage), given, style)

    def _plot_draws(self, n_draws, color, given):
        if self.draws is None:
            return []
        shown = self.draws[:n_draws]
        style = {"color": color, "linewidth": 0.6}
        lines = [self._line(self.x, draw, given, style) for draw in shown]
        for line in lines[:1]:
            line.set_label(f"{len(shown)} of {len(self.draws)} draws")
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
        coverage=0.9,
        feature_name=None,
        target_name=None,
        **plot_params,
    ):
        """Predict with a fitted regressor along one feature, and plot the prediction.

        The other features are held at their median, those that are no numbers at their most
        frequent value; missing values do not count. The data have values of their own there, so
        with several features they need not lie along the mean.

        Parameters
        ----------
        estimator : object
            A fitted regressor with ``predict(X, return_std=True)``, alone or at the end of a
            pipeline or a search. The parts of the std are drawn if it also has
            ``predict_decomposed``, draws if it has ``draws``, and the interval of
            ``predict_interval`` if it was calibrated on held-out data.
        X : array-like or data frame of shape (n_samples, n_features)
            Data, for the range and the medians of the features.
        y : array-like of shape (n_samples,) or (n_samples, n_targets), default=None
            Their targets; None draws no data.
        feature : int or str, default=0
            Index or name of the feature.
        grid : array-like of shape (n_points,), default=None
            Values of the feature to predict at; None takes 200 over the range of X.
        target : int, default=None
            Index of the target, if there are several.
        coverage : float, default=0.9
            Share of a normal that the bands hold, and coverage of a calibrated interval.
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
            If the regressor predicts no standard deviation.
        ValueError
            If there is no such feature or target, the feature holds no numbers, or ``coverage``
            is not in (0, 1).
        """
        columns = columns_of(X)
        key = key_of(feature, columns)
        if grid is None:
            grid = np.linspace(np.nanmin(columns[key]), np.nanmax(columns[key]), 200)
        grid = np.sort(np.asarray(grid, dtype=float))
        check_shares("coverage", coverage)
        model, rows = last_step(estimator, rows_along(X, columns, {key: grid}))
        display = cls(
            x=grid,
            **_prediction(model, rows, target, coverage),
            coverage=coverage,
            x_data=None if y is None else columns[key],
            y_data=None if y is None else one_target(y, target),
            feature_name=feature_name or name_of_feature(key),
            target_name=target_name or name_of_target(y),
        )
        return display.plot(**plot_params)


def _prediction(model, X, target, coverage):
    """Predict mean and std, and where the model has them its parts, interval and draws."""
    interval = None
    if is_calibrated(model):
        interval = one_target(model.predict_interval(X, coverage=coverage), target, ndim=3)
    if not hasattr(model, "predict_decomposed"):
        mean, std = (one_target(part, target) for part in predict_mean_and_std(model, X))
        return {"mean": mean, "std": std, "interval": interval}
    parts = model.predict_decomposed(X)
    mean, epistemic, aleatoric = (one_target(part, target) for part in parts)
    draws = one_target(model.draws(X), target, axis=2, ndim=3) if hasattr(model, "draws") else None
    return {
        "mean": mean,
        "std": np.hypot(epistemic, aleatoric),  # variances add up, by the law of total variance
        "epistemic_std": epistemic,
        "interval": interval,
        "draws": draws,
    }
