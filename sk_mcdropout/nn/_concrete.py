"""Concrete dropout, whose rate is learned: Gal, Hron & Kendall (2017), NeurIPS."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ConcreteDropout", "learned_rates", "regularisation", "regularised_parameters"]

_CHANNELWISE = {nn.Conv1d: F.dropout1d, nn.Conv2d: F.dropout2d, nn.Conv3d: F.dropout3d}
_TEMPERATURE = 0.1  # Gal, Hron & Kendall (2017), section 3
_MOST = 10.0  # rates lie within 1/22,000 of 0 and 1, where their logarithms are still at hand


class ConcreteDropout(nn.Module):
    """Dropout whose rate is trained with the weights, and the layer that follows it.

    In training mode units are weakened by a smooth function of the rate, the concrete relaxation,
    so that the rate has a gradient. In eval mode it is ordinary dropout at the learned rate: off,
    or drawn by `sample` and by the estimators. The rate is held up by `regularisation`, which the
    estimators add to the loss by themselves; in a training loop of your own add
    ``regularisation(module) / n_training_rows`` to the mean negative log-likelihood of a row.

    Parameters
    ----------
    layer : nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d or None
        The layer that is applied after the dropout, whose weights count in the regularisation. A
        convolution has whole channels dropped. None leaves the input as it is after the dropout;
        only the entropy of the rate counts then, and a rate without use in the net goes to 0.5.
    p : float
        The rate at the start, in (0, 1).
    length_scale : float
        Prior length scale of the weights, at least 0: a large one asks for small weights.

    Raises
    ------
    TypeError
        If the layer is of another kind.
    ValueError
        If the rate or the length scale is out of bounds.

    References
    ----------
    Gal, Hron & Kendall (2017), "Concrete dropout", NeurIPS, eqs. 3 to 5.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout import ConcreteDropout, sample
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 8), ConcreteDropout(torch.nn.Linear(8, 1)))
    >>> sample(net, torch.ones(3, 2), n_draws=10).shape
    torch.Size([10, 3, 1])
    """

    def __init__(
        self, layer: nn.Module | None = None, p: float = 0.1, length_scale: float = 0.01
    ) -> None:
        super().__init__()
        if not isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d | None):
            raise TypeError(
                "`layer` must be a linear layer or a convolution. Got a "
                f"{type(layer).__name__}. Leave it out, and apply the layer after the dropout."
            )
        if length_scale < 0:
            raise ValueError(
                f"`length_scale` must be at least 0. Got {length_scale!r}. Give 0 for weights "
                "without a prior."
            )
        self.layer = layer
        self.length_scale = length_scale
        self.n_units = 0 if layer is None else _n_inputs(layer)
        self.logit = nn.Parameter(torch.zeros(()))
        self.set_rate(p)

    @property
    def rate(self) -> Tensor:
        """Rate, in (0, 1), with its gradient."""
        bounded = self.logit.clamp(-_MOST, _MOST)
        # The gradient is that of a number without bounds, so that training finds the way back.
        return torch.sigmoid((bounded.detach() + (self.logit - self.logit.detach())).float())

    def set_rate(self, p: float) -> None:
        """Set the rate, from which it goes on learning.

        Parameters
        ----------
        p : float
            The rate, in (0, 1).

        Raises
        ------
        ValueError
            If it is outside (0, 1).
        """
        if not 0 < p < 1:
            raise ValueError(
                f"the rate of ConcreteDropout must lie in (0, 1) to learn. Got {p!r}. Use "
                "`torch.nn.Dropout` for a rate that stays."
            )
        with torch.no_grad():
            self.logit.fill_(math.log(p) - math.log1p(-p))

    def forward(self, x: Tensor) -> Tensor:
        """Drop units, then apply the layer.

        Parameters
        ----------
        x : Tensor of shape (n_samples, ...)
            The input of the layer.

        Returns
        -------
        Tensor of shape (n_samples, ...)
            The output of the layer; without a layer, x with units dropped.
        """
        kinds = (d for kind, d in _CHANNELWISE.items() if isinstance(self.layer, kind))
        dropout = next(kinds, F.dropout)
        if self.training:
            if self.layer is None:
                self.n_units = x.shape[-1]
            x = x * self._weakened(x, dropout is not F.dropout)
        else:
            x = dropout(x, float(self.rate.detach()), training=False)
        return x if self.layer is None else self.layer(x)

    def _weakened(self, x: Tensor, by_channel: bool) -> Tensor:
        """Draw a mask of the concrete distribution: eq. 5, for the units that are kept."""
        shape = (*x.shape[:2], *(1 for _ in x.shape[2:])) if by_channel else x.shape
        rate = self.rate
        uniform = torch.rand(shape, device=x.device).clamp_(1e-7, 1 - 1e-7)
        logits = torch.logit(rate) + torch.logit(uniform)
        return (torch.sigmoid(-logits / _TEMPERATURE) / (1 - rate)).to(x.dtype)

    def regularisation(self) -> Tensor:
        """Compute the divergence from the prior, in nats up to a constant.

        Returns
        -------
        Tensor of shape ()
            Eqs. 3 and 4, with the weights of a dropout that divides what it keeps by 1 - p.
        """
        rate = self.rate
        entropy = -rate * rate.log() - (1 - rate) * (-rate).log1p()
        loss = -self.n_units * entropy
        if self.layer is not None and self.length_scale:
            squares = self.layer.weight.float().square().sum()
            loss = loss + 0.5 * self.length_scale**2 * squares / (1 - rate)
        return loss

    def extra_repr(self) -> str:
        """Return what ``repr`` shows: the rate and the length scale.

        Returns
        -------
        str
            Both of them.
        """
        return f"rate={float(self.rate.detach()):.3g}, length_scale={self.length_scale:g}"


def _n_inputs(layer: nn.Module) -> int:
    return int(layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels)  # type: ignore[arg-type]


def learned_rates(module: nn.Module) -> dict[str, float]:
    """Return the rates that a module has learned.

    Parameters
    ----------
    module : nn.Module
        A module with `ConcreteDropout` inside.

    Returns
    -------
    dict
        The rate of each of them, by its path as in ``named_modules``.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout import ConcreteDropout
    >>> from sk_mcdropout.nn import learned_rates
    >>> learned_rates(torch.nn.Sequential(torch.nn.Linear(2, 8), ConcreteDropout(p=0.25)))
    {'1': 0.25}
    """
    parts = module.named_modules()
    return {n: float(part.rate.detach()) for n, part in parts if isinstance(part, ConcreteDropout)}


def regularised_parameters(module: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that `regularisation` acts on, which need no weight decay.

    Parameters
    ----------
    module : nn.Module
        A module with `ConcreteDropout` inside, or without.

    Returns
    -------
    list of Parameter
        The logits of the rates, and the weights of the layers that follow.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout import ConcreteDropout
    >>> from sk_mcdropout.nn import regularised_parameters
    >>> len(regularised_parameters(ConcreteDropout(torch.nn.Linear(8, 1))))
    2
    """
    parts = _parts(module)
    layers = [part.layer for part in parts if part.layer is not None]
    return [part.logit for part in parts] + [layer.weight for layer in layers]  # type: ignore[misc]


def regularisation(module: nn.Module) -> Tensor | None:
    """Compute the sum of the regularisations of all `ConcreteDropout` of a module.

    Parameters
    ----------
    module : nn.Module
        A module with `ConcreteDropout` inside, or without.

    Returns
    -------
    Tensor of shape () or None
        The sum, in nats, with its gradient; None without `ConcreteDropout`.

    References
    ----------
    Gal, Hron & Kendall (2017), "Concrete dropout", NeurIPS, eqs. 3 and 4.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout import ConcreteDropout
    >>> from sk_mcdropout.nn import regularisation
    >>> regularisation(ConcreteDropout(torch.nn.Linear(8, 1), p=0.5, length_scale=0)).item()
    -5.545
    """
    parts = _parts(module)
    if not parts:
        return None
    return torch.stack([part.regularisation() for part in parts]).sum()


def _parts(module: nn.Module) -> list[ConcreteDropout]:
    return [part for part in module.modules() if isinstance(part, ConcreteDropout)]
