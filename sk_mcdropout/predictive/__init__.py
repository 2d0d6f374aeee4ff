"""What draws say about y. Knows torch, NumPy and SciPy; imports `sampling` and `nn`.

- `PredictiveDistribution`: the mixture over the draws for some rows, with the methods of
  ``scipy.stats``; `GivenOutputs` stands in for draws where the outputs are there already
- `NormalDistribution`: a normal for each row, whose moments are found without draws
- `CategoricalDistribution`: that of classes, with `ClassUncertainty`
- `GaussianLikelihood`: from outputs of the net to means and noise in the units of y;
  `CategoricalLikelihood`: to probabilities
- `Uncalibrated`, `StdCalibration`, `PartsCalibration`, `IsotonicCalibration`,
  `ConformalCalibration`: how the distribution is recalibrated on held-out rows; `CALIBRATIONS` has
  the last four by their names
- `CrossFittedDistribution` and `CrossConformalCalibration`: for nets trained without a fold each
- `likeliest_noise`, `likeliest_temperature`: those under which held-out rows are likeliest

For the other packages:

- `check_shares`: levels and coverages in (0, 1); `seed_of`: the seed that a random state stands for
"""

from ._calibration import (
    CALIBRATIONS,
    ConformalCalibration,
    IsotonicCalibration,
    PartsCalibration,
    StdCalibration,
    Uncalibrated,
)
from ._categorical import (
    CategoricalDistribution,
    CategoricalLikelihood,
    ClassUncertainty,
    likeliest_temperature,
)
from ._cross_conformal import CrossConformalCalibration, CrossFittedDistribution
from ._distribution import GivenOutputs, PredictiveDistribution
from ._likelihood import GaussianLikelihood
from ._noise import likeliest_noise
from ._normal import NormalDistribution
from ._values import check_shares, seed_of

__all__ = [
    "CALIBRATIONS",
    "CategoricalDistribution",
    "CategoricalLikelihood",
    "ClassUncertainty",
    "ConformalCalibration",
    "CrossConformalCalibration",
    "CrossFittedDistribution",
    "GaussianLikelihood",
    "GivenOutputs",
    "IsotonicCalibration",
    "NormalDistribution",
    "PartsCalibration",
    "PredictiveDistribution",
    "StdCalibration",
    "Uncalibrated",
    "check_shares",
    "likeliest_noise",
    "likeliest_temperature",
    "seed_of",
]
