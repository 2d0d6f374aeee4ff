"""A display of the observed against the nominal coverage of intervals."""

from contextlib import suppress

import numpy as np
from scipy.stats import binom, norm

from sk_mcdropout.metrics import (
    check_shares,
    coverage_score,
    knows,
    last_step,
    one_target,
    predict_mean_and_std,
)

from ._base import Display, check_forecast, free_curve

__all__ = ["ReliabilityDisplay"]


class ReliabilityDisplay(Display):
    """Plot the observed coverage of intervals against their nominal coverage [1]_.

    On the diagonal the intervals hold as many y as they should, below it they are too narrow.
    Observed coverages scatter even for perfect intervals, as shares of a binomial number of hits:
    the band holds them, each level on its own. It takes the rows for independent, which several
    targets of a row are not, so each target has a plot of its own.

    Parameters
    ----------
    nominal, observed : ndarray of shape (n_levels,)
        Coverage that the intervals are made for, and that is found.
    n_samples : int
        Number of rows it was found on.
    name : str, default=None
        Name of the model in the legend.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        Where `plot` drew.
    line_ : Line2D
        The observed coverage.
    band_ : PolyCollection
        The binomial band.
    reference_line_ : Line2D
        The diagonal.

    References
    ----------
    .. [1] Kuleshov, Fenner & Ermon (2018), "Accurate uncertainties for deep learning using
       calibrated regression", ICML.

    Examples
    --------
    >>> from sk_mcdropout.displays import ReliabilityDisplay
    >>> y_true, mean, std = [0.0, 1.0, -2.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]
    >>> display = ReliabilityDisplay.from_predictions(y_true, mean, std, levels=[0.5, 0.9])
    >>> display.observed
    array([0.33..., 0.66...])
    """

    def __init__(self, *, nominal, observed, n_samples, name=None):
        self.nominal = nominal
        self.observed = observed
        self.n_samples = n_samples
        self.name = name

    def plot(
        self,
        ax=None,
        *,
        band_coverage=0.95,
        name=None,
        line_kwargs=None,
        band_kwargs=None,
        reference_kwargs=None,
    ):
        """Plot the observed coverage.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        band_coverage : float, default=0.95
            Share of the observed coverages of perfect intervals that the band holds.
        name : str, default=None
            Name of the model in the legend; None takes the one that is stored.
        line_kwargs, reference_kwargs : dict, default=None
            Style of the observed coverage and of the diagonal, for ``Axes.plot``.
        band_kwargs : dict, default=None
            Style of the band, for ``Axes.fill_between``.

        Returns
        -------
        self : object
            The display.

        Raises
        ------
        ValueError
            If ``band_coverage`` is not in (0, 1).
        """
        check_shares("band_coverage", band_coverage)
        curve = free_curve(self._begin(ax))
        counts = binom.interval(band_coverage, self.n_samples, self.nominal)
        label = f"{100 * band_coverage:g} % binomial band, n = {self.n_samples}"
        style = {"color": "0.9", "linewidth": 0, "zorder": 0, "label": label}
        edges = np.array(counts) / self.n_samples
        self.band_ = self._fill(self.nominal, edges, band_kwargs, style)
        style = {"color": "black", "linewidth": 1, "label": "perfectly calibrated"}
        self.reference_line_ = self._line([0, 1], [0, 1], reference_kwargs, style)
        style = {"marker": "o", "markersize": 4, "label": name or self.name or "observed", **curve}
        self.line_ = self._line(self.nominal, self.observed, line_kwargs, style)
        return self._end(xlabel="nominal coverage", ylabel="observed coverage")

    @classmethod
    def from_estimator(cls, estimator, X, y, *, levels=None, target=None, name=None, **plot_params):
        """Predict intervals with a fitted regressor, and plot how many y they hold.

        Parameters
        ----------
        estimator : object
            A fitted regressor, alone or at the end of a pipeline or a search. Its intervals are
            those of ``predict_interval(X, coverage=...)``, where it has that, or else those of
            the normal with the mean and the std of ``predict(X, return_std=True)``.
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Inputs that the regressor was not fitted on.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Their targets.
        levels : array-like of shape (n_levels,), default=None
            Nominal coverages; None takes 0.05, 0.1, ..., 0.95. All are asked for at once where
            ``predict_interval`` takes an array, and one after the other where it does not.
        target : int, default=None
            Index of the target, if there are several.
        name : str, default=None
            Name of the model in the legend; None takes the name of its class.
        **plot_params : dict
            Passed to `plot`.

        Returns
        -------
        ReliabilityDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If the regressor predicts neither intervals nor a standard deviation.
        ValueError
            If there is no such target, or a level is not in (0, 1).
        """
        model, X = last_step(estimator, X)
        y, name = np.asarray(y), name or type(model).__name__
        one_y = one_target(y, target)
        if not knows(model, "predict_interval", "coverage"):
            mean, std = (one_target(part, target) for part in predict_mean_and_std(model, X))
            return cls.from_predictions(one_y, mean, std, levels=levels, name=name, **plot_params)
        levels = _check_levels(levels)
        intervals = one_target(_intervals(model, X, levels, y.size), target, ndim=4)
        return cls._from_intervals(one_y, intervals, levels, name, plot_params)

    @classmethod
    def from_predictions(cls, y_true, mean, std, *, levels=None, name=None, **plot_params):
        """Plot how many y the central intervals of normals hold.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            What was observed.
        mean, std : array-like of shape (n_samples,)
            What was predicted.
        levels : array-like of shape (n_levels,), default=None
            Nominal coverages; None takes 0.05, 0.1, ..., 0.95.
        name : str, default=None
            Name of the model in the legend.
        **plot_params : dict
            Passed to `plot`.

        Returns
        -------
        ReliabilityDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If shapes differ, a number is not finite, a std is negative, or a level is not in
            (0, 1).
        """
        y_true, mean, std = check_forecast(y_true, mean, std)
        levels = _check_levels(levels)
        halves = norm.ppf((1 + levels) / 2) * std[:, None]
        intervals = np.stack([mean[:, None] - halves, mean[:, None] + halves], axis=-1)
        return cls._from_intervals(y_true, intervals, levels, name, plot_params)

    @classmethod
    def _from_intervals(cls, y_true, intervals, levels, name, plot_params):
        observed = [coverage_score(y_true, interval) for interval in np.swapaxes(intervals, 0, 1)]
        display = cls(nominal=levels, observed=np.array(observed), n_samples=len(y_true), name=name)
        return display.plot(**plot_params)


def _check_levels(levels):
    """Return the nominal coverages; check that each is in (0, 1)."""
    return check_shares("levels", np.linspace(0.05, 0.95, 19) if levels is None else levels)


def _intervals(model, X, levels, n_values):
    """Return intervals of all coverages, of shape (n_samples, [n_targets], n_levels, 2)."""
    # A model that takes one coverage at a time refuses an array, or returns another shape.
    with suppress(TypeError, ValueError):
        intervals = np.asarray(model.predict_interval(X, coverage=levels))
        ends = (len(levels), 2)
        is_whole = intervals.size == n_values * len(levels) * 2
        if is_whole and intervals.ndim > 2 and intervals.shape[-2:] == ends:
            return intervals
    return np.stack([model.predict_interval(X, coverage=level) for level in levels], axis=-2)
