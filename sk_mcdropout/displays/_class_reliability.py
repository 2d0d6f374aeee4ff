"""A display of whether the probabilities of a classifier come true."""

import numpy as np

from sk_mcdropout.metrics import (
    expected_calibration_error,
    last_step,
    predict_probabilities,
    reliability_curve,
)

from ._base import Display, free_curve

__all__ = ["ClassReliabilityDisplay"]


class ClassReliabilityDisplay(Display):
    """Plot how often the likeliest class is right, over how probable it was said to be [1]_.

    Below the diagonal a classifier is too sure, above it not sure enough. The gaps to the diagonal,
    weighted by the shares of the rows, add up to the expected calibration error (ECE). Bins with
    few rows are off the diagonal by chance.

    Parameters
    ----------
    confidence, accuracy, share : ndarray of shape (n_bins,)
        What `reliability_curve` returns.
    error : float
        What `expected_calibration_error` returns.
    name : str, default=None
        Name of the model in the legend.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        Where `plot` drew.
    line_ : Line2D
        The accuracy.
    gaps_ : LineCollection
        From the accuracy of each bin to its confidence.
    shares_ : LineCollection
        The share of all rows that are in each bin, as a height above 0.
    reference_line_ : Line2D
        The diagonal.

    See Also
    --------
    ReliabilityDisplay : The same for the intervals of a regressor.

    References
    ----------
    .. [1] Guo, Pleiss, Sun & Weinberger (2017), "On calibration of modern neural networks", ICML.

    Examples
    --------
    >>> from sk_mcdropout.displays import ClassReliabilityDisplay
    >>> y_true, y_proba = ["no", "yes", "yes"], [[0.6, 0.4], [0.2, 0.8], [0.4, 0.6]]
    >>> display = ClassReliabilityDisplay.from_predictions(y_true, y_proba, name="net")
    >>> display.line_.get_label()
    'net, ECE = 0.333'
    """

    def __init__(self, *, confidence, accuracy, share, error, name=None):
        self.confidence = confidence
        self.accuracy = accuracy
        self.share = share
        self.error = error
        self.name = name

    def plot(
        self,
        ax=None,
        *,
        name=None,
        line_kwargs=None,
        gaps_kwargs=None,
        shares_kwargs=None,
        reference_kwargs=None,
    ):
        """Plot the accuracy.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        name : str, default=None
            Name of the model in the legend; None takes the one that is stored.
        line_kwargs, reference_kwargs : dict, default=None
            Style of the accuracy and of the diagonal, for ``Axes.plot``.
        gaps_kwargs, shares_kwargs : dict, default=None
            Style of the gaps and of the shares of the rows, for ``Axes.vlines``.

        Returns
        -------
        self : object
            The display.
        """
        curve, name = free_curve(self._begin(ax)), name or self.name
        color = curve["color"]
        style = {"color": color, "linewidth": 6, "alpha": 0.25, "label": "share of the rows"}
        edges = np.zeros_like(self.share), self.share
        self.shares_ = self._stalks(self.confidence, edges, shares_kwargs, style)
        style = {"color": "black", "linewidth": 1, "label": "perfectly calibrated"}
        self.reference_line_ = self._line([0, 1], [0, 1], reference_kwargs, style)
        style = {"color": color, "linewidth": 1, "label": "gap"}
        edges = self.accuracy, self.confidence
        self.gaps_ = self._stalks(self.confidence, edges, gaps_kwargs, style)
        label = f"{name or 'accuracy'}, ECE = {self.error:.3g}"
        style = {"marker": "o", "markersize": 4, "label": label, **curve}
        self.line_ = self._line(self.confidence, self.accuracy, line_kwargs, style)
        return self._end(xlabel="highest probability", ylabel="accuracy")

    @classmethod
    def from_estimator(
        cls, estimator, X, y, *, n_bins=15, strategy="uniform", name=None, **plot_params
    ):
        """Predict probabilities with a fitted classifier, and plot how often they come true.

        Parameters
        ----------
        estimator : object
            A fitted classifier with ``predict_proba``, alone or inside of pipelines and searches.
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Inputs that the classifier was not fitted on.
        y : array-like of shape (n_samples,)
            Their classes.
        n_bins : int, default=15
            Number of bins.
        strategy : {"uniform", "quantile"}, default="uniform"
            Bins of equal width, or of equal numbers of rows; see `reliability_curve`.
        name : str, default=None
            Name of the model in the legend; None takes the name of its class.
        **plot_params : dict
            Passed to `plot`.

        Returns
        -------
        ClassReliabilityDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If the classifier predicts no probabilities.
        ValueError
            If y has a class that it does not know, or the bins are none.
        """
        proba, classes = predict_probabilities(estimator, X)
        return cls.from_predictions(
            y,
            proba,
            labels=classes,
            n_bins=n_bins,
            strategy=strategy,
            name=name or type(last_step(estimator)[0]).__name__,
            **plot_params,
        )

    @classmethod
    def from_predictions(
        cls,
        y_true,
        y_proba,
        *,
        labels=None,
        n_bins=15,
        strategy="uniform",
        name=None,
        **plot_params,
    ):
        """Plot how often predicted probabilities come true.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            The classes that were observed.
        y_proba : array-like of shape (n_samples, n_classes) or (n_samples,)
            The probabilities of the classes; with one axis, those of the second of two.
        labels : array-like of shape (n_classes,), default=None
            The classes in the order of the columns; None takes those of ``y_true``, sorted.
        n_bins : int, default=15
            Number of bins.
        strategy : {"uniform", "quantile"}, default="uniform"
            Bins of equal width, or of equal numbers of rows; see `reliability_curve`.
        name : str, default=None
            Name of the model in the legend.
        **plot_params : dict
            Passed to `plot`.

        Returns
        -------
        ClassReliabilityDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If rows are no probabilities, they do not go with the classes, or the bins are none.
        """
        bins = {"labels": labels, "n_bins": n_bins, "strategy": strategy}
        confidence, accuracy, share = reliability_curve(y_true, y_proba, **bins)
        error = expected_calibration_error(y_true, y_proba, **bins)
        display = cls(confidence=confidence, accuracy=accuracy, share=share, error=error, name=name)
        return display.plot(**plot_params)
