"""Scores of forecasts with an uncertainty, for arrays and for scikit-learn's searches.

They know nothing of dropout: any mean and standard deviation, draws, intervals or quantiles can
be scored, and the probabilities of any classifier. As in ``sklearn.metrics``, rows are weighted by
``sample_weight`` and several targets are averaged as ``multioutput`` says.

The public scores:

- of a mean and a standard deviation: `negative_log_density_normal`, `crps_normal`, `sharpness`
- of draws: `negative_log_density_mixture`, `crps_draws`, `energy_score`
- of intervals and quantiles: `interval_score`, `coverage_score`, `mean_interval_width`,
  `pinball_loss`
- of predicted probabilities: `calibration_curve`, `calibration_error`
- of the order of the standard deviations: `sparsification_curve`,
  `area_under_sparsification_error`
- for ``scoring=``: `neg_log_predictive_density_scorer`, `neg_crps_scorer`,
  `neg_interval_score_scorer`, `neg_calibration_error_scorer`

and of classes, beside scikit-learn's ``log_loss`` and ``scoring="neg_log_loss"``:

- of their probabilities: `brier_score`, `reliability_curve`, `expected_calibration_error`
- of the order of the uncertainties: `accuracy_rejection_curve`,
  `area_under_accuracy_rejection_curve`
- for ``scoring=``: `neg_brier_score_scorer`, `neg_expected_calibration_error_scorer`

For the other packages, these may change:

- how a fitted model is asked: `predict_mean_and_std`, `last_step`, `knows`, `is_calibrated`,
  `one_target`, `predict_probabilities`, `predict_class_uncertainty`, `UNCERTAINTIES`
- checks of arrays: `check_numbers`, `check_like`, `check_std`, `check_shares`
"""

from ._calibration import calibration_curve, calibration_error, sharpness
from ._class_predictions import (
    UNCERTAINTIES,
    predict_class_uncertainty,
    predict_probabilities,
)
from ._density import (
    crps_draws,
    crps_normal,
    energy_score,
    negative_log_density_mixture,
    negative_log_density_normal,
)
from ._interval import coverage_score, interval_score, mean_interval_width, pinball_loss
from ._predictions import (
    is_calibrated,
    knows,
    last_step,
    one_target,
    predict_mean_and_std,
)
from ._probabilities import brier_score, expected_calibration_error, reliability_curve
from ._rejection import accuracy_rejection_curve, area_under_accuracy_rejection_curve
from ._scorers import (
    neg_brier_score_scorer,
    neg_calibration_error_scorer,
    neg_crps_scorer,
    neg_expected_calibration_error_scorer,
    neg_interval_score_scorer,
    neg_log_predictive_density_scorer,
)
from ._sparsification import area_under_sparsification_error, sparsification_curve
from ._validation import check_like, check_numbers, check_shares, check_std

__all__ = [
    "UNCERTAINTIES",
    "accuracy_rejection_curve",
    "area_under_accuracy_rejection_curve",
    "area_under_sparsification_error",
    "brier_score",
    "calibration_curve",
    "calibration_error",
    "check_like",
    "check_numbers",
    "check_shares",
    "check_std",
    "coverage_score",
    "crps_draws",
    "crps_normal",
    "energy_score",
    "expected_calibration_error",
    "interval_score",
    "is_calibrated",
    "knows",
    "last_step",
    "mean_interval_width",
    "neg_brier_score_scorer",
    "neg_calibration_error_scorer",
    "neg_crps_scorer",
    "neg_expected_calibration_error_scorer",
    "neg_interval_score_scorer",
    "neg_log_predictive_density_scorer",
    "negative_log_density_mixture",
    "negative_log_density_normal",
    "one_target",
    "pinball_loss",
    "predict_class_uncertainty",
    "predict_mean_and_std",
    "predict_probabilities",
    "reliability_curve",
    "sharpness",
    "sparsification_curve",
]
