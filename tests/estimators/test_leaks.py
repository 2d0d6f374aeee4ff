"""A thousand predictions hold no more memory than a hundred."""

import gc
import resource

import numpy as np
import pytest
import torch
from torch import nn

from sk_mcdropout import MCDropoutClassifier, MCDropoutRegressor, mean_and_std

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 4))
OPTIONS = {"max_epochs": 1, "random_state": 0}


def of_a_regressor():
    net = MCDropoutRegressor(noise="heteroscedastic", **OPTIONS).fit(X, X[:, 0])
    return lambda: net.predict(X, return_std=True)


def of_draws():
    net = MCDropoutRegressor(**OPTIONS).fit(X, X[:, 0])
    return lambda: net.draws(X)


def of_a_classifier():
    net = MCDropoutClassifier(**OPTIONS).fit(X, X[:, 0] > 0)
    return lambda: net.predict_proba(X, return_std=True)


def of_new_modules():
    x = torch.from_numpy(X).float()
    return lambda: mean_and_std(nn.Sequential(nn.Linear(4, 8), nn.Dropout(), nn.Linear(8, 1)), x)


@pytest.mark.slow
@pytest.mark.parametrize("make", [of_a_regressor, of_draws, of_a_classifier, of_new_modules])
def test_a_thousand_predictions_hold_no_more_memory(make):
    predict = make()
    held = []
    for n_times in (100, 900):
        for _ in range(n_times):
            predict()
        gc.collect()
        held.append((len(gc.get_objects()), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
    (few_objects, few_kb), (many_objects, many_kb) = held
    assert many_objects < few_objects + 100
    assert many_kb < few_kb + 16_000  # all draws of one prediction are 80 kB and more
