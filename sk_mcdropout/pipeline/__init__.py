"""The predictions of a net at the end of a pipeline. Imports `estimators` and `metrics`.

- `last`: what the last step of a fitted pipeline predicts, intervals and calibration among it,
  asked with the X of the pipeline; it returns a `LastRegressor` or a `LastClassifier`
"""

from ._last import LastClassifier, LastRegressor, last

__all__ = ["LastClassifier", "LastRegressor", "last"]
