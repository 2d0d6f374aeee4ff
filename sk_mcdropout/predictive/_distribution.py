"""The predictive distribution of some rows: the mixture over the draws of a net."""

from collections.abc import Callable, Iterable
from copy import copy
from dataclasses import replace
from numbers import Integral
from typing import Any, Self

import numpy as np
import torch
from scipy.stats import norm
from torch import Tensor

from sk_mcdropout.sampling import AnyDraws, cov_over_draws, mean_over_draws

from ._calibration import Uncalibrated
from ._likelihood import GaussianLikelihood
from ._made_up import MadeUpDraws
from ._mixture import mixture_cdf, mixture_log_prob, mixture_quantiles
from ._values import check_shares, in_shape, numbers_of, seed_of

__all__ = ["GivenOutputs", "PredictiveDistribution"]


class GivenOutputs:
    """Outputs of a net that are there already, in the place of draws: one draw.

    Parameters
    ----------
    outputs : iterable of Tensor
        The outputs, batch by batch, each of shape (n_batch_rows, ...).

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.predictive import (
    ...     GaussianLikelihood,
    ...     GivenOutputs,
    ...     PredictiveDistribution,
    ... )
    >>> outputs = GivenOutputs([torch.zeros(3, 1), torch.ones(2, 1)])
    >>> PredictiveDistribution(outputs, GaussianLikelihood()).mean()
    array([0., 0., 0., 1., 1.])
    """

    n_draws = 1
    seed = 0

    def __init__(self, outputs: Iterable[Tensor]) -> None:
        self._outputs = outputs

    def reduce(
        self,
        function: Callable[[Tensor, slice], tuple[Tensor, ...]],
        *,
        axis: int = 0,
        spread: bool = True,
    ) -> tuple[Tensor, ...]:
        """Reduce the outputs of all rows; see `Draws.reduce`."""
        parts, start = [], 0
        for outputs in self._outputs:
            rows = slice(start, start := start + len(outputs))
            parts.append(function(outputs.detach()[None], rows))
        return tuple(torch.cat(tensors, axis) for tensors in zip(*parts, strict=True))


