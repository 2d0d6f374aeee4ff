"""scikit-learn's own checks of an estimator."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from sk_mcdropout import MCDropoutRegressor


@parametrize_with_checks(
    [
        MCDropoutRegressor(),
        MCDropoutRegressor(noise="heteroscedastic"),
        # Each fit is six: fewer epochs and draws keep the checks quick.
        MCDropoutRegressor(noise="estimate", max_epochs=40, n_draws=10),
    ]
)
def test_estimator_passes_the_checks_of_scikit_learn(estimator, check):
    check(estimator)
