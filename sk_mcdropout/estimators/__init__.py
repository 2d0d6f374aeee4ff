"""The estimators."""

from ._regressor import MCDropoutRegressor

__all__ = ["MCDropoutRegressor"]
