"""The predictive distribution of some rows without draws: a normal for each row."""

from collections.abc import Callable
from typing import Any, NoReturn, Self

import numpy as np
import torch
from torch import Tensor

from sk_mcdropout.sampling import Draws

from ._calibration import Uncalibrated
from ._distribution import PredictiveDistribution
from ._likelihood import GaussianLikelihood
from ._mixture import mixture_quantiles
from ._values import in_shape, numbers_of

__all__ = ["NormalDistribution"]


class NormalDistribution(PredictiveDistribution):
    """Distribution of new y for some rows: a normal for each row and target, without draws.

    Its mean and variance are those that ``strategy="moments"`` finds by one pass, with the variance
    of the noise added. There are no draws, and so no functions and no covariances.

    Parameters
    ----------
    draws : Draws
        The draws that are not made.
    likelihood : GaussianLikelihood
        What the outputs of the net mean, in the units of y.
    calibration : Uncalibrated, optional
        How the distribution is recalibrated.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sk_mcdropout import MCDropoutRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> net = MCDropoutRegressor(strategy="moments", noise=50.0, max_epochs=10, random_state=0)
    >>> distribution = net.fit(X, y).predict_distribution(X[:5])
    >>> distribution.mean().shape, distribution.ppf([0.05, 0.5, 0.95]).shape
    ((5,), (5, 3))
    """

    def __init__(
        self,
        draws: Draws,
        likelihood: GaussianLikelihood,
        calibration: Uncalibrated | None = None,
    ) -> None:
        if likelihood.nonlinearity is not None:
            raise ValueError(
                "`strategy` must be 'auto' with a `predict_nonlinearity`, which is applied to "
                "draws. Got 'moments'. Set it to 'auto', or put the nonlinearity into the net."
            )
        super().__init__(draws, likelihood, calibration)
        self._moments_of_outputs = draws.moments

    def mean(self) -> np.ndarray:
        """Compute the mean; see `PredictiveDistribution.mean`."""
        return self._moments()[0]

    def mean_and_cov(self) -> NoReturn:
        """Refuse: there is no covariance between rows without draws."""
        raise _no_draws()

    def mixture_quantiles(self, levels: np.ndarray) -> np.ndarray:
        """Compute quantiles; see `PredictiveDistribution.mixture_quantiles`."""
        return mixture_quantiles(*self._one_component(), torch.from_numpy(levels)).numpy()

    def _moments(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        means, *logs = zip(*map(self._likelihood.parts, self._moments_of_outputs()), strict=True)
        noise = [(0.5 * mean + (0.5 * std).square()).exp() for mean, std in logs]  # log-normal
        mean, *stds = self._likelihood.in_units(*means, *noise)
        epistemic, aleatoric = map(np.multiply, stds, self._calibration.factors)
        return mean, epistemic, aleatoric

    def _one_component(self) -> tuple[Tensor, Tensor]:
        mean, std = map(torch.from_numpy, self.mean_and_std())
        return mean[None], std[None]

    def _of_values(self, y: Any, function: Callable[..., Tensor]) -> np.ndarray:
        mean, std = self._one_component()
        values = in_shape(torch.from_numpy(numbers_of(y)), tuple(mean.shape[1:]))
        return function(values, mean, std).numpy()

    def _with_draws(self, draws: Any) -> Self:
        other = super()._with_draws(draws)
        other._moments_of_outputs = draws.moments
        return other

    def _sampled(self, size: Any, seed: int, noise: bool = False) -> NoReturn:
        raise _no_draws()


def _no_draws() -> ValueError:
    return ValueError(
        "`strategy` must be 'auto' for draws, functions, observations and covariances. Got "
        "'moments', which tells the mean and the standard deviation of each row alone. Call "
        "`set_params(strategy='auto')`; a fitted net stays fitted."
    )
