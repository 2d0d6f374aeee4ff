"""A display of the losses of a net over the epochs of its training."""

import numpy as np
from sklearn.exceptions import NotFittedError

from sk_mcdropout.metrics import last_step

from ._base import Display, free_curve

__all__ = ["LossCurveDisplay"]


class LossCurveDisplay(Display):
    """Plot the loss of a skorch net over the epochs of its training.

    The best epoch is the one with the least loss on the rows held out by ``train_split``; without
    such rows none is marked, as the loss of the training rows goes on falling.

    Parameters
    ----------
    train_loss : array-like of shape (n_epochs,)
        Loss on the rows trained on.
    valid_loss : array-like of shape (n_epochs,), default=None
        Loss on the rows held out, NaN where there is none.
    loss_name : str, default="loss"
        What the loss is, and of what.
    name : str, default=None
        Name of the net in the legend.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        Where `plot` drew.
    train_line_ : Line2D
        The loss in training.
    valid_line_ : Line2D or None
        The loss in validation.
    best_point_ : Line2D or None
        The mark of the best epoch.

    Examples
    --------
    >>> from sk_mcdropout.displays import LossCurveDisplay
    >>> display = LossCurveDisplay(train_loss=[3.0, 2.0, 1.0], valid_loss=[3.0, 2.5, 2.7]).plot()
    >>> display.best_point_.get_label()
    'best epoch, 2'
    """

    def __init__(self, *, train_loss, valid_loss=None, loss_name="loss", name=None):
        self.train_loss = train_loss
        self.valid_loss = valid_loss
        self.loss_name = loss_name
        self.name = name

    def plot(self, ax=None, *, name=None, train_kwargs=None, valid_kwargs=None, best_kwargs=None):
        """Plot the losses.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        name : str, default=None
            Name of the net in the legend; None takes the one that is stored.
        train_kwargs, valid_kwargs, best_kwargs : dict, default=None
            Style of the two curves and of the mark of the best epoch, for ``Axes.plot``.

        Returns
        -------
        self : object
            The display.
        """
        color, name = free_curve(self._begin(ax))["color"], name or self.name
        from matplotlib.ticker import MaxNLocator

        of = f"{name}: " if name else ""
        known = self.valid_loss is not None  # the best epoch then names the net
        epochs = np.arange(1, len(self.train_loss) + 1)
        dot = "." if len(epochs) == 1 else None
        self.valid_line_ = self.best_point_ = None
        label = "training" if known else f"{of}training"
        style = {"color": color, "linestyle": "--", "marker": dot, "label": label}
        self.train_line_ = self._line(epochs, self.train_loss, train_kwargs, style)
        if known:
            style = {"color": color, "marker": dot, "label": "validation"}
            self.valid_line_ = self._line(epochs, self.valid_loss, valid_kwargs, style)
            best = np.nanargmin(self.valid_loss)
            label = f"{of}best epoch, {epochs[best]}"
            style = {"color": color, "linestyle": "none", "marker": "o", "label": label}
            x, y = epochs[[best]], [self.valid_loss[best]]
            self.best_point_ = self._line(x, y, best_kwargs, style)
        if isinstance(ticks := self.ax_.xaxis.get_major_locator(), MaxNLocator):
            ticks.set_params(integer=True)
        return self._end(xlabel="epoch", ylabel=self.loss_name)

    @classmethod
    def from_estimator(cls, estimator, *, name=None, **plot_params):
        """Plot the losses of a fitted net.

        Parameters
        ----------
        estimator : object
            A fitted skorch net, alone or at the end of a pipeline or a search.
        name : str, default=None
            Name of the net in the legend.
        **plot_params : dict
            Passed to `plot`.

        Returns
        -------
        LossCurveDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If it is no skorch net.
        NotFittedError
            If it was not trained.
        """
        return cls(**_losses_of(last_step(estimator)[0]), name=name).plot(**plot_params)


def _losses_of(net):
    """Return the losses of a skorch net in training and validation, and what they are."""
    if not hasattr(net, "history_"):
        raise TypeError(
            f"`estimator` must be a skorch net, which keeps a history. Got {type(net).__name__}. "
            "Give an MCDropoutRegressor, another skorch net or a pipeline that ends in one."
        )
    if not net.history_:
        raise NotFittedError(
            f"`estimator` must have trained for an epoch. Got {type(net).__name__} without one. "
            "Call `fit` first."
        )
    train, valid = (
        np.array([epoch.get(name, np.nan) for epoch in net.history_], dtype=float)
        for name in ("train_loss", "valid_loss")
    )
    known = not np.isnan(valid).all()
    return {
        "train_loss": train,
        "valid_loss": valid if known else None,
        "loss_name": _name_of_loss(net),
    }


def _name_of_loss(net):
    """Return the name of the loss, with the units of its target."""
    criterion = getattr(net.criterion_, "_orig_mod", net.criterion_)
    scaled = np.any(getattr(net, "y_scale_", 1) != 1) or np.any(getattr(net, "y_mean_", 0) != 0)
    return f"{type(criterion).__name__} ({'standardised y' if scaled else 'y as given'})"
