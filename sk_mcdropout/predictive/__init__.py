"""What draws say about y: likelihoods and calibrations."""

from ._calibration import METHODS, Calibration, calibration
from ._mixture import mixture_cdf, mixture_log_prob, mixture_quantiles
from ._noise import likeliest_noise, noise_over_draws

__all__ = [
    "METHODS",
    "Calibration",
    "calibration",
    "likeliest_noise",
    "mixture_cdf",
    "mixture_log_prob",
    "mixture_quantiles",
    "noise_over_draws",
]
