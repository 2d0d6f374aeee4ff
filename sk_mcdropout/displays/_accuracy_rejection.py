"""A display of the accuracy on the rows that are kept when the least certain are rejected."""

import numpy as np

from sk_mcdropout.metrics import (
    accuracy_rejection_curve,
    area_under_accuracy_rejection_curve,
    last_step,
    predict_class_uncertainty,
)

from ._base import Display, free_curve

__all__ = ["AccuracyRejectionDisplay"]


class AccuracyRejectionDisplay(Display):
    """Plot the accuracy on the rows that are kept when the least certain are rejected [1]_.

    The curve should rise as that of the oracle, which rejects the errors first; where it stays on
    the line of the random order, the uncertainty is unrelated to the errors.

    Parameters
    ----------
    rejected, accuracy : ndarray of shape (n_points,)
        What `accuracy_rejection_curve` returns.
    oracle_accuracy : ndarray of shape (n_points,)
        The accuracy when the errors are rejected first.
    area : float
        What `area_under_accuracy_rejection_curve` returns.
    name : str, default=None
        Name of the model in the legend.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        Where `plot` drew.
    line_, oracle_line_ : Line2D
        The two curves.
    reference_line_ : Line2D
        The random order.

    See Also
    --------
    SparsificationDisplay : The same for the errors of a regressor.

    References
    ----------
    .. [1] Nadeem, Zucker & Hanczar (2009), "Accuracy-rejection curves (ARCs) for comparing
       classification methods with a reject option", PMLR 8.

    Examples
    --------
    >>> from sk_mcdropout.displays import AccuracyRejectionDisplay
    >>> y_true, y_pred, entropy = ["a", "b", "b"], ["a", "b", "a"], [0.1, 0.2, 0.6]
    >>> display = AccuracyRejectionDisplay.from_predictions(y_true, y_pred, entropy, name="net")
    >>> display.line_.get_label()
    'net, area = 0.937'
    """

    def __init__(self, *, rejected, accuracy, oracle_accuracy, area, name=None):
        self.rejected = rejected
        self.accuracy = accuracy
        self.oracle_accuracy = oracle_accuracy
        self.area = area
        self.name = name

    def plot(
        self, ax=None, *, name=None, line_kwargs=None, oracle_kwargs=None, reference_kwargs=None
    ):
        """Plot the curve.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        name : str, default=None
            Name of the model in the legend; None takes the one that is stored.
        line_kwargs, oracle_kwargs, reference_kwargs : dict, default=None
            Style of the two curves and of the reference line, for ``Axes.plot``.

        Returns
        -------
        self : object
            The display.
        """
        curve, name = free_curve(self._begin(ax)), name or self.name
        style = {"color": "black", "linewidth": 1, "label": "random order"}
        self.reference_line_ = self._line([0, 1], [self.accuracy[0]] * 2, reference_kwargs, style)
        style = {"label": f"{name or 'by uncertainty'}, area = {self.area:.3f}", **curve}
        self.line_ = self._line(self.rejected, self.accuracy, line_kwargs, style)
        style = {"color": curve["color"], "linestyle": ":", "linewidth": 1, "label": "oracle"}
        self.oracle_line_ = self._line(self.rejected, self.oracle_accuracy, oracle_kwargs, style)
        return self._end(xlabel="share of rows rejected", ylabel="accuracy on the others")

    @classmethod
    def from_estimator(
        cls, estimator, X, y, *, uncertainty="predictive_entropy", name=None, **plot_params
    ):
        """Predict classes with a fitted classifier, and plot their accuracy.

        Parameters
        ----------
        estimator : object
            A fitted classifier, alone or at the end of a pipeline or a search. It is asked how
            unsure it is by ``predict_uncertainty``; without that, by ``predict_proba``.
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Inputs that the classifier was not fitted on.
        y : array-like of shape (n_samples,)
            Their classes.
        uncertainty : str, default="predictive_entropy"
            A field of `ClassUncertainty`; of a classifier without draws ``"predictive_entropy"``,
            ``"margin"`` or ``"max_probability"``.
        name : str, default=None
            Name of the model in the legend; None takes the name of its class.
        **plot_params : dict
            Passed to `plot`.

        Returns
        -------
        AccuracyRejectionDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If the classifier does not predict the uncertainty.
        ValueError
            If there is no such uncertainty.
        """
        return cls.from_predictions(
            y,
            estimator.predict(X),
            predict_class_uncertainty(estimator, X, uncertainty),
            name=name or type(last_step(estimator)[0]).__name__,
            **plot_params,
        )

    @classmethod
    def from_predictions(cls, y_true, y_pred, uncertainty, *, name=None, **plot_params):
        """Plot the accuracy of predictions.

        Parameters
        ----------
        y_true, y_pred : array-like of shape (n_samples,)
            The classes that were observed, and that were predicted.
        uncertainty : array-like of shape (n_samples,)
            Any number for each row that is greater where the classifier is less sure.
        name : str, default=None
            Name of the model in the legend.
        **plot_params : dict
            Passed to `plot`.

        Returns
        -------
        AccuracyRejectionDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If the arrays do not go together, or an uncertainty is not finite.
        """
        rejected, accuracy = accuracy_rejection_curve(y_true, y_pred, uncertainty)
        wrong = np.ravel(y_true) != np.ravel(y_pred)
        display = cls(
            rejected=rejected,
            accuracy=accuracy,
            oracle_accuracy=accuracy_rejection_curve(y_true, y_pred, wrong)[1],
            area=area_under_accuracy_rejection_curve(y_true, y_pred, uncertainty),
            name=name,
        )
        return display.plot(**plot_params)
