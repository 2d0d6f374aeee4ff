"""What the outputs of a net mean: means and noise in the units of y. Torch only."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from sk_mcdropout.nn import mean_and_log_variance
from sk_mcdropout.sampling import mean_and_std_over_draws, mean_over_draws

from ._noise import noise_over_draws

__all__ = ["GaussianLikelihood"]


@dataclass(frozen=True, eq=False)
class GaussianLikelihood:
    """Normal errors about the output of a net that was trained on a standardised target.

    Parameters
    ----------
    loc, scale : ndarray of shape () or (n_targets,)
        Mean and scale of the target in training, in the units of y.
    noise_std : ndarray of shape () or (n_targets,)
        Standard deviation of the noise that is the same for all rows, in the units of y.
    heteroscedastic : bool
        Whether the net predicts the noise of each row: its outputs are the means of all targets,
        then their log variances.
    nonlinearity : callable, optional
        Applied to the means of a draw, of shape (n_samples, ...).
    n_targets : int, optional
        Number of targets of a y of one or two axes, whose shape the values are to have; by
        default that of ``loc``. Without one, the shape is that of the outputs.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from sk_mcdropout.predictive import GaussianLikelihood
    >>> likelihood = GaussianLikelihood(loc=np.array(10.0), scale=np.array(2.0))
    >>> likelihood.means(torch.ones(4, 3, 1)).shape
    torch.Size([4, 3])
    """

    loc: np.ndarray = field(default_factory=lambda: np.zeros(()))
    scale: np.ndarray = field(default_factory=lambda: np.ones(()))
    noise_std: np.ndarray = field(default_factory=lambda: np.zeros(()))
    heteroscedastic: bool = False
    nonlinearity: Callable[[Tensor], Tensor] | None = None
    n_targets: int | None = None

    @property
    def has_noise(self) -> bool:
        """Whether the observations have a noise."""
        return self.heteroscedastic or bool(np.any(self.noise_std))

    @property
    def n_outputs(self) -> int | None:
        """Number of outputs of the net for a row; None where the number of targets is not known."""
        n_targets = self.n_targets or (self.loc.size if self.loc.ndim else None)
        return n_targets and n_targets * (2 if self.heteroscedastic else 1)

    def means(self, outputs: Tensor) -> Tensor:
        """Return the means, of shape (n_draws, n_samples, [n_targets])."""
        means = self._in_units(self.parts(outputs)[0])
        if self.nonlinearity is not None:
            means = torch.stack([self.nonlinearity(draw) for draw in means])
        return means

    def stds(self, outputs: Tensor) -> Tensor:
        """Return the standard deviations of the noise, of a shape that broadcasts to the means."""
        if not self.heteroscedastic:
            return torch.from_numpy(self.noise_std).to(outputs.device)
        return self._spread((0.5 * self.parts(outputs)[1].double()).exp())

    def summarise(self, outputs: Tensor, spread: bool = True) -> tuple[Tensor, ...]:
        """Summarise the draws of a chunk of rows, in the units of the net where these suffice.

        Returns
        -------
        tuple of Tensor of shape (n_samples, ...)
            The mean; for a spread also its standard deviation over the draws, and the noise that
            the net predicts. `in_units` takes them for all rows.
        """
        means, *log_variance = self.parts(outputs)
        if self.nonlinearity is not None:
            means = self.means(outputs)
        if not spread:
            return (mean_over_draws(means),)
        return *mean_and_std_over_draws(means), *map(noise_over_draws, log_variance)

    def in_units(self, mean: Tensor, *stds: Tensor) -> tuple[np.ndarray, ...]:
        """Bring what `summarise` gave to the units and the shape of y.

        Returns
        -------
        tuple of ndarray of shape (n_samples, [n_targets])
            The mean, and for a spread its epistemic and its aleatoric standard deviation.
        """
        known, *spreads = (self._in_shape(part[None])[0].cpu().numpy() for part in (mean, *stds))
        if self.nonlinearity is None:
            known = self.loc + self.scale * known
        if not spreads:
            return (known,)
        epistemic, *noise = spreads
        if self.nonlinearity is None:
            epistemic = self.scale * epistemic
        return known, epistemic, self.scale * noise[0] if noise else self.noise_std

    def parts(self, outputs: Tensor) -> tuple[Tensor, ...]:
        """Take the means, and where the net predicts them the log variances, from its outputs."""
        return mean_and_log_variance(outputs) if self.heteroscedastic else (outputs,)

    def convert(self, outputs: Tensor, other: "GaussianLikelihood") -> Tensor:
        """Return outputs of a net that learned another scale of y as they are in this scale.

        Parameters
        ----------
        outputs : Tensor of shape (n_draws, n_samples, ...)
            The outputs.
        other : GaussianLikelihood
            What they mean.

        Returns
        -------
        Tensor of shape (n_draws, n_samples, ...)
            Outputs that mean the same to this likelihood.
        """
        means, *logs = other.parts(outputs)
        ratio, shift = other.scale / self.scale, (other.loc - self.loc) / self.scale
        if ratio.size > 1:
            means, *logs = (part.flatten(2) for part in (means, *logs))
        means = means * torch.as_tensor(ratio).to(means) + torch.as_tensor(shift).to(means)
        logs = [part + 2 * torch.as_tensor(np.log(ratio)).to(part) for part in logs]
        return torch.cat([means, *logs], dim=-1) if logs else means

    def _in_units(self, means: Tensor) -> Tensor:
        means = self._in_shape(means.double())
        return torch.as_tensor(self.loc).to(means) + torch.as_tensor(self.scale).to(means) * means

    def _spread(self, stds: Tensor) -> Tensor:
        stds = self._in_shape(stds)
        return stds * torch.as_tensor(self.scale).to(stds)

    def _in_shape(self, values: Tensor) -> Tensor:
        """Give values of shape (n_draws, n_samples, ...) the shape of y; one target has no axis."""
        n_targets = self.n_targets or self.loc.size
        size = math.prod(values.shape[2:])
        if n_targets > 1 and size != n_targets:
            raise ValueError(
                "the output of the net must have one number for each target. Got an output of "
                f"shape {tuple(values.shape[1:])} for {n_targets} targets. Give the net one "
                "output for each target."
            )
        if n_targets > 1:
            return values.flatten(2)
        squeezes = size == 1 and (values.ndim == 3 or self.n_targets == 1)
        return values.flatten(1) if squeezes else values
