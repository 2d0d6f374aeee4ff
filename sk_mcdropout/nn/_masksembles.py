"""An ensemble of thinned nets in one: Durasov et al. (2021), CVPR."""

import torch
from torch import Tensor, nn

from sk_mcdropout.sampling import masked_in_turn

__all__ = ["Masksembles"]


class Masksembles(nn.Module):
    """Dropout by a few masks that stay the same, each of which belongs to one net of an ensemble.

    In training the rows of a batch take the masks in turn, row i the one of number i modulo
    ``n_masks``, so that each mask is trained with the weights. In eval mode each unit is multiplied
    by the mean of its masks. `sample` and the estimators draw: draw t has the mask of number t
    modulo ``n_masks``, in all such layers of a net. So the first ``n_masks`` draws are all that
    there are, and further ones repeat them: set ``n_draws`` to ``n_masks``, or to a multiple where
    there is other dropout in the net, too. Where the draws of several nets are pooled, as in
    `MCDropoutRegressorCV`, each net counts its own. The masks do not depend on the seed of the
    draws.

    Parameters
    ----------
    n_features : int
        Number of units, or of channels.
    n_masks : int
        Number of masks. Where a net has several such layers, give them the same.
    scale : float
        How little the masks have in common, at least 1: about a ``1 / (2 * scale - 1)`` part of the
        units that one of two keeps is kept by both. At 1 they are all alike; large ones share
        the units out among the masks.

    Attributes
    ----------
    masks : Tensor of shape (n_masks, n_features)
        The masks, of zeros and ones; a buffer. Each keeps as many units, and each unit is kept by
        one at least.

    Raises
    ------
    ValueError
        If a number is out of bounds, or there are fewer units than masks.

    Notes
    -----
    Durasov et al. draw masks until no unit is left without one, and give the first masks the first
    rows of a batch. Here units are dealt to the masks first, and masks to the rows in turn.

    References
    ----------
    Durasov, Bagautdinov, Baque & Fua (2021), "Masksembles for uncertainty estimation", CVPR,
    section 3.2.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout import sample
    >>> from sk_mcdropout.nn import Masksembles
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 8), Masksembles(8, n_masks=4))
    >>> draws = sample(net, torch.ones(3, 2), n_draws=8)
    >>> torch.equal(draws[:4], draws[4:])
    True
    """

    masks: Tensor

    def __init__(self, n_features: int, n_masks: int = 4, scale: float = 2.0) -> None:
        super().__init__()
        if not 2 <= n_masks <= n_features:
            raise ValueError(
                "`n_masks` must be at least 2, and at most the number of features. Got "
                f"{n_masks!r} for {n_features!r} features."
            )
        if not scale >= 1:
            raise ValueError(
                f"`scale` must be at least 1. Got {scale!r}. Give 1 for masks that keep all units."
            )
        self.scale = scale
        self.register_buffer("masks", _draw_masks(n_features, n_masks, scale))
        self.p = 1 - float(self.masks[0].mean())

    def forward(self, x: Tensor) -> Tensor:
        """Apply the masks.

        Parameters
        ----------
        x : Tensor of shape (n_samples, n_features, ...)
            The units; whole channels are dropped where there are more axes.

        Returns
        -------
        Tensor of shape (n_samples, n_features, ...)
            The units that are kept.

        Raises
        ------
        ValueError
            If the second axis is not that of the features.
        """
        n_masks, n_features = self.masks.shape
        if x.shape[1:2] != (n_features,):
            raise ValueError(
                f"the input of Masksembles must have {n_features} features on its second axis. Got "
                f"the shape {tuple(x.shape)}. Move them there, as `x.movedim(-1, 1)` does."
            )
        if not self.training:
            return masked_in_turn(x, self.masks, self.p)
        masks = self.masks[torch.arange(len(x), device=x.device) % n_masks]
        return x * masks.unflatten(1, (n_features, *[1] * (x.ndim - 2)))

    def extra_repr(self) -> str:
        """Return what ``repr`` shows: the numbers of features and masks, and the scale.

        Returns
        -------
        str
            All of them.
        """
        n_masks, n_features = self.masks.shape
        return f"{n_features}, n_masks={n_masks}, scale={self.scale:g}"


def _draw_masks(n_features: int, n_masks: int, scale: float) -> Tensor:
    """Draw masks that keep a number of units each, and leave none out together."""
    # Durasov et al., eq. 3: of m * scale places each mask takes m, and so many are taken by some.
    n_kept = round(n_features / (scale * (1 - (1 - 1 / scale) ** n_masks)))
    masks = torch.zeros(n_masks, n_features)
    for mask, own in zip(masks, torch.randperm(n_features).tensor_split(n_masks), strict=True):
        mask[own] = 1
        others = (mask == 0).nonzero()[:, 0]
        more = torch.randperm(len(others))[: max(0, n_kept - len(own))]
        mask[others[more]] = 1
    return masks
