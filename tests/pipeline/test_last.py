"""The last step of a pipeline, asked with what the pipeline takes."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, TransformerMixin, is_classifier, is_regressor
from sklearn.compose import make_column_transformer
from sklearn.exceptions import NotFittedError, UnsetMetadataPassedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

from sk_mcdropout import MCDropoutClassifier, MCDropoutRegressor, MCDropoutRegressorCV
from sk_mcdropout.acquisition import mutual_information
from sk_mcdropout.displays import ReliabilityDisplay
from sk_mcdropout.metrics import neg_crps_scorer
from sk_mcdropout.pipeline import last

SMALL = {"module__hidden": (8,), "module__dropout": 0.2, "max_epochs": 3, "n_draws": 10}


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(60, 2)), columns=["a", "b"], index=np.arange(60) * 2)
    return frame.assign(kind=rng.choice(["x", "y"], 60))


@pytest.fixture(scope="module")
def y(X):
    return 3 + X["a"].to_numpy() - 2 * (X["kind"] == "x").to_numpy()


@pytest.fixture(scope="module")
def labels(y):
    return np.where(y > 2, "high", "low")


def columns():
    return make_column_transformer((OneHotEncoder(), ["kind"]), remainder="passthrough")


def regressor(**params):
    return MCDropoutRegressor(noise=0.5, random_state=0, **{**SMALL, **params})


@pytest.fixture(scope="module")
def pipe(X, y):
    return make_pipeline(columns(), StandardScaler(), regressor()).fit(X, y)


def by_hand(pipe, X):
    return pipe[:-1].transform(X)


@pytest.mark.parametrize(
    "ask",
    [
        lambda net, X: net.predict(X, return_std=True),
        lambda net, X: net.predict(X, return_cov=True)[1],
        lambda net, X: net.predict_decomposed(X),
        lambda net, X: net.predict_interval(X, coverage=0.8),
        lambda net, X: net.predict_quantiles(X, [0.1, 0.9]),
        lambda net, X: net.predict_cdf(X, 2.0),
        lambda net, X: net.log_prob(X, 2.0),
        lambda net, X: net.sample_y(X, 3, random_state=1),
        lambda net, X: net.draws(X),
        lambda net, X: net.predict_distribution(X).var(),
    ],
)
def test_a_regressor_answers_as_with_what_reaches_it(pipe, X, ask):
    assert_array_equal(ask(last(pipe), X), ask(pipe[-1], by_hand(pipe, X)))


@pytest.mark.parametrize(
    "ask",
    [
        lambda net, X: net.predict(X),
        lambda net, X: net.predict_proba(X, return_std=True),
        lambda net, X: net.predict_log_proba(X),
        lambda net, X: net.predict_uncertainty(X),
        lambda net, X: net.draws(X),
    ],
)
def test_a_classifier_answers_as_with_what_reaches_it(X, labels, ask):
    net = MCDropoutClassifier(random_state=0, **SMALL)
    pipe = make_pipeline(columns(), net).fit(X, labels)
    assert_array_equal(ask(last(pipe), X), ask(net, by_hand(pipe, X)))
    assert_array_equal(last(pipe).classes_, ["high", "low"])
    assert last(pipe).score(X, labels) == pipe.score(X, labels)


def test_a_table_has_the_index_of_what_the_pipeline_takes(pipe, X):
    table = last(pipe).predict_table(X, coverage=0.8)
    assert_array_equal(table.index, X.index)
    assert_array_equal(table["mean"], pipe.predict(X))


def test_calibrate_changes_the_last_step_and_returns_what_takes_the_same_X(X, y):
    pipe = make_pipeline(columns(), regressor()).fit(X[:40], y[:40])
    before = last(pipe).predict_interval(X)
    ends = last(pipe).calibrate(X[40:], y[40:], method="conformal").predict_interval(X)
    by_itself = regressor().fit(by_hand(pipe, X[:40]), y[:40])
    by_itself.calibrate(by_hand(pipe, X[40:]), y[40:], method="conformal")
    assert_array_equal(ends, by_itself.predict_interval(by_hand(pipe, X)))
    assert not np.allclose(before, ends)
    assert pipe[-1].calibration_.method == "conformal"


def test_weights_of_rows_reach_the_calibration(X, y, labels):
    weights = np.r_[np.zeros(30), np.ones(30)]
    pipe = make_pipeline(columns(), regressor()).fit(X, y)
    weighed = last(pipe).calibrate(X, y, sample_weight=weights).estimator_.calibration_.factor
    assert_allclose(weighed, last(pipe).calibrate(X[30:], y[30:]).estimator_.calibration_.factor)
    pipe = make_pipeline(columns(), MCDropoutClassifier(random_state=0, **SMALL)).fit(X, labels)
    weighed = last(pipe).calibrate(X, labels, sample_weight=weights).estimator_.temperature_
    assert_allclose(weighed, last(pipe).calibrate(X[30:], labels[30:]).estimator_.temperature_)


def test_nested_pipelines_are_looked_through(X, y):
    inner = make_pipeline(MinMaxScaler(), regressor())
    pipe = Pipeline([("prepare", make_pipeline(columns(), StandardScaler())), ("model", inner)])
    pipe.fit(X, y)
    assert last(pipe).estimator_ is inner[-1]
    inputs = inner[0].transform(pipe[0].transform(X))
    assert_array_equal(last(pipe).predict_interval(X), inner[-1].predict_interval(inputs))


def test_the_best_pipeline_of_a_search_is_asked(X, y):
    pipe = make_pipeline(columns(), regressor())
    search = GridSearchCV(pipe, {"mcdropoutregressor__dropout": [0.1, 0.3]}, cv=2).fit(X, y)
    assert_array_equal(
        last(search).predict_interval(X), last(search.best_estimator_).predict_interval(X)
    )
    at_the_end = GridSearchCV(regressor(), {"dropout": [0.1, 0.3]}, cv=2)
    pipe = make_pipeline(columns(), at_the_end).fit(X, y)
    assert last(pipe).estimator_ is at_the_end.best_estimator_


def test_steps_that_do_nothing_are_skipped(X, y):
    numbers = X[["a", "b"]]
    pipe = Pipeline([("one", "passthrough"), ("two", None), ("net", regressor())]).fit(numbers, y)
    assert_array_equal(last(pipe).draws(numbers), pipe[-1].draws(numbers))
    alone = regressor().fit(numbers, y)
    assert_array_equal(last(make_pipeline(alone)).draws(numbers), alone.draws(numbers))


class NeedsFrame(TransformerMixin, BaseEstimator):
    """A step that takes frames alone."""

    def fit(self, X, y=None):
        self.columns_ = X.columns
        return self

    def transform(self, X):
        return X[self.columns_] * 2


def test_frames_of_set_output_stay_frames(X, y):
    scaler = StandardScaler().set_output(transform="pandas")
    pipe = make_pipeline(scaler, NeedsFrame(), regressor()).fit(X[["a", "b"]], y)
    assert_array_equal(pipe[-1].feature_names_in_, ["a", "b"])
    mean = last(pipe).draws(X[["a", "b"]]).mean(axis=0)
    assert_allclose(mean, pipe.predict(X[["a", "b"]]), rtol=1e-5)


def test_samplers_of_imbalanced_learn_are_skipped_as_in_predict(X, labels):
    over_sampling = pytest.importorskip("imblearn.over_sampling", reason="needs imbalanced-learn")
    from imblearn.pipeline import make_pipeline

    net = MCDropoutClassifier(random_state=0, **SMALL)
    sampler = over_sampling.RandomOverSampler(random_state=0)
    pipe = make_pipeline(columns(), sampler, net).fit(X, labels)
    assert_array_equal(last(pipe).predict_proba(X), pipe.predict_proba(X))
    assert_array_equal(mutual_information(pipe, X), mutual_information(last(pipe), X))


class Shift(TransformerMixin, BaseEstimator):
    """A step that adds a number for each row, if it is told one."""

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X, shift=None):
        return np.asarray(X) + (0 if shift is None else np.reshape(shift, (-1, 1)))


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.mark.usefixtures("routing")
def test_metadata_reach_the_steps_that_ask_for_them(X, y):
    numbers, shift = X[["a", "b"]].to_numpy(), np.arange(60.0)
    inner = make_pipeline(Shift().set_transform_request(shift=True), regressor())
    pipe = make_pipeline(StandardScaler(), inner).fit(numbers, y)
    mean = last(pipe, shift=shift).draws(numbers).mean(axis=0)
    assert_allclose(mean, pipe.predict(numbers, shift=shift), rtol=1e-5)
    assert not np.allclose(last(pipe, shift=shift).draws(numbers), last(pipe).draws(numbers))
    mean, std = last(pipe).predict(numbers, return_std=True)  # which needs no request
    assert mean.shape == std.shape == (60,)


@pytest.mark.usefixtures("routing")
def test_metadata_that_no_step_asks_for_are_refused(X, y):
    pipe = make_pipeline(StandardScaler(), Shift(), regressor()).fit(X[["a", "b"]], y)
    with pytest.raises((UnsetMetadataPassedError, TypeError), match="shift"):
        last(pipe, shift=np.arange(60)).predict(X[["a", "b"]])


def test_metadata_want_routing(pipe, X):
    with pytest.raises(
        ValueError, match=r"metadata routing must be switched on .* Got \['shift'\]"
    ):
        last(pipe, shift=np.arange(60)).predict(X)


def test_it_is_an_estimator_for_scores_displays_and_acquisition(pipe, X, y):
    assert is_regressor(last(pipe))
    assert not is_classifier(last(pipe))
    assert neg_crps_scorer(last(pipe), X, y) == neg_crps_scorer(pipe, X, y)
    assert_array_equal(mutual_information(last(pipe), X), mutual_information(pipe, X))
    display = ReliabilityDisplay.from_estimator(last(pipe), X, y)
    expected = ReliabilityDisplay.from_estimator(pipe, X, y)
    assert_array_equal(display.observed, expected.observed)
    assert last(pipe).score(X, y) == pipe.score(X, y)


def test_a_pipeline_that_is_fitted_anew_is_asked_anew(X, y):
    pipe = make_pipeline(columns(), regressor()).fit(X, y)
    asked = last(pipe)
    pipe.fit(X, -y)
    assert_array_equal(asked.predict(X), pipe.predict(X))


def test_dask_frames_go_through_all_steps_by_blocks(pipe, X):
    dd = pytest.importorskip("dask.dataframe", reason="needs dask[dataframe]")
    lazy = dd.from_pandas(X, npartitions=3)
    assert_allclose(
        last(pipe).predict_interval(lazy).compute(), last(pipe).predict_interval(X), rtol=1e-4
    )
    table = last(pipe).predict_table(lazy).compute()
    pd.testing.assert_frame_equal(table, last(pipe).predict_table(X), rtol=1e-5)
    with pytest.raises(TypeError, match="`X` must be in memory"):
        last(pipe).calibrate(lazy, np.zeros(60))


def test_a_pipeline_that_is_not_fitted_says_so(X, y):
    pipe = make_pipeline(columns(), regressor())
    with pytest.raises(NotFittedError, match="This Pipeline instance is not fitted yet"):
        last(pipe)
    with pytest.raises(NotFittedError, match="This GridSearchCV instance is not fitted yet"):
        last(GridSearchCV(pipe, {}))


def test_a_last_step_of_another_package_is_refused(X, y):
    pipe = make_pipeline(columns(), Ridge()).fit(X, y)
    with pytest.raises(TypeError, match=r"must be an estimator of this package.* Got a Ridge"):
        last(pipe)
    search = GridSearchCV(regressor(), {"dropout": [0.1]}, cv=2, refit=False).fit(X[["a"]], y)
    with pytest.raises(TypeError, match=r"Got a GridSearchCV.* must have `refit=True`"):
        last(search)


def test_an_ensemble_has_no_calibration_after_its_fit(X, y):
    one = MCDropoutRegressor(**SMALL)
    model = MCDropoutRegressorCV(one, param_grid={}, cv=2, n_draws=10, random_state=0)
    pipe = make_pipeline(columns(), model).fit(X, y)
    assert last(pipe).predict_interval(X).shape == (60, 2)
    with pytest.raises(TypeError, match=r"must have `calibrate`\. Got a MCDropoutRegressorCV"):
        last(pipe).calibrate(X, y)
