"""A display of whether a classifier is less sure of data of another kind."""

import numpy as np
from sklearn.metrics import roc_auc_score

from sk_mcdropout.metrics import UNCERTAINTIES, check_numbers, predict_class_uncertainty

from ._base import Display, free_curve

__all__ = ["UncertaintyHistogramDisplay"]


class UncertaintyHistogramDisplay(Display):
    """Plot how unsure a classifier is of known data, and of unknown data of another kind.

    The less the two histograms overlap, the better data of this other kind are told by the
    uncertainty. The AUROC is the chance that it is greater for an unknown row than for a known one,
    ties by half [1]_: 1 where all are told, 0.5 where it is of no use.

    Parameters
    ----------
    known : ndarray of shape (n_known,)
        The uncertainty of each row of the known data.
    unknown : ndarray of shape (n_unknown,)
        That of each row of the unknown data.
    auroc : float
        Area under the ROC curve for telling the unknown rows.
    uncertainty_name : str, default="uncertainty"
        What the uncertainty is, best with its units.
    name : str, default=None
        Name of the model in the legend.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        Where `plot` drew.
    known_line_, unknown_line_ : Line2D
        The outlines of the two histograms.
    known_area_, unknown_area_ : PolyCollection
        What is under them.

    References
    ----------
    .. [1] Hendrycks & Gimpel (2017), "A baseline for detecting misclassified and
       out-of-distribution examples in neural networks", ICLR.

    Examples
    --------
    >>> from sk_mcdropout.displays import UncertaintyHistogramDisplay
    >>> display = UncertaintyHistogramDisplay.from_predictions([0.1, 0.2, 0.4], [0.3, 0.6])
    >>> display.unknown_line_.get_label()
    'unknown, AUROC = 0.833'
    """

    def __init__(self, *, known, unknown, auroc, uncertainty_name="uncertainty", name=None):
        self.known = known
        self.unknown = unknown
        self.auroc = auroc
        self.uncertainty_name = uncertainty_name
        self.name = name

    def plot(
        self,
        ax=None,
        *,
        bins=30,
        name=None,
        known_kwargs=None,
        unknown_kwargs=None,
        known_area_kwargs=None,
        unknown_area_kwargs=None,
    ):
        """Plot the histograms.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        bins : int, str or array-like, default=30
            The bins of both histograms, as for ``numpy.histogram_bin_edges``.
        name : str, default=None
            Name of the model in the legend; None takes the one that is stored.
        known_kwargs, unknown_kwargs : dict, default=None
            Style of the outlines, for ``Axes.plot``.
        known_area_kwargs, unknown_area_kwargs : dict, default=None
            Style of what is under them, for ``Axes.fill_between``.

        Returns
        -------
        self : object
            The display.
        """
        self._begin(ax)
        name = name or self.name
        of = f"{name}: " if name else ""
        edges = np.histogram_bin_edges(np.concatenate([self.known, self.unknown]), bins)
        self.known_line_, self.known_area_ = self._histogram(
            self.known, edges, f"{of}known", known_kwargs, known_area_kwargs
        )
        label = f"{of}unknown, AUROC = {self.auroc:.3f}"
        self.unknown_line_, self.unknown_area_ = self._histogram(
            self.unknown, edges, label, unknown_kwargs, unknown_area_kwargs
        )
        return self._end(xlabel=self.uncertainty_name, ylabel="share of the rows")

    def _histogram(self, values, edges, label, given, given_area):
        curve = free_curve(self.ax_)
        shares = np.histogram(values, edges)[0] / len(values)
        x, y = np.repeat(edges, 2), np.concatenate([[0], np.repeat(shares, 2), [0]])
        line = self._line(x, y, given, {"linewidth": 1, "label": label, **curve})
        style = {"facecolor": curve["color"], "alpha": 0.2, "linewidth": 0}
        return line, self._fill(x, (np.zeros_like(y), y), given_area, style)

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X_known,
        X_unknown,
        *,
        uncertainty="predictive_entropy",
        name=None,
        **plot_params,
    ):
        """Predict the uncertainty with a fitted classifier, and plot it.

        Parameters
        ----------
        estimator : object
            A fitted classifier, alone or at the end of a pipeline or a search. It is asked how
            unsure it is by ``predict_uncertainty``; without that, by ``predict_proba``.
        X_known, X_unknown : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Inputs of the kind that the classifier was fitted on, and of another kind.
        uncertainty : str, default="predictive_entropy"
            A field of `ClassUncertainty`; of a classifier without draws ``"predictive_entropy"``,
            ``"margin"`` or ``"max_probability"``. The last two are subtracted from 1.
        name : str, default=None
            Name of the model in the legend.
        **plot_params : dict
            Passed to `plot`.

        Returns
        -------
        UncertaintyHistogramDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If the classifier does not predict the uncertainty.
        ValueError
            If there is no such uncertainty.
        """
        known, unknown = (
            predict_class_uncertainty(estimator, X, uncertainty) for X in (X_known, X_unknown)
        )
        return cls.from_predictions(
            known, unknown, uncertainty_name=UNCERTAINTIES[uncertainty], name=name, **plot_params
        )

    @classmethod
    def from_predictions(
        cls, known, unknown, *, uncertainty_name="uncertainty", name=None, **plot_params
    ):
        """Plot uncertainties.

        Parameters
        ----------
        known : array-like of shape (n_known,)
            Any number for each row of the known data, greater where the classifier is less sure.
        unknown : array-like of shape (n_unknown,)
            The same of the unknown data.
        uncertainty_name : str, default="uncertainty"
            What the uncertainty is, best with its units.
        name : str, default=None
            Name of the model in the legend.
        **plot_params : dict
            Passed to `plot`.

        Returns
        -------
        UncertaintyHistogramDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If there is no row of one kind, or an uncertainty is not finite.
        """
        known = check_numbers("known", known, (1,))
        unknown = check_numbers("unknown", unknown, (1,))
        is_unknown = np.repeat([0, 1], [len(known), len(unknown)])
        display = cls(
            known=known,
            unknown=unknown,
            auroc=float(roc_auc_score(is_unknown, np.concatenate([known, unknown]))),
            uncertainty_name=uncertainty_name,
            name=name,
        )
        return display.plot(**plot_params)
