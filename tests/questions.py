"""What several tests ask of an estimator, and small ones to ask."""

import pytest

from sk_mcdropout import MCDropoutClassifier, MCDropoutRegressor

ASK = {
    "predict": lambda model, X: model.predict(X),
    "mean with std": lambda model, X: model.predict(X, return_std=True)[0],
    "std": lambda model, X: model.predict(X, return_std=True)[1],
    "mean with cov": lambda model, X: model.predict(X, return_cov=True)[0],
    "cov": lambda model, X: model.predict(X, return_cov=True)[1],
    "sample_y": lambda model, X: model.sample_y(X),
    "sample_y of 5": lambda model, X: model.sample_y(X, n_samples=5),
}
each_question = pytest.mark.parametrize("ask", ASK.values(), ids=ASK)
SMALL = {
    "module__hidden": (16,),
    "module__dropout": 0.2,
    "max_epochs": 3,
    "n_draws": 10,
    "random_state": 0,
}


def small_net(**params):
    return MCDropoutRegressor(**{**SMALL, **params})


def small_classifier(**params):
    return MCDropoutClassifier(**{**SMALL, **params})
