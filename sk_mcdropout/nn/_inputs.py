"""What a net does to the columns of a table before its first weights."""

import math
from typing import Self

import torch
from torch import Tensor, nn

__all__ = ["PeriodicEmbedding", "RobustScale"]

_TAIL = 3.0  # distances of the quartiles, from which on values are drawn in


class RobustScale(nn.Module):
    """Bring the columns of a table to a common scale, and draw in their tails.

    A column is centred at its median and divided by the distance of its quartiles; z becomes
    ``3 * asinh(z / 3)``, nearly itself in the bulk of the rows and a logarithm in long tails.
    Beyond the range of the rows it goes on along the tangent. Where the quartiles are equal a
    column is divided by half of its range, and by 1 where that is 0 or too small to divide by.
    Before `fit` the medians are taken for 0, and the distances and the range for 1.

    Parameters
    ----------
    n_features : int
        Number of columns.

    Attributes
    ----------
    center, scale : Tensor of shape (n_features,)
        What is subtracted from the columns, and what they are multiplied with; buffers.
    lower, upper : Tensor of shape (n_features,)
        The range of z; buffers.
    fitted : Tensor of shape ()
        Whether they were learned; a buffer.

    References
    ----------
    Holzmüller, Grinsztajn & Steinwart (2024), "Better by default: strong pre-tuned MLPs and
    boosted trees on tabular data", NeurIPS, section 3. The clip there is bounded: all inputs far
    out would be the same to the net, and it would be no less sure of one than of another.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.nn import RobustScale
    >>> X = torch.tensor([[0.0, 1e6], [1.0, 2e6], [2.0, 3e6], [3.0, 4e6]])
    >>> RobustScale(2).fit(X)(X)
    tensor([[-0.4977, -0.4977],
            [ 0.0000,  0.0000],
            [ 0.4977,  0.4977],
            [ 0.9824,  0.9824]])
    """

    center: Tensor
    scale: Tensor
    lower: Tensor
    upper: Tensor
    fitted: Tensor

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))
        self.register_buffer("lower", -torch.ones(n_features))
        self.register_buffer("upper", torch.ones(n_features))
        self.register_buffer("fitted", torch.tensor(False))

    def fit(self, X: Tensor, weights: Tensor | None = None) -> Self:
        """Learn the scale of the columns.

        Parameters
        ----------
        X : Tensor of shape (n_samples, n_features)
            Rows without missing values.
        weights : Tensor of shape (n_samples,), optional
            Weights of the rows, at least 0; a row of weight 2 counts as two rows.

        Returns
        -------
        RobustScale
            This module.
        """
        X = X.detach().to(torch.float64)
        weights = torch.ones(len(X)) if weights is None else weights
        rows = weights.to(X) > 0
        X, weights = X[rows], weights.to(X)[rows]
        lower, median, upper = _quantiles(X, weights, (0.25, 0.5, 0.75))
        distance = upper - lower
        half_range = (X.amax(dim=0) - X.amin(dim=0)) / 2
        least = torch.finfo(self.scale.dtype).tiny
        distance = torch.where(distance >= least, distance, half_range)
        self.center.copy_(median)
        self.scale.copy_(torch.where(distance >= least, 1 / distance, 1.0))
        self.lower.copy_((X.amin(dim=0) - self.center) * self.scale)
        self.upper.copy_((X.amax(dim=0) - self.center) * self.scale)
        self.fitted.fill_(True)
        return self

    def forward(self, X: Tensor) -> Tensor:
        """Scale the columns.

        Parameters
        ----------
        X : Tensor of shape (..., n_features)
            The inputs.

        Returns
        -------
        Tensor of shape (..., n_features)
            The scaled inputs.

        Raises
        ------
        ValueError
            If the last axis has another width.
        """
        _check_width(X, len(self.center))
        return scale_columns(X, self.center, self.scale, self.lower, self.upper)


def _check_width(X: Tensor, n_features: int) -> None:
    """Refuse other columns; a single one would be taken for all."""
    if X.shape[-1:] != (n_features,):
        raise ValueError(
            f"the input must have {n_features} features on its last axis. Got the shape "
            f"{tuple(X.shape)}. Flatten images and sequences, as `X.reshape(len(X), -1)` does, or "
            "give a `module` made for them."
        )


