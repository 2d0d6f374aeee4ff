"""scikit-learn's own checks of an estimator."""

import pytest
from sklearn.base import clone
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from sk_mcdropout import (
    MLP,
    MCDropoutClassifier,
    MCDropoutClassifierCV,
    MCDropoutRegressor,
    MCDropoutRegressorCV,
)

# Fewer epochs and draws keep the checks quick; with the noise estimated each fit is six.
ESTIMATORS = [
    MCDropoutRegressor(max_epochs=10, n_draws=20),
    MCDropoutClassifier(max_epochs=10, n_draws=20),
]
OF_NOISE = [
    MCDropoutRegressor(noise="heteroscedastic", max_epochs=40, n_draws=10),
    MCDropoutRegressor(noise="estimate", max_epochs=20, n_draws=10),
]
few = {"param_grid": {"lr": [0.01]}, "cv": 2, "n_draws": 10}
OF_FOLDS = [
    MCDropoutRegressorCV(MCDropoutRegressor(max_epochs=15), **few),
    MCDropoutClassifierCV(MCDropoutClassifier(max_epochs=15), **few),
]

# An ensemble of folds has other folds, too, where rows are repeated.
_MASKS = "in training a repeated row gets a mask of dropout each time, a weighted row gets one"
EXPECTED_TO_FAIL = {
    "check_sample_weight_equivalence_on_dense_data": _MASKS,
    "check_sample_weight_equivalence_on_sparse_data": _MASKS,
}


@parametrize_with_checks(ESTIMATORS, expected_failed_checks=lambda estimator: EXPECTED_TO_FAIL)
def test_estimator_passes_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(
    [*OF_NOISE, *OF_FOLDS], expected_failed_checks=lambda estimator: EXPECTED_TO_FAIL
)
def test_estimator_of_noise_or_folds_passes_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


class Double(MLP):
    """The default net in double precision, whose answers agree to as many digits as are asked."""

    def __init__(self, *args, **params):
        super().__init__(*args, **params)
        self.double()


@pytest.mark.filterwarnings("ignore:the module must have a dropout:UserWarning")
@pytest.mark.parametrize("name", EXPECTED_TO_FAIL)
@pytest.mark.parametrize("estimator", [*ESTIMATORS, *OF_NOISE])
def test_without_dropout_a_weighted_row_counts_as_repeated_ones(estimator, name):
    net = clone(estimator).set_params(module=Double, module__dropout=0.0, max_epochs=20)
    getattr(estimator_checks, name)(type(estimator).__name__, net)
