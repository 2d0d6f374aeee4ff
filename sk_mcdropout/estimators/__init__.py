"""The estimators; the only package that knows skorch.

- `MCDropoutRegressor`: regression with a mean and a standard deviation from dropout
"""

from ._regressor import MCDropoutRegressor

__all__ = ["MCDropoutRegressor"]
