"""The models of ``uci.py``, which have ``fit``, ``predict`` and, with a density, ``log_prob``."""

import numpy as np
from scipy.stats import norm
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.preprocessing import StandardScaler

from sk_mcdropout import MCDropoutRegressor, MCDropoutRegressorCV

GP_ROWS = 1_000


class NGBoost:
    """Natural gradient boosting of normal distributions, with its defaults."""

    def fit(self, X, y):
        from ngboost import NGBRegressor

        self.model = NGBRegressor(verbose=False, random_state=0).fit(X, y)
        return self

    def predict(self, X):
        return self.model.predict(X)

    def log_prob(self, X, y):
        distribution = self.model.pred_dist(X)
        return norm.logpdf(y, distribution.loc, distribution.scale)


class GradientBoosting:
    """scikit-learn's gradient boosting of the median."""

    def fit(self, X, y):
        model = HistGradientBoostingRegressor(loss="quantile", quantile=0.5, random_state=0)
        self.model = model.fit(X, y)
        return self

    def predict(self, X):
        return self.model.predict(X)


class RealMLP:
    """RealMLP with its tuned defaults, for the error of its mean."""

    def fit(self, X, y):
        from pytabkit import RealMLP_TD_Regressor

        self.model = RealMLP_TD_Regressor(random_state=0, device="cpu", verbosity=0).fit(X, y)
        return self

    def predict(self, X):
        return self.model.predict(X).ravel()


def best():
    """Return the cross-fitted ensemble with nothing set."""
    return MCDropoutRegressorCV(random_state=0)


def default():
    """Return the regressor with nothing set but its noise."""
    return MCDropoutRegressor(noise="estimate", random_state=0)


def deep_ensemble():
    """Return five nets with noise of their own, without dropout (Lakshminarayanan et al., 2017)."""
    net = MCDropoutRegressor(noise="heteroscedastic", dropout=0.0)
    return DeepEnsemble([clone(net).set_params(random_state=k, n_draws=2) for k in range(5)])


class DeepEnsemble:
    """The normal of the mean and the variance of an equal mixture of nets."""

    def __init__(self, nets):
        self.nets = nets

    def fit(self, X, y):
        for net in self.nets:
            net.fit(X, y)
        return self

    def predict(self, X):
        return np.mean([net.predict(X) for net in self.nets], axis=0)

    def log_prob(self, X, y):
        parts = [net.predict_decomposed(X) for net in self.nets]
        means, noises = np.array([part[0] for part in parts]), np.array([part[2] for part in parts])
        variance = means.var(axis=0) + (noises**2).mean(axis=0)
        return norm.logpdf(y, means.mean(axis=0), np.sqrt(variance))


class GaussianProcess:
    """Constant x RBF with a length scale for each column + noise, from three starts."""

    def fit(self, X, y):
        rows = np.random.default_rng(0).permutation(len(X))[:GP_ROWS]
        length_scales = RBF(np.ones(X.shape[1]), (1e-2, 1e3))
        kernel = ConstantKernel() * length_scales + WhiteKernel(1.0, (1e-6, 1e2))
        model = GaussianProcessRegressor(
            kernel, normalize_y=True, n_restarts_optimizer=2, random_state=0
        )
        self.scaler = StandardScaler()
        self.model = model.fit(self.scaler.fit_transform(X[rows]), y[rows])
        return self

    def predict(self, X):
        return self.model.predict(self.scaler.transform(X))

    def log_prob(self, X, y):
        mean, std = self.model.predict(self.scaler.transform(X), return_std=True)
        return norm.logpdf(y, mean, std)


MODELS = {
    "best": best,
    "default": default,
    "deep ensemble": deep_ensemble,
    "Gaussian process": GaussianProcess,
    "gradient boosting": GradientBoosting,
    "NGBoost": NGBoost,
    "RealMLP": RealMLP,
}
