"""The loss of a net that predicts its noise, and how its outputs are laid out."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ._compiled import uncompiled

__all__ = ["BetaNLLLoss", "mean_and_log_variance", "nll_scale"]

# Log variances are held within these bounds, in units of a target of standard deviation 1: a
# noise of 1/20,000 to 20,000. Their exponentials then fit into every type of numbers but halves.
_MOST = 20.0


def mean_and_log_variance(output: Tensor) -> tuple[Tensor, Tensor]:
    """Split the output of a net with a noise of its own into means and log variances.

    Parameters
    ----------
    output : Tensor of shape (..., 2 * n_targets)
        The means of all targets, then the log variances of all targets.

    Returns
    -------
    mean : Tensor of shape (..., n_targets)
        The means.
    log_variance : Tensor of shape (..., n_targets)
        The log variances, held within [-20, 20]. Their gradient is that of numbers without
        bounds, so that training finds the way back.

    Raises
    ------
    ValueError
        If the width of the output is odd.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.nn import mean_and_log_variance
    >>> mean_and_log_variance(torch.tensor([[1.0, -1000.0]]))
    (tensor([[1.]]), tensor([[-20.]]))
    """
    if output.ndim == 0 or output.shape[-1] % 2:
        raise ValueError(
            "the output of a net with heteroscedastic noise must have a mean and a log variance "
            f"for each target on its last axis. Got the shape {tuple(output.shape)}. Give the net "
            "twice as many outputs as targets."
        )
    mean, log_variance = output.chunk(2, dim=-1)
    bounded = log_variance.clamp(-_MOST, _MOST)
    return mean, bounded.detach() + (log_variance - log_variance.detach())


class BetaNLLLoss(nn.Module):
    """Gaussian negative log-likelihood whose gradients do not starve where the noise is large.

    The likelihood of each row is weighted by its variance to the power of beta, taken as a
    constant. Beta 0 is the plain likelihood, which fits the mean badly where it calls the errors
    noise; beta 1 trains the mean as the squared error does.

    Parameters
    ----------
    beta : float
        The power, in [0, 1].
    reduction : {"mean", "sum", "none"}
        What is returned of the losses of all numbers of a batch, as in torch's losses.

    Raises
    ------
    ValueError
        If beta is outside [0, 1], or there is no such reduction.

    References
    ----------
    Seitzer et al. (2022), "On the pitfalls of heteroscedastic uncertainty estimation with
    probabilistic neural networks", ICLR, eq. 5.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout import BetaNLLLoss
    >>> BetaNLLLoss()(torch.zeros(5, 2), torch.ones(5, 1))
    tensor(1.4189)
    """

    def __init__(self, beta: float = 0.5, reduction: str = "mean") -> None:
        super().__init__()
        if not 0 <= beta <= 1:
            raise ValueError(
                f"`beta` must lie in [0, 1]. Got {beta!r}. Give 0 for the plain likelihood, 1 for "
                "the means of the squared error, or 0.5 for both."
            )
        if reduction not in _REDUCTIONS:
            raise ValueError(f"`reduction` must be one of {list(_REDUCTIONS)}. Got {reduction!r}.")
        self.beta = beta
        self.reduction = reduction

    def forward(self, output: Tensor, y: Tensor) -> Tensor:
        """Compute the loss of a batch.

        Parameters
        ----------
        output : Tensor of shape (..., 2 * n_targets)
            The means of all targets, then the log variances of all targets.
        y : Tensor of shape (..., n_targets)
            The targets.

        Returns
        -------
        Tensor of shape (), or that of y without a reduction
            The loss.

        Raises
        ------
        ValueError
            If y has not the shape of the means.
        """
        mean, log_variance = mean_and_log_variance(output)
        if y.shape != mean.shape:  # one broadcasts with the other to all pairs of rows
            raise ValueError(
                "y must have the shape of the means, half of the output. Got the shape "
                f"{tuple(y.shape)} for means of shape {tuple(mean.shape)}. Give y an axis of "
                "targets, as `y.reshape(-1, 1)` does for a single one."
            )
        squares = (y - mean) ** 2 * torch.exp(-log_variance)
        loss = 0.5 * (log_variance + squares + math.log(2 * math.pi))
        return _REDUCTIONS[self.reduction](self.weights(log_variance) * loss)

    def weights(self, log_variance: Tensor) -> Tensor:
        """Compute the weights of a batch, without a gradient.

        Parameters
        ----------
        log_variance : Tensor of shape (..., n_targets)
            The log variances.

        Returns
        -------
        Tensor of shape (..., n_targets)
            The variances to the power of beta.
        """
        return torch.exp(self.beta * log_variance.detach())


_REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": torch.mean,
    "sum": torch.sum,
    "none": lambda losses: losses,
}


def nll_scale(
    criterion: nn.Module, loss: Tensor, output: Tensor, noise: float | None = None
) -> Tensor | float:
    """Compute the change of a loss where the log-likelihood of each row changes by 1 nat.

    Parameters
    ----------
    criterion : nn.Module
        The loss function. The squared error is a likelihood of normal errors; a loss of your own
        is taken for the mean negative log-likelihood of a row.
    loss : Tensor of shape ()
        The loss of a batch.
    output : Tensor of shape (n_samples, ...)
        The output of the net.
    noise : float, optional
        Standard deviation of the errors; by default the likeliest one, the root of the loss.

    Returns
    -------
    Tensor of shape () or float
        The change, without a gradient.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.nn import nll_scale
    >>> nll_scale(torch.nn.MSELoss(), torch.tensor(3.0), torch.zeros(5, 2))
    tensor(3.)
    """
    criterion = uncompiled(criterion)
    if isinstance(criterion, BetaNLLLoss):
        log_variance = mean_and_log_variance(output)[1]
        return criterion.weights(log_variance).mean() / log_variance[0].numel()
    if type(criterion) is not nn.MSELoss:
        return 1.0
    # A row loses k MSE / (2 noise^2) nats, of k targets; the log of the noise is a constant.
    return 2 * (loss.detach() if noise is None else noise**2) / output[0].numel()
