"""The default net, and the rates of the dropouts of any net."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from numbers import Integral, Real
from typing import Any, Self

import torch
from torch import Tensor, nn

from ._concrete import ConcreteDropout
from ._drop_connect import DropConnect
from ._gaussian import GaussianDropout
from ._inputs import PeriodicEmbedding, RobustScale
from ._masksembles import Masksembles

__all__ = ["MLP", "set_rates"]

_DROPOUTS = (
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)


class MLP(nn.Module):
    """Fully connected net with a dropout after each hidden layer.

    Parameters
    ----------
    n_features : int
        Width of the input.
    n_outputs : int
        Width of the output.
    hidden : sequence of int
        Widths of the hidden layers; their number is the depth.
    activation : callable
        Makes the activation of a hidden layer, as the class ``torch.nn.ReLU`` does.
    dropout : float, "concrete" or "masksembles"
        Rate of the dropouts, in [0, 1]; or rates that are learned, one for each hidden layer, by
        `ConcreteDropout`; or four masks that stay the same, by `Masksembles`, for ``n_draws=4``.
    embedding : "periodic" or None
        What the first layer gets: with ``"periodic"`` each column and numbers that depend on it by
        waves, by `PeriodicEmbedding`, for columns of a common scale; with None the columns.
    normalize_X : bool
        Whether a `RobustScale` scales the columns first.

    Attributes
    ----------
    scale, embedding : nn.Module
        What is done to the columns first. `fit` fits them, as the estimators do.
    layers : nn.Sequential
        The layers.

    Raises
    ------
    TypeError
        If ``hidden`` is no sequence, a width is no integer, or ``activation`` makes no module.
    ValueError
        If a width is not positive, the rate is outside [0, 1] and no such word, there is no
        such embedding, or a layer is too narrow for its masks.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout import MLP
    >>> net = MLP(n_features=8, n_outputs=1, hidden=(50, 50), dropout=0.05)
    >>> net(torch.zeros(3, 8)).shape
    torch.Size([3, 1])
    """

    def __init__(
        self,
        n_features: int,
        n_outputs: int = 1,
        hidden: Sequence[int] = (100, 100),
        activation: Callable[[], nn.Module] = nn.ReLU,
        dropout: float | str = 0.05,
        embedding: str | None = "periodic",
        normalize_X: bool = False,
    ) -> None:
        super().__init__()
        widths = _widths(n_features, hidden, n_outputs)
        _check_dropout(dropout)
        self.n_features = n_features
        self.scale = RobustScale(n_features) if normalize_X else nn.Identity()
        self.embedding, n_inputs = _embedding(embedding, n_features)
        widths = (n_inputs, *widths[1:])
        layers: list[nn.Module] = [nn.Linear(widths[0], widths[1])]
        for before, after in pairwise(widths[1:]):
            layers += [_make(activation), *_dropped(dropout, nn.Linear(before, after))]
        self.layers = nn.Sequential(*layers)

    def forward(self, X: Tensor) -> Tensor:
        """Compute the outputs.

        Parameters
        ----------
        X : Tensor of shape (n_samples, n_features)
            The inputs. There may be more axes in front of the last.

        Returns
        -------
        Tensor of shape (n_samples, n_outputs)
            The outputs.

        Raises
        ------
        ValueError
            If the last axis has another width than the net.
        """
        try:
            return self.layers(self.embedding(self.scale(X)))
        except (RuntimeError, IndexError) as error:
            first = self.layers[0]
            plain = isinstance(self.embedding, nn.Identity) and isinstance(first, nn.Linear)
            width = first.in_features if plain else self.n_features  # of a layer that was exchanged
            if X.shape[-1:] == (width,):
                raise
            raise ValueError(
                f"the input of MLP must have {width} features on its last axis. Got "
                f"the shape {tuple(X.shape)}. Flatten images and sequences, as "
                "`X.reshape(len(X), -1)` does, or give a `module` made for them."
            ) from error

    @property
    def fitted(self) -> bool:
        """Whether what is done to the columns first was fitted, or needs no fit."""
        return all(bool(getattr(part, "fitted", True)) for part in (self.scale, self.embedding))

    @torch.no_grad()
    def fit(self, X: Tensor, weights: Tensor | None = None) -> Self:
        """Fit what is done to the columns first: their scale, and the range of their waves.

        Parameters
        ----------
        X : Tensor of shape (n_samples, n_features)
            Rows.
        weights : Tensor of shape (n_samples,), optional
            Weights of the rows, at least 0; a row of weight 2 counts as two rows.

        Returns
        -------
        MLP
            This module.
        """
        if isinstance(self.scale, RobustScale):
            self.scale.fit(X, weights)
        if isinstance(self.embedding, PeriodicEmbedding):
            counted = X if weights is None else X[weights.to(X.device) > 0]
            self.embedding.fit(self.scale(counted.to(self.embedding.weight)))
        return self


def _embedding(kind: Any, n_features: int) -> tuple[nn.Module, int]:
    """Return what is done to the columns, and the number of columns after that."""
    if kind is None:
        return nn.Identity(), n_features
    if not isinstance(kind, str) or kind != "periodic":
        raise ValueError(
            f"`embedding` must be 'periodic' or None. Got {kind!r}. Give None for a net whose "
            "first layer gets the columns as they are."
        )
    waves = PeriodicEmbedding(n_features)
    return waves, n_features + waves.bias.numel()


def _widths(n_features: Any, hidden: Any, n_outputs: Any) -> tuple[int, ...]:
    """Return the widths of all layers, checked."""
    example = hidden if isinstance(hidden, Integral) else 50
    remedy = f"Write `hidden=({example},)`, in an estimator `module__hidden=({example},)`."
    if isinstance(hidden, str) or not hasattr(hidden, "__len__"):
        raise TypeError(
            f"`hidden` must be a sequence of widths, one for each hidden layer. Got {hidden!r}. "
            f"{remedy}"
        )
    widths = (n_features, *hidden, n_outputs)
    if not all(isinstance(width, Integral) for width in widths):
        raise TypeError(f"the widths of all layers must be integers. Got {widths!r}. {remedy}")
    if min(widths) < 1:
        raise ValueError(
            f"the widths of all layers must be at least 1. Got {widths!r}. Leave out a hidden "
            "layer without units."
        )
    return widths


def _check_dropout(dropout: Any) -> None:
    word = isinstance(dropout, str) and dropout in ("concrete", "masksembles")
    if not word and not (isinstance(dropout, Real) and 0 <= float(dropout) <= 1):
        raise ValueError(
            "`dropout` must be a rate in [0, 1], 'concrete' or 'masksembles'. Got "
            f"{dropout!r}. Give 0.0 for a net without dropout."
        )


def _dropped(dropout: float | str, layer: nn.Linear) -> list[nn.Module]:
    """Return a layer and the dropout of what goes into it."""
    if dropout == "concrete":
        return [ConcreteDropout(layer)]
    if dropout == "masksembles":
        return [Masksembles(layer.in_features), layer]
    return [nn.Dropout(float(dropout)), layer]


def _make(activation: Callable[[], nn.Module]) -> nn.Module:
    """Return a new activation."""
    made, cause = None, None
    try:
        made = activation()
    except TypeError as error:
        cause = error
    if not isinstance(made, nn.Module):
        raise TypeError(
            "`activation` must be a class or function that makes a module without being given "
            f"anything. Got {activation!r}. Write the class itself, `activation=torch.nn.Tanh`, in "
            "an estimator `module__activation=torch.nn.Tanh`."
        ) from cause
    return made


def set_rates(module: nn.Module, rate: float) -> None:
    """Set the rate of each dropout of a module.

    Parameters
    ----------
    module : nn.Module
        The module to change; its attention and recurrent modules are among its dropout modules.
    rate : float
        The rate, in [0, 1]; that of `ConcreteDropout` starts from it.

    Raises
    ------
    ValueError
        If the module has none; at 0 or 1 for one with `ConcreteDropout`, at 1 for one with
        `GaussianDropout`.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.nn import set_rates
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.Dropout())
    >>> set_rates(net, 0.1)
    >>> net[1].p
    0.1
    """
    found = False
    for part in module.modules():
        if isinstance(part, ConcreteDropout | DropConnect | GaussianDropout):
            part.set_rate(rate)
            found = True
        name = "p" if isinstance(part, _DROPOUTS) else "dropout"
        recurrent = isinstance(part, nn.RNNBase) and part.num_layers > 1
        if name == "p" or recurrent or isinstance(part, nn.MultiheadAttention):
            setattr(part, name, rate)
            found = True
    if not found:
        raise ValueError(
            f"`dropout` must be None for a module without dropout layers. Got {rate!r} for "
            f"{type(module).__name__}. Add a dropout layer, or set the rate where it is used."
        )