class PredictiveDistribution:
    """Distribution of new y for some rows: an equal mixture over Monte-Carlo draws.

    Each draw of the net is one component: a normal about its mean with the noise of the
    observations, or the mean itself where there is no noise [1]_. ``net.predict_distribution(X)``
    makes it. Each method makes the draws again, always the same ones, in memory that does not
    grow with draws x rows; only those that return draws or a covariance keep them.

    Parameters
    ----------
    draws : Draws, PooledDraws or ChainedDraws
        The draws of the net, or of several nets.
    likelihood : GaussianLikelihood
        What the outputs of the net mean, in the units of y.
    calibration : Uncalibrated or one of its subclasses, such as StdCalibration
        How the distribution is recalibrated.

    References
    ----------
    .. [1] Gal & Ghahramani (2016), "Dropout as a Bayesian approximation", ICML, eq. 8.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sk_mcdropout import MCDropoutRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> net = MCDropoutRegressor(noise=50.0, max_epochs=10, random_state=0).fit(X, y)
    >>> distribution = net.predict_distribution(X[:5])
    >>> distribution.mean().shape, distribution.ppf([0.05, 0.5, 0.95]).shape
    ((5,), (5, 3))
    """

    def __init__(
        self,
        draws: AnyDraws,
        likelihood: GaussianLikelihood,
        calibration: Uncalibrated | None = None,
    ) -> None:
        self._draws = draws
        self._likelihood = likelihood
        self._calibration = Uncalibrated() if calibration is None else calibration

    # -- moments -----------------------------------------------------------------------------

    def mean(self) -> np.ndarray:
        """Compute the mean over the draws.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_targets)
            The mean, in the units of y.
        """
        summary = self._draws.reduce(
            lambda outputs, rows: self._likelihood.summarise(outputs, spread=False), spread=False
        )
        return self._likelihood.in_units(*summary)[0]

    def std(self) -> np.ndarray:
        """Compute the standard deviation of new y.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_targets)
            The root of the variance over the draws (``ddof=1``) plus the mean variance of the
            noise, in the units of y.
        """
        return self.mean_and_std()[1]

    def var(self) -> np.ndarray:
        """Compute the variance of new y.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_targets)
            The square of `std`.
        """
        return self.std() ** 2

    def epistemic_std(self) -> np.ndarray:
        """Compute the standard deviation over the draws: the epistemic uncertainty.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_targets)
            The standard deviation with ``ddof=1``, in the units of y.
        """
        return self.decompose()[1]

    def aleatoric_std(self) -> np.ndarray:
        """Compute the standard deviation of the noise: the aleatoric uncertainty.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_targets)
            The root of the mean variance over the draws, in the units of y.
        """
        return self.decompose()[2]

    def mean_and_std(self) -> tuple[np.ndarray, np.ndarray]:
        """Compute mean and standard deviation at once.

        Returns
        -------
        mean, std : ndarray of shape (n_samples,) or (n_samples, n_targets)
            What `mean` and `std` return.
        """
        mean, epistemic, aleatoric = self._moments()
        return mean, np.hypot(epistemic, aleatoric) if np.any(aleatoric) else epistemic

    def decompose(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Compute the mean, and the epistemic and aleatoric parts of the standard deviation.

        Returns
        -------
        mean, epistemic_std, aleatoric_std : ndarray of shape (n_samples,) or \
                (n_samples, n_targets)
            Their squares add up to `var`: Kendall & Gal (2017), "What uncertainties do we need in
            Bayesian deep learning for computer vision?", eq. 9.
        """
        mean, epistemic, aleatoric = self._moments()
        return mean, epistemic, np.broadcast_to(aleatoric, mean.shape).copy()

    def cov(self) -> np.ndarray:
        """Compute the covariance between the rows.

        Returns
        -------
        ndarray of shape (n_samples, n_samples) or (n_samples, n_samples, n_targets)
            The covariance over the draws, with the variance of the noise on the diagonal, in the
            squared units of y.
        """
        return self.mean_and_cov()[1]

    def mean_and_cov(self) -> tuple[np.ndarray, np.ndarray]:
        """Compute mean and covariance at once.

        Returns
        -------
        mean : ndarray of shape (n_samples,) or (n_samples, n_targets)
            What `mean` returns.
        cov : ndarray of shape (n_samples, n_samples) or (n_samples, n_samples, n_targets)
            What `cov` returns.
        """
        self._check_spread()
        (draws,) = self._sampled(None, self._draws.seed)
        mean, cov = mean_over_draws(draws).numpy(), cov_over_draws(draws).numpy()
        if self._likelihood.has_noise:
            rows = np.arange(len(mean))
            cov[rows, rows] += self._moments()[2] ** 2
        return mean, cov

    # -- draws -------------------------------------------------------------------------------

    def functions(self, size: int | None = None, random_state: Any = None) -> np.ndarray:
        """Draw functions, without noise.

        Parameters
        ----------
        size : int, optional
            Number of functions; by default the draws whose mean is `mean`.
        random_state : int, RandomState or Generator, optional
            Seed of the functions; by default that of the draws.

        Returns
        -------
        ndarray of shape (size, n_samples) or (size, n_samples, n_targets)
            Their values, in the units of y. Each is one function of all rows.
        """
        return self._sampled(size, seed_of(random_state, self._draws.seed))[0].numpy()

    def rvs(self, size: int = 1, random_state: Any = None) -> np.ndarray:
        """Draw new observations: functions, with the noise added to each value.

        Parameters
        ----------
        size : int
            Number of functions.
        random_state : int, RandomState or Generator, optional
            Seed of functions and noise; by default that of the draws.

        Returns
        -------
        ndarray of shape (size, n_samples) or (size, n_samples, n_targets)
            The observations, in the units of y.
        """
        seed = seed_of(random_state, self._draws.seed)
        values, *stds = self._sampled(size, seed, noise=self._likelihood.has_noise)
        for std in stds:
            generator = torch.Generator().manual_seed(seed)
            scores = torch.randn(values.shape, generator=generator, dtype=values.dtype)
            values += std * scores
        return values.numpy()

    # -- quantiles and probabilities -----------------------------------------------------------

    def ppf(self, q: Any) -> np.ndarray:
        """Compute quantiles: the percent point function.

        Parameters
        ----------
        q : float or array-like of shape (n_levels,)
            Their levels, in (0, 1).

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_targets), with an axis of n_levels at the \
                end for several levels
            The quantiles, in the units of y. Without noise they are those of the draws, with
            linear interpolation.

        Raises
        ------
        ValueError
            If a level is not in (0, 1), or too far out for the rows of a conformal calibration.
        """
        levels = check_shares("q", q)
        quantiles = self._calibration.quantiles(self, np.atleast_1d(levels))
        return quantiles if levels.ndim else quantiles[..., 0]

    def interval(self, confidence: Any = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Compute central intervals.

        Parameters
        ----------
        confidence : float or array-like of shape (n_levels,), default=0.9
            Probability of a new y inside, in (0, 1).

        Returns
        -------
        lower, upper : ndarray of shape (n_samples,) or (n_samples, n_targets), with an axis of \
                n_levels at the end for several levels
            Their ends, in the units of y: the quantiles that leave out the same probability at
            both sides, or, with conformal calibration, the same number of standard deviations
            from the mean at both sides.

        Raises
        ------
        ValueError
            If a probability is not in (0, 1), or too large for the rows of a conformal
            calibration.
        """
        levels = check_shares("confidence", confidence)
        ends = self._calibration.interval(self, np.atleast_1d(levels))
        lower, upper = np.moveaxis(ends if levels.ndim else ends[..., 0, :], -1, 0)
        return lower, upper

    def cdf(self, y: Any) -> np.ndarray:
        """Compute the probability of a new y up to a value, for each target by itself.

        Parameters
        ----------
        y : float or array-like of shape (n_samples,) or (n_samples, n_targets)
            The values, in the units of y; one number stands for all rows.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_targets)
            The probabilities.
        """
        return self._calibration.cdf(self, y)

    def logpdf(self, y: Any) -> np.ndarray:
        """Compute the logarithm of the mixture's density, row by row.

        Parameters
        ----------
        y : float or array-like of shape (n_samples,) or (n_samples, n_targets)
            The values, in the units of y; one number stands for all rows.

        Returns
        -------
        ndarray of shape (n_samples,)
            The log densities, in units of 1 over y; of several targets, that of all together. The
            mean over test rows is the test log-likelihood of Gal & Ghahramani (2016), eq. 8.

        Raises
        ------
        ValueError
            Without noise, and after isotonic or conformal calibration, which have no density.
        """
        self._check_density()
        if not self._likelihood.has_noise:
            raise ValueError(
                "`noise` must be given for the density of the mixture. Got no noise. Set `noise`, "
                "or ask for `distribution='normal'` (`normal_logpdf`)."
            )
        return self._of_values(y, mixture_log_prob)

    def normal_logpdf(self, y: Any) -> np.ndarray:
        """Compute the log density of the normal with the same mean and standard deviation.

        Parameters
        ----------
        y : float or array-like of shape (n_samples,) or (n_samples, n_targets)
            The values, in the units of y; one number stands for all rows.

        Returns
        -------
        ndarray of shape (n_samples,)
            The log densities, in units of 1 over y; of several targets, their sum.

        Raises
        ------
        ValueError
            If a standard deviation is 0; after isotonic or conformal calibration.
        """
        self._check_density()
        mean, std = self.mean_and_std()
        if not (std > 0).all():
            raise ValueError(
                "the predicted standard deviations must be above 0. Got "
                f"{np.count_nonzero(std <= 0)} of {std.size} that are 0. Raise the dropout rate, "
                "or give `noise`."
            )
        logs = norm.logpdf(in_shape(numbers_of(y), mean.shape), mean, std)
        return logs.reshape(len(logs), -1).sum(axis=1)

    # -- the mixture, for the calibrations -------------------------------------------------------

    def mixture_quantiles(self, levels: np.ndarray) -> np.ndarray:
        """Compute quantiles of the mixture, before isotonic or conformal calibration.

        Parameters
        ----------
        levels : ndarray of shape (n_levels,) or (n_targets, n_levels)
            The levels, in (0, 1).

        Returns
        -------
        ndarray of shape (n_samples, n_levels) or (n_samples, n_targets, n_levels)
            The quantiles.
        """
        at = torch.from_numpy(levels)

        def quantiles(outputs: Tensor, rows: slice) -> tuple[Tensor, ...]:
            mixture = self._mixture(outputs)
            return (mixture_quantiles(*mixture, at.to(outputs.device)).cpu(),)

        return self._draws.reduce(quantiles)[0].numpy()

    def mixture_cdf(self, y: Any) -> np.ndarray:
        """Compute the mixture's distribution function, before isotonic or conformal calibration.

        Parameters
        ----------
        y : float or array-like of shape (n_samples,) or (n_samples, n_targets)
            The values.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_targets)
            The probabilities.
        """
        return self._of_values(y, mixture_cdf)

    def _mixture(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and noise of all draws, stretched about their mean by the calibration."""
        means, stds = self._likelihood.means(outputs), self._likelihood.stds(outputs)
        factors = self._calibration.factors
        if (factors == 1).all():
            return means, stds
        epistemic, aleatoric = torch.from_numpy(factors).to(means)
        return torch.lerp(mean_over_draws(means), means, epistemic), stds * aleatoric

    def moments_of(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Compute mean and standard deviation from given draws, by functions of torch alone.

        Parameters
        ----------
        outputs : Tensor of shape (n_draws, n_samples, ...)
            Outputs of the net.

        Returns
        -------
        mean, std : Tensor of shape (n_samples,) or (n_samples, n_targets)
            What `mean_and_std` returns for all draws, up to rounding: a graph of it can be traced.
        """
        means = self._likelihood.means(outputs)
        stds = self._likelihood.stds(outputs).expand_as(means)
        epistemic, aleatoric = torch.as_tensor(self._calibration.factors**2)
        variance = epistemic * means.var(0) + aleatoric * stds.square().mean(0)
        return means.mean(0), variance.sqrt()

    def _moments(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        self._check_spread()
        summary = self._draws.reduce(lambda outputs, rows: self._likelihood.summarise(outputs))
        mean, *stds = self._likelihood.in_units(*summary)
        epistemic, aleatoric = map(np.multiply, stds, self._calibration.factors)
        return mean, epistemic, aleatoric

    def _sampled(self, size: Any, seed: int, noise: bool = False) -> tuple[Tensor, ...]:
        """Return means of draws and their noise, stretched about the mean by the calibration."""
        if size is not None and (not isinstance(size, Integral) or size < 1):
            raise ValueError(f"`size` must be a whole number of at least 1. Got {size!r}.")
        draws: Any = self._draws
        if not isinstance(draws, GivenOutputs) and (size is not None or seed != draws.seed):
            draws = replace(draws, n_draws=int(size or draws.n_draws), seed=seed)

        def means_and_noise(outputs: Tensor, rows: slice) -> tuple[Tensor, ...]:
            means = self._likelihood.means(outputs)
            stds = [self._likelihood.stds(outputs).expand_as(means).cpu()] if noise else []
            return means.cpu(), *stds

        means, *stds = draws.reduce(means_and_noise, axis=1)
        factors = self._calibration.factors
        if (factors == 1).all():
            return means, *stds
        epistemic, aleatoric = torch.from_numpy(factors)
        about = torch.from_numpy(self.mean())
        return torch.lerp(about, means, epistemic), *(std * aleatoric for std in stds)

    def _of_values(self, y: Any, function: Callable[..., Tensor]) -> np.ndarray:
        """Compute a function of a value for each row and of the mixture at this row."""
        numbers = numbers_of(y)
        values = torch.from_numpy(numbers)

        def apply(outputs: Tensor, rows: slice) -> tuple[Tensor, ...]:
            means, stds = self._mixture(outputs)
            chunk = values[rows] if values.ndim else values
            chunk = in_shape(chunk, tuple(means.shape[1:])).to(means.device)
            return (function(chunk, means, stds).cpu(),)

        (results,) = self._draws.reduce(apply)
        if numbers.ndim and len(numbers) != len(results):
            in_shape(numbers, (len(results), *numbers.shape[1:]))
        return results.numpy()

    def _check_spread(self) -> None:
        if self._draws.n_draws == 1:
            raise ValueError(
                "`n_draws` must be at least 2 for a spread. Got 1. Ask for more draws."
            )

    def of_made_up_row(self) -> Self | None:
        """Return the distribution of a row that no net has seen, to learn the shape of answers.

        Returns
        -------
        PredictiveDistribution or None
            The same distribution of one row with made-up outputs; None where the number of targets
            is not known.
        """
        n_outputs = self._likelihood.n_outputs
        if n_outputs is None:
            return None

        def make(n_draws: int) -> Tensor:
            return torch.linspace(0, 1, n_draws)[:, None, None].expand(-1, 1, n_outputs)

        return self._with_draws(MadeUpDraws(make, self._draws.n_draws, self._draws.seed))

    def _with_draws(self, draws: Any) -> Self:
        other = copy(self)
        other._draws = draws
        return other

    def _check_density(self) -> None:
        if not self._calibration.has_density:
            raise ValueError(
                "a calibration with a density must be used for `log_prob`. Got "
                f"{self._calibration.method!r}. Call `calibrate` with `method='std'`."
            )
