"""Pictures of predictions with an uncertainty, in the style of scikit-learn's displays.

The constructor stores arrays, ``plot`` draws them and returns the display, and the class methods
compute the arrays and draw at once.

Of any regressor that has ``predict(X, return_std=True)``, alone or in pipelines and searches:

- `PredictionBandDisplay`: the prediction over one feature, with its bands and draws
- `ReliabilityDisplay`: observed against nominal coverage of the intervals
- `SparsificationDisplay`: whether the errors are largest where the std is

Of any classifier that has ``predict_proba``, and more of one that has ``predict_uncertainty``:

- `UncertaintySurfaceDisplay`: the uncertainty over two features, with the boundaries of the classes
- `ClassReliabilityDisplay`: accuracy against the highest probability
- `AccuracyRejectionDisplay`: accuracy as the least certain rows are rejected
- `UncertaintyHistogramDisplay`: the uncertainty of known and of unknown data

Of any skorch net:

- `LossCurveDisplay`: the losses over the epochs
"""

from ._accuracy_rejection import AccuracyRejectionDisplay
from ._class_reliability import ClassReliabilityDisplay
from ._loss_curve import LossCurveDisplay
from ._prediction_band import PredictionBandDisplay
from ._reliability import ReliabilityDisplay
from ._sparsification import SparsificationDisplay
from ._uncertainty_histogram import UncertaintyHistogramDisplay
from ._uncertainty_surface import UncertaintySurfaceDisplay

__all__ = [
    "AccuracyRejectionDisplay",
    "ClassReliabilityDisplay",
    "LossCurveDisplay",
    "PredictionBandDisplay",
    "ReliabilityDisplay",
    "SparsificationDisplay",
    "UncertaintyHistogramDisplay",
    "UncertaintySurfaceDisplay",
]
