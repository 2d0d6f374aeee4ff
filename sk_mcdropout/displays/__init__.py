"""Pictures of predictions with an uncertainty, in the style of scikit-learn's displays.

The constructor stores arrays, ``plot`` draws them and returns the display, and the class methods
compute the arrays and draw at once. All but the last take any regressor that has
``predict(X, return_std=True)``, alone or in pipelines and searches.

- `PredictionBandDisplay`: the prediction over one feature, with its bands and draws
- `ReliabilityDisplay`: observed against nominal coverage of the intervals
- `SparsificationDisplay`: whether the errors are largest where the std is
- `LossCurveDisplay`: the losses of a skorch net over the epochs
"""

from ._loss_curve import LossCurveDisplay
from ._prediction_band import PredictionBandDisplay
from ._reliability import ReliabilityDisplay
from ._sparsification import SparsificationDisplay

__all__ = [
    "LossCurveDisplay",
    "PredictionBandDisplay",
    "ReliabilityDisplay",
    "SparsificationDisplay",
]
