"""Pictures of predictions with an uncertainty, in the style of scikit-learn's displays.

The constructor stores arrays, ``plot`` draws them and answers the display, and the class methods
compute the arrays and draw at once. All but the last take any regressor that answers
``predict(X, return_std=True)``, alone or in pipelines and searches.

- `PredictionBandDisplay`: the prediction over one feature, with its bands and draws
- `ReliabilityDisplay`: how many y the intervals hold, against how many they should
- `SparsificationDisplay`: whether the std knows where the errors are large
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