def scale_columns(X: Tensor, center: Tensor, scale: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Scale columns as `RobustScale` does; shapes broadcast."""
    z = (X - center) * scale
    inside = z.clamp(lower, upper)
    tangent = (z - inside) / torch.sqrt(1 + (inside / _TAIL) ** 2)
    return torch.asinh(inside / _TAIL) * _TAIL + tangent


def _quantiles(X: Tensor, weights: Tensor, levels: tuple[float, ...]) -> list[Tensor]:
    """Return quantiles of the columns: the least values that enough of the weight lies below."""
    values, order = X.sort(dim=0)
    below = weights[order].cumsum(dim=0) / weights.sum()
    # A rounding of the sums must not move a quantile that is met exactly.
    at = [(below < level - 1e-9).sum(dim=0, keepdim=True) for level in levels]
    return [values.gather(0, index)[0] for index in at]


class PeriodicEmbedding(nn.Module):
    """Add numbers to each column that depend on it by waves.

    Each column x is joined by linear functions of ``cos(2 pi w x + b)``, with its own frequencies
    w, phases b and weights, all learned. Nets fit functions with steps and bends better with them.
    Beyond the range that `fit` has seen, they go on along their tangents: waves would go on as if
    they knew, and draws would meet again far from all data.

    Parameters
    ----------
    n_features : int
        Number of columns, of a common scale.
    n_frequencies : int
        Number of waves for a column.
    n_outputs : int
        Number of numbers that a column is joined by.
    frequency_scale : float
        Standard deviation of the frequencies at the start, in periods per unit of the columns.

    Attributes
    ----------
    lower, upper : Tensor of shape (n_features,)
        The range of the columns, without bounds before `fit`; buffers.
    fitted : Tensor of shape ()
        Whether it was learned; a buffer.

    References
    ----------
    Gorishniy, Rubachev & Babenko (2022), "On embeddings for numerical features in tabular deep
    learning", NeurIPS, in the form of Holzmüller, Grinsztajn & Steinwart (2024), NeurIPS, section
    3 ("PBLD"), with the sizes there.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.nn import PeriodicEmbedding
    >>> PeriodicEmbedding(8)(torch.zeros(5, 8)).shape
    torch.Size([5, 32])
    """

    lower: Tensor
    upper: Tensor
    fitted: Tensor

    def __init__(
        self,
        n_features: int,
        n_frequencies: int = 16,
        n_outputs: int = 3,
        frequency_scale: float = 0.1,
    ) -> None:
        super().__init__()
        shape = n_features, n_frequencies
        bound = 1 / math.sqrt(n_frequencies)
        self.frequencies = nn.Parameter(torch.randn(shape) * frequency_scale)
        self.phases = nn.Parameter(torch.empty(shape).uniform_(-math.pi, math.pi))
        self.weight = nn.Parameter(torch.empty(*shape, n_outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(n_features, n_outputs).uniform_(-bound, bound))
        self.register_buffer("lower", torch.full((n_features,), -math.inf))
        self.register_buffer("upper", torch.full((n_features,), math.inf))
        self.register_buffer("fitted", torch.tensor(False))

    def fit(self, X: Tensor) -> Self:
        """Learn the range of the columns.

        Parameters
        ----------
        X : Tensor of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        PeriodicEmbedding
            This module.
        """
        self.lower.copy_(X.amin(dim=0))
        self.upper.copy_(X.amax(dim=0))
        self.fitted.fill_(True)
        return self

    def forward(self, X: Tensor) -> Tensor:
        """Join each column by its waves.

        Parameters
        ----------
        X : Tensor of shape (..., n_features)
            The inputs.

        Returns
        -------
        Tensor of shape (..., n_features * (1 + n_outputs))
            The inputs, and after them the numbers of the first column, of the second one, ...

        Raises
        ------
        ValueError
            If the last axis has another width.
        """
        _check_width(X, len(self.lower))
        rows, parameters = X.reshape(-1, X.shape[-1]), dict(self.named_parameters(recurse=False))
        joined = join_waves(rows, **parameters, bounds=(self.lower, self.upper))
        return joined.reshape(*X.shape[:-1], joined.shape[-1])


def join_waves(
    X: Tensor,
    frequencies: Tensor,
    phases: Tensor,
    weight: Tensor,
    bias: Tensor,
    bounds: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Join columns by their waves as `PeriodicEmbedding` does; further axes in front broadcast.

    Without bounds the waves are the same for rows that lie within.
    """
    columns = X.transpose(-2, -1).unsqueeze(-1)
    speeds = 2 * math.pi * frequencies.unsqueeze(-2)
    inside = columns
    if bounds is not None:
        inside = columns.clamp(*(bound[..., None, None] for bound in bounds))
    angles = torch.addcmul(phases.unsqueeze(-2), inside, speeds)
    waves = angles.cos()
    if bounds is not None:
        waves = torch.addcmul(waves, angles.sin(), (inside - columns) * speeds)  # cos' is -sin
    joined = torch.matmul(waves, weight) + bias.unsqueeze(-2)
    return torch.cat([X, joined.transpose(-3, -2).flatten(-2)], dim=-1)
