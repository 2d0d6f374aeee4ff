"""Monte-Carlo dropout as a scikit-learn estimator.

Where to look:

- ``estimators``: `MCDropoutRegressor`, a skorch net with ``predict(X, return_std=True)``,
  `MCDropoutClassifier`, and ensembles of both whose settings are searched, such as
  `MCDropoutRegressorCV`
- ``predictive``: `PredictiveDistribution`, what draws say about y; likelihoods, calibrations
- ``sampling``: `sample`, `mean_and_std` and `dropout_sites` for any torch module; how dropout
  calls are caught, given their masks and carried out in bounded memory
- ``nn``: `MLP`, the default net, `ConcreteDropout`, which learns its rate, `BetaNLLLoss`, and
  `add_dropout` for nets that have none
- ``metrics``: scores of predictions with an uncertainty, and scorers for searches
- ``displays``: pictures of them
- ``pipeline``: intervals, calibration and more of a net at the end of a scikit-learn pipeline
- ``acquisition``: which row to label or to try next

The docstring of each package says what is behind it. A package imports another one by its door,
``sk_mcdropout.sampling`` and not a file in it, and only downwards: pipeline imports estimators and
metrics; displays and acquisition import metrics; estimators import predictive, which imports nn,
which imports sampling.
"""

from .estimators import (
    TRUSTED_TYPES,
    MCDropoutClassifier,
    MCDropoutClassifierCV,
    MCDropoutRegressor,
    MCDropoutRegressorCV,
    export,
)
from .nn import MLP, BetaNLLLoss, ConcreteDropout, add_dropout
from .predictive import PredictiveDistribution
from .sampling import dropout_sites, mean_and_std, register_dropout, sample

__version__ = "0.2.0"
__all__ = [
    "MLP",
    "TRUSTED_TYPES",
    "BetaNLLLoss",
    "ConcreteDropout",
    "MCDropoutClassifier",
    "MCDropoutClassifierCV",
    "MCDropoutRegressor",
    "MCDropoutRegressorCV",
    "PredictiveDistribution",
    "add_dropout",
    "dropout_sites",
    "export",
    "mean_and_std",
    "register_dropout",
    "sample",
]
