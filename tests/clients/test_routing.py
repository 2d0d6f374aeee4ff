"""What pipelines and other wrappers of scikit-learn pass on, with metadata routing and without."""

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_array_equal
from questions import small_classifier, small_net
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler


@pytest.fixture(params=[False, True], ids=["routing off", "routing on"], autouse=True)
def routing(request):
    with sklearn.config_context(enable_metadata_routing=request.param):
        yield request.param


def nested(net):
    return make_pipeline(StandardScaler(), make_pipeline(MinMaxScaler(), net))


def scaled(X):
    return MinMaxScaler().fit_transform(StandardScaler().fit_transform(X))


@pytest.mark.parametrize("option", ["return_std", "return_cov"])
def test_pipelines_pass_what_predict_may_return_on(X, y, routing, option):
    net = small_net()
    if routing:
        net.set_predict_request(**{option: True})
    found = nested(net).fit(X, y).predict(X, **{option: True})
    expected = small_net().fit(scaled(X), y).predict(scaled(X), **{option: True})
    for part, by_hand in zip(found, expected, strict=True):
        assert_array_equal(part, by_hand)


def test_pipelines_pass_what_predict_proba_may_return_on(X, labels, routing):
    net = small_classifier()
    if routing:
        net.set_predict_proba_request(return_std=True)
    found = nested(net).fit(X, labels).predict_proba(X, return_std=True)
    by_hand = small_classifier().fit(scaled(X), labels).predict_proba(scaled(X), return_std=True)
    assert_array_equal(found, by_hand)


def test_only_routing_asks_to_be_told_who_gets_the_option(X, y, routing):
    pipe = nested(small_net()).fit(X, y)
    if routing:
        with pytest.raises(UnsetMetadataPassedError, match="return_std"):
            pipe.predict(X, return_std=True)
    else:
        assert len(pipe.predict(X, return_std=True)) == 2


def test_weights_reach_the_net_of_each_target(X, y, routing):
    weights = np.linspace(0, 1, 50)
    net = small_net()
    if routing:
        net.set_fit_request(sample_weight=True)
    model = MultiOutputRegressor(net).fit(X, np.column_stack([y, -y]), sample_weight=weights)
    by_hand = small_net().fit(X, y, sample_weight=weights).predict(X)
    assert_array_equal(model.predict(X)[:, 0], by_hand)
    assert not np.allclose(by_hand, small_net().fit(X, y).predict(X))
