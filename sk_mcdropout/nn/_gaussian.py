"""Dropout by factors that are normal: Srivastava et al. (2014), section 10."""

from torch import Tensor, nn

from sk_mcdropout.sampling import gaussian_dropout

__all__ = ["GaussianDropout"]


class GaussianDropout(nn.Module):
    """Dropout that multiplies each unit by a normal number of mean 1, and sets none to zero.

    Its variance, ``p / (1 - p)``, is that of the factors of ordinary dropout of the rate p. In eval
    mode it does nothing; `sample` and the estimators draw one mask for all rows.

    Parameters
    ----------
    p : float
        The rate, in [0, 1).

    Raises
    ------
    ValueError
        If the rate is outside [0, 1).

    References
    ----------
    Srivastava, Hinton, Krizhevsky, Sutskever & Salakhutdinov (2014), "Dropout: a simple way to
    prevent neural networks from overfitting", JMLR, section 10.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout import sample
    >>> from sk_mcdropout.nn import GaussianDropout
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 8), GaussianDropout(0.1))
    >>> sample(net, torch.ones(3, 2), n_draws=10).shape
    torch.Size([10, 3, 8])
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.set_rate(p)

    def set_rate(self, p: float) -> None:
        """Set the rate.

        Parameters
        ----------
        p : float
            The rate, in [0, 1).

        Raises
        ------
        ValueError
            If it is outside [0, 1).
        """
        if not 0 <= p < 1:
            raise ValueError(
                f"the rate of GaussianDropout must lie in [0, 1). Got {p!r}. At 1 its variance, "
                "p / (1 - p), would be infinite."
            )
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Multiply each unit by a factor, in training mode.

        Parameters
        ----------
        x : Tensor
            The units, of any shape.

        Returns
        -------
        Tensor
            The units, of the same shape.
        """
        return gaussian_dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        """Return what ``repr`` shows: the rate.

        Returns
        -------
        str
            The rate.
        """
        return f"p={self.p:g}"
