"""skpro's probabilistic regressors and metrics around our regressor."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from questions import small_net
from scipy.stats import norm

from sk_mcdropout.metrics import crps_normal, negative_log_density_normal

reason = 'skpro is not installed: pip install "sk-mcdropout[clients]"'
adapters = pytest.importorskip("skpro.regression.adapters.sklearn", reason=reason)
metrics = pytest.importorskip("skpro.metrics", reason=reason)


@pytest.fixture(scope="module")
def frames(X, y):
    return pd.DataFrame(X, columns=list("abc")), pd.DataFrame({"y": y})


@pytest.fixture(scope="module")
def model(frames):
    return adapters.SklearnProbaReg(small_net(noise=3.0)).fit(*frames)


def test_its_distribution_is_the_normal_of_our_mean_and_std(model, frames):
    X, y = frames
    mean, std = small_net(noise=3.0).fit(X, y["y"]).predict(X, return_std=True)
    predicted = model.predict_proba(X)
    assert_allclose(predicted.mean()["y"], mean)
    assert_allclose(predicted.var()["y"], std**2)
    interval = model.predict_interval(X, coverage=0.8)
    assert_allclose(interval, np.transpose(norm(mean, std).interval(0.8)))


@pytest.mark.parametrize(
    ("theirs", "ours"), [("CRPS", crps_normal), ("LogLoss", negative_log_density_normal)]
)
def test_its_scores_are_ours(model, frames, theirs, ours):
    X, y = frames
    mean, std = model.estimator_.predict(X, return_std=True)
    score = getattr(metrics, theirs)()(y, model.predict_proba(X))
    assert_allclose(score, ours(y["y"], mean, std), rtol=1e-6)
