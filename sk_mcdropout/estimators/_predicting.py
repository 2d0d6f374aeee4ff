"""What a regressor predicts: the mean of the draws, their spread, and the draws themselves."""

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import validate_parameter_constraints
from skorch.utils import _identity

from sk_mcdropout.nn import mean_and_log_variance
from sk_mcdropout.predictive import noise_over_draws
from sk_mcdropout.sampling import cov_over_draws, mean_and_std_over_draws, mean_over_draws

from ._validation import first_output

__all__ = ["PredictingMixin"]


class PredictingMixin:
    """Predict the mean, its standard deviation or covariance, and draw functions."""

    def predict(self, X, return_std=False, return_cov=False):
        """Predict the mean of the draws, and how sure it is.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Inputs, as for `fit`.
        return_std : bool, default=False
            Whether to return the standard deviation: that of the draws (``ddof=1``), and with
            ``noise`` that of a new observation.
        return_cov : bool, default=False
            Whether to return the covariance between the rows: that of the draws, and with
            ``noise`` its variance on the diagonal, as a Gaussian process with a ``WhiteKernel``
            has it.

        Returns
        -------
        y_mean : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Mean of the draws, in the units of y.
        y_std : ndarray of shape (n_samples,) or (n_samples, n_targets), optional
            Standard deviation, in the units of y.
        y_cov : ndarray of shape (n_samples, n_samples) or (n_samples, n_samples, n_targets), \
                optional
            Covariance, in the squared units of y.

        Raises
        ------
        RuntimeError
            If both are asked for.
        NotFittedError
            Before `fit`, `initialize` or `load_params`.
        """
        if return_std and return_cov:
            raise RuntimeError("At most one of return_std or return_cov can be requested.")
        X = self._check_inputs(X)
        if return_cov:
            return self._mean_and_cov(X)
        if return_std:
            mean, epistemic, aleatoric = self._moments(X)
            return mean, np.hypot(epistemic, aleatoric) if np.any(aleatoric) else epistemic
        if "forward_iter" in vars(self):
            # A scoring callback of skorch has put the outputs of the validation pass here.
            outputs = (first_output(output).detach() for output in self.forward_iter(X))
            return np.concatenate([self._in_units(output[None])[0].numpy() for output in outputs])
        return self._moments(X, spread=False)[0]

    def predict_decomposed(self, X):
        """Predict the mean, and apart what the net does not know and what nobody can know.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Inputs, as for `fit`.

        Returns
        -------
        y_mean : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Mean of the draws, in the units of y.
        epistemic : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Standard deviation of the draws, in the units of y.
        aleatoric : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Standard deviation of the noise, in the units of y. Its square and that of the
            epistemic one add up to the square of ``predict(X, return_std=True)[1]``: Kendall &
            Gal (2017), "What uncertainties do we need in Bayesian deep learning", eq. 9.
        """
        mean, epistemic, aleatoric = self._moments(self._check_inputs(X))
        return mean, epistemic, np.broadcast_to(aleatoric, mean.shape).copy()

    def draws(self, X):
        """Draw predictions.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Inputs, as for `fit`.

        Returns
        -------
        ndarray of shape (n_draws, n_samples) or (n_draws, n_samples, n_targets)
            The draws whose mean `predict` answers, without noise, in the units of y. Draw ``t``
            is one function of X.
        """
        return self._all_draws(self._check_inputs(X))[0].numpy()

    def sample_y(self, X, n_samples=1, random_state=0, noise=True):
        """Draw functions and evaluate them at X, as ``GaussianProcessRegressor.sample_y`` does.

        Parameters
        ----------
        X : array-like of shape (n_samples_X, n_features) or (n_samples_X, ...)
            Inputs, as for `fit`.
        n_samples : int, default=1
            Number of functions.
        random_state : int, RandomState instance or None, default=0
            Seed of the functions.
        noise : bool, default=True
            Whether to add the noise of the estimator, where it has one, to each value: new
            observations in the place of functions.

        Returns
        -------
        ndarray of shape (n_samples_X, n_samples) or (n_samples_X, n_targets, n_samples)
            Their values, in the units of y.
        """
        count = {"n_samples": self._parameter_constraints["n_draws"]}
        validate_parameter_constraints(count, {"n_samples": n_samples}, "sample_y")
        seed = int(check_random_state(random_state).randint(2**31 - 1))
        X = self._check_inputs(X)
        noise = noise and self._has_noise()
        factor = np.asarray(self._factor())
        draws, *stds = self._all_draws(X, n_samples, seed, factor=1.0, noise=noise)
        if (factor != 1).any():
            mean = torch.from_numpy(self._moments(X, spread=False)[0])
            draws = torch.lerp(mean, draws, torch.from_numpy(factor))
        for std in stds:
            generator = torch.Generator().manual_seed(seed)
            scores = torch.randn(draws.shape, generator=generator, dtype=draws.dtype)
            draws += std * torch.from_numpy(factor) * scores
        return np.moveaxis(draws.numpy(), 0, -1)

    @property
    def predict_proba(self):
        """Not there: a regressor predicts no probabilities."""
        raise AttributeError(f"{type(self).__name__} has no 'predict_proba'. Use `predict`.")

    # -- mean and spread of the draws --------------------------------------------------------

    def _moments(self, X, spread=True, calibrated=True):
        """Answer the mean, and for a spread also its epistemic and its aleatoric part."""
        self._check_draws(spread)
        # The units of y are a linear map away, so that they can wait for the summary.
        linear = self._get_predict_nonlinearity() is _identity
        summarise = mean_and_std_over_draws if spread else lambda means: (mean_over_draws(means),)

        def reduce(draws):
            means, *log_variance = self._parts(draws)
            moments = summarise(means if linear else self._in_units(draws))
            return (*moments, *map(noise_over_draws, log_variance if spread else ()))

        mean, *spreads = self._over_draws(X, reduce, self.n_draws, self.seed_, spread)
        scale = torch.as_tensor(getattr(self, "y_scale_", 1.0)).to(mean)
        if linear:
            mean = self._scaled(mean[None])[0]
            spreads[:1] = [_squeezed(std * scale) for std in spreads[:1]]
        spreads[1:] = [_squeezed(std * scale) for std in spreads[1:]]
        if not spread:
            return (mean.cpu().numpy(),)
        factor = self._factor() if calibrated else 1.0
        epistemic, *aleatoric = (std.cpu().numpy() * factor for std in spreads)
        return mean.cpu().numpy(), epistemic, *(aleatoric or [self._noise_std() * factor])

    def _mean_and_cov(self, X):
        self._check_draws(spread=True)
        (draws,) = self._all_draws(X)
        mean, cov = mean_over_draws(draws).numpy(), cov_over_draws(draws).numpy()
        if self._has_noise():
            rows = np.arange(len(mean))
            cov[rows, rows] += self._moments(X)[2] ** 2
        return mean, cov

    def _check_draws(self, spread):
        self._check_params("n_draws")
        if spread and self.n_draws == 1:
            raise ValueError(
                "`n_draws` must be at least 2 for a spread. Got 1. Ask for more draws."
            )

    def _all_draws(self, X, n_draws=None, seed=None, factor=None, noise=False):
        """Answer all draws and perhaps the deviations of their noise, in the units of y."""
        self._check_params("n_draws")
        n_draws = self.n_draws if n_draws is None else n_draws
        seed = self.seed_ if seed is None else seed

        def reduce(draws):
            means = self._means(draws, factor)
            stds = [self._noise_of(draws, factor).expand_as(means).cpu()] if noise else []
            return (means.cpu(), *stds)

        return self._over_draws(X, reduce, n_draws, seed, axis=1)

    # -- one chunk of draws, a mixture ---------------------------------------------------------

    def _means(self, draws, factor=None):
        """Answer the draws in the units and the shape of y, stretched about their mean."""
        means = self._in_units(draws)
        factor = np.asarray(self._factor() if factor is None else factor)
        if (factor == 1).all():
            return means
        return torch.lerp(mean_over_draws(means), means, torch.from_numpy(factor).to(means))

    def _noise_of(self, draws, factor=None):
        """Answer the deviations of the noise of the draws, in the units and the shape of y."""
        factor = torch.as_tensor(self._factor() if factor is None else factor).to(draws.device)
        if not self._is_heteroscedastic():
            return torch.from_numpy(self._noise_std()).to(draws.device) * factor
        scale = torch.as_tensor(getattr(self, "y_scale_", 1.0)).to(draws.device)
        stds = (0.5 * self._parts(draws)[1].double()).exp() * scale
        return (stds.squeeze(2) if stds.ndim == 3 else stds) * factor

    def _in_units(self, draws):
        """Bring draws of the output of the net to means in the units and the shape of y."""
        means = self._scaled(self._parts(draws)[0])
        nonlinearity = self._get_predict_nonlinearity()
        if nonlinearity is not _identity:
            means = torch.stack([nonlinearity(draw) for draw in means])
        return means

    def _scaled(self, means):
        means = means.double()
        mean, scale = getattr(self, "y_mean_", 0.0), getattr(self, "y_scale_", 1.0)
        means = torch.as_tensor(mean).to(means) + torch.as_tensor(scale).to(means) * means
        return means.squeeze(2) if means.ndim == 3 else means

    def _parts(self, draws):
        """Answer the draws, or where the net has a noise of its own also their log variances."""
        return mean_and_log_variance(draws) if self._is_heteroscedastic() else (draws,)

    def _factor(self):
        calibration = getattr(self, "calibration_", None)
        return 1.0 if calibration is None else calibration.factor


def _squeezed(answer):
    """Answer one target as (n_samples,), as scikit-learn does."""
    return answer.squeeze(1) if answer.ndim == 2 else answer
