"""The estimators; the only package that knows skorch.

- `MCDropoutRegressor`: regression with a mean and a standard deviation from dropout
- `MCDropoutRegressorCV`: an ensemble of them, each trained without a fold, with a search
- `MCDropoutClassifier`: classification with probabilities and their uncertainty from dropout
- `MCDropoutClassifierCV`: an ensemble of these
"""

from ._classifier import MCDropoutClassifier
from ._classifier_cv import MCDropoutClassifierCV
from ._regressor import MCDropoutRegressor
from ._regressor_cv import MCDropoutRegressorCV

__all__ = [
    "MCDropoutClassifier",
    "MCDropoutClassifierCV",
    "MCDropoutRegressor",
    "MCDropoutRegressorCV",
]
