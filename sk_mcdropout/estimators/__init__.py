"""The estimators; the only package that knows skorch.

- `MCDropoutRegressor`: regression with a mean and a standard deviation from dropout
- `MCDropoutRegressorCV`: an ensemble of them, each trained without a fold, with a search
- `MCDropoutClassifier`: classification with probabilities and their uncertainty from dropout
- `MCDropoutClassifierCV`: an ensemble of these
- `export`: mean and standard deviation of one of them as a graph, for ONNX or `torch.export`
- `TRUSTED_TYPES`: what ``skops.io.load`` is to trust in files of them

For the other packages:

- `PredictiveRegressorMixin`, `PredictiveClassifierMixin`: the methods that predict, of all that has
  ``_predictive``
- `refuse_lazy`: data that must be in memory
"""

from ._classifier import MCDropoutClassifier
from ._classifier_cv import MCDropoutClassifierCV
from ._export import export
from ._predict import PredictiveRegressorMixin
from ._predict_classes import PredictiveClassifierMixin
from ._regressor import MCDropoutRegressor
from ._regressor_cv import MCDropoutRegressorCV
from ._trusted import TRUSTED_TYPES
from ._validation import refuse_lazy

__all__ = [
    "TRUSTED_TYPES",
    "MCDropoutClassifier",
    "MCDropoutClassifierCV",
    "MCDropoutRegressor",
    "MCDropoutRegressorCV",
    "PredictiveClassifierMixin",
    "PredictiveRegressorMixin",
    "export",
    "refuse_lazy",
]
