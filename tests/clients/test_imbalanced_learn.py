"""imbalanced-learn's pipelines and ensembles around our classifier."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from questions import small_classifier
from sklearn.preprocessing import StandardScaler

reason = 'imbalanced-learn is not installed: pip install "sk-mcdropout[clients]"'
imblearn = pytest.importorskip("imblearn", reason=reason)


@pytest.fixture
def rare(X):
    return np.where(X[:, 0] > 1, "rare", "common")


def test_a_pipeline_trains_on_the_rows_it_draws_and_predicts_all(X, rare):
    sampler = imblearn.over_sampling.RandomOverSampler(random_state=0)
    pipe = imblearn.pipeline.make_pipeline(StandardScaler(), sampler, small_classifier())
    scaled = StandardScaler().fit_transform(X)
    rows, drawn = sampler.fit_resample(scaled, rare)
    assert (drawn == "rare").sum() == (drawn == "common").sum() > (rare == "rare").sum()
    expected = small_classifier().fit(rows, drawn).predict_proba(scaled, return_std=True)
    assert_array_equal(pipe.fit(X, rare).predict_proba(X, return_std=True), expected)


def test_a_balanced_bag_predicts_the_mean_of_its_classifiers(X, rare):
    bag = imblearn.ensemble.BalancedBaggingClassifier(
        small_classifier(), n_estimators=3, random_state=0
    )
    proba = bag.fit(X, rare).predict_proba(X)
    members = [member.predict_proba(X) for member in bag.estimators_]
    assert_allclose(proba, np.mean(members, axis=0), rtol=1e-6)
    plain = small_classifier().fit(X, rare).predict_proba(X)
    assert proba[:, 1].mean() > plain[:, 1].mean()  # it expects more of the rare class
