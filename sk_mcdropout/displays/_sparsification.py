"""A display of whether the errors are largest where the std is."""

import numpy as np
from scipy.stats import norm

from sk_mcdropout.metrics import (
    area_under_sparsification_error,
    check_shares,
    last_step,
    one_target,
    predict_mean_and_std,
    sparsification_curve,
)

from ._base import Display, area_style, check_forecast, free_curve, name_of_target

__all__ = ["SparsificationDisplay"]


class SparsificationDisplay(Display):
    """Plot whether the rows with the largest std are those with the largest error.

    The curve is the error that is left when the least certain rows are left out [1]_. It should
    fall as that of the oracle, which leaves out the largest errors first; where it stays on the
    line of the random order, the std is unrelated to the errors. The area between curve and
    oracle is the AUSE. The other kind of plot is of the errors against the std, row by row.

    Parameters
    ----------
    removed, error, oracle_error : ndarray of shape (n_points,)
        What `sparsification_curve` returns.
    area : float
        What `area_under_sparsification_error` returns.
    std, absolute_error : ndarray of shape (n_samples,)
        What was predicted, and how far the mean was off.
    target_name : str, default="y"
        Name of the target, best with its units.
    name : str, default=None
        Name of the model in the legend.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        Where `plot` drew.
    line_, oracle_line_ : Line2D or None
        The two curves.
    area_ : PolyCollection or None
        The area between them.
    points_ : Line2D or None
        The errors against the std.
    reference_line_ : Line2D
        The random order; or where the quantile of normal errors is.

    References
    ----------
    .. [1] Ilg et al. (2018), "Uncertainty estimates and multi-hypotheses networks for optical
       flow", ECCV.

    Examples
    --------
    >>> from sk_mcdropout.displays import SparsificationDisplay
    >>> y_true, mean, std = [1.0, 2.0, 3.0], [0.0, 0.0, 0.0], [0.1, 0.2, 0.3]
    >>> display = SparsificationDisplay.from_predictions(y_true, mean, std, name="net")
    >>> display.line_.get_label()
    'net, AUSE = 0'
    """

    def __init__(
        self,
        *,
        removed,
        error,
        oracle_error,
        area,
        std,
        absolute_error,
        target_name="y",
        name=None,
    ):
        self.removed = removed
        self.error = error
        self.oracle_error = oracle_error
        self.area = area
        self.std = std
        self.absolute_error = absolute_error
        self.target_name = target_name
        self.name = name

    def plot(
        self,
        ax=None,
        *,
        kind="sparsification",
        coverage=0.9,
        name=None,
        line_kwargs=None,
        oracle_kwargs=None,
        area_kwargs=None,
        points_kwargs=None,
        reference_kwargs=None,
    ):
        """Plot the curve, or the errors row by row.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        kind : {"sparsification", "error_vs_std"}, default="sparsification"
            The curve, or the errors row by row.
        coverage : float, default=0.9
            Share of normal errors below the reference line of ``"error_vs_std"``.
        name : str, default=None
            Name of the model in the legend; None takes the one that is stored.
        line_kwargs, oracle_kwargs, points_kwargs, reference_kwargs : dict, default=None
            Style of the two curves, of the errors and of the reference line, for ``Axes.plot``.
        area_kwargs : dict, default=None
            Style of the area, for ``Axes.fill_between``.

        Returns
        -------
        self : object
            The display.

        Raises
        ------
        ValueError
            If there is no such kind, or ``coverage`` is not in (0, 1).
        """
        if kind not in ("sparsification", "error_vs_std"):
            raise ValueError(
                f"`kind` must be 'sparsification' or 'error_vs_std'. Got {kind!r}. Give one of "
                "these."
            )
        check_shares("coverage", coverage)
        curve, name = free_curve(self._begin(ax)), name or self.name
        self.line_ = self.oracle_line_ = self.area_ = self.points_ = None
        if kind == "error_vs_std":
            return self._plot_errors(curve, name, coverage, points_kwargs, reference_kwargs)
        edges = self.oracle_error, self.error
        self.area_ = self._fill(self.removed, edges, area_kwargs, area_style(curve))
        style = {"color": "black", "linewidth": 1, "label": "random order"}
        self.reference_line_ = self._line([0, 1], [self.error[0]] * 2, reference_kwargs, style)
        style = {"label": f"{name or 'by std'}, AUSE = {self.area:.3g}", **curve}
        self.line_ = self._line(self.removed, self.error, line_kwargs, style)
        style = {"color": curve["color"], "linestyle": ":", "linewidth": 1, "label": "oracle"}
        self.oracle_line_ = self._line(self.removed, self.oracle_error, oracle_kwargs, style)
        return self._end(
            xlabel="share of rows left out", ylabel="mean absolute error / that of all rows"
        )

    def _plot_errors(self, curve, name, coverage, points_kwargs, reference_kwargs):
        style = {"color": curve["color"], "linestyle": "none", "marker": ".", "alpha": 0.6}
        style = {"markersize": 4, "label": name or "rows", **style}
        self.points_ = self._line(self.std, self.absolute_error, points_kwargs, style)
        x = np.array([0, np.max(self.std)])
        label = f"{100 * coverage:g} % of normal errors are below"
        style = {"color": "black", "linewidth": 1, "label": label}
        y = norm.ppf((1 + coverage) / 2) * x
        self.reference_line_ = self._line(x, y, reference_kwargs, style)
        of = self.target_name
        return self._end(xlabel=f"std of {of}", ylabel=f"absolute error of {of}")

    @classmethod
    def from_estimator(
        cls, estimator, X, y, *, target=None, target_name=None, name=None, **plot_params
    ):
        """Predict mean and std with a fitted regressor, and plot its errors.

        Parameters
        ----------
        estimator : object
            A fitted regressor with ``predict(X, return_std=True)``, alone or at the end of a
            pipeline or a search.
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Inputs that the regressor was not fitted on.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Their targets.
        target : int, default=None
            Index of the target, if there are several.
        target_name : str, default=None
            Name of the target; None takes that of y.
        name : str, default=None
            Name of the model in the legend; None takes the name of its class.
        **plot_params : dict
            Passed to `plot`.

        Returns
        -------
        SparsificationDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If the regressor predicts no standard deviation.
        ValueError
            If there is no such target.
        """
        model, X = last_step(estimator, X)
        forecast = (y, *predict_mean_and_std(model, X))
        return cls.from_predictions(
            *(one_target(values, target) for values in forecast),
            target_name=target_name or name_of_target(y),
            name=name or type(model).__name__,
            **plot_params,
        )

    @classmethod
    def from_predictions(cls, y_true, mean, std, *, target_name="y", name=None, **plot_params):
        """Plot the errors of predictions.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            What was observed.
        mean, std : array-like of shape (n_samples,)
            What was predicted.
        target_name : str, default="y"
            Name of the target, best with its units.
        name : str, default=None
            Name of the model in the legend.
        **plot_params : dict
            Passed to `plot`.

        Returns
        -------
        SparsificationDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If the arrays do not go together, or a std is negative.
        """
        y_true, mean, std = check_forecast(y_true, mean, std)
        removed, error, oracle_error = sparsification_curve(y_true, mean, std)
        display = cls(
            removed=removed,
            error=error,
            oracle_error=oracle_error,
            area=area_under_sparsification_error(y_true, mean, std),
            std=std,
            absolute_error=np.abs(y_true - mean),
            target_name=target_name,
            name=name,
        )
        return display.plot(**plot_params)
