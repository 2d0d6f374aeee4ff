"""Nets, layers and losses. Torch only."""

from ._concrete import ConcreteDropout, learned_rates, regularisation, regularised_parameters
from ._losses import BetaNLLLoss, mean_and_log_variance, nll_scale
from ._mlp import MLP, set_rates

__all__ = [
    "MLP",
    "BetaNLLLoss",
    "ConcreteDropout",
    "learned_rates",
    "mean_and_log_variance",
    "nll_scale",
    "regularisation",
    "regularised_parameters",
    "set_rates",
]
